"""How the network answers who serves an ID, query by query: trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy, NoPeers
from dhtd.service.entries import LookupResult
from dhtd.service.method import Request, Stream
from dhtd.service.params import ID, NAME
from dhtd.service.queries import NamedNode

ASKED: Final = "asked"
ANSWERED: Final = "answered"
SLOW: Final = "slow"
SILENT: Final = "silent"
REFUSED: Final = "refused"
STEPS: Final = (ASKED, ANSWERED, SLOW, SILENT, REFUSED)


@dataclass(frozen=True, slots=True)
class TraceRequest(Request):
    """Who serves `id`? Events tell what becomes of each query. The result repeats the name."""

    id: Annotated[Id, ID]
    name: Annotated[str | None, NAME] = None


class TraceEvent(TypedDict):
    """A step of a search: what has become of a query, `at_ms` after the search began.

    `query` is the number of the query in its search. `endpoint` and `node_id` are of the node that was asked, or that
    has answered in its stead. The rest is null, false or empty in steps that it does not concern:

    - asked: in which `hop`, how many `bits` its ID has in common with the target, `named_by` which nodes (none for a
      contact of our own), and `about` which other place than the target.
    - answered: after how long, null if the query was sent more than once; the `nodes` and `peers` that it names; how
      many more bits the nearest node known then has in common with the target; `late` if it was slow before.
    - refused: the `code` of the error.
    """

    step: str
    query: int
    at_ms: float
    endpoint: str
    node_id: str
    hop: int | None
    bits: int | None
    named_by: list[str]
    about: str | None
    rtt_ms: float | None
    gained: int | None
    nodes: list[NamedNode]
    peers: list[str]
    late: bool
    code: int | None


class TraceResult(LookupResult):
    """The endpoints of an ID, as lookup gives them."""


TRACE: Final = Stream(
    "trace",
    "Asks the network who serves an ID, and tells what becomes of each query.",
    TraceRequest,
    TraceEvent,
    TraceResult,
    errors=(Busy, NoPeers),
)

METHODS: Final = (TRACE,)

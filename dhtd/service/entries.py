"""Who serves an ID: enter, lookup and delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy, NoPeers, NotTracked, StateError, TooManyEntries
from dhtd.service.method import Method, Request, Stream
from dhtd.service.params import COUNT, FLAG, ID, PORT, SECONDS

ENTER_WITHIN: Final = 10.0  # seconds; clients that do not say how long they wait have been seen to wait for 15


@dataclass(frozen=True, slots=True)
class EnterRequest(Request):
    """This machine serves `id` on `port`.

    The answer comes once the entry is published, or with `wait` false once it is on disk. After `within_s` seconds it
    comes in any case. A node without contacts waits for one if `min_replicas` are wanted, or if it has an endpoint to
    join through.
    """

    id: Annotated[Id, ID]
    port: Annotated[int, PORT]
    wait: Annotated[bool, FLAG] = True
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN


class Replica(TypedDict):
    """A node that holds an entry."""

    node_id: str
    endpoint: str


class EnterResult(TypedDict):
    """An entry, and the nodes that hold it now."""

    id: str
    port: int
    replicas: list[Replica]
    refresh_in_s: float
    expires_in_s: float


ENTER: Final = Method(
    "enter",
    "Enters that this machine serves an ID on a port.",
    EnterRequest,
    EnterResult,
    errors=(Busy, NotTracked, StateError, TooManyEntries),
)


@dataclass(frozen=True, slots=True)
class LookupRequest(Request):
    """Who serves `id`? Events tell of progress."""

    id: Annotated[Id, ID]


class Stats(TypedDict):
    """The course of a lookup."""

    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float


class LookupEvent(TypedDict):
    """A node answered a lookup; `peers` are the new ones."""

    peers: list[str]
    stats: Stats


class LookupResult(TypedDict):
    """The endpoints of an ID. They are not `complete` if an answer was cut, or a network is silent."""

    id: str
    peers: list[str]
    stats: Stats
    complete: bool


LOOKUP: Final = Stream(
    "lookup",
    "Asks the network who serves an ID.",
    LookupRequest,
    LookupEvent,
    LookupResult,
    errors=(Busy, NoPeers),
)


@dataclass(frozen=True, slots=True)
class DeleteRequest(Request):
    """This machine no longer serves `id`: on `port`, or without one on all its ports."""

    id: Annotated[Id, ID]
    port: Annotated[int | None, PORT] = None


class LeftBehindInfo(TypedDict):
    """An endpoint at an old address of this machine. Lookups find it until it expires."""

    endpoint: str
    expires_in_s: float


class KeptInfo(TypedDict):
    """Copies of a deleted entry in a network without withdrawals. Lookups find them until they expire."""

    nodes: int
    expires_in_s: float


class DeleteResult(TypedDict):
    """The ports of the deleted entries. `withdrawn` nodes confirmed; `pending` ones are asked again.

    A network may have no withdrawals. Then neither is there, and `kept` tells of the copies; else it is None.
    """

    id: str
    removed: list[int]
    withdrawn: int
    pending: int
    left_behind: list[LeftBehindInfo]
    kept: KeptInfo | None


DELETE: Final = Method(
    "delete",
    "Deletes entries of this machine: the daemon forgets them, and withdraws them from the nodes that hold them.",
    DeleteRequest,
    DeleteResult,
    errors=(Busy, NotTracked, StateError),
)

METHODS: Final = (ENTER, LOOKUP, DELETE)

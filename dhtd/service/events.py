"""What a node does, as it does it: events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict

from dhtd.errors import Busy
from dhtd.service.method import Request, Stream
from dhtd.service.params import SERIAL, one_of
from dhtd.service.trace import TraceEvent


class Happening(TypedDict):
    """What all kinds have: a number that grows, the seconds since the epoch, and the kind."""

    serial: int
    at: float
    kind: str


class Served(Happening):
    """Another node has asked, and got an answer of so many bytes. `id` is what it asked about."""

    endpoint: str
    node_id: str
    method: str
    id: str | None
    bytes: int


class Asked(Happening):
    """This node has asked another one, outside of lookups; `outcome` is answered, refused (with a `code`) or silent."""

    endpoint: str
    node_id: str | None
    method: str
    id: str | None
    outcome: str
    rtt_ms: float | None
    code: int | None


class LookupBegun(Happening):
    """A search of the network for `id` begins. `op` is its number, and `purpose` why it is made."""

    op: int
    purpose: str
    id: str


class LookupStep(Happening, TraceEvent):
    """What has become of a query of a lookup: see `TraceEvent`."""

    op: int


class LookupEnded(Happening):
    """A lookup is over. It was `cancelled` if its owner had found enough, or was gone."""

    op: int
    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float
    cancelled: bool


class JoinedNetwork(Happening):
    """The network of an address family is reached."""

    family: str
    contacts: int


class IsolatedFrom(Happening):
    """No node of a family answers any more."""

    family: str


class UnreachedNetwork(Happening):
    """Nobody answers at these endpoints, by which this node tries to join."""

    family: str
    endpoints: list[str]


class RenamedNode(Happening):
    """This node has another ID in the network of a family."""

    family: str
    node_id: str


class ContactChange(Happening):
    """A node is new in the routing table, or counts as gone."""

    endpoint: str
    node_id: str


class LimitHit(Happening):
    """A cap has refused something, or made it wait: `count` times since its last event, `total` since the start."""

    cap: str
    count: int
    total: int


class PublishedEntry(Happening):
    """A publication of an own entry has ended; `asked` nodes were asked to hold it, and `replicas` took it."""

    id: str
    port: int
    replicas: int
    asked: int
    cancelled: bool
    refused: bool


class WithdrawnEntries(Happening):
    """A withdrawal of own entries has ended; `nodes` let go of them, and `silent` others may hold them."""

    id: str
    ports: list[int]
    nodes: int
    silent: int


class PutValue(Happening):
    """A value was placed."""

    id: str
    replicas: int
    asked: int


class SupersededValue(Happening):
    """Others have put a newer value than the one that this node keeps."""

    id: str


class UnheldEntries(Happening):
    """No node holds so many own entries, of `tracked` in all."""

    entries: int
    tracked: int
    refused: bool


class Counted(Happening):
    """What was too much to be told in the last second, by kind."""

    counts: dict[str, int]


class Missed(Happening):
    """Events that this client was too slow for, or away for; null if their number is not known."""

    count: int | None


KINDS: Final[dict[str, Any]] = {
    "served": Served,
    "asked": Asked,
    "lookup-begun": LookupBegun,
    "lookup-step": LookupStep,
    "lookup-ended": LookupEnded,
    "joined": JoinedNetwork,
    "isolated": IsolatedFrom,
    "unreached": UnreachedNetwork,
    "renamed": RenamedNode,
    "contact-gained": ContactChange,
    "contact-lost": ContactChange,
    "limit": LimitHit,
    "published": PublishedEntry,
    "withdrawn": WithdrawnEntries,
    "value-put": PutValue,
    "value-superseded": SupersededValue,
    "unheld": UnheldEntries,
    "counted": Counted,
    "missed": Missed,
}


@dataclass(frozen=True, slots=True)
class EventsRequest(Request):
    """Tell what the node does from now on, or behind the event with the serial `after`; only one `kind`, if given.

    The latest thousand events are there to resume from. What a client misses is told by an event of the kind `missed`.
    """

    after: Annotated[int | None, SERIAL] = None
    kind: Annotated[str | None, one_of(tuple(KINDS))] = None


class EventsEvent(TypedDict):
    """Some events, the oldest first, perhaps none; `last` is the serial to resume from."""

    last: int
    events: list[dict[str, Any]]


class EventsResult(TypedDict):
    """Nothing, since there is no end."""


EVENTS: Final = Stream(
    "events",
    "Tells what the node does, as it does it.",
    EventsRequest,
    EventsEvent,
    EventsResult,
    errors=(Busy,),
    runs_long=True,
)

METHODS: Final = (EVENTS,)

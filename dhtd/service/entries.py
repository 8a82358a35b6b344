"""Who serves an ID: enter, lookup and delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy, NoPeers, NotTracked, StateError, TooManyEntries
from dhtd.service.method import Method, Request, Stream
from dhtd.service.params import COUNT, FLAG, ID, NAME, PORT, SECONDS, WANTED_ENTRIES, WantedEntry

ENTER_WITHIN: Final = 10.0  # seconds; clients that do not say how long they wait have been seen to wait for 15


@dataclass(frozen=True, slots=True)
class EnterRequest(Request):
    """This machine serves `id` on `port`.

    The answer comes once the entry is published, or with `wait` false once it is on disk. After `within_s` seconds it
    comes in any case. A node without contacts waits for one if `min_replicas` are wanted, or if it has an endpoint to
    join through. The daemon keeps the name beside the ID, in place of the name that it had, and tells no other node.
    """

    id: Annotated[Id, ID]
    port: Annotated[int, PORT]
    wait: Annotated[bool, FLAG] = True
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN
    name: Annotated[str | None, NAME] = None


class Replica(TypedDict):
    """A node that holds an entry."""

    node_id: str
    endpoint: str


class EnterResult(TypedDict):
    """An entry, and the nodes that hold it now. `name` is the name of the ID on this machine."""

    id: str
    name: str | None
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
class EnterManyRequest(Request):
    """This machine serves all of `entries`. They are on disk, all or none, before the first event.

    An event tells of each, in their order: with `wait` once it is published, or if it was published before. After
    `within_s` seconds the rest comes in any case. A node without contacts waits for one as in `enter`.
    """

    entries: Annotated[tuple[WantedEntry, ...], WANTED_ENTRIES]
    wait: Annotated[bool, FLAG] = True
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN


class EnterManyResult(TypedDict):
    """The number of entries."""

    entered: int


ENTER_MANY: Final = Stream(
    "enter-many",
    "Enters many entries at the price of one, all or none.",
    EnterManyRequest,
    EnterResult,
    EnterManyResult,
    errors=(Busy, StateError, TooManyEntries),
    runs_long=True,
)


@dataclass(frozen=True, slots=True)
class LookupRequest(Request):
    """Who serves `id`? Events tell of progress. The result repeats the name."""

    id: Annotated[Id, ID]
    name: Annotated[str | None, NAME] = None


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
    name: str | None
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
    """This machine no longer serves `id`: on `port`, or without one on all its ports. The result repeats the name."""

    id: Annotated[Id, ID]
    port: Annotated[int | None, PORT] = None
    name: Annotated[str | None, NAME] = None


class LeftBehindInfo(TypedDict):
    """An endpoint at an old address of this machine. Lookups find it until it expires."""

    endpoint: str
    expires_in_s: float


class DeleteResult(TypedDict):
    """The ports of the deleted entries. `withdrawn` nodes confirmed; `pending` ones are asked again.

    `declared` has the paths of files that declare one of the entries, and will enter it again.
    """

    id: str
    name: str | None
    removed: list[int]
    withdrawn: int
    pending: int
    left_behind: list[LeftBehindInfo]
    declared: list[str]


DELETE: Final = Method(
    "delete",
    "Deletes entries of this machine: the daemon forgets them, and withdraws them from the nodes that hold them.",
    DeleteRequest,
    DeleteResult,
    errors=(Busy, NotTracked, StateError),
)

METHODS: Final = (ENTER, ENTER_MANY, LOOKUP, DELETE)

"""Who serves an ID: enter, lookup and delete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy, InvalidCheck, InvalidPid, NoPeers, NotPermitted, NotTracked, StateError, TooManyEntries
from dhtd.service.checks import Check
from dhtd.service.method import Method, Request, Stream
from dhtd.service.params import (
    CHECK,
    COUNT,
    EVERY,
    FLAG,
    ID,
    NAME,
    PID,
    PORT,
    SECONDS,
    WANTED_ENTRIES,
    WantedEntry,
)

ENTER_WITHIN: Final = 10.0  # seconds; clients that do not say how long they wait have been seen to wait for 15


@dataclass(frozen=True, slots=True)
class EnterRequest(Request):
    """This machine serves `id` on `port`.

    The answer comes once the entry is published, or with `wait` false once it is on disk. After `within_s` seconds it
    comes in any case. A node without contacts waits for one if `min_replicas` are wanted, or if it has an endpoint to
    join through. The daemon keeps the name beside the ID, in place of the name that it had, and tells no other node.

    One of three guards ties the entry to the service: a `check` that is made `every` so many seconds, the process
    `pid`, or the client's connection (`attached`). The entry of a check is published while the check passes. The entry
    of processes and connections is withdrawn when the last of these has ended. Each `enter` replaces the guard of the
    one before, but processes and connections add up.
    """

    id: Annotated[Id, ID]
    port: Annotated[int, PORT]
    wait: Annotated[bool, FLAG] = True
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN
    name: Annotated[str | None, NAME] = None
    check: Annotated[Check | None, CHECK] = None
    every: Annotated[float | None, EVERY] = None
    pid: Annotated[int | None, PID] = None
    attached: Annotated[bool, FLAG] = False


class Replica(TypedDict):
    """A node that holds an entry."""

    node_id: str
    endpoint: str


class GuardInfo(TypedDict):
    """The guard of an entry; all null without one."""

    guard: str | None  # connection, pid, tcp, http or exec
    state: str | None  # passing, failing or waiting
    since_s: float | None  # in this state
    message: str | None  # the reason


class EnterResult(TypedDict):
    """An entry, the nodes that hold it now, and its guard as in `GuardInfo`. `name` is the name of the ID here.

    `listening` tells whether a program listens on the port. It is null if that is not known, or if there is a guard.
    """

    id: str
    name: str | None
    port: int
    replicas: list[Replica]
    refresh_in_s: float
    expires_in_s: float
    listening: bool | None
    guard: str | None
    state: str | None
    since_s: float | None
    message: str | None


ENTER: Final = Method(
    "enter",
    "Enters that this machine serves an ID on a port.",
    EnterRequest,
    EnterResult,
    errors=(Busy, InvalidCheck, InvalidPid, NotPermitted, NotTracked, StateError, TooManyEntries),
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
    """Who serves `id`? Events tell of progress. The result repeats the name.

    With `first`, the lookup ends with the first answer that has an endpoint, and is not `complete`.
    """

    id: Annotated[Id, ID]
    name: Annotated[str | None, NAME] = None
    first: Annotated[bool, FLAG] = False


class Stats(TypedDict):
    """The course of a lookup. `first_ms` is null until another node has named an endpoint."""

    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float
    first_ms: float | None


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
    """This machine no longer serves `id`: on `port`, or without one on all its ports. The result repeats the name.

    Without a port, it no longer keeps the value under `id` either.
    """

    id: Annotated[Id, ID]
    port: Annotated[int | None, PORT] = None
    name: Annotated[str | None, NAME] = None


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

    `declared` has the paths of files that declare one of the entries, and will enter it again.
    A network may have no withdrawals. Then neither is there, and `kept` tells of the copies; else it is None.
    `value` tells whether a value was kept under the ID, and is no longer.
    """

    id: str
    name: str | None
    removed: list[int]
    withdrawn: int
    pending: int
    left_behind: list[LeftBehindInfo]
    declared: list[str]
    kept: KeptInfo | None
    value: bool


DELETE: Final = Method(
    "delete",
    "Deletes entries of this machine, which are withdrawn from the nodes that hold them, and the value that it keeps.",
    DeleteRequest,
    DeleteResult,
    errors=(Busy, NotTracked, StateError),
)

METHODS: Final = (ENTER, ENTER_MANY, LOOKUP, DELETE)

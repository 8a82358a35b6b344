"""What the control socket is asked and what it answers: requests, events and results.

Requests are values that `frames` has parsed. Events and results are `TypedDict`s: what is typed is what is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypedDict

from dhtd.core.ids import Id

SECTIONS = ("node", "routing_table", "store", "tracking", "withdrawals", "network")
COMPLETIONS = ("endpoint", "id", "own-id", "own-port")

HostPort = tuple[str, int]  # the host may be a name; the daemon resolves it


# Requests


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Is a node there?"""

    endpoint: HostPort


ENTER_WITHIN: Final = 10.0  # seconds; clients that do not say how long they wait have been seen to wait for 15


@dataclass(frozen=True, slots=True)
class EnterRequest:
    """This machine serves `id` on `port`. Answered when it is published, or (`wait` false) once it is durable.

    After `within` seconds it is answered with what there is. Until then it waits for the network to be reached where
    `min_replicas` are wanted, or where the node has somebody to join by.
    """

    id: Id
    port: int
    wait: bool
    min_replicas: int = 0
    within: float = ENTER_WITHIN


@dataclass(frozen=True, slots=True)
class LookupRequest:
    """Who serves `id`? Events tell of progress."""

    id: Id


@dataclass(frozen=True, slots=True)
class DeleteRequest:
    """This machine no longer serves `id` (on `port`; None is all)."""

    id: Id
    port: int | None


@dataclass(frozen=True, slots=True)
class InfoRequest:
    """What is inside the daemon? One section, or (None) all."""

    section: str | None


@dataclass(frozen=True, slots=True)
class NodeIdRequest:
    """Who is this node?"""


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """Is this node in its network? Cheap, however many entries and contacts there are."""


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """Join the network by these nodes."""

    endpoints: tuple[HostPort, ...]


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """A copy of the state file, in events. It is for the daemon's own user and root: the server sees to that."""


@dataclass(frozen=True, slots=True)
class FindNodeRequest:
    """Ask one node for the nodes nearest to `id`."""

    endpoint: HostPort
    id: Id


@dataclass(frozen=True, slots=True)
class FindValueRequest:
    """Ask one node who serves `id`."""

    endpoint: HostPort
    id: Id


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """Ask one node to hold an entry, once."""

    endpoint: HostPort
    id: Id
    port: int
    token: bytes


@dataclass(frozen=True, slots=True)
class CompleteRequest:
    """Which words that begin with `prefix` can a user mean? `entry` is the ID whose own ports are meant."""

    what: str
    prefix: str
    entry: Id | None


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Save the state and end. The server itself sees to it."""


Request = (
    PingRequest
    | EnterRequest
    | LookupRequest
    | DeleteRequest
    | InfoRequest
    | NodeIdRequest
    | StatusRequest
    | BootstrapRequest
    | BackupRequest
    | FindNodeRequest
    | FindValueRequest
    | StoreRequest
    | CompleteRequest
)


# Results


class PingResult(TypedDict):
    """A pong."""

    node_id: str
    endpoint: str
    rtt_ms: float


class Replica(TypedDict):
    """A node that holds an entry."""

    node_id: str
    endpoint: str


class EnterResult(TypedDict):
    """What has become of an entry."""

    id: str
    port: int
    replicas: list[Replica]
    refresh_in_s: float
    expires_in_s: float


class Stats(TypedDict):
    """How a lookup went."""

    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float


class LookupEvent(TypedDict):
    """A node has answered a lookup; `peers` are those that are new."""

    peers: list[str]
    stats: Stats


class LookupResult(TypedDict):
    """Who serves an ID; `complete` unless there may be others, as where an answer was cut, or a network is silent."""

    id: str
    peers: list[str]
    stats: Stats
    complete: bool


class LeftBehindInfo(TypedDict):
    """An endpoint that goes on being found until it expires: it has an address that this machine no longer has."""

    endpoint: str
    expires_in_s: float


class DeleteResult(TypedDict):
    """The ports that were entered, how many nodes have let go, and how many have not and are asked again."""

    id: str
    removed: list[int]
    withdrawn: int
    pending: int
    left_behind: list[LeftBehindInfo]


class Member(TypedDict):
    """A contact in a bucket. In an outage none is `good`: `state` is what is known now."""

    id: str
    endpoint: str
    state: str
    reachable: bool
    last_activity_s: float | None
    timeouts: int
    rtt_ms: float | None


class BucketInfo(TypedDict):
    """A bucket of the routing table of one address family: `ipv4` or `ipv6`."""

    low: str
    high: str
    last_activity_s: float
    members: list[Member]
    family: str


class RoutingTableInfo(TypedDict):
    """The routing table."""

    buckets: list[BucketInfo]


class HeldInfo(TypedDict):
    """An entry held for another node."""

    id: str
    endpoint: str
    age_s: float
    expires_in_s: float


class TrackedInfo(TypedDict):
    """An own entry."""

    id: str
    port: int
    replicas: int
    refresh_in_s: float


class WithdrawalInfo(TypedDict):
    """A node that may hold an entry which was deleted. `retry_in_s` is null while it is asked, or nobody can be."""

    id: str
    port: int
    node_id: str
    endpoint: str
    acknowledged: bool
    attempts: int
    retry_in_s: float | None
    expires_in_s: float


class FamilyInfo(TypedDict):
    """This node in the network of one address family: `state`, and for how long, is as in `StatusResult`."""

    family: str
    connected: bool
    contacts: dict[str, int]
    state: str
    since_s: float


class NodeInfo(TypedDict):
    """The daemon itself. `endpoints` is where others reach it, as far as it knows; keys are named by fingerprints.

    `restoring`: not all that the state file holds is there yet, so that lists and counts of entries are too short.
    `observed`: what most say of each family, and how many networks do. `reachable`: from where it was reached unasked.
    `unheld_entries`: how many of its `own_entries` no node holds.
    """

    node_id: str
    endpoints: list[str]
    observed: dict[str, int]
    reachable: str
    version: str
    pid: int
    uptime_s: float
    connected: bool
    contacts: dict[str, int]
    own_entries: int
    unheld_entries: int
    families: list[FamilyInfo]
    listening: list[str]
    network_keys: list[str]
    state: str
    state_notices: list[str]
    restoring: bool
    socket: str


class InfoResult(TypedDict, total=False):
    """All sections, or one."""

    node: NodeInfo
    routing_table: RoutingTableInfo
    store: list[HeldInfo]
    tracking: list[TrackedInfo]
    withdrawals: list[WithdrawalInfo]
    network: dict[str, Any]


class NodeIdResult(TypedDict):
    """Who this node is."""

    node_id: str
    endpoints: list[str]


class StatusResult(TypedDict):
    """Whether this node is in its network, and what it does there.

    `state` is `joined`, `doubtful` (somebody is silent, and others are being asked), `joining` (on the way), `silent`
    (nobody answers) or `alone` (nobody is known): the best of its families. `network` is `open` or `private`. Own
    entries are `unheld` while no node holds them. While it is `restoring`, entries are still being read.
    """

    node_id: str
    version: str
    state: str
    since_s: float
    families: dict[str, str]
    network: str
    contacts: dict[str, int]
    own_entries: int
    unheld_entries: int
    replicas: int
    held_entries: int
    restoring: bool
    endpoints: list[str]
    listening: list[str]
    reachable: str
    uptime_s: float


class UnreachedHost(TypedDict):
    """A host that was named to join by, and why nobody has answered there."""

    endpoint: str
    code: str
    message: str


class BootstrapResult(TypedDict):
    """How many hosts answered, how many did not, how many contacts there are now, and why those did not answer."""

    contacted: int
    failed: int
    table_size: int
    unreached: list[UnreachedHost]


class BackupEvent(TypedDict):
    """The next piece of a copy of the state file, in base64."""

    data: str


class BackupResult(TypedDict):
    """How long the copy is that the events were."""

    bytes: int


class NamedNode(TypedDict):
    """A node that another one has named."""

    id: str
    endpoint: str


class FindNodeResult(TypedDict):
    """One node's answer to find_node."""

    node_id: str
    token: str
    nodes: list[NamedNode]


class FindValueResult(FindNodeResult):
    """One node's answer to find_value."""

    peers: list[str]


class StoreResult(TypedDict):
    """The node that has taken the entry."""

    node_id: str


class CompleteResult(TypedDict):
    """Words for a user to choose from; `complete` is whether there are no others."""

    words: list[str]
    complete: bool


class StopResult(TypedDict):
    """The state is saved, and this process ends; null where it was stopping already."""

    pid: int | None


class ErrorBody(TypedDict):
    """Why there is no result."""

    code: str
    message: str


Result = (
    PingResult
    | EnterResult
    | LookupResult
    | DeleteResult
    | InfoResult
    | NodeIdResult
    | StatusResult
    | BootstrapResult
    | BackupResult
    | FindNodeResult
    | FindValueResult
    | StoreResult
    | CompleteResult
    | StopResult
)
Event = LookupEvent | InfoResult | BackupEvent

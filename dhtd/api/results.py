"""The results of methods. Each has the keys of the result of its method in the table `dhtd.service.methods`.

A field is named as its key. dht-control(7) says what each means. Keys that a newer daemon adds are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.api.names import Endpoint, Id, PublicKey


@dataclass(frozen=True, slots=True)
class Replica:
    """A node that holds an entry or a value."""

    node_id: Id
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Stats:
    """The course of a lookup. `first_ms` is None until another node has named an endpoint."""

    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float
    first_ms: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of this machine, the nodes that hold it now, and the guard that ties it to its service.

    `listening` tells whether a program listens on the port; None if that is not known, or if there is a guard.
    """

    id: Id
    name: str | None
    port: int
    replicas: tuple[Replica, ...]
    refresh_in_s: float
    expires_in_s: float
    listening: bool | None
    guard: str | None
    state: str | None
    since_s: float | None
    message: str | None


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """An endpoint at an old address of this machine. Lookups find it until it expires."""

    endpoint: Endpoint
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class KeptCopies:
    """Copies of a deleted entry in a network without withdrawals."""

    nodes: int
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted. `withdrawn` nodes confirmed it; `pending` ones are asked again."""

    id: Id
    name: str | None
    removed: tuple[int, ...]
    withdrawn: int
    pending: int
    left_behind: tuple[LeftBehind, ...]
    declared: tuple[str, ...]
    kept: KeptCopies | None
    value: bool


@dataclass(frozen=True, slots=True)
class StaleCopy:
    """A node that holds an older value."""

    node_id: Id
    endpoint: Endpoint
    seq: int | None


@dataclass(frozen=True, slots=True)
class Value:
    """A value, and where it was found. It is signed if it has a `public_key`."""

    id: Id
    data: bytes
    public_key: PublicKey | None
    seq: int | None
    salt: bytes | None
    bencoded: bool
    copies: tuple[Replica, ...]
    stale: tuple[StaleCopy, ...]
    conflict: bool
    local: bool
    complete: bool
    stats: Stats


@dataclass(frozen=True, slots=True)
class Placed:
    """A value that was put, and the nodes that took it. Only a `kept` one is put again."""

    id: Id
    public_key: PublicKey | None
    seq: int | None
    salt: bytes | None
    replicas: tuple[Replica, ...]
    name: str | None
    kept: bool
    refresh_in_s: float | None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A value that is kept no longer."""

    id: Id
    public_key: PublicKey | None
    seq: int | None
    salt: bytes | None


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a ping."""

    node_id: Id
    endpoint: Endpoint
    rtt_ms: float


@dataclass(frozen=True, slots=True)
class NamedNode:
    """A node that another one named."""

    id: Id
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class FoundNodes:
    """One node's answer to find_node. The token is for `store` at that node."""

    node_id: Id
    token: str
    nodes: tuple[NamedNode, ...]


@dataclass(frozen=True, slots=True)
class FoundValue:
    """One node's answer to find_value."""

    node_id: Id
    token: str
    nodes: tuple[NamedNode, ...]
    peers: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """The node that took an entry."""

    node_id: Id


@dataclass(frozen=True, slots=True)
class Node:
    """This node, and where others reach it."""

    node_id: Id
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class ValueCounts:
    """How many values this node keeps, how many of these no node holds, and what it holds for others."""

    own: int
    unheld: int
    held: int
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """This node in its network. `state` is `joined`, `doubtful`, `joining`, `silent` or `alone`.

    `network_size` is about how many nodes the network has, None if that is not known.
    """

    node_id: Id
    version: str
    state: str
    since_s: float
    families: dict[str, str]
    network: str
    serves: str
    contacts: dict[str, int]
    own_entries: int
    unheld_entries: int
    withheld_entries: int
    replicas: int
    held_entries: int
    values: ValueCounts
    restoring: bool
    endpoints: tuple[Endpoint, ...]
    listening: tuple[Endpoint, ...]
    reachable: str
    uptime_s: float
    network_size: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """Whether other nodes find what this node enters: `healthy` if one has named its canary within the last minute."""

    healthy: bool
    message: str
    found_s_ago: float | None
    looked_s_ago: float | None
    holders: int
    answered: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a diagnosis. `good` is None where it is neither good nor bad; a bad one has a `fault`."""

    step: str
    good: bool | None
    message: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, in one sentence, with the most basic `fault` and the `command` that mends it, or leads on."""

    id: Id | None
    name: str | None
    healthy: bool
    fault: str | None
    verdict: str
    command: str | None
    steps: tuple[Step, ...]
    served: tuple[Endpoint, ...]
    version: str | None


@dataclass(frozen=True, slots=True)
class Unreached:
    """A host without an answer, and why."""

    endpoint: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """Numbers of hosts with and without an answer, and of contacts now, and the hosts without an answer."""

    contacted: int
    failed: int
    table_size: int
    unreached: tuple[Unreached, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The endpoints of a watched ID, and the difference to the change before. At first, all are `added`.

    If `is_confirmed` is false, no other node tells of changes just now: `endpoints` are those known before, and what
    this node knows itself. A change may be that alone.
    """

    id: Id
    name: str | None
    added: tuple[Endpoint, ...]
    removed: tuple[Endpoint, ...]
    endpoints: tuple[Endpoint, ...]
    is_confirmed: bool

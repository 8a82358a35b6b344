"""The inside of the daemon: info, and complete, which offers words from there to a shell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypedDict, cast

from dhtd.core.ids import Id
from dhtd.service.method import Method, Request, Stream
from dhtd.service.params import ID, TEXT, one_of

SECTIONS: Final = ("node", "routing_table", "store", "tracking", "withdrawals", "values", "held_values", "network")
COMPLETIONS: Final = ("endpoint", "id", "own-id", "own-name", "own-port", "value-id")


@dataclass(frozen=True, slots=True)
class InfoRequest(Request):
    """Show one section, or without one all."""

    section: Annotated[str | None, one_of(SECTIONS)] = None


class Member(TypedDict):
    """A contact in a bucket, with its `state` now: in an outage none is `good`."""

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
    """An own entry. `name` is what this machine calls its ID, and `file` the file that declared it.

    Its guard is as in `GuardInfo`. `refresh_in_s` is null while the guard keeps it unpublished.
    """

    id: str
    port: int
    replicas: int
    refresh_in_s: float | None
    name: str | None
    file: str | None
    guard: str | None
    state: str | None
    since_s: float | None
    message: str | None


class WithdrawalInfo(TypedDict):
    """A node that may still hold a deleted entry. `retry_in_s` is null while a query is under way, or impossible."""

    id: str
    port: int
    node_id: str
    endpoint: str
    acknowledged: bool
    attempts: int
    retry_in_s: float | None
    expires_in_s: float


class OwnValueInfo(TypedDict):
    """A value that this node keeps in the network. `name` is what this machine calls its ID.

    `public_key` and `seq` are null for a value that never changes. `bytes` are those of its data, without salt and
    signature.
    """

    id: str
    name: str | None
    public_key: str | None
    seq: int | None
    bytes: int
    replicas: int
    min_replicas: int
    refresh_in_s: float


class HeldValueInfo(TypedDict):
    """A value held for another node; `source` is its address, or its /64 network of IPv6."""

    id: str
    source: str
    public_key: str | None
    seq: int | None
    bytes: int
    expires_in_s: float


class FamilyInfo(TypedDict):
    """This node in the network of one address family. `state` and `since_s` are as in `StatusResult`.

    `network_size` is about how many nodes the network has: see `NodeInfo`.
    `id_suits` tells whether `node_id` follows from our address (BEP 42). It is null without a public address, and in a
    network without that rule.
    """

    family: str
    node_id: str
    id_suits: bool | None
    connected: bool
    contacts: dict[str, int]
    network_size: int | None
    state: str
    since_s: float


class LeaseInfo(TypedDict):
    """The lease of own entries: its seconds, how often it is renewed at each holder, and how many holders there are.

    On a wire without leases, `period_s` is null: holders keep an entry for `lease_s` after it was published.
    """

    lease_s: float
    period_s: float | None
    holders: int


class WatchesInfo(TypedDict):
    """How many IDs this node watches, and how many watches it holds for other nodes."""

    own: int
    held: int


class ValuesInfo(TypedDict):
    """How many values this node keeps, how many of these no node holds, and what it holds for others.

    `held_bytes` are counted with salts and signatures, as the quotas count them: 128 for a value at least.
    """

    own: int
    unheld: int
    held: int
    held_bytes: int


class NodeInfo(TypedDict):
    """The daemon itself. `endpoints` is where others reach it, as far as it knows. `network_keys` are fingerprints.

    While it is `restoring`, the state file is still being read, and lists and counts of entries are too short.
    `observed` has the address of each family that most networks see, and their number. `reachable` tells from where
    strangers have asked it. `network` is `native` or `mainline`. The node `serves` `all`, its `contacts` or `nobody`.
    `unheld_entries` is the number of `own_entries` that no node holds. `network_size` estimates the nodes of the
    largest family's network, this one included; it is null until the node has joined. `doors` are the places of HTTP
    and DNS.
    """

    node_id: str
    endpoints: list[str]
    network: str
    serves: str
    observed: dict[str, int]
    reachable: str
    version: str
    pid: int
    uptime_s: float
    connected: bool
    contacts: dict[str, int]
    network_size: int | None
    own_entries: int
    unheld_entries: int
    lease: LeaseInfo
    watches: WatchesInfo
    values: ValuesInfo
    families: list[FamilyInfo]
    listening: list[str]
    network_keys: list[str]
    state: str
    state_notices: list[str]
    restoring: bool
    socket: str
    doors: list[str]


class InfoResult(TypedDict, total=False):
    """All sections, or one."""

    node: NodeInfo
    routing_table: RoutingTableInfo
    store: list[HeldInfo]
    tracking: list[TrackedInfo]
    withdrawals: list[WithdrawalInfo]
    values: list[OwnValueInfo]
    held_values: list[HeldValueInfo]
    network: dict[str, Any]


INFO: Final = Stream("info", "Shows the inside of the daemon.", InfoRequest, InfoResult, InfoResult)


@dataclass(frozen=True, slots=True)
class CompleteRequest(Request):
    """Offer words that begin with `prefix`. `entry` limits `own-port` to the ports of one ID."""

    what: Annotated[str, one_of(COMPLETIONS)]
    prefix: Annotated[str, TEXT]
    entry: Annotated[Id | None, ID] = None


class CompleteResult(TypedDict):
    """Words to choose from; `complete` if there are no others."""

    words: list[str]
    complete: bool


COMPLETE: Final = Method("complete", "Offers words for the completion of a shell.", CompleteRequest, CompleteResult)

METHODS: Final = (INFO, COMPLETE)


def whole(parts: Iterable[InfoResult]) -> InfoResult:
    """Join the events and the result of an `info`: the parts of a list follow one another."""
    joined: dict[str, Any] = {}
    for part in parts:
        _join(joined, part)
    in_order = [*(name for name in SECTIONS if name in joined), *joined]
    return cast("InfoResult", {name: joined[name] for name in in_order})


def _join(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if name not in whole:
            whole[name] = value
        elif isinstance(value, list):
            whole[name] += value
        else:  # an object with lists
            _join(whole[name], value)

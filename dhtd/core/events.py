"""What a node tells its owner, by `poll_event`. `op` is the handle of the command that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, NewType

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.enums import plain
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, Result
from dhtd.core.records import Value
from dhtd.core.traces import QueryStep

Handle = NewType("Handle", int)


class LeftBehind(NamedTuple):
    """An endpoint under which a deleted entry is still held, since it is not ours any more."""

    endpoint: Endpoint
    until: float  # when the last holder must have let go


@dataclass(frozen=True, slots=True)
class Answered:
    """A single query was answered, after `rtt` seconds."""

    op: Handle
    contact: Contact
    result: Result
    rtt: float


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A single query timed out (`error` is None) or was refused."""

    op: Handle
    endpoint: Endpoint
    error: Error | None


@dataclass(frozen=True, slots=True)
class LookupStats:
    """How a lookup went; responses and timeouts count contacts: a node of both families is two."""

    hops: int
    queries: int  # one to each contact, and explorations: some of them are asked again, about another place
    responses: int
    timeouts: int
    elapsed: float  # seconds
    first: float | None = None  # seconds until another node named an endpoint


@dataclass(frozen=True, slots=True)
class LookupProgress:
    """A node has answered a lookup; `endpoints` are those that no node had named before."""

    op: Handle
    endpoints: tuple[Endpoint, ...]
    stats: LookupStats


@dataclass(frozen=True, slots=True)
class LookupStep:
    """What became of a query of a lookup that is traced."""

    op: Handle
    step: QueryStep


@dataclass(frozen=True, slots=True)
class LookupDone:
    """A lookup has ended. Endpoints in the order in which they were found.

    It is `complete` if, as far as the nodes that were asked have told, there are no other endpoints. It is not where:

    - an answer was cut and the rest did not come, or an answer may have been cut because the wire does not tell;
    - an answer had more endpoints than are taken from one;
    - the lookup had to end before it was through;
    - no node has answered, or none of a family in which we know contacts.
    """

    op: Handle
    key: Id
    endpoints: tuple[Endpoint, ...]
    stats: LookupStats
    closest: tuple[Contact, ...]  # of the nodes that answered, the K nearest to the key of each family, nearest first
    complete: bool = True


@dataclass(frozen=True, slots=True)
class WatchUpdate:
    """The endpoints under a watched key: the first time once the nodes near it were asked, then at each change.

    Where `holders` is 0, no other node tells of changes, and the node goes on trying. An update may come with nothing
    added or removed: it tells that `holders` has become 0, or is above again.
    """

    op: Handle
    key: Id
    endpoints: tuple[Endpoint, ...]  # all of them
    added: tuple[Endpoint, ...]  # since the update before
    removed: tuple[Endpoint, ...]
    holders: int  # other nodes that tell us of changes


@dataclass(frozen=True, slots=True)
class GetProgress:
    """A node has given a value that supersedes all that were found before."""

    op: Handle
    value: Value
    stats: LookupStats


class Copy(NamedTuple):
    """What a node holds under a key."""

    contact: Contact
    value: Value


@dataclass(frozen=True, slots=True)
class GetDone:
    """A get has ended. The value is the newest of all that have proved themselves.

    - `copies`: the nodes that hold it. This one may hold it as well: `is_ours`.
    - `stale`: nodes that hold what it supersedes. They are sent the value.
    - `conflicting`: nodes that hold another value with the same seq: the owner has signed both.
    - `complete`: the search went through, and some node of each family has answered in which we know contacts.
    """

    op: Handle
    key: Id
    value: Value | None
    copies: tuple[Contact, ...]
    stale: tuple[Copy, ...]
    conflicting: tuple[Copy, ...]
    is_ours: bool
    stats: LookupStats
    closest: tuple[Contact, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class ValuePut:
    """A value was placed: `replicas` hold it, of each family K at most; `asked` nodes were asked to.

    Where a node holds what supersedes it, that is `newer`, and the value was placed nowhere.
    """

    op: Handle
    key: Id
    replicas: tuple[Contact, ...]
    asked: int
    refusals: tuple[Error, ...] = ()
    newer: Value | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class ValueSuperseded:
    """Others have put a value that supersedes one that this node keeps. From now on it keeps that one."""

    key: Id
    value: Value


@dataclass(frozen=True, slots=True)
class Published:
    """A publication has ended: `replicas` took the entry, of each family K at most; `asked` contacts were asked to.

    `cancelled` where the entry was deleted meanwhile; `refused` where nodes have answered and none took it.
    """

    op: Handle
    key: Id
    port: int
    replicas: tuple[Contact, ...]
    asked: int
    cancelled: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Republished:
    """A publication has ended that the node began on its own account. Its fields are those of `Published`."""

    key: Id
    port: int
    replicas: tuple[Contact, ...]
    asked: int
    cancelled: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A withdrawal has ended: `nodes` acknowledged it, and `silent` others may hold the entry and are asked again.

    An entry from an address that is not ours any more is `left_behind`: its holders keep it until it expires.
    """

    op: Handle
    key: Id
    ports: tuple[int, ...]
    nodes: int
    silent: int = 0
    left_behind: tuple[LeftBehind, ...] = ()


@dataclass(frozen=True, slots=True)
class CannotWithdraw:
    """A delete has ended on a wire that has no withdrawals: up to `holders` nodes name the entry until it expires.

    `until`: when the last copy expires; None if no node may hold one.
    """

    op: Handle
    key: Id
    ports: tuple[int, ...]
    holders: int
    until: float | None


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """Each endpoint was tried, and a lookup of our own ID has followed if one answered. No node is at the `silent`."""

    op: Handle
    contacted: int
    failed: int
    silent: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A defect of ours has ended an operation; what it has found until then is lost."""

    op: Handle


@dataclass(frozen=True, slots=True)
class Joined:
    """The network of one family is reached: at start, or again after an outage."""

    contacts: int
    family: Family


@dataclass(frozen=True, slots=True)
class Renamed:
    """Our ID in the network of this family is another, since it follows from our address."""

    family: Family
    own_id: Id


@dataclass(frozen=True, slots=True)
class Isolated:
    """No node of this family answers any more."""

    family: Family


@plain
class Silence(Enum):
    """How long attempts to join have been without an answer."""

    AT_FIRST = 1  # the first attempt has failed; others follow at once
    STILL = 2  # all of them have; further ones come ever more rarely
    LASTING = 3  # the pause between attempts is as long as it gets


@dataclass(frozen=True, slots=True)
class Unreached:
    """Attempts to join the network of a family have failed: no node answers at these endpoints."""

    family: Family
    endpoints: tuple[Endpoint, ...]
    silence: Silence


@dataclass(frozen=True, slots=True)
class Unheld:
    """No node holds so many own entries, of `tracked` in all.

    Either all nodes that answered have `refused` them, or no node near these entries has answered.
    """

    entries: int
    tracked: int
    refused: bool = True


Progress = LookupProgress | LookupStep | GetProgress | WatchUpdate  # more follows
Done = Answered | Unanswered | LookupDone | GetDone | ValuePut | Published | Withdrawn | CannotWithdraw | Bootstrapped
Outcome = Progress | Done | GaveUp
Unasked = Republished | ValueSuperseded | Joined | Renamed | Isolated | Unreached | Unheld  # of no command
Event = Outcome | Unasked

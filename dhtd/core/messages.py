"""What nodes say to each other.

- A *request* asks something. A *query* is a request on its way, with a transaction ID and a sender.
- A *reply* or an *error* answers a query.

A reply is decoded in two steps, because the form of its result depends on the request. Only `transactions` knows the
request that a reply answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeVar, dataclass_transform, final

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id, packed
from dhtd.core.records import Mutable, Value

ERROR_GENERIC = 201
ERROR_SERVER = 202  # busy, full
ERROR_PROTOCOL = 203  # bad arguments, bad token
ERROR_METHOD = 204  # unknown method
ERROR_DATA = 205  # a value of too many bytes; these and those below are of BEP 44
ERROR_SIGNATURE = 206  # a signature that is not good
ERROR_SALT = 207  # a salt of too many bytes
ERROR_CAS = 301  # another value than the expected one is held
ERROR_SEQ = 302  # a newer value is held

SESSION_SIZE = 16  # bytes that a node has drawn at random, and says to the holders of its records alone
LEASE_MAX = 4 * 60 * 60  # seconds; longer ones are malformed
CHANGED_MAX = 8  # endpoints that one `Changed` names, at most; more are malformed
VERSION_MAX = 2**63 - 1
VALUE_LASTS = 24 * 60 * 60  # seconds that a value is held, at most, since its owner has said so


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Make a dataclass that the type checker alone freezes. A truly frozen instance takes 2.5 times as long to make."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Contact(NamedTuple):
    """A node: its ID and its endpoint. It is a tuple, because lookups make, hash and compare thousands of them."""

    id: Id
    endpoint: Endpoint

    def __hash__(self) -> int:
        """Return the hash of its bytes. The hash of a tuple uses the ID's, which strangers can choose: see `packed`."""
        return hash(packed(self.id) + self.endpoint)


# Requests


@final
@message
class Ping:
    """Are you there?"""


@final
@message
class FindNode:
    """Which nodes do you know nearest to `target`? A `token` from an earlier answer proves our address."""

    target: Id
    token: bytes | None = None


@final
@message
class FindValue:
    """Which endpoints serve `key`, and which nodes do you know nearest to it?"""

    key: Id
    token: bytes | None = None


@final
@message
class Store:
    """The machine that sends this serves `key` on `port`, and renews its session within `lease` seconds.

    A wire without leases has neither `lease` nor `session`: one is 0, and the other is empty. There, a `port` of 0 is
    the one that the datagram comes from, and a seed has all of what the key stands for (BEP 33).
    """

    key: Id
    port: int
    token: bytes
    lease: int
    session: bytes
    is_seed: bool = False


@final
@message
class Withdraw:
    """The machine that sends this no longer serves `key` on `port`. It has stored that under this `session`."""

    key: Id
    port: int
    token: bytes
    session: bytes


@final
@message
class Renew:
    """Everything that this machine has stored or watched under `session` is good for `lease` seconds from now.

    A `lease` of 0 drops it at once. The `token` is from an earlier answer to a renewal. An empty one asks for a token.
    """

    session: bytes
    lease: int
    token: bytes


@final
@message
class Watch:
    """Tell the machine that sends this of changes under `key`, as long as it renews its `session`.

    A `lease` of 0 ends the watch. The `token` is for the key, from a find, or for the session.
    """

    key: Id
    token: bytes
    lease: int
    session: bytes


@final
@message
class Changed:
    """What a node holds under a watched `key` has changed. `version` is one more than at the last change.

    It names `CHANGED_MAX` endpoints at most, so that any wire has room for it.
    """

    key: Id
    version: int
    added: tuple[Endpoint, ...]
    removed: tuple[Endpoint, ...]


@final
@message
class Get:
    """Which value do you hold under `key`, and which nodes do you know nearest to it?

    With a `seq`, a value that is not newer is not wanted, and one that never changes is not either. The `salt` is for
    ourselves: the answers of some wires have none, and a signed value proves itself only with its salt.
    """

    key: Id
    token: bytes | None = None
    seq: int | None = None
    salt: bytes = b""


@final
@message
class Put:
    """Hold `value` under its `key` for so many seconds; where there is a `cas`, only in place of one with this `seq`.

    The `token` is for the key, from a get or another find.
    """

    key: Id
    token: bytes
    value: Value
    cas: int | None
    lasts: int


Request = Ping | FindNode | FindValue | Store | Withdraw | Renew | Watch | Changed | Get | Put
Find = FindNode | FindValue | Get  # each is answered with the nodes nearest to an ID

METHODS: Final[dict[type[Request], str]] = {
    Ping: "ping",
    FindNode: "find_node",
    FindValue: "find_value",
    Store: "store",
    Withdraw: "withdraw",
    Renew: "renew",
    Watch: "watch",
    Changed: "changed",
    Get: "get",
    Put: "put",
}


# Results


@message
class Acknowledged:
    """The result of ping, store, withdraw, changed and put."""


@message
class Found:
    """The result of find_node, find_value and get.

    - `token` is for a store at this node. It is empty if the node would refuse the store. It is None if the wire gives
      no token for this kind of query.
    - `endpoints` is empty for find_node.
    - `more` says that the answer was cut. If the query had no token, the same query with this token brings the rest. If
      it had one, the node serves more endpoints than fit into a datagram. See `rest_of` for a get.
    - `held` is of a get: the value, or the `seq` of one that is not newer than the one asked for (0 for one that never
      changes), or None if there is none or no room for it. The wire has not looked at its key and signature.
    - `lasts`: seconds for which the node will hold it yet.
    """

    token: bytes | None
    contacts: tuple[Contact, ...]
    endpoints: tuple[Endpoint, ...] = ()
    more: bool = False
    held: Value | int | None = None
    lasts: int = 0


@message
class Renewed:
    """The result of renew.

    - `token` is for the next renewal of the session.
    - `held` is how many entries and watches are held under it. It is None if the token was not good: nothing was
      renewed, and the same renewal with this token does it.
    """

    token: bytes
    held: int | None


@message
class Watched:
    """The result of watch.

    - `token` is for renewals and watches of the session.
    - `version` is that of the `endpoints`. It starts anywhere, so that nobody else can guess it.
    - `more` says that the node holds more endpoints than fit into a datagram.
    """

    token: bytes
    version: int
    endpoints: tuple[Endpoint, ...]
    more: bool = False


Result = Acknowledged | Found | Renewed | Watched


def rest_of(request: Find, found: Found) -> Find | None:
    """Return the request that brings what was cut from an answer to this one, if anything was.

    A value has room in a second answer, to a query that proves its sender. If it leaves no room for contacts, a third
    one has these, and no value.
    """
    if not found.more or not found.token:
        return None
    if isinstance(request, Get) and isinstance(found.held, Value):
        seq = found.held.seq if isinstance(found.held, Mutable) else 0
        return None if request.seq is not None else replace(request, token=found.token, seq=seq)
    return None if request.token is not None else replace(request, token=found.token)


# Messages


@final
@message
class Options:
    """What queries of some wires say beside their request, all of it to the node that answers.

    - `is_read_only`: the sender answers no queries, so it is no contact (BEP 43).
    - `families`: those of the contacts that it wants; None is its own (BEP 32).
    - `no_seeds`: endpoints that have all are not wanted. `scrapes`: only how many there are is wanted (BEP 33).
    - `samples`: some of the keys with records here are wanted, too (BEP 51).
    """

    is_read_only: bool = False
    families: frozenset[Family] | None = None
    no_seeds: bool = False
    scrapes: bool = False
    samples: bool = False


NO_OPTIONS: Final = Options()


@final
@message
class Query:
    """A request on its way."""

    tid: bytes
    sender: Id
    request: Request
    options: Options = NO_OPTIONS


@final
@message
class BadQuery:
    """A query with a good envelope and a bad method or bad arguments. The answer is an error of this `code`."""

    tid: bytes
    sender: Id
    code: int
    text: str


@final
@message
class Reply:
    """An answer. `Codec.decode_result` reads the `body`.

    `observed` is our own address as the answering node saw it. On some wires, replies do not tell it.
    """

    tid: bytes
    sender: Id
    observed: Endpoint | None
    body: object


@final
@message
class Error:
    """A refusal. On some wires, errors do not tell the ID of their sender."""

    tid: bytes
    sender: Id | None
    code: int
    text: str


Message = Query | BadQuery | Reply | Error

"""What nodes say to each other, and the `Codec` that a wire implements.

A *request* is what is asked, a *query* is a request on its way (with transaction ID and sender), and a *reply* or an
*error* answers one. A reply is decoded in two steps, because what its result may look like depends on the request that
it answers, which only `transactions` knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar, dataclass_transform, final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed

ERROR_GENERIC = 201
ERROR_SERVER = 202  # busy, full
ERROR_PROTOCOL = 203  # bad arguments, bad token
ERROR_METHOD = 204  # unknown method


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Make a dataclass that is frozen to the type checker alone: enforced, it takes 2.5 times as long to make one."""
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Contact(NamedTuple):
    """A node: its ID and where it is reached. A tuple, since lookups make, hash and compare thousands of them."""

    id: Id
    endpoint: Endpoint

    def __hash__(self) -> int:
        """Return the hash of its bytes: that of a tuple is made from the hash of the ID, see `metric.packed`."""
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
    """Who serves `key`, and which nodes do you know nearest to it?"""

    key: Id
    token: bytes | None = None


@final
@message
class Store:
    """The machine that sends this serves `key` on `port`."""

    key: Id
    port: int
    token: bytes


@final
@message
class Withdraw:
    """The machine that sends this no longer serves `key` on `port`."""

    key: Id
    port: int
    token: bytes


Request = Ping | FindNode | FindValue | Store | Withdraw

METHODS: Final[dict[type[Request], str]] = {
    Ping: "ping",
    FindNode: "find_node",
    FindValue: "find_value",
    Store: "store",
    Withdraw: "withdraw",
}


# Results


@message
class Acknowledged:
    """The result of ping, store and withdraw."""


@message
class Found:
    """The result of find_node and find_value.

    - `token`: for a store at this node. It is empty where the node would refuse to store, and None where the wire gives
      no token for such a query.
    - `endpoints`: empty for find_node.
    - `more`: the answer was cut. If the query had no token, asking again with this one brings the rest. If the query
      had one, the node serves endpoints that have no room in a datagram.
    """

    token: bytes | None
    contacts: tuple[Contact, ...]
    endpoints: tuple[Endpoint, ...] = ()
    more: bool = False


Result = Acknowledged | Found


# Messages


@final
@message
class Query:
    """A request on its way."""

    tid: bytes
    sender: Id
    request: Request


@final
@message
class BadQuery:
    """A query whose envelope is right and whose method or arguments are not: answered with error `code`."""

    tid: bytes
    sender: Id
    code: int
    text: str


@final
@message
class Reply:
    """An answer. `body` is for `Codec.decode_result`; `observed` is our own address as the answering node saw it.

    Some wires do not tell what was observed, or not always.
    """

    tid: bytes
    sender: Id
    observed: Endpoint | None
    body: object


@final
@message
class Error:
    """A refusal. On some wires it does not tell the ID of its sender."""

    tid: bytes
    sender: Id | None
    code: int
    text: str


Message = Query | BadQuery | Reply | Error

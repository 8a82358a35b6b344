"""What nodes say to each other, and the `Codec` that a wire implements.

A *request* is what is asked, a *query* is a request on its way (with transaction ID and sender), and a *reply* or an
*error* answers one. A reply is decoded in two steps, because what its result may look like depends on the request that
it answers, which only `transactions` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, TypeVar, dataclass_transform, final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace, packed

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

    `more`: the answer was cut. If the query had no token, asking again with this one brings the rest; if it had one,
    the node serves endpoints that have no room in a datagram. `endpoints` is empty for find_node. So is `token` where
    the node would refuse to store.
    """

    token: bytes
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
    """An answer. `body` is for `Codec.decode_result`; `observed` is our own address as the answering node saw it."""

    tid: bytes
    sender: Id
    observed: Endpoint
    body: object


@final
@message
class Error:
    """A refusal."""

    tid: bytes
    sender: Id
    code: int
    text: str


Message = Query | BadQuery | Reply | Error


@message
class PackedContacts:
    """Contacts together with their wire form, made once and sent many times."""

    contacts: tuple[Contact, ...]
    wire: bytes


# Returns endpoints of an answer that has no room for all: that many at most, those first that matter most.
Choose = Callable[[int], Sequence[Endpoint]]


class Codec(Protocol):
    """A wire: how messages look as datagrams. Decoders are total: any bytes give a message or raise `WireError`."""

    @property
    def keyspace(self) -> Keyspace:
        """The keyspace that this wire speaks of."""

    @property
    def tid_size(self) -> int:
        """Bytes of a transaction ID."""

    def decode(self, data: bytes) -> Message:
        """Return the message that a datagram holds; raise `WireError`."""

    def is_plain(self, data: bytes) -> bool:
        """Whether, by its first bytes and its size, a datagram costs next to nothing to decode. So do all of ours."""

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result that a reply's `body` is, to `request`; raise `WireError`."""

    def encode_query(self, tid: bytes, sender: Id, request: Request) -> bytes:
        """Return the datagram. A find request without a token is padded, so that its answer may be whole."""

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store and withdraw."""

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` in the form that `encode_found` takes."""

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        endpoints: Sequence[Endpoint],
        limit: int,
        proved: bool,
        others: PackedContacts | None = None,
        choose: Choose | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node (`endpoints` is then left out) or find_value.

        It is at most `limit` bytes long. The codec alone knows what fits:

        - Contacts go first, nearest first.
        - Then come as many `endpoints` as fit. If not all do, they are taken from those that `choose` returns.
        - Then come as many `others` as fit: contacts of the family that the requester has not come by.

        Where contacts or endpoints were left out, `more` is set: towards a requester that has `proved` its address only
        if that is an endpoint, and never where `token` is empty.
        """

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers find_node or find_value with nothing but a token, and `more`."""

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str) -> bytes:
        """Return the datagram."""

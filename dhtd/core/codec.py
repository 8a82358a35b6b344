"""The codec: what the core needs of a wire. `dhtd.wire.native` is the wire that nodes speak.

A codec alone knows how messages look as datagrams, and how much fits into one. It tells the core by its `Traits` what
its wire can do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from dhtd.core.endpoint import Endpoint, Scope, scope_of
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import (
    NO_OPTIONS,
    Contact,
    FindNode,
    FindValue,
    Message,
    Options,
    Query,
    Request,
    Result,
    message,
)
from dhtd.core.records import Value

if TYPE_CHECKING:
    from random import Random


class IdRule(NamedTuple):
    """How the ID of a node follows from its address, so that nobody chooses a place in the keyspace (BEP 42).

    - `id_at` returns one of the IDs for an address of 4 or 16 bytes, by lot.
    - `suits` tells whether an ID is one for an address.
    """

    id_at: Callable[[bytes, Random], Id]
    suits: Callable[[Id, bytes], bool]


def _as_it_is(data: bytes) -> bytes:
    return data


@dataclass(frozen=True, slots=True)
class Traits:
    """What a wire can do. The core asks, and assumes nothing.

    - `tid_size`: bytes of our own transaction IDs. Those of other nodes may have any size.
    - `requests`: the kinds of requests that the wire has.
    - `token_from`: the finds that are answered with a token for a store. FindValue is always one of them.
    - `tells_more`: an answer says if something was left out, and the same find with a token brings the rest.
    - `tells_lasts`: a put, and an answer with a value, say for how long it is held. On other wires only its owner puts
      it again, since nobody else knows for how long.
    - `id_rule`: how IDs follow from addresses, where they do.
    - `is_public`: the wire is that of a network of strangers. It has well-known routers, nodes that answer nobody, and
      no keys.
    - `wrap` makes the data of a record of what a user gives, and `unwrap` is the way back; None where there is none.
    """

    keyspace: Keyspace
    tid_size: int
    requests: frozenset[type[Request]]
    token_from: frozenset[type[FindNode | FindValue]]
    tells_more: bool
    tells_lasts: bool = True
    id_rule: IdRule | None = None
    is_public: bool = False
    wrap: Callable[[bytes], bytes] = _as_it_is
    unwrap: Callable[[bytes], bytes | None] = _as_it_is

    def suits(self, contact: Contact) -> bool:
        """Whether a node may have this ID at its address. The rule holds at public addresses alone."""
        rule, endpoint = self.id_rule, contact.endpoint
        return rule is None or scope_of(endpoint) is not Scope.PUBLIC or rule.suits(contact.id, endpoint.ip)

    def find_for_token(self, key: Id) -> FindNode | FindValue:
        """Return a request that is answered with a token for `key`. FindNode is preferred, for its shorter answers."""
        return FindNode(key) if FindNode in self.token_from else FindValue(key)


@message
class PackedContacts:
    """Contacts and their wire form, which is made once and sent many times."""

    contacts: tuple[Contact, ...]
    wire: bytes


# Returns at most so many of the endpoints of a key, for an answer without room for all. The most important come first.
Choose = Callable[[Id, Sequence[Endpoint], int], Sequence[Endpoint]]


class Sample(NamedTuple):
    """Some of the keys with records here, `total` in all; others in so many seconds (BEP 51)."""

    keys: Sequence[Id]
    total: int
    interval: int


class Named(NamedTuple):
    """What an answer names beside contacts.

    - `endpoints` are those of find_value; `choose` chooses from them where not all fit.
    - `seeds` are those of them that have all of what the key stands for.
    - `sample` is for a query whose options ask for one.
    """

    endpoints: Sequence[Endpoint] = ()
    choose: Choose | None = None
    seeds: Collection[Endpoint] = ()
    sample: Sample | None = None


NOTHING: Final = Named()


@message
class Room:
    """How long an answer may be."""

    limit: int  # bytes
    proved: bool = False  # the requester has proved its address, so a second query would not bring more contacts


class Codec(Protocol):
    """A wire: how messages look as datagrams.

    Decoders are total: any bytes give a message or raise `WireError`. Encoders leave out what the wire does not have,
    for example the token of an answer to find_node.
    """

    @property
    def traits(self) -> Traits:
        """What this wire can do."""

    def decode(self, data: bytes) -> Message:
        """Return the message in a datagram; raise `WireError`."""

    def is_plain(self, data: bytes) -> bool:
        """Whether a datagram is cheap to decode, by its first bytes and its size. All of our own datagrams are."""

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result in a reply's `body`; its form depends on the `request`. Raise `WireError`."""

    def encode_query(self, tid: bytes, sender: Id, request: Request, options: Options = NO_OPTIONS) -> bytes:
        """Return the datagram. A find without a token is padded, because a whole answer may be 3 times as long.

        Most wires have no `options`.
        """

    def encode_acknowledged(self, tid: bytes, sender: Id, observed: Endpoint) -> bytes:
        """Return the datagram that answers ping, store, withdraw, changed and put."""

    def pack_contacts(self, contacts: Sequence[Contact]) -> PackedContacts:
        """Return `contacts` in the form that `encode_found` takes."""

    def encode_found(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        named: Named = NOTHING,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers find_node or find_value, within the `room`. The codec alone knows what fits.

        1. Contacts come first, nearest first.
        2. Then come as many endpoints as fit, unless it is a find_node. If not all fit, the codec has some chosen.
        3. Then come as many `others` as fit: contacts of the family other than the requester's.

        `token` is empty if a store would be refused. `more` is set if contacts or endpoints were left out, with two
        exceptions: it is never set without a token, and left out contacts do not count for a requester that has proved
        its address.
        """

    def encode_cut(self, query: Query, sender: Id, observed: Endpoint, token: bytes) -> bytes:
        """Return the datagram that answers a find with nothing but a token, and `more`."""

    def encode_got(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        packed: PackedContacts,
        room: Room,
        held: Value | int | None,
        lasts: int,
        others: PackedContacts | None = None,
    ) -> bytes:
        """Return the datagram that answers get: the value first, then contacts, as many as there is room for.

        A value may be so long that the datagram is longer than the `room`; then only a requester that has proved its
        address is given it. `more` is set where the value was left out, or contacts were beside one.
        """

    def key_of(self, value: Value) -> Id:
        """Return the key of a value: the hash of its data, or of its public key and salt."""

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is that of the owner of the public key. What never changes needs none.

        It takes 54 us, so the source is charged before.
        """

    def encode_renewed(self, tid: bytes, sender: Id, observed: Endpoint, token: bytes, held: int | None) -> bytes:
        """Return the datagram that answers renew."""

    def encode_watched(
        self,
        query: Query,
        sender: Id,
        observed: Endpoint,
        token: bytes,
        version: int,
        room: Room,
        endpoints: Sequence[Endpoint],
    ) -> tuple[bytes, int]:
        """Return the datagram that answers watch, within the `room`, and how many of the endpoints it has.

        It has as many as fit, the first ones. If not all fit, `more` is set.
        """

    def encode_error(self, tid: bytes, sender: Id, code: int, text: str, observed: Endpoint | None = None) -> bytes:
        """Return the datagram. Some wires have the `observed` address of the requester in it."""

"""The codec: what the core needs of a wire. `dhtd.wire` has the one that nodes speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact, FindNode, FindValue, Message, Query, Request, Result, message


@dataclass(frozen=True, slots=True)
class Traits:
    """What a wire can do. The core asks, and assumes nothing."""

    keyspace: Keyspace
    tid_size: int  # bytes of our own transaction IDs; those of others may have any size
    requests: frozenset[type[Request]]  # the requests that the wire has
    token_from: frozenset[type[FindNode | FindValue]]  # finds whose answer gives a store's token: find_value is one
    tells_more: bool  # answers say that something was left out, and a find with a token asks for the rest

    def find_for_token(self, key: Id) -> FindNode | FindValue:
        """Return the request whose answers give tokens for `key`: the one with the shorter answers, if both do."""
        return FindNode(key) if FindNode in self.token_from else FindValue(key)


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
    def traits(self) -> Traits:
        """What this wire can do."""

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

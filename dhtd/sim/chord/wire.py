"""Chord's datagrams.

    "CRD" version  type  tid  session  sender  body
      3      1      1     4      4      width

- An ID has as many bytes as the keyspace needs. A contact is an ID and an endpoint.
- An endpoint is its length in a byte, and its bytes. A list is its length in two bytes, and its members.
- Numbers are big-endian. `decode` is total: it returns a message, or raises `WireError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, assert_never

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.errors import InvalidId, WireError
from dhtd.sim.chord.messages import (
    Compare,
    Copies,
    Copy,
    Find,
    Get,
    Hold,
    Leave,
    Mark,
    Message,
    Neighbourhood,
    Neighbours,
    Notify,
    NotMine,
    Ping,
    Request,
    Result,
    Route,
    Store,
    Values,
    Yes,
)

T = TypeVar("T")

MAGIC: Final = b"CRD\x01"
TID_SIZE: Final = 4
SESSION_SIZE: Final = 4
DIGEST_SIZE: Final = 8
STAMP_SIZE: Final = 8

_REQUESTS: Final = (Ping, Find, Neighbours, Notify, Get, Store, Hold, Leave, Compare)
_RESULTS: Final = (Yes, Route, Neighbourhood, Values, NotMine, Copies)
_TYPES: Final = {kind: bytes((number,)) for number, kind in enumerate(_REQUESTS)} | {
    kind: bytes((0x80 | number,)) for number, kind in enumerate(_RESULTS)
}
_BARE: Final[dict[object, Request | Result]] = {
    Ping: Ping(),
    Neighbours: Neighbours(),
    Notify: Notify(),
    Yes: Yes(),
}  # without a body
_KINDS: Final = {number[0]: kind for kind, number in _TYPES.items()}


class ChordWire:
    """Messages as bytes, in one keyspace."""

    def __init__(self, keyspace: Keyspace) -> None:
        self.keyspace = keyspace
        self._width = keyspace.width

    def overhead(self) -> int:
        """Return the bytes of a message around its body."""
        return len(MAGIC) + 1 + TID_SIZE + SESSION_SIZE + self._width

    def size_of_copy(self) -> int:
        """Return the most bytes that a copy of a record takes."""
        return self._width + 1 + IPV6_SIZE + 4 + STAMP_SIZE + 1

    def encode(self, message: Message) -> bytes:
        """Return a message as a datagram."""
        head = MAGIC + _TYPES[type(message.body)] + message.tid + message.session + self._id(message.sender)
        return head + self._body(message.body)

    def decode(self, data: bytes) -> Message:
        """Return the message in a datagram; raise `WireError`."""
        reader = _Reader(data, self.keyspace)
        if reader.take(len(MAGIC)) != MAGIC:
            raise WireError("not Chord, version 1")
        kind = _KINDS.get(reader.number(1))
        tid, session, sender = reader.take(TID_SIZE), reader.take(SESSION_SIZE), reader.id()
        if kind is None:
            raise WireError("a message of an unknown type")
        message = Message(tid, session, sender, _read(kind, reader))
        reader.end()
        return message

    def _body(self, body: Request | Result) -> bytes:
        match body:
            case Ping() | Neighbours() | Notify() | Yes():
                return b""
            case Find(key) | Get(key):
                return self._id(key)
            case Store(key, port, lease, stamp, is_withdrawn):
                return self._id(key) + port.to_bytes(2, "big") + _terms(lease, stamp, is_withdrawn)
            case Hold(is_yours, copies):
                return bytes((is_yours,)) + _list([self._copy(copy) for copy in copies])
            case Copies(copies, more):
                return bytes((more,)) + _list([self._copy(copy) for copy in copies])
            case Compare(start, digest, after):
                places = [] if after is None else [self._id(after.key) + _endpoint(after.endpoint)]
                return self._id(start) + digest + _list(places)
            case Leave(predecessor, successors) | Neighbourhood(predecessor, successors):
                return self._contacts(() if predecessor is None else (predecessor,)) + self._contacts(successors)
            case Route(is_last, contacts, beyond):
                return bytes((is_last,)) + self._contacts(contacts) + self._contacts(beyond)
            case Values(endpoints, more):
                return bytes((more,)) + _list([_endpoint(endpoint) for endpoint in endpoints])
            case NotMine(predecessor):
                return self._contacts(() if predecessor is None else (predecessor,))
            case _:
                assert_never(body)

    def _id(self, id: Id) -> bytes:
        return self.keyspace.to_bytes(id)

    def _contact(self, contact: Contact) -> bytes:
        return self._id(contact.id) + _endpoint(contact.endpoint)

    def _contacts(self, contacts: tuple[Contact, ...]) -> bytes:
        return _list([self._contact(contact) for contact in contacts])

    def _copy(self, copy: Copy) -> bytes:
        return self._id(copy.key) + _endpoint(copy.endpoint) + _terms(copy.lease, copy.stamp, copy.is_withdrawn)


class _Reader:
    """Takes a datagram apart, from its beginning to its end."""

    def __init__(self, data: bytes, keyspace: Keyspace) -> None:
        self._data = data
        self._at = 0
        self._keyspace = keyspace

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        end = self._at + size
        if end > len(self._data):
            raise WireError("the datagram ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._data):
            raise WireError("bytes are left behind the message")

    def number(self, size: int) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.take(size), "big")

    def flag(self) -> bool:
        """Return a flag."""
        number = self.number(1)
        if number > 1:
            raise WireError("a flag is 0 or 1")
        return bool(number)

    def id(self) -> Id:
        """Return an ID."""
        try:
            return self._keyspace.from_bytes(self.take(self._keyspace.width))
        except InvalidId as error:
            raise WireError(str(error)) from None

    def port(self) -> int:
        """Return a port."""
        port = self.number(2)
        if not port:
            raise WireError("no port is 0")
        return port

    def endpoint(self) -> Endpoint:
        """Return an endpoint."""
        size = self.number(1)
        if size not in (IPV4_SIZE, IPV6_SIZE):
            raise WireError("an endpoint has 6 or 18 bytes")
        return Endpoint(self.take(size))

    def contact(self) -> Contact:
        """Return a contact."""
        return Contact(self.id(), self.endpoint())

    def copy(self) -> Copy:
        """Return a copy of a record."""
        return Copy(self.id(), self.endpoint(), self.number(4), self.number(STAMP_SIZE), self.flag())

    def list(self, member: Callable[[], T]) -> tuple[T, ...]:
        """Return a list. Each member takes a byte at least, so a short datagram cannot make it long."""
        return tuple(member() for _ in range(self.number(2)))

    def mark(self) -> Mark:
        """Return a mark."""
        return Mark(self.id(), self.endpoint())

    def maybe(self, member: Callable[[], T]) -> T | None:
        """Return the only member of a list, if it has one."""
        members = self.list(member)
        if len(members) > 1:
            raise WireError("a list that has one member at most has more")
        return members[0] if members else None


def _read(kind: type[Request | Result], reader: _Reader) -> Request | Result:
    if kind is Find:
        return Find(reader.id())
    if kind is Get:
        return Get(reader.id())
    if kind is Store:
        return Store(reader.id(), reader.port(), reader.number(4), reader.number(STAMP_SIZE), reader.flag())
    if kind is Hold:
        is_yours = reader.flag()
        return Hold(is_yours, reader.list(reader.copy))
    if kind is Compare:
        return Compare(reader.id(), reader.take(DIGEST_SIZE), reader.maybe(reader.mark))
    if kind is Copies:
        more = reader.flag()
        return Copies(reader.list(reader.copy), more)
    if kind is Leave:
        return Leave(reader.maybe(reader.contact), reader.list(reader.contact))
    if kind is Neighbourhood:
        return Neighbourhood(reader.maybe(reader.contact), reader.list(reader.contact))
    if kind is Route:
        return Route(reader.flag(), reader.list(reader.contact), reader.list(reader.contact))
    if kind is Values:
        more = reader.flag()
        return Values(reader.list(reader.endpoint), more)
    if kind is NotMine:
        return NotMine(reader.maybe(reader.contact))
    return _BARE[kind]


def _list(members: list[bytes]) -> bytes:
    return len(members).to_bytes(2, "big") + b"".join(members)


def _terms(lease: int, stamp: int, is_withdrawn: bool) -> bytes:
    return lease.to_bytes(4, "big") + stamp.to_bytes(STAMP_SIZE, "big") + bytes((is_withdrawn,))


def _endpoint(endpoint: Endpoint) -> bytes:
    return bytes((len(endpoint),)) + endpoint

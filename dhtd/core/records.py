"""What stands under a key, and what each record is found by.

A record of the one kind that there is says that a machine serves the key. Kinds that hold data find their place here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed, unpacked


class Kind(IntEnum):
    """What a record is. State files hold these numbers."""

    PEER = 1


@final
class Peer(bytes):
    """A machine serves the key: the bytes of its endpoint, or of its port alone.

    An own record is a port: a node that holds it takes the address from the source of the datagram.
    """

    __slots__ = ()

    @classmethod
    def on(cls, port: int) -> Peer:
        """Return the record of this machine."""
        return cls(port.to_bytes(2, "big"))

    @property
    def port(self) -> int:
        """The port."""
        return self[-2] << 8 | self[-1]

    @property
    def endpoint(self) -> Endpoint:
        """Where the machine serves the key; raise `InvalidEndpoint` for an own record."""
        return Endpoint(self)

    def __repr__(self) -> str:
        """Return the text form, which a failing test can show."""
        return f"<peer at {self.endpoint}>" if len(self) > 2 else f"<peer on {self.port}>"


Record = Peer


class RecordKey(bytes):
    """What a record is found by: its kind, its key, and its place among the records of that kind under the key.

    A record key *is* these bytes, as an `Endpoint` is: it hashes and compares without a call, and strangers cannot
    make two of them collide (see `packed`). An own peer's place is its port, and a held peer's its endpoint.
    """

    __slots__ = ()

    # The packed key, the place, and a byte each for the length of the place and the kind: sorted by key, then by place.

    @classmethod
    def of(cls, key: Id, record: Record) -> RecordKey:
        """Return what this record under `key` is found by."""
        return cls(packed(key) + record + bytes((len(record), _PEER)))

    @property
    def kind(self) -> Kind:
        """What the record is."""
        return Kind(self[-1])

    @property
    def peer(self) -> Peer:
        """The record: a peer is what it is found by."""
        return Peer(self.place)

    @property
    def packed_key(self) -> bytes:
        """The key, as `packed` gives it."""
        return self[: -2 - self[-2]]

    @property
    def key(self) -> Id:
        """The key."""
        return unpacked(self[: -2 - self[-2]])

    @property
    def place(self) -> bytes:
        """What tells the record from others of its kind under the key."""
        return self[-2 - self[-2] : -2]

    @property
    def port(self) -> int:
        """The port of a peer."""
        return self[-4] << 8 | self[-3]

    def __repr__(self) -> str:
        """Return a form that a failing test can show."""
        return f"{self.peer!r} under {self.key:x}"


_PEER: Final = int(Kind.PEER)

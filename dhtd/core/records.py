"""What stands under a key, and what each record is found by.

A record of the first kind says that a machine serves the key. The others are *values*: data that prove themselves.
Their key follows from what they are, and the wire says how: see `Codec.key_of`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed, unpacked

DATA_MAX: Final = 1_000  # bytes of a value
SALT_MAX: Final = 64
PUBLIC_KEY_SIZE: Final = 32  # of Ed25519 (RFC 8032)
SIGNATURE_SIZE: Final = 64
SEQ_MAX: Final = 2**63 - 1


class Kind(IntEnum):
    """What a record is. State files hold these numbers."""

    PEER = 1
    IMMUTABLE = 2
    MUTABLE = 3


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


@final
class Immutable(NamedTuple):
    """Data that never change: the key is their hash."""

    data: bytes


@final
class Mutable(NamedTuple):
    """Data that the owner of a key pair replaces by newer ones (BEP 44): the key is the hash of public key and salt.

    - `salt` tells several records of one key pair apart.
    - `seq` orders them in time. By our own commands it is the time in microseconds.
    - `signature` is of the salt, the `seq` and the data.
    """

    public_key: bytes
    salt: bytes
    seq: int
    data: bytes
    signature: bytes


Value = Immutable | Mutable


def supersedes(one: Value, other: Value) -> bool:
    """Whether `one` takes the place of `other` under the same key.

    - Of two signed records, the newer one does.
    - A signed record does in any case where the other is none. Everybody can put data that are just somebody's public
      key and salt, and are found by the same key.
    """
    if isinstance(one, Mutable):
        return isinstance(other, Immutable) or one.seq > other.seq
    return False


def salt_of(value: Value) -> bytes:
    """Return the salt of a value: none, where it has none."""
    return value.salt if isinstance(value, Mutable) else b""


class RecordKey(bytes):
    """What a record is found by: its kind, its key, and its place among the records of that kind under the key.

    A record key *is* these bytes, as an `Endpoint` is: it hashes and compares without a call, and strangers cannot
    make two of them collide (see `packed`). An own peer's place is its port, and a held peer's its endpoint.
    """

    __slots__ = ()

    # The packed key, the place, and a byte each for the length of the place and the kind: sorted by key, then by place.

    @classmethod
    def of(cls, key: Id, peer: Peer) -> RecordKey:
        """Return what this peer under `key` is found by."""
        return cls(packed(key) + peer + bytes((len(peer), _PEER)))

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

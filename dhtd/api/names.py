"""What a program looks up: an ID, or a name. And what it finds: an endpoint."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Final, NamedTuple

from dhtd.core.ids import MAINLINE, NATIVE, Keyspace
from dhtd.core.names import clean_name, id_of_name
from dhtd.errors import InvalidEndpoint, InvalidId, InvalidPublicKey

KEYSPACES: Final = {"native": NATIVE, "mainline": MAINLINE}
_BY_DIGITS: Final = {2 * keyspace.width: name for name, keyspace in KEYSPACES.items()}


class Endpoint(NamedTuple):
    """A machine and a port. As a pair it goes where Python takes an address: `socket.create_connection(endpoint)`.

    >>> Endpoint("192.0.2.1", 80)
    Endpoint(host='192.0.2.1', port=80)
    >>> str(Endpoint("2001:db8::1", 80))
    '[2001:db8::1]:80'
    """

    host: str  # an IP address, without brackets
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Return the endpoint that `1.2.3.4:80` or `[::1]:80` names; raise `InvalidEndpoint`."""
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        if not host or not (port.isascii() and port.isdigit()):
            raise InvalidEndpoint(f"{text!r:.80} is not HOST:PORT")
        return cls(host, int(port))

    def __str__(self) -> str:
        """Return `1.2.3.4:80` or `[::1]:80`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Id:
    """An ID: 64 hex digits, or 40 in the Mainline network. Raises `InvalidId` for anything else.

    >>> Id.of_name("wiki").hex[:16]
    '12a435ec8454c6d1'
    """

    hex: str

    def __post_init__(self) -> None:
        """Check the digits, and make them small letters."""
        if not isinstance(self.hex, str):
            raise TypeError(f"an ID is made of text, not of {type(self.hex).__name__}")
        name = _BY_DIGITS.get(len(self.hex))
        if name is None:
            raise InvalidId(f"{self.hex!r:.80} is not an ID: 64 hex digits, or 40 in the Mainline network")
        keyspace = KEYSPACES[name]
        object.__setattr__(self, "hex", keyspace.format(keyspace.parse(self.hex)))

    @classmethod
    def of_name(cls, name: str, network: str = "native") -> Id:
        """Return the ID that a name stands for in a network; raise `InvalidId` for a text that is no name."""
        return cls(_hashed(clean_name(name), KEYSPACES[network]))

    @property
    def network(self) -> str:
        """The network that it is of: `native` or `mainline`."""
        return _BY_DIGITS[len(self.hex)]

    def __bytes__(self) -> bytes:
        return bytes.fromhex(self.hex)

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """The public key of a signed value: 64 hex digits. Raises `InvalidPublicKey` for anything else."""

    hex: str

    def __post_init__(self) -> None:
        """Check the digits, and make them small letters."""
        try:
            data = binascii.unhexlify(self.hex)
        except ValueError:
            data = b""
        if len(data) != 32:
            raise InvalidPublicKey(f"{self.hex!r:.80} is not a public key: 64 hex digits")
        object.__setattr__(self, "hex", data.hex())

    def __bytes__(self) -> bytes:
        return bytes.fromhex(self.hex)

    def __str__(self) -> str:
        return self.hex


Target = str | Id
"""What is looked up: a text is a name, even one of 64 hex digits."""


class Key(NamedTuple):
    """A target as the daemon takes it."""

    id: str
    name: str | None


def check_target(target: Target) -> Target:
    """Return a target, a name in its one form; raise `InvalidId`, or `TypeError` for another type."""
    if isinstance(target, Id):
        return target
    if isinstance(target, str):
        return clean_name(target)
    raise TypeError(f"a target is a name (str) or a dhtd.Id, not {type(target).__name__}")


def key_of(target: Target, network: str) -> Key:
    """Return what a checked target means in a network."""
    if isinstance(target, Id):
        return Key(target.hex, None)
    return Key(_hashed(target, KEYSPACES[network]), target)


def network_of(id: str) -> str:
    """Return the network that an ID is of, by its digits; raise `InvalidId`."""
    return Id(id).network


def _hashed(name: str, keyspace: Keyspace) -> str:
    return keyspace.format(id_of_name(name, keyspace))

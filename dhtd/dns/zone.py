"""What a name of DNS asks for: an entry, an address, or something of the zone itself.

DNS does not tell capitals from small letters, and names of dhtd do. So a name of DNS means the name in small letters.
A label is text in UTF-8, or in the form of IDNA that programs send (`xn--`).
"""

from __future__ import annotations

import ipaddress
import re
from base64 import b32decode, b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dhtd.core.ids import Id, Keyspace
from dhtd.core.names import clean_name, id_of_name
from dhtd.errors import InvalidId

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ADDRESSES: Final = "addr"  # below it, every address has a name: the target of a service
PROTOCOLS: Final = frozenset({"_tcp", "_udp"})


class Part(Enum):
    """The part of an entry that a name stands for."""

    WHOLE = auto()  # NAME
    PROTOCOL = auto()  # _tcp.NAME, which has no records, and is there if NAME is
    SERVICE = auto()  # _http._tcp.NAME


@dataclass(frozen=True, slots=True)
class OfEntry:
    """An entry of the network."""

    id: Id
    part: Part


@dataclass(frozen=True, slots=True)
class OfAddress:
    """An address by its name."""

    address: Address


class OfZone(Enum):
    """A name that the network has no part in."""

    APEX = auto()  # the domain itself
    ROOM = auto()  # `ADDRESSES`: it has no records, but names below
    NOTHING = auto()  # no entry can have this name
    OUTSIDE = auto()  # of another domain


Meaning = OfEntry | OfAddress | OfZone


class Zone:
    """The names below a domain."""

    def __init__(self, domain: str, keyspace: Keyspace) -> None:
        self.domain = domain
        self._keyspace = keyspace
        self._labels = [label.encode() for label in domain.split(".")]
        self._digits = len(b32encode(bytes(keyspace.width)).rstrip(b"="))

    def meaning(self, labels: Sequence[bytes]) -> Meaning:
        """Return what a name means. Its labels are as they were sent, without the root."""
        size = len(self._labels)
        if [label.lower() for label in labels[-size:]] != self._labels:
            return OfZone.OUTSIDE
        if len(labels) == size:
            return OfZone.APEX
        try:
            texts = [_text(label) for label in labels[:-size]]
        except ValueError:
            return OfZone.NOTHING
        if texts[-1] == ADDRESSES:
            return _address(texts[:-1])
        part = Part.WHOLE
        if texts[0] in PROTOCOLS and len(texts) > 1:
            part, texts = Part.PROTOCOL, texts[1:]
        elif len(texts) > 2 and texts[0].startswith("_") and texts[1] in PROTOCOLS:
            part, texts = Part.SERVICE, texts[2:]
        return self._entry(texts, part)

    def _entry(self, texts: list[str], part: Part) -> Meaning:
        id = self._spelled(texts[0]) if len(texts) == 1 else None
        if id is None:
            try:
                id = id_of_name(clean_name(".".join(texts)), self._keyspace)
            except InvalidId:
                return OfZone.NOTHING
        return OfEntry(id, part)

    def _spelled(self, text: str) -> Id | None:
        """Return the ID that a label spells in base32 (RFC 4648), or None."""
        if len(text) != self._digits or not re.fullmatch("[a-z2-7]+", text):
            return None
        data = b32decode(text.upper() + "=" * (-len(text) % 8))
        return self._keyspace.from_bytes(data) if base32(data) == text else None


def base32(data: bytes) -> str:
    """Return the bytes of an ID as a label."""
    return b32encode(data).rstrip(b"=").decode().lower()


def label_of(address: Address) -> str:
    """Return the label of an address: 192-0-2-1, or 2001-db8-0-0-0-0-0-1."""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address).replace(".", "-")
    return "-".join(f"{int(group, 16):x}" for group in address.exploded.partition("%")[0].split(":"))


def _address(texts: list[str]) -> Meaning:
    """Return what the labels in front of `ADDRESSES` mean."""
    if not texts:
        return OfZone.ROOM
    label = texts[0]
    separator = "." if label.count("-") == 3 else ":"
    try:
        address = ipaddress.ip_address(label.replace("-", separator))
    except ValueError:
        return OfZone.NOTHING
    return OfAddress(address) if len(texts) == 1 and label_of(address) == label else OfZone.NOTHING


def _text(label: bytes) -> str:
    """Return a label as text in small letters; raise ValueError for one that no name has."""
    text = label.decode()
    if "." in text:
        raise ValueError("a dot in a label")
    if text[:4].lower() == "xn--":
        text = text[4:].encode("ascii").decode("punycode")
        if "." in text or text.isascii():
            raise ValueError("no form of IDNA")
    return text.lower()

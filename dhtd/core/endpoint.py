"""Endpoints: an IP address and a port, in the compact form of BEP 5 and BEP 32.

An `Endpoint` *is* its 6 bytes (IPv4) or 18 bytes (IPv6) in network order, so it hashes, compares and travels without
conversion. A second address family is a second length, and nothing else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import Enum, IntEnum
from typing import Protocol, Self, TypeVar

from dhtd.core.enums import plain
from dhtd.errors import InvalidEndpoint, InvalidPort

IPV4_SIZE = 6
IPV6_SIZE = 18
PORT_MAX = 65_535


class Family(IntEnum):
    """An address family. Its value is the size of its endpoints, so that what is kept by family is found by `len`."""

    IPV4 = IPV4_SIZE
    IPV6 = IPV6_SIZE

    def __str__(self) -> str:
        """Return `IPv4` or `IPv6`."""
        return "IPv4" if self is Family.IPV4 else "IPv6"


@plain
class Scope(Enum):
    """How far an address means the same machine."""

    HOST = "host"  # loopback: each machine to itself
    LINK = "link"  # link-local, of either family: to those on one link
    PRIVATE = "private"  # RFC 1918, RFC 4193, and RFC 6598, where VPNs live too: to those in one site
    PUBLIC = "public"  # to all


class HasEndpoint(Protocol):
    """Anything at an endpoint."""

    @property
    def endpoint(self) -> Endpoint: ...


T = TypeVar("T", bound=HasEndpoint)


class Endpoint(bytes):
    """4 or 16 bytes of address and 2 of port."""

    __slots__ = ()

    def __new__(cls, packed: bytes) -> Self:
        """Return the endpoint that `packed` is; raise `InvalidEndpoint` for any other length."""
        if len(packed) != IPV4_SIZE and len(packed) != IPV6_SIZE:
            raise InvalidEndpoint(f"an endpoint has {IPV4_SIZE} or {IPV6_SIZE} bytes, not {len(packed)}")
        return bytes.__new__(cls, packed)

    @classmethod
    def of(cls, host: str, port: int) -> Endpoint:
        """Return the endpoint of a numeric address; raise `InvalidEndpoint` or `InvalidPort`.

        An IPv4 address in IPv6 clothes (`::ffff:1.2.3.4`) is that IPv4 address.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise InvalidEndpoint(f"{host!r} is not an IP address") from None
        if isinstance(address, ipaddress.IPv6Address):
            if address.scope_id is not None:
                raise InvalidEndpoint(f"{host!r} has a zone, which means nothing to another machine")
            address = address.ipv4_mapped or address
        return cls(address.packed + check_port(port).to_bytes(2, "big"))

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Return the endpoint that `1.2.3.4:80` or `[::1]:80` names; raise `InvalidEndpoint` or `InvalidPort`."""
        return cls.of(*split_host_port(text))

    @property
    def ip(self) -> bytes:
        """The address: 4 or 16 bytes."""
        return self[:-2]

    @property
    def host(self) -> str:
        """The address as text, without brackets."""
        if self.is_ipv4:
            return f"{self[0]}.{self[1]}.{self[2]}.{self[3]}"  # an eighth of what ipaddress takes
        return str(ipaddress.ip_address(self[:-2]))

    @property
    def port(self) -> int:
        """The port: 0 to 65535 as it came, 1 to 65535 where `of` or `parse` made it."""
        return self[-2] << 8 | self[-1]

    @property
    def is_ipv4(self) -> bool:
        """Whether the address is one of IPv4."""
        return len(self) == IPV4_SIZE

    @property
    def family(self) -> Family:
        """The address family."""
        return Family(len(self))

    @property
    def is_mapped(self) -> bool:
        """Whether this is an IPv4 address in the form of IPv6, which reaches no node (RFC 4291 section 2.5.5.2)."""
        return len(self) == IPV6_SIZE and self[:12] == _MAPPED

    @property
    def is_link_local(self) -> bool:
        """Whether the address is one of IPv6 that means something on one link only: fe80::/10."""
        return len(self) == IPV6_SIZE and self[0] == 0xFE and self[1] & 0xC0 == 0x80

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine to itself: 127/8 or ::1."""
        return self[0] == 127 if self.is_ipv4 else self[:16] == _LOOPBACK6

    def with_port(self, port: int) -> Endpoint:
        """Return the same address with another port."""
        return Endpoint(self[:-2] + port.to_bytes(2, "big"))

    def __str__(self) -> str:
        """Return `1.2.3.4:80` or `[::1]:80`."""
        return f"{self.host}:{self.port}" if self.is_ipv4 else f"[{self.host}]:{self.port}"

    def __repr__(self) -> str:
        """Return the text form: easier to read in a failing test than bytes."""
        return f"<{self}>"


def source_group(ip: bytes) -> bytes:
    """Return what counts as one source: an IPv4 address, or the /64 that an IPv6 host is usually given whole.

    In the private ranges of IPv6 it is an address. All hosts on a link share one /64 of link-local addresses (RFC
    4291), and all hosts of a site share one of unique local addresses (RFC 4193). As one source, a whole swarm there
    would have the rate and the quotas of one host, and any of its hosts could use them up for all. A host on the link
    can make up addresses, as in 10/8. Against that, as against forged sources, there are the limits of all sources
    together.
    """
    return ip if len(ip) == _IPV4_LENGTH or _is_private6(ip) else ip[:8]


def _is_private6(ip: bytes) -> bool:
    first = ip[0]
    return first >= 0xFC and (first <= 0xFD or (first == 0xFE and ip[1] & 0xC0 == 0x80))


def scope_of(endpoint: Endpoint) -> Scope:
    """Return how far the address means the same machine."""
    first, second = endpoint[0], endpoint[1]
    if len(endpoint) == IPV4_SIZE:  # not by name: asked for each contact that is named to us
        if first == 127:
            return _HOST
        if first == 169 and second == 254:
            return _LINK
        is_private = (
            first == 10
            or (first == 192 and second == 168)
            or (first == 172 and second & 0xF0 == 16)
            or (first == 100 and second & 0xC0 == 64)
        )
    else:
        if first == 0xFE and second & 0xC0 == 0x80:
            return _LINK
        if not first and endpoint[:16] == _LOOPBACK6:
            return _HOST
        is_private = first & 0xFE == 0xFC
    return _PRIVATE if is_private else _PUBLIC


def is_local(endpoint: Endpoint) -> bool:
    """Whether the address is a loopback or link-local one."""
    return scope_of(endpoint) in _LOCAL


def means_the_same(endpoint: Endpoint, there: Endpoint, *, beside_us: bool = False) -> bool:
    """Whether `endpoint` is, or may be, the same machine to us and to the node that we reach at `there`.

    - A public address is.
    - A loopback or link-local address is only if `there` is one, too.
    - A private address is not if `there` is public: another site has another machine at it. But it is if that node is
      `beside_us`, on a LAN that has public and private addresses.
    """
    return scope_of(endpoint) in shared_scopes(there, beside_us=beside_us)


def shared_scopes(there: Endpoint, *, beside_us: bool = False) -> tuple[Scope, ...]:
    """Return the scopes of the addresses that `means_the_same` is about, for the node that we reach at `there`."""
    scope = scope_of(there)
    if scope is _PUBLIC:
        return _BESIDE_US if beside_us else _BY_ALL
    return _PUBLIC, _PRIVATE, scope


def is_contactable(endpoint: Endpoint, told_by: Endpoint, *, beside_us: bool = False) -> bool:
    """Whether a node's word that another one listens at `endpoint` deserves a datagram: see `contactable`."""
    return _may_listen(endpoint) and means_the_same(endpoint, told_by, beside_us=beside_us)


def contactable(named: Iterable[T], told_by: Endpoint, *, beside_us: bool = False) -> list[T]:
    """Return those of the nodes that one node names that deserve a datagram, by their endpoints.

    - Port 0, "this network" (0/8), multicast and reserved addresses (224/3), and addresses that are `is_disguised`
      never do.
    - A loopback address does if another loopback address says so: a stranger must not aim us at our own machine.
    - A link-local address does if another link-local address says so, which is on the same link.
    - A private address does if an address says so that is not public: a stranger must not aim us at our own site, and
      its site is nothing to us. A stranger `beside_us`, on a LAN with public and private addresses, may name it as
      well.
    """
    scopes = shared_scopes(told_by, beside_us=beside_us)
    return [each for each in named if _may_listen(each.endpoint) and scope_of(each.endpoint) in scopes]


def _may_listen(endpoint: Endpoint) -> bool:
    if endpoint[-2:] == b"\0\0":
        return False
    if len(endpoint) == IPV4_SIZE:
        return 0 < endpoint[0] < 224
    return endpoint[0] != 0xFF and not is_disguised(endpoint)


def is_disguised(endpoint: Endpoint) -> bool:
    """Whether this is an IPv6 address that stands for one of IPv4, and not for a public one.

    A gateway of ours may send what goes to `64:ff9b::10.0.0.1` to 10.0.0.1 (NAT64, RFC 6052), and a tunnel what goes to
    `2002:a00:1::` (6to4, RFC 3056). Addresses of IPv4 in IPv6 clothes are all disguised, whatever they stand for, and
    so are those for translators of a site (RFC 8215).
    """
    if len(endpoint) == IPV4_SIZE or endpoint[0] not in _DISGUISED:
        return False
    if endpoint[:12] == _MAPPED or endpoint[:6] == _NAT64_LOCAL:
        return True
    if endpoint[:12] == _NAT64 or (endpoint[:12] == bytes(12) and endpoint[:16] != _LOOPBACK6):
        inside = endpoint[12:16]
    elif endpoint[:2] == _6TO4:
        inside = endpoint[2:6]
    elif endpoint[:4] == _TEREDO:
        inside = bytes(byte ^ 0xFF for byte in endpoint[12:16])
    else:
        return False
    return not 0 < inside[0] < 224 or scope_of(Endpoint(inside + endpoint[16:])) is not Scope.PUBLIC


def split_host_port(text: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`; raise `InvalidEndpoint` or `InvalidPort`. The host may be a name."""
    host, colon, port = text.rpartition(":")
    if "://" in text:
        place = text.partition("://")[2].partition("/")[0]
        raise InvalidEndpoint(
            f"{text!r} is a URL: write HOST:PORT alone, such as {place if ':' in place else _EXAMPLE}"
        )
    if "," in text:
        raise InvalidEndpoint(f"{text!r} is more than one HOST:PORT: give each by itself")
    if text.startswith("["):
        if not host.endswith("]"):
            raise InvalidEndpoint(f"{text!r} has no port: write [ADDRESS]:PORT, such as [2001:db8::1]:1729")
        return host[1:-1], parse_port(port)
    if ":" in host:
        better = _with_brackets(text, host, port)
        if better is not None:
            raise InvalidEndpoint(
                f"{text!r} has an IPv6 address without brackets: write [ADDRESS]:PORT, such as {better}"
            )
    if text and not colon and not any(map(str.isspace, text)):
        raise InvalidEndpoint(f"{text!r} is not HOST:PORT, such as {text}:1729")
    if not colon or not host or ":" in host:
        raise InvalidEndpoint(f"{text!r} is not HOST:PORT, such as {_EXAMPLE}")
    return host, parse_port(port)


def _with_brackets(text: str, host: str, port: str) -> str | None:
    """Return what was perhaps meant by an IPv6 address without brackets; None if it was none."""
    for address, at in ((host, port), (text, "1729")):
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            continue
        if at.isdigit():
            return f"[{address}]:{at}"
    return None


def parse_port(text: str) -> int:
    """Return the port that decimal digits name; raise `InvalidPort`."""
    if not _is_number(text):
        number = text.strip().partition("/")[0].rpartition(":")[2]  # of 3000/tcp, or of HOST:3000
        advice = f", such as {number}" if _is_number(number) else ""
        raise InvalidPort(f"{text!r} is not a port: a number from 1 to {PORT_MAX}{advice}")
    return check_port(int(text[:20]))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def check_port(port: int) -> int:
    """Return `port`; raise `InvalidPort` where it is not from 1 to 65535."""
    if not 1 <= port <= PORT_MAX:
        raise InvalidPort(f"{port} is not a port: a number from 1 to {PORT_MAX}")
    return port


_EXAMPLE = "192.168.1.123:1729"
_HOST, _LINK, _PRIVATE, _PUBLIC = Scope  # an attribute of an enumeration is looked up slowly
_LOCAL = (_HOST, _LINK)
_BY_ALL, _BESIDE_US = (_PUBLIC,), (_PUBLIC, _PRIVATE)
_IPV4_LENGTH = IPV4_SIZE - 2
_MAPPED = b"\0" * 10 + b"\xff\xff"
_NAT64 = b"\0\x64\xff\x9b" + bytes(8)
_NAT64_LOCAL = b"\0\x64\xff\x9b\0\x01"
_6TO4 = b"\x20\x02"
_TEREDO = b"\x20\x01\0\0"  # RFC 4380: the address of a client, each bit turned over, is at the end
_DISGUISED = (0x00, 0x20)  # what the addresses of all these begin with
_LOOPBACK6 = b"\0" * 15 + b"\x01"

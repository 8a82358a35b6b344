"""Knows the link of each link-local address: fe80::1 is a different machine on each link (RFC 4007).

Datagrams, the core and the state file know no zones, since the number and the name of a link mean nothing to another
machine. So this module remembers the link on which an address was heard, or the zone that the user gave. The link of an
address known by hearsay is known only while a single link is in use: it is then that link. With several links, nothing
is sent to this address.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.errors import InvalidEndpoint

REMEMBERED = 4_096  # addresses with a known link


def split_zone(host: str) -> tuple[str, int | None]:
    """Return a host without its zone, and the number of the zone, if it has one; raise `InvalidEndpoint`.

    Only a link-local address can have a zone, and the link must exist.
    """
    address, percent, name = host.partition("%")
    if not percent:
        return host, None
    try:
        is_link_local = ipaddress.IPv6Address(address).is_link_local
    except ValueError:
        return host, None  # no address: the resolver will refuse it as a name
    if not is_link_local:
        raise InvalidEndpoint(f"{host!r} has a zone, and is no link-local address: give it without")
    try:
        return address, socket.if_nametoindex(name)
    except (OSError, ValueError):
        pass
    if name.isascii() and name.isdigit() and is_there(int(name[:10])):
        return address, int(name)
    raise InvalidEndpoint(f"{host!r} is on a link that is not here: the part behind the % is the name of an interface")


def is_there(zone: int) -> bool:
    """Whether a link has this number."""
    try:
        socket.if_indextoname(zone)
    except (OSError, OverflowError):
        return False
    return True


class Zones:
    def __init__(self, bound: Iterable[int] = ()) -> None:
        self._links = set(bound)  # all links that were named
        self._by_address: dict[bytes, int] = {}

    def heard(self, endpoint: Endpoint, zone: int) -> None:
        """Note that a datagram came from a link-local address by this link. The first link counts.

        Otherwise a machine on one link could attract datagrams for a machine on another. But a link that is gone counts
        no more: a cable that is plugged in again, or a tunnel that is made again, has a new number.
        """
        known = self._by_address.get(endpoint.ip)
        if known is None or (known != zone and not is_there(known)):
            self.named(endpoint, zone)

    def forget_gone(self) -> None:
        """Forget the links that are gone, and the addresses on them."""
        self._links = set(filter(is_there, self._links))
        self._by_address = {ip: zone for ip, zone in self._by_address.items() if zone in self._links}

    def named(self, endpoint: Endpoint, zone: int) -> None:
        """Note the link that the user gave for a link-local address."""
        while len(self._by_address) >= REMEMBERED:
            del self._by_address[next(iter(self._by_address))]
        self._by_address[endpoint.ip] = zone
        self._links.add(zone)

    def of(self, endpoint: Endpoint) -> int | None:
        """Return the link of a link-local address, or None."""
        zone = self._by_address.get(endpoint.ip)
        if zone is None and len(self._links) == 1:
            (zone,) = self._links
        return zone

    def text(self, endpoint: Endpoint) -> str:
        """Return the text of an endpoint for this machine: with its zone, if that is known."""
        zone = self.of(endpoint) if endpoint.is_link_local else None
        if zone is None:
            return str(endpoint)
        try:
            name = socket.if_indextoname(zone)
        except OSError:  # the link is gone
            name = str(zone)
        return f"[{endpoint.host}%{name}]:{endpoint.port}"

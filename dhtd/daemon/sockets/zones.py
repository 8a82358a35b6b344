"""Link-local addresses and the links that they are on: fe80::1 is another machine on each (RFC 4007).

Datagrams, the core and the state file know no zones, since the number and the name of a link mean nothing to another
machine. So here it is remembered on which link each link-local address was heard, or that the user has named it with
its zone. Of an address that is known by hearsay the link is known only while there is no choice: it is then the link of
whoever has named it. Where there are several, nothing is sent to such an address.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.errors import InvalidEndpoint

REMEMBERED = 4_096  # addresses whose link is kept


def split_zone(host: str) -> tuple[str, int | None]:
    """Return a host without its zone, and the number of the zone, if it has one; raise `InvalidEndpoint`.

    Only a link-local address can have one, and there must be such a link here.
    """
    address, percent, name = host.partition("%")
    if not percent:
        return host, None
    try:
        is_link_local = ipaddress.IPv6Address(address).is_link_local
    except ValueError:
        return host, None  # no address: whoever takes it for a name will say what is wrong
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
    """Whether there is a link of this number."""
    try:
        socket.if_indextoname(zone)
    except (OSError, OverflowError):
        return False
    return True


class Zones:
    """The link of each link-local address, as far as it is known."""

    def __init__(self, bound: Iterable[int] = ()) -> None:
        self._links = set(bound)  # those that were ever named
        self._by_address: dict[bytes, int] = {}

    def heard(self, endpoint: Endpoint, zone: int) -> None:
        """Note that a datagram has come from a link-local address by this link. The first one counts.

        Else who is on one link could have us send there what is meant for another. But of a link that is gone nothing
        counts any more: a cable that is plugged in again, or a tunnel that is made again, has another number.
        """
        known = self._by_address.get(endpoint.ip)
        if known is None or (known != zone and not is_there(known)):
            self.named(endpoint, zone)

    def forget_gone(self) -> None:
        """Forget the links that are not there any more, and who was on them."""
        self._links = set(filter(is_there, self._links))
        self._by_address = {ip: zone for ip, zone in self._by_address.items() if zone in self._links}

    def named(self, endpoint: Endpoint, zone: int) -> None:
        """Note that the user says that a link-local address is on this link."""
        while len(self._by_address) >= REMEMBERED:
            del self._by_address[next(iter(self._by_address))]
        self._by_address[endpoint.ip] = zone
        self._links.add(zone)

    def of(self, endpoint: Endpoint) -> int | None:
        """Return the link of a link-local address; None where it is not known."""
        zone = self._by_address.get(endpoint.ip)
        if zone is None and len(self._links) == 1:
            (zone,) = self._links
        return zone

    def text(self, endpoint: Endpoint) -> str:
        """Return an endpoint for people and programs of this machine: with its zone, where it has one."""
        zone = self.of(endpoint) if endpoint.is_link_local else None
        if zone is None:
            return str(endpoint)
        try:
            name = socket.if_indextoname(zone)
        except OSError:  # it is gone
            name = str(zone)
        return f"[{endpoint.host}%{name}]:{endpoint.port}"

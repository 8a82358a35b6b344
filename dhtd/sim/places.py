"""Where the machines of a network are: side by side in a private range, or all over the internet."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dhtd.core.endpoint import Endpoint, Family
from dhtd.sim.host import Host

PORT = 1729
_PORT = PORT.to_bytes(2, "big")

# Returns the endpoint, in a family, of the machine with a number.
Address = Callable[[Family, int], Endpoint]


def private(family: Family, number: int) -> Endpoint:
    """Return the endpoint of the machine with this number: all side by side, in ranges that limits leave alone."""
    if family is Family.IPV4:
        return Endpoint(bytes((10 + (number >> 24), number >> 16 & 255, number >> 8 & 255, number & 255)) + _PORT)
    return Endpoint(b"\xfd\x00\x0d\xb8" + number.to_bytes(4, "big") + bytes(7) + b"\x01" + _PORT)


def scattered(family: Family, number: int) -> Endpoint:
    """Return a public endpoint of this machine: each in a network of its own, all over the internet."""
    place = number * 0x9E3779 & 0x1FFFFF  # an odd factor: no two of 2**21 meet
    if family is Family.IPV4:
        return Endpoint(bytes((128 + (place >> 16), place >> 8 & 255, place & 255, 1)) + _PORT)
    return Endpoint(b"\x24" + place.to_bytes(3, "big") + bytes(11) + b"\x01" + _PORT)


class Places:
    """Knows which host is at which endpoint, and gives new ones addresses of their own."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._given = 0
        self._hosts: dict[Endpoint, Host] = {}
        # The host at an endpoint, alive or not; asked for each datagram.
        self.at: Callable[[Endpoint], Host | None] = self._hosts.get

    def next(self, families: Iterable[Family]) -> tuple[Endpoint, ...]:
        """Return the endpoints of a new machine, one of each family."""
        endpoints = tuple(self._address(family, self._given) for family in families)
        self._given += 1
        return endpoints

    def put(self, host: Host) -> None:
        """Note where a host is now. Nobody else is there."""
        assert not self._hosts.keys() & host.endpoints
        self._hosts.update(dict.fromkeys(host.endpoints, host))

    def clear(self, host: Host) -> None:
        """Note that a host has left its endpoints."""
        for endpoint in host.endpoints:
            del self._hosts[endpoint]

"""Where the machines of a network are: side by side in a private range, or all over the internet."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.endpoint import Endpoint, Family

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

"""A node's surroundings in small: a keyspace of seven bits, where every edge is near, and contacts to fill it."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.metric import Id, Keyspace
from dhtd.wire.native import NativeCodec

SEVEN = Keyspace(7)


class SmallCodec(NativeCodec):
    """The native wire, said to speak of 128 IDs only."""

    keyspace = SEVEN


CODEC = SmallCodec()


def endpoint(number: int) -> Endpoint:
    """Return the endpoint of the machine with this number."""
    return Endpoint.of(f"10.0.{number // 256}.{number % 256}", 1729)


def contact(id: int, machine: int | None = None) -> Contact:
    """Return the contact with this ID, on a machine of the same number where no other is given."""
    return Contact(Id(id), endpoint(id if machine is None else machine))

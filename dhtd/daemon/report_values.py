"""What `dht info` tells of values: own ones, and those that are held for others."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Network, ip_address

from dhtd.core.ids import packed
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.held_values import HeldValue
from dhtd.core.values.own_values import OwnValue
from dhtd.daemon.driver import Driver
from dhtd.service.info import HeldValueInfo, OwnValueInfo, ValuesInfo

_NETWORK_BYTES = 8  # of a /64


class ValuesReport:
    """The values of one node, as plain values. The rows of lists come with Nones for what is gone meanwhile."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._values = driver.node.values

    def in_numbers(self) -> ValuesInfo:
        own, held = self._values.own, self._values.held
        return {
            "own": len(own),
            "unheld": sum(not each.replicas for each in own),
            "held": len(held),
            "held_bytes": held.size,
        }

    def own(self) -> Iterator[OwnValueInfo | None]:
        for own in list(self._values.own):
            yield self._own_row(own) if self._values.own.get(own.key) is own else None

    def held(self) -> Iterator[HeldValueInfo | None]:
        keys = self._values.held.keys()
        for key in keys:
            held, now = self._values.held.held(key), self._driver.clock()
            yield self._held_row(held, now) if held is not None and held.expires_at > now else None

    def _own_row(self, own: OwnValue) -> OwnValueInfo:
        return {
            "id": self._driver.node.codec.traits.keyspace.format(own.key),
            "name": self._driver.labels.value_name(own.key),
            "public_key": _public_key(own.value),
            "seq": _seq(own.value),
            "bytes": self._bytes(own.value),
            "replicas": len({packed(replica.id) for replica in own.replicas}),
            "min_replicas": own.wanted,
            "refresh_in_s": round(self._values.own.due_in(own, self._driver.clock()), 3),
        }

    def _held_row(self, held: HeldValue, now: float) -> HeldValueInfo:
        return {
            "id": self._driver.node.codec.traits.keyspace.format(held.key),
            "source": _source(held.source),
            "public_key": _public_key(held.value),
            "seq": _seq(held.value),
            "bytes": self._bytes(held.value),
            "expires_in_s": round(held.expires_at - now, 3),
        }

    def _bytes(self, value: Value) -> int:
        """Return how many bytes a value has for its reader."""
        data = self._driver.node.codec.traits.unwrap(value.data)
        return len(value.data if data is None else data)


def _public_key(value: Value) -> str | None:
    return None if isinstance(value, Immutable) else value.public_key.hex()


def _seq(value: Value) -> int | None:
    return None if isinstance(value, Immutable) else value.seq


def _source(source: bytes) -> str:
    """Return an address, or a network of IPv6: see `source_group`."""
    if len(source) == _NETWORK_BYTES:
        return str(IPv6Network((source + bytes(_NETWORK_BYTES), 8 * _NETWORK_BYTES)))
    return str(ip_address(source))

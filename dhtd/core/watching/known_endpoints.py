"""The endpoints that this node knows without asking: held for others, and its own."""

from __future__ import annotations

from collections.abc import Sequence

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.address_groups import is_beside
from dhtd.core.endpoint import Endpoint, Scope, means_the_same, scope_of
from dhtd.core.ids import Id
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.storage.listed import Listed
from dhtd.core.storage.store import HeldRecords


class KnownEndpoints:
    """Puts together what is held and what is our own, for us and for other nodes.

    `local`: where this machine reaches itself. Until others have told how they see us, our own entries are there.
    `own_networks` may change: see `Policy`.
    """

    __slots__ = ("_external", "_local", "_own_records", "_store", "own_networks")

    def __init__(
        self,
        store: HeldRecords,
        own_records: OwnRecords,
        external: ExternalAddress,
        own_networks: tuple[bytes, ...],
        local: Sequence[Endpoint] = (),
    ) -> None:
        self._store = store
        self._own_records = own_records
        self._external = external
        self.own_networks = own_networks
        self._local = local

    def for_node_at(self, asked_by: Endpoint, key: Id, now: float) -> Sequence[Endpoint]:
        """Return the endpoints under `key` that mean the same machine to the node that has asked as to us."""
        listed = self._store.listed(key, now)
        endpoints = listed.endpoints if listed.scope is _PUBLIC else self._visible(listed, asked_by)
        ports = self._own_records.ports(key)
        return _with_own(endpoints, self._external.endpoints_for(asked_by), ports) if ports else endpoints

    def for_us(self, key: Id, now: float) -> list[Endpoint]:
        """Return the endpoints under `key`."""
        endpoints = self._store.get(key, now)
        ports = self._own_records.ports(key)
        return _with_own(endpoints, self._external.endpoints() or self._local, ports) if ports else endpoints

    def _visible(self, listed: Listed, asked_by: Endpoint) -> Sequence[Endpoint]:
        if listed.scope is scope_of(asked_by):
            return listed.endpoints
        beside_us = is_beside(asked_by, self.own_networks)
        return [each for each in listed.endpoints if means_the_same(each, asked_by, beside_us=beside_us)]


def _with_own(endpoints: Sequence[Endpoint], here: Sequence[Endpoint], ports: Sequence[int]) -> list[Endpoint]:
    own = [seen.with_port(port) for seen in here for port in ports]
    return [*endpoints, *(endpoint for endpoint in own if endpoint not in endpoints)]


_PUBLIC = Scope.PUBLIC  # an attribute of an enumeration is looked up slowly

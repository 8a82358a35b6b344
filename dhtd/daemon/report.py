"""The daemon's state for the control socket, as plain values. Every key is a promise.

A node can hold 65536 entries, and does nothing else while it makes their rows. So lists are made in parts of `SLICE`
rows at most, and other tasks run between two parts. The list of rows is fixed when the first part is made. Each row
shows the state at the moment when it is made, and a row that is gone by then is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Final, cast
from weakref import ref

from dhtd import __version__
from dhtd.config.networks import NATIVE
from dhtd.config.settings import Settings
from dhtd.control.limits import ControlCounters
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, unpacked
from dhtd.core.messages import Contact
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.pending_withdrawals import Pending
from dhtd.core.records import RecordKey
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.table import Bucket
from dhtd.core.storage.held_record import HeldRecord
from dhtd.daemon import log
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.report_families import STATES, FamiliesReport, largest, name_of, total
from dhtd.daemon.report_values import ValuesReport
from dhtd.service.entries import EnterResult
from dhtd.service.info import (
    SECTIONS,
    BucketInfo,
    HeldInfo,
    InfoResult,
    LeaseInfo,
    Member,
    NodeInfo,
    TrackedInfo,
    WithdrawalInfo,
)
from dhtd.service.node import NodeIdResult, StatusResult

SLICE: Final = 128  # rows in a part: about a millisecond's work


class _Keys(list[bytes]):
    """The keys of all held entries, at one moment."""

    __slots__ = ("__weakref__",)


def milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)


class NodeReport:
    def __init__(
        self,
        driver: Driver,
        settings: Settings,
        control: ControlCounters,
        guards: Guards,
        state_notices: Callable[[], list[str]] = list,
        is_restoring: Callable[[], bool] = bool,
        doors: Sequence[str] = (),
    ) -> None:
        self._driver = driver
        self._node = driver.node
        self._settings = settings
        self._control = control
        self._guards = guards
        self.state_notices = state_notices
        self.is_restoring = is_restoring
        self._doors = doors
        self._values = ValuesReport(driver)
        self._families = FamiliesReport(driver)
        self._started_at = driver.clock()
        self._latest_keys: Callable[[], _Keys | None] = lambda: None

    def info(self, section: str | None) -> Generator[InfoResult, None, InfoResult]:
        """Yield the first parts of long lists, and return the rest: all sections, or one.

        A part may be empty. Other tasks may run between two parts.
        """
        lists: dict[str, Callable[[], Iterator[object]]] = {
            "routing_table": self._buckets,
            "store": self._held,
            "tracking": self._tracked,
            "withdrawals": self._withdrawals,
            "values": self._values.own,
            "held_values": self._values.held,
        }
        rest: dict[str, object] = {}
        for name in SECTIONS if section is None else (section,):
            if name in lists:
                rest[name] = yield from _sliced(name, lists[name]())
            else:
                rest[name] = self._about_node() if name == "node" else self._counters()
        return cast("InfoResult", rest)

    def node_id(self) -> NodeIdResult:
        return {"node_id": self._format(self._node.own_id), "endpoints": self.endpoints()}

    def endpoints(self) -> list[str]:
        """Return our endpoints as others see them, or the bound addresses until somebody has told us.

        Wildcards are left out, since nobody is reached there.
        """
        seen = self._node.external.endpoints()
        bound = [endpoint for endpoint in self._driver.udp.listening() if any(endpoint.ip)]
        return [self._text(endpoint) for endpoint in seen or bound]

    def status(self) -> StatusResult:
        now = self._driver.clock()
        families = self._families.all(now)
        best = min(families, key=lambda family: STATES.index(family["state"]))
        replicas = [len(entry.replicas) for entry in self._node.own_records]
        return {
            "node_id": self._format(self._node.own_id),
            "version": __version__,
            "state": best["state"],
            "since_s": best["since_s"],
            "families": {family["family"]: family["state"] for family in families},
            "network": self._network(),
            "serves": self._node.gate.serves.value,
            "contacts": total(families),
            "network_size": largest(families),
            "own_entries": len(replicas),
            "unheld_entries": replicas.count(0),
            "withheld_entries": sum(1 for _ in self._guards.withheld()),
            "replicas": sum(replicas),
            "held_entries": len(self._node.store),
            "values": self._values.in_numbers(),
            "restoring": self.is_restoring(),
            "endpoints": self.endpoints(),
            "listening": self._listening(),
            "reachable": self._node.outside.reach(now).value,
            "uptime_s": _seconds(now - self._started_at),
        }

    def entered(self, record_key: RecordKey, replicas: Iterable[Contact], *, listening: bool | None) -> EnterResult:
        entry = self._node.own_records.get(record_key)
        now = self._driver.clock()
        return {
            "id": self._format(record_key.key),
            "name": self._driver.labels.of(record_key).name,
            "port": record_key.port,
            "replicas": [
                {"node_id": self._format(node.id), "endpoint": self._text(node.endpoint)} for node in replicas
            ],
            "refresh_in_s": 0.0 if entry is None else _seconds(self._node.own_records.due_in(entry, now)),
            "expires_in_s": _seconds(self._node.publisher.lease.lasts),
            "listening": listening,
            **self._guards.info(record_key),
        }

    def _about_node(self) -> NodeInfo:
        now, seal = self._driver.clock(), self._driver.seal
        families = self._families.all(now)
        return {
            **self.node_id(),
            "network": self._settings.network,
            "serves": self._node.gate.serves.value,
            "observed": {self._text(seen.endpoint): seen.networks for seen in self._node.external.seen()},
            "reachable": self._node.outside.reach(now).value,
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": _seconds(now - self._started_at),
            "connected": self._node.overlays.is_connected,
            "contacts": total(families),
            "network_size": largest(families),
            "own_entries": len(self._node.own_records),
            "unheld_entries": sum(not entry.replicas for entry in self._node.own_records),
            "lease": self._lease(),
            "watches": {"own": len(self._node.watching.own), "held": len(self._node.watching.held)},
            "values": self._values.in_numbers(),
            "families": families,
            "listening": self._listening(),
            "network_keys": [] if seal is None else [key.fingerprint for key in seal.keys],
            "state": str(self._settings.state),
            "state_notices": self.state_notices(),
            "restoring": self.is_restoring(),
            "socket": str(self._settings.socket),
            "doors": list(self._doors),
        }

    def _network(self) -> str:
        if self._settings.network != NATIVE.name:
            return self._settings.network
        return "open" if self._driver.seal is None else "private"

    def _lease(self) -> LeaseInfo:
        lease, heartbeats = self._node.publisher.lease, self._node.publisher.heartbeats
        period = _seconds(lease.period) if lease.is_renewed else None
        return {"lease_s": _seconds(lease.lasts), "period_s": period, "holders": len(heartbeats)}

    def _listening(self) -> list[str]:
        return [self._text(endpoint) for endpoint in self._driver.udp.listening()]

    def _bucket(self, overlay: Overlay, bucket: Bucket) -> BucketInfo:
        return {
            "low": self._format(bucket.low),
            "high": self._format(bucket.high),
            "last_activity_s": _seconds(self._driver.clock() - bucket.activity),
            "members": [self._member(overlay, contact) for contact in bucket.contacts],
            "family": name_of(overlay),
        }

    def _member(self, overlay: Overlay, contact: Contact) -> Member:
        now = self._driver.clock()
        record = overlay.state.meta.get(contact.id)
        return {
            "id": self._format(contact.id),
            "endpoint": self._text(contact.endpoint),
            "state": self._families.standing(overlay, contact, now).value,
            "reachable": record.reachable,
            "last_activity_s": None if record.heard_at is None else _seconds(now - record.heard_at),
            "timeouts": record.timeouts,
            "rtt_ms": None if record.round_trips.mean is None else milliseconds(record.round_trips.mean),
        }

    def _counters(self) -> dict[str, object]:
        counters = (self._driver.udp.counters, self._node.counters, self._control, log.counters(), self._driver.lookups)
        return {name: value for each in counters for name, value in asdict(each).items()}

    def _buckets(self) -> Iterator[BucketInfo | None]:
        for overlay in self._node.overlays:
            for bucket in list(overlay.state.table.buckets):
                yield self._bucket(overlay, bucket)
                yield from (None for _ in bucket.contacts)  # each contact is as much work as a row

    def _held(self) -> Iterator[HeldInfo | None]:
        keys = self._shared(_Keys(self._node.store.keys()))
        for key in keys:
            for entry in self._node.store.held(unpacked(key)):
                now = self._driver.clock()
                yield self._held_row(entry, now) if entry.expires_at > now else None

    def _shared(self, keys: _Keys) -> _Keys:
        """Return the latest client's list if it is in use and has the same keys: a list takes 8 bytes a key."""
        latest = self._latest_keys()
        if latest is None or latest != keys:
            self._latest_keys, latest = ref(keys), keys
        return latest

    def _held_row(self, entry: HeldRecord, now: float) -> HeldInfo:
        return {
            "id": self._format(entry.key),
            "endpoint": self._text(entry.record.endpoint),
            "age_s": _seconds(max(0.0, now + entry.lease - entry.expires_at)),  # a lease ends on a full second
            "expires_in_s": _seconds(entry.expires_at - now),
        }

    def _tracked(self) -> Iterator[TrackedInfo | None]:
        records = self._node.own_records
        for entry in list(records):
            is_there = records.get(entry.record_key) is entry
            yield self._tracked_row(entry, self._driver.clock()) if is_there else None
        for record_key in self._guards.withheld():
            yield self._tracked_info(record_key, 0, None)

    def _tracked_row(self, entry: OwnEntry, now: float) -> TrackedInfo:
        replicas = len({replica.id for replica in entry.replicas})
        return self._tracked_info(entry.record_key, replicas, _seconds(self._node.own_records.due_in(entry, now)))

    def _tracked_info(self, record_key: RecordKey, replicas: int, refresh_in: float | None) -> TrackedInfo:
        return {
            "id": self._format(record_key.key),
            "port": record_key.port,
            "replicas": replicas,
            "refresh_in_s": refresh_in,
            "name": self._driver.labels.of(record_key).name,
            "file": self._driver.labels.file(record_key),
            **self._guards.info(record_key),
        }

    def _withdrawals(self) -> Iterator[WithdrawalInfo | None]:
        for entry in self._node.withdrawals.entries():
            for pending in self._node.withdrawals.pending(entry):
                now = self._driver.clock()
                yield self._withdrawal_row(pending, now) if pending.until > now else None

    def _withdrawal_row(self, pending: Pending, now: float) -> WithdrawalInfo:
        return {
            "id": self._format(pending.record_key.key),
            "port": pending.record_key.port,
            "node_id": self._format(pending.holder.id),
            "endpoint": self._text(pending.holder.endpoint),
            "acknowledged": pending.acknowledged,
            "attempts": pending.attempts,
            "retry_in_s": None if pending.due_at is None else _seconds(max(0.0, pending.due_at - now)),
            "expires_in_s": _seconds(pending.until - now),
        }

    def _text(self, endpoint: Endpoint) -> str:
        return self._driver.udp.zones.text(endpoint)

    def _format(self, id: Id) -> str:
        return self._node.codec.traits.keyspace.format(id)


def _seconds(duration: float) -> float:
    return round(float(duration), 3)


def _sliced(section: str, rows: Iterator[object]) -> Generator[InfoResult, None, object]:
    """Yield the rows in parts, without the Nones, and return the last part in the shape of its section."""
    while True:
        some = list(islice(rows, SLICE))
        there = [row for row in some if row is not None]
        body = {"buckets": there} if section == "routing_table" else there
        if len(some) < SLICE:
            return body
        yield cast("InfoResult", {section: body})

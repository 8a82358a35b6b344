"""Own entries change here: on disk and in the node together, one change at a time.

A change is on disk before the node knows of it, and before anybody hears of it. A caller that goes away in the middle
leaves no half of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final, NamedTuple

import trio

from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.driver import Driver, Ongoing
from dhtd.daemon.guards.guard import Checked
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.guards.wanted import Checking, WantedGuard
from dhtd.daemon.labels import Label
from dhtd.daemon.state.file import AddOwn
from dhtd.daemon.state.saver import Saver
from dhtd.errors import NotTracked

REMOVED_AT_ONCE: Final = 64  # entries
WITHDRAWN_WITHIN: Final = 2.0  # seconds that these wait for the network; it is asked again later


class Wanted(NamedTuple):
    """An entry that is to be there. Without a name, its ID keeps the name that it has."""

    key: Id
    port: int
    name: str | None = None
    file: str | None = None  # that declares it; None for an entry that is made by hand
    guard: WantedGuard | None = None

    @property
    def record_key(self) -> RecordKey:
        """What the entry is found by."""
        return RecordKey.of(self.key, Peer.on(self.port))


class OwnEntries:
    """The own entries of one node, with their labels and their guards."""

    def __init__(self, driver: Driver, saver: Saver, guards: Guards) -> None:
        self._driver = driver
        self._node = driver.node
        self._labels = driver.labels
        self._saver = saver
        self._guards = guards

    async def enter(self, wanted: Wanted, *, patient: bool) -> Ongoing | Checked:
        """Enter an entry, and begin to publish it; return the publication. See `Commands.enter` for `patient`.

        An entry with a check is left to the check, which is returned instead.

        Raises `Busy`, `TooManyEntries`, or `StateError` if the disk refuses.
        """
        async with self._saver.own_entries:
            await self._check([wanted])
            self._node.commands.check_free()
            with trio.CancelScope(shield=True):
                await self._write([wanted])
                check = self._guards.set(wanted.record_key, wanted.guard)
                entered = self.publish(wanted, patient=patient) if check is None else check
        return entered

    async def track(self, wanted: Sequence[Wanted]) -> None:
        """Enter entries, all or none, and have the node publish them soon, or once their checks pass.

        Raises `TooManyEntries`, or `StateError` if the disk refuses.
        """
        async with self._saver.own_entries:
            await self._check(wanted)
            with trio.CancelScope(shield=True):
                await self._write(wanted)
                checks = {each.record_key: self._guards.set(each.record_key, each.guard) for each in wanted}
                unchecked = [record_key for record_key, check in checks.items() if check is None]
                self._node.commands.track(unchecked, self._driver.clock())
        self._driver.flush()

    def publish(self, wanted: Wanted, *, patient: bool) -> Ongoing:
        """Begin to publish an entry now, or join the publication that is under way; return it."""
        return self._driver.begin(lambda now: self._node.commands.enter(wanted.key, wanted.port, now, patient=patient))

    async def delete(self, key: Id, port: int | None) -> tuple[Ongoing | None, list[int], str | None]:
        """Delete the entries of an ID: that of `port`, or without one all.

        Return the withdrawal, the ports, and the ID's name. There is no withdrawal if their guards keep them all from
        being published. Raises `NotTracked`, `Busy`, or `StateError` if the disk refuses.
        """
        async with self._saver.own_entries:
            await self._saver.bring([key])
            ports = [each for each in self._known_ports(key) if port in (None, each)]
            if not ports:
                which = "this ID" if port is None else f"this ID on port {port}"
                raise NotTracked(f"this node has not entered {which}; dht info tracking lists what it has")
            self._node.commands.check_free()
            record_keys = [RecordKey.of(key, Peer.on(tracked)) for tracked in ports]
            name = self._labels.name(key)
            with trio.CancelScope(shield=True):
                await self._saver.remove_own(self._node, record_keys)
                self._forget(record_keys)
                withdrawal = None
                if any(each in self._node.own_records for each in record_keys):
                    withdrawal = self._driver.begin(lambda now: self._node.commands.delete(key, port, now)[0])
        return withdrawal, ports, name

    async def remove(self, record_keys: Sequence[RecordKey]) -> None:
        """Delete entries, some at a time, each time with a moment for the network to forget them.

        An entry that is gone already is left out. Raises `StateError` if the disk refuses; the rest is still there.
        """
        for start in range(0, len(record_keys), REMOVED_AT_ONCE):
            some = record_keys[start : start + REMOVED_AT_ONCE]
            with ExitStack() as withdrawals:
                async with self._saver.own_entries:
                    await self._saver.bring({each.key for each in some})
                    there = [each for each in some if self.has(each)]
                    if not there:
                        continue
                    with trio.CancelScope(shield=True):
                        await self._saver.remove_own(self._node, there)
                        self._forget(there)
                        published = [each for each in there if each in self._node.own_records]
                        begun = [withdrawals.enter_context(self._withdraw(each)) for each in published]
                with trio.move_on_after(WITHDRAWN_WITHIN):
                    for withdrawal in begun:
                        await withdrawal.event()

    def has(self, record_key: RecordKey) -> bool:
        """Whether there is this entry, published or not."""
        return record_key in self._node.own_records or record_key in self._guards

    def is_guarded(self, record_key: RecordKey, check: Checking | None) -> bool:
        """Whether an entry has this check, or no guard at all."""
        saved = self._guards.saved(record_key)
        return (None if saved is None else (saved.what, saved.every)) == (
            None if check is None else (str(check.check), check.every)
        )

    def _known_ports(self, key: Id) -> list[int]:
        return sorted({*self._node.own_records.ports(key), *self._guards.ports(key)})

    def _forget(self, record_keys: Sequence[RecordKey]) -> None:
        self._labels.forget(record_keys)
        self._guards.drop(record_keys)

    def _withdraw(self, record_key: RecordKey) -> Ongoing:
        key, port = record_key.key, record_key.port
        return self._driver.begin(lambda now: self._node.commands.delete(key, port, now)[0])

    async def _check(self, wanted: Sequence[Wanted]) -> None:
        """Raise if these cannot be entered."""
        await self._saver.bring({each.key for each in wanted})
        self._node.commands.check_room(*(each.record_key for each in wanted))
        for each in wanted:
            self._guards.check_room(each.record_key, each.guard)

    async def _write(self, wanted: Sequence[Wanted]) -> None:
        """Make entries and their labels durable. A new name goes to all entries of its ID."""
        # 1. Find the name of each ID: the latest one that is wanted, else the one that it has.
        ports = {packed(each.key): self._known_ports(each.key) for each in wanted}
        names = {key: self._labels.name(unpacked(key)) for key in ports}
        names |= {packed(each.key): each.name for each in wanted if each.name is not None}
        # 2. Label the wanted entries, and those beside them with another name.
        labels: dict[RecordKey, Label] = {}
        for key, there in ports.items():
            for record_key in (RecordKey.of(unpacked(key), Peer.on(port)) for port in there):
                label = self._labels.of(record_key)
                if label.name != names[key]:
                    labels[record_key] = label._replace(name=names[key])
        labels |= {each.record_key: Label(names[packed(each.key)], each.file) for each in wanted}
        # 3. Write all of it at once, each with its guard.
        guards = {record_key: self._guards.saved(record_key) for record_key in labels}
        guards |= {each.record_key: self._guards.saved_as(each.record_key, each.guard) for each in wanted}
        await self._saver.add_own([AddOwn(each, label, guards[each]) for each, label in labels.items()])
        for record_key, label in labels.items():
            self._labels.set(record_key, label)

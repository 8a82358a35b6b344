"""Keeps the state file up to date: own entries and values at every change, the rest now and then and at the end.

- An own entry or value is on disk before anybody hears that it is entered or put.
- A holder of it is on disk before the entry is sent there. So a deletion reaches all holders, even after a crash.
- The rest is saved now and then: the network would give it back anyway.

SQLite blocks, so it works in a thread, one call at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain, starmap
from typing import BinaryIO, Final, TypeVar

import trio

from dhtd.control.threads import in_thread
from dhtd.core.ids import Id, unpacked
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.records import RecordKey
from dhtd.daemon.driver import Driver
from dhtd.daemon.labels import Labels
from dhtd.daemon.state.file import (
    AddOwn,
    Change,
    DropValue,
    KeepValue,
    SavedGuard,
    SavedHolder,
    SavedOwnValue,
    SetGuard,
    SetHolders,
    StateFile,
)
from dhtd.daemon.state.held_saver import HeldSaver, Write, nothing
from dhtd.daemon.state.restorer import Restorer
from dhtd.daemon.timeline import Anchor, Timeline
from dhtd.errors import NoThread, StateError

SAVE_FIRST = 1.0  # seconds until the first save, of what a node learns when it joins; then the pause doubles
SAVE_INTERVAL = 15.0  # seconds between two saves, at most: a kill may lose as much, but never an own entry
HELD_AT_ONCE: Final = 1_024  # keys that one step saves, with their entries or values

COMPLAIN_INTERVAL = 60.0  # seconds between complaints that there is no thread

log = logging.getLogger("dhtd.state")

T = TypeVar("T")


class Saver:
    """Writes one node's state to one file."""

    def __init__(
        self,
        file: StateFile,
        clock: Callable[[], float],
        wall: Callable[[], float] = time.time,
        boot: str = "",
        labels: Labels | None = None,
    ) -> None:
        self._file = file
        self._clock = clock
        self._timeline = Timeline(clock, wall, boot, Anchor.parse(file.fact("clock")))
        self._held = HeldSaver(file, self._timeline)
        self.restored = trio.Event()  # set once the node has all of the file
        self._labels = Labels() if labels is None else labels
        self.guards: dict[RecordKey, SavedGuard] = {}  # in the file at the start; `restore` reads them
        self._restorer: Restorer | None = None
        self._thread = trio.CapacityLimiter(1)
        self._holders_lock = trio.Lock()  # so that holders with nothing left to save are on disk
        self.own_entries = trio.Lock()  # entering, deleting and restoring hold it: disk and node change together
        self._saved_contacts: list[object] = []
        self._complain_at = float("-inf")
        self._own_ids: tuple[Id, ...] = ()  # as they are in the file; they may follow from our addresses
        self._networks: tuple[str, ...] | None = None  # of the keys, where they changed since the file was marked

    @property
    def is_restoring(self) -> bool:
        """Whether the node still lacks a part of the file."""
        return self._unfinished is not None

    @property
    def _unfinished(self) -> Restorer | None:
        return None if self._restorer is None or self._restorer.is_over else self._restorer

    def restore(self, node: Node, at_once: float = float("inf")) -> None:
        """Give the node what the file holds: of the entries, so many slices. Called once, before the node runs."""
        self._own_ids = node.overlays.own_ids
        self._file_clock()
        self._file.forget_held()
        contacts = self._file.contacts()
        for contact in contacts:
            node.overlays.restore(contact)
        self._saved_contacts = list(contacts)
        for own in chain(*self._file.own_values()):
            node.values.keeping.restore(own.key, own.value, own.wanted, self._clock())
            self._labels.name_value(own.key, own.name)
        self.guards = self._file.guards()
        withheld = {record_key for record_key, guard in self.guards.items() if not guard.passed}
        restorer = self._restorer = Restorer(self._file, node, self._labels, self._timeline, withheld)
        while not restorer.is_over and at_once > 0:
            restorer.take(restorer.read(), self._clock())
            at_once -= 1

    async def restore_rest(self, driver: Driver) -> None:
        """Give the node the rest, while it serves."""
        restorer = self._restorer
        assert restorer is not None
        while not restorer.is_over:
            try:
                async with self.own_entries:
                    restorer.take(await self._in_thread(restorer.read), self._clock())
            except StateError as error:
                log.error("what the state file holds is not all restored: %s; trying again", error)
                await trio.sleep(SAVE_INTERVAL)
            driver.flush()
            await trio.lowlevel.checkpoint()
        self.restored.set()

    async def bring(self, keys: Iterable[Id]) -> None:
        """Give the node what the file has of these keys, where the node lacks it. Call it with `own_entries`."""
        restorer = self._restorer
        missing = [] if restorer is None else restorer.missing(keys)
        if restorer is not None and missing:
            restorer.bring(await self._in_thread(lambda: restorer.read_keys(missing)), self._clock())

    def mark(self, networks: tuple[str, ...]) -> None:
        """Have the next save mark the file as one of the network with keys of these fingerprints."""
        self._networks = networks

    async def add_own(self, entries: Sequence[AddOwn]) -> None:
        """Make own entries durable, all or none, at the price of one; raise `StateError` where the disk refuses."""
        await self._in_thread(lambda: self._file.add_own(*entries))

    async def set_guards(self, node: Node, guards: Mapping[RecordKey, SavedGuard]) -> None:
        """Make the guards of own entries durable, with the holders of these; raise `StateError`."""
        changes: list[Change] = [*starmap(SetGuard, guards.items()), *self._holders(node, guards)]
        await self._in_thread(lambda: self._file.apply(changes))

    async def remove_own(self, node: Node, record_keys: Sequence[RecordKey]) -> None:
        """Make durable that own entries are gone, with their holders; raise `StateError` where that fails."""
        holders = self._holders(node, record_keys)
        await self._in_thread(lambda: self._file.remove_own(record_keys, holders))

    async def keep_value(self, own: SavedOwnValue) -> None:
        """Make an own value durable, in place of any under its key; raise `StateError` where the disk refuses."""
        await self._in_thread(lambda: self._file.apply([KeepValue(own)]))

    async def drop_value(self, key: Id) -> None:
        """Make durable that no own value is under a key; raise `StateError` where that fails."""
        await self._in_thread(lambda: self._file.apply([DropValue(key)]))

    async def run(self, node: Node) -> None:
        """Save changes again and again, until cancelled: often after the start, when most is new."""
        pause = SAVE_FIRST
        while True:
            await trio.sleep(pause)
            pause = min(2 * pause, SAVE_INTERVAL)
            try:
                await self.save(node)
            except StateError as error:
                log.error("%s", error)  # the next round tries again

    async def write_ahead(self, driver: Driver) -> None:
        """Write chosen holders of own entries down before they are asked, until cancelled.

        - Holders that are chosen while the disk is busy are written together.
        - If the disk fails, they are asked all the same: an entry without holders is worse than one that has to expire.
        - Nothing else is written with them. On a full disk, other changes add up, and each attempt at all of these
          would hold up the few.
        """
        is_failing = False  # one complaint is enough until the disk works again
        while True:
            await driver.has_unwritten.wait()
            driver.has_unwritten = trio.Event()
            chosen, driver.unwritten = driver.unwritten, []
            entries = {publication.entry.record_key for publication, _ in chosen}
            try:
                await self._save_holders(driver.node, entries)
            except StateError as error:
                if not is_failing:
                    log.error("%s", error)  # `run` tries again
                is_failing = True
            else:
                is_failing = False
            driver.node.publisher.written(chosen, self._clock())
            driver.flush()

    async def save(self, node: Node) -> None:
        """Save what has changed of contacts, holders, own values, what is held for others and the network's mark."""
        for to_save in (self._facts_to_save, self._contacts_to_save):
            with to_save(node) as write:
                await self._do(write)
        await self._save_holders(node)
        async with self.own_entries:
            with self._own_values_to_save(node) as write:
                await self._do(write)
        for changed, held_to_save in (
            (node.store.changed, self._held.entries),
            (node.values.held.changed, self._held.values),
        ):
            for _ in range(1 + len(changed) // HELD_AT_ONCE):
                with held_to_save(node, self._unfinished, HELD_AT_ONCE) as write:
                    await self._do(write)

    async def copy(self, node: Node) -> BinaryIO:
        """Save, and return a copy of what the file then holds; raise `StateError`. See `StateFile.copy`."""
        await self.save(node)
        return await self._in_thread(self._file.copy)

    async def read(self, copy: BinaryIO, size: int) -> bytes:
        """Return the next bytes of a copy, at most so many; none at its end."""
        return await self._in_thread(lambda: copy.read(size))

    def save_now(self, node: Node) -> None:
        """Do the same without threads and without a loop, for an end that has neither."""
        restorer = self._restorer
        if restorer is not None:
            missing = restorer.missing(each.key for each in node.publisher.changed_records())
            restorer.bring(restorer.read_keys(missing), self._clock())
        for to_save in (
            self._facts_to_save,
            self._contacts_to_save,
            self._all_holders_to_save,
            self._own_values_to_save,
            partial(self._held.entries, restorer=self._unfinished),
            partial(self._held.values, restorer=self._unfinished),
        ):
            with to_save(node) as write:
                write()

    # What to write. If writing fails within the context, the changes are among the next ones.

    @contextmanager
    def _facts_to_save(self, node: Node) -> Iterator[Write]:
        networks, is_news = self._networks, self._timeline.is_news(self._timeline.anchor())
        own_ids = node.overlays.own_ids
        is_renamed = self._own_ids not in ((), own_ids)

        def write() -> None:
            if is_renamed:
                self._file.set_node_id(own_ids[0])
                for own_id6 in own_ids[1:]:
                    self._file.set_node_id6(own_id6)
            if networks is not None:
                self._file.set_networks(networks)
            self._file_clock()
            self._file.settle()

        yield write if is_renamed or networks is not None or is_news or self._file.is_unsettled else nothing
        self._own_ids = own_ids
        if self._networks is networks:  # else the keys changed while this was written
            self._networks = None

    def _file_clock(self) -> None:
        """Tell the file how its time relates to the clocks, if these were set or have begun anew."""
        anchor = self._timeline.anchor()
        if self._timeline.is_news(anchor):
            self._file.set_fact("clock", str(anchor))
            self._timeline.saved = anchor

    @contextmanager
    def _contacts_to_save(self, node: Node) -> Iterator[Write]:
        contacts = node.overlays.contacts()
        yield nothing if contacts == self._saved_contacts else lambda: self._file.save_contacts(contacts)
        self._saved_contacts = list(contacts)

    def _all_holders_to_save(self, node: Node) -> AbstractContextManager[Write]:
        return self._holders_to_save(node, None)

    @contextmanager
    def _holders_to_save(self, node: Node, among: AbstractSet[RecordKey] | None) -> Iterator[Write]:
        changed = node.publisher.take_changed(among)
        holders = self._holders(node, changed)
        try:
            yield (lambda: self._file.save_holders(holders)) if changed else nothing
        except BaseException:
            node.publisher.mark_changed(changed)
            raise

    @contextmanager
    def _own_values_to_save(self, node: Node) -> Iterator[Write]:
        """Yield the function that writes own values that others have superseded, or refused."""
        superseded = node.values.own.changed
        changed = set(superseded)
        superseded.clear()
        changes = [self._own_value(node, key) for key in map(unpacked, changed)]
        try:
            yield (lambda: self._file.apply(changes)) if changes else nothing
        except BaseException:
            superseded |= changed
            raise

    def _own_value(self, node: Node, key: Id) -> Change:
        own = node.values.own.get(key)
        if own is None:
            return DropValue(key)
        return KeepValue(SavedOwnValue(key, own.value, own.wanted, self._labels.value_name(key)))

    async def _save_holders(self, node: Node, among: AbstractSet[RecordKey] | None = None) -> None:
        """Save the holders of all entries, or of those `among` these, that have changed by their turn."""
        if self.is_restoring:
            async with self.own_entries:
                among = node.publisher.changed_records() if among is None else among  # no others: they are not brought
                await self.bring([record_key.key for record_key in among])
        async with self._holders_lock:
            with self._holders_to_save(node, among) as write:
                await self._do(write)

    def _holders(self, node: Node, entries: Iterable[RecordKey]) -> list[SetHolders]:
        now, offset = self._clock(), self._timeline.offset

        def saved(record_key: RecordKey, at: Contact, until: float) -> SavedHolder:
            seen = tuple((ip, then + offset) for ip, then in node.publisher.seen_by(record_key, at.endpoint))
            return SavedHolder(at, until + offset, seen)

        return [
            SetHolders(each, [saved(each, at, until) for at, until in node.publisher.holders(each, now).items()])
            for each in entries
        ]

    async def _do(self, write: Write) -> None:
        if write is not nothing:
            await self._in_thread(write)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread. If the system gives none, do it here: a pause in serving costs less."""
        try:
            return await in_thread(work, self._thread)
        except NoThread as error:
            now = self._clock()
            if now >= self._complain_at:
                self._complain_at = now + COMPLAIN_INTERVAL
                log.error("the state is saved without a thread, while nothing is served: %s", error)
            return work()

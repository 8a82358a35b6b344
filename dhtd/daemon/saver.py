"""Keeps the state file up to date: own entries at every change, the rest now and then and at the end.

SQLite blocks, so it works in a thread, one call at a time. Own entries are on disk before anybody hears that they are
entered, and so is who may hold one, before it is sent there: when it is deleted, it is withdrawn from them all, even
after a crash. What is saved now and then is what the network would give back anyway.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import trio

from dhtd.control.threads import in_thread
from dhtd.core.metric import Id, packed, unpacked
from dhtd.core.node import Node
from dhtd.core.store import HeldEntry
from dhtd.core.track import EntryKey, entry_key
from dhtd.daemon.driver import Driver
from dhtd.daemon.state_file import SavedEntry, SavedHolder, SetHolders, StateFile
from dhtd.errors import NoThread, StateError
from dhtd.words import count

SAVE_FIRST = 1.0  # seconds until what a node learns when it joins is saved; the pause doubles up to SAVE_INTERVAL
SAVE_INTERVAL = 15.0  # seconds between looks at what has changed: what a kill may lose, and never an own entry

COMPLAIN_INTERVAL = 60.0  # seconds between complaints that there is no thread

log = logging.getLogger("dhtd.state")

T = TypeVar("T")
Write = Callable[[], None]


class Saver:
    """Writes one node's state to one file."""

    def __init__(self, file: StateFile, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._wall = wall  # seconds since the epoch
        self._thread = trio.CapacityLimiter(1)
        self._holders_lock = trio.Lock()  # who finds nothing to save of them knows that it is on disk
        self._saved_contacts: list[object] = []
        self._complain_at = float("-inf")
        self._networks: tuple[str, ...] | None = None  # of the keys, where they changed since the file was marked

    def restore(self, node: Node) -> None:
        """Give the node what the file holds. Called once, before the node runs."""
        saved = self._file.load()
        now, wall = self._clock(), self._wall()
        for contact in saved.contacts:
            node.restore_contact(contact)
        for key, port in saved.own:
            node.restore_own(key, port)
        latest = now + node.policy.store_expiry  # nothing is held for longer, even if the wall clock was wrong once
        for entry in saved.held:
            node.restore_held(HeldEntry(entry.key, entry.endpoint, min(now + entry.expires_at - wall, latest)), now)
        node.store.take_changes()
        held = {packed(entry.key) + entry.endpoint for entry in node.store}
        lost = (entry.key for entry in saved.held if packed(entry.key) + entry.endpoint not in held)
        node.store.mark_changed(set(map(packed, lost)))
        self._saved_contacts = list(saved.contacts)
        over: set[EntryKey] = set()  # of what the file has of these, there is nothing in some
        for (packed_key, port), holders in saved.holders.items():
            key = unpacked(packed_key)
            restored = [node.restore_holder(key, port, at.contact, now + at.until - wall, now) for at in holders]
            if not all(restored):
                over.add((packed_key, port))
        node.tracker.changed.clear()
        node.tracker.changed.update(over)
        log.info(
            "restored %s, %s, %s held for others, %s",
            count(len(saved.contacts), "contact"),
            count(len(saved.own), "own entry"),
            count(len(held), "entry"),
            count(len(node.withdrawals), "withdrawal"),
        )

    def mark(self, networks: tuple[str, ...]) -> None:
        """Have the file say, from the next time that it is saved, that the network has keys of these fingerprints."""
        self._networks = networks

    async def add_own(self, key: Id, port: int) -> None:
        """Make an own entry durable; raise `StateError` where the disk refuses."""
        await self._in_thread(lambda: self._file.add_own(key, port))

    async def remove_own(self, node: Node, key: Id, ports: Sequence[int]) -> None:
        """Make it durable that own entries are gone, and who may hold them; raise `StateError` where that fails."""
        holders = self._holders(node, [entry_key(key, port) for port in ports])
        await self._in_thread(lambda: self._file.remove_own(key, ports, holders))

    async def run(self, node: Node) -> None:
        """Save what has changed, again and again, until cancelled: soon after the start, when most is new."""
        pause = SAVE_FIRST
        while True:
            await trio.sleep(pause)
            pause = min(2 * pause, SAVE_INTERVAL)
            try:
                await self.save(node)
            except StateError as error:
                log.error("%s", error)  # the next round tries again

    async def write_ahead(self, driver: Driver) -> None:
        """Write down who is chosen to hold own entries before they are asked to, until cancelled.

        Those that are chosen while the disk is busy are written together. Where it fails they are asked all the same:
        an entry that nobody holds is worse than one that may have to expire. Nothing else is written with them: what a
        disk that is full does not take adds up, and to try all of that for each few entries would hold them all up.
        """
        is_failing = False  # and has been complained of: it may fail many times before the next round of `run`
        while True:
            await driver.has_unwritten.wait()
            driver.has_unwritten = trio.Event()
            chosen, driver.unwritten = driver.unwritten, []
            entries = {entry_key(publication.entry.key, publication.entry.port) for publication, _ in chosen}
            try:
                await self._save_holders(driver.node, entries)
            except StateError as error:
                if not is_failing:
                    log.error("%s", error)  # `run` tries again
                is_failing = True
            else:
                is_failing = False
            driver.node.written(chosen, self._clock())
            driver.flush()

    async def save(self, node: Node) -> None:
        """Save contacts, holders, held entries and the network's mark, as far as they have changed."""
        for to_save in (self._mark_to_save, self._contacts_to_save):
            with to_save(node) as write:
                await self._do(write)
        await self._save_holders(node, node.tracker.changed)
        with self._held_to_save(node) as write:
            await self._do(write)

    def save_now(self, node: Node) -> None:
        """Do the same without threads and without a loop, for an end that has neither."""
        for to_save in (self._mark_to_save, self._contacts_to_save, self._all_holders_to_save, self._held_to_save):
            with to_save(node) as write:
                write()

    # What is to be written. Where that fails within the context, the changes are among the next ones.

    @contextmanager
    def _mark_to_save(self, node: Node) -> Iterator[Write]:
        networks = self._networks
        yield _nothing if networks is None else lambda: self._file.set_networks(networks)
        self._networks = None

    @contextmanager
    def _contacts_to_save(self, node: Node) -> Iterator[Write]:
        contacts = node.contacts()
        yield _nothing if contacts == self._saved_contacts else lambda: self._file.save_contacts(contacts)
        self._saved_contacts = list(contacts)

    def _all_holders_to_save(self, node: Node) -> AbstractContextManager[Write]:
        return self._holders_to_save(node, node.tracker.changed)

    @contextmanager
    def _holders_to_save(self, node: Node, entries: AbstractSet[EntryKey]) -> Iterator[Write]:
        changed = node.tracker.changed & entries
        node.tracker.changed -= changed
        holders = self._holders(node, changed)
        try:
            yield (lambda: self._file.save_holders(holders)) if changed else _nothing
        except BaseException:
            node.tracker.changed |= changed
            raise

    @contextmanager
    def _held_to_save(self, node: Node) -> Iterator[Write]:
        changed = node.store.take_changes()
        offset = self._wall() - self._clock()
        keys = [unpacked(key) for key in (node.store.keys() if changed is None else changed)]
        entries = [
            (key, [SavedEntry(key, held.endpoint, held.expires_at + offset) for held in node.store.held(key)])
            for key in keys
        ]
        try:
            yield _nothing if changed == set() else lambda: self._file.save_held(entries, whole=changed is None)
        except BaseException:
            node.store.mark_changed(changed)
            raise

    async def _save_holders(self, node: Node, entries: AbstractSet[EntryKey]) -> None:
        """Save the holders of these entries, as far as they have changed by when it is their turn."""
        async with self._holders_lock:
            with self._holders_to_save(node, entries) as write:
                await self._do(write)

    def _holders(self, node: Node, entries: Iterable[EntryKey]) -> list[SetHolders]:
        now = self._clock()
        offset = self._wall() - now
        return [
            SetHolders(
                key, port, [SavedHolder(at, until + offset) for at, until in node.holders(key, port, now).items()]
            )
            for key, port in ((unpacked(packed_key), port) for packed_key, port in entries)
        ]

    async def _do(self, write: Write) -> None:
        if write is not _nothing:
            await self._in_thread(write)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Do what blocks in a thread; where the system gives none, here: a pause in serving costs less than that."""
        try:
            return await in_thread(work, self._thread)
        except NoThread as error:
            now = self._clock()
            if now >= self._complain_at:
                self._complain_at = now + COMPLAIN_INTERVAL
                log.error("the state is saved without a thread, while nothing is served: %s", error)
            return work()


def _nothing() -> None:
    """Write nothing, where nothing has changed."""

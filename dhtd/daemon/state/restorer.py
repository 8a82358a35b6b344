"""Gives a node what the state file holds, some at a time, while the node already serves.

1. The file is read in slices: own entries, held entries, held values, holders.
2. A command or a save brings its keys first. From then on the node knows all that the file has of these keys, and the
   slices leave them out.
3. Nothing of an own entry may be written before its key is brought: the write would lose what the file has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS
from dhtd.core.node import Node
from dhtd.core.records import RecordKey
from dhtd.core.storage.changed_keys import ChangedKeys
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.held_values import HeldValue
from dhtd.daemon.labels import Labels
from dhtd.daemon.state.file import SavedHeldValue, SavedHolder, SavedOwn, SavedRecord, StateFile
from dhtd.daemon.timeline import Timeline
from dhtd.errors import StateError
from dhtd.words import count

log = logging.getLogger("dhtd.state")

AT_ONCE: Final = 8  # slices that a start waits for: most nodes have no more

Holders = Sequence[tuple[RecordKey, SavedHolder]]
Own = Sequence[SavedOwn]


class Restorer:
    """Takes one file into one node. `read` blocks; all else belongs to the node's loop.

    Own entries that are `withheld` are left out, since their guards have failed. Nodes may still hold them.
    """

    def __init__(
        self,
        file: StateFile,
        node: Node,
        labels: Labels,
        timeline: Timeline,
        withheld: AbstractSet[RecordKey] = frozenset(),
    ) -> None:
        self._file = file
        self._node = node
        self._labels = labels
        self._timeline = timeline
        self._withheld = withheld
        self._brought: set[bytes] = set()  # packed keys
        # The parts of the file, in this order: a holder of an unknown own entry would count as one of a deleted entry.
        self._starts: list[Callable[[], Iterator[Any]]] = [file.own, file.held, file.held_values, file.holders]
        self._takes: list[Callable[[Any, float], None]] = [
            self._take_own,
            self._take_held,
            self._take_held_values,
            self._take_holders,
        ]
        self._part = 0
        self._slices: Iterator[Any] = file.own()
        self._counts = [0] * len(self._starts)
        self._merged = ChangedKeys(2 * node.policy.store_entries)  # of held entries: the file may still have others
        self._merged_values = ChangedKeys(2 * node.policy.values)
        self.is_over = False

    def read(self) -> Sequence[object] | None:
        """Return the next slice of the file, for `take`; None at the end of a part."""
        try:
            return next(self._slices, None)
        except StateError:
            self._slices = self._starts[self._part]()  # from its beginning: what is there stays as it is
            raise

    def take(self, some: Sequence[object] | None, now: float) -> None:
        """Give the node a slice."""
        part = self._part
        if some is None:
            self._part += 1
            if self._part < len(self._starts):
                self._slices = self._starts[self._part]()
            else:
                self._end(now)
            return
        self._counts[part] += len(some)
        self._takes[part](some, now)

    def missing(self, keys: Iterable[Id]) -> list[Id]:
        """Return the keys among these that must be brought before anything of them is written."""
        return [] if self.is_over else [key for key in keys if packed(key) not in self._brought]

    def read_keys(self, keys: Iterable[Id]) -> list[tuple[Id, Own, Holders]]:
        """Return what the file has of these keys, for `bring`."""
        return [(key, *self._file.of_key(key)) for key in keys]

    def bring(self, read: Iterable[tuple[Id, Own, Holders]], now: float) -> None:
        """Give the node what was read of some keys, unless they were brought meanwhile."""
        for key, own, holders in read:
            if self.missing([key]):
                self._take_own(own, now)
                self._take_holders(holders, now)
                self._brought.add(packed(key))

    def _take_own(self, some: Own, now: float) -> None:
        for own in some:
            if own.record_key.packed_key not in self._brought:
                self._labels.set(own.record_key, own.label)
                if own.record_key not in self._withheld:
                    self._node.publisher.restore_own(own.record_key, now)

    def merged(self, keys: set[bytes] | None) -> None:
        """Have the changes under these keys saved again at the end: what is gone is in the file until then."""
        (self._node.store.changed if self.is_over else self._merged).put_back(keys)

    def merged_values(self, keys: set[bytes] | None) -> None:
        """Do the same for held values."""
        (self._node.values.held.changed if self.is_over else self._merged_values).put_back(keys)

    def _take_held(self, some: Sequence[SavedRecord], now: float) -> None:
        for entry in some:
            self._node.store.restore(HeldRecord(entry.key, entry.record, now, entry.lease, entry.session), now)

    def _take_held_values(self, some: Sequence[SavedHeldValue], now: float) -> None:
        held, offset, latest = self._node.values.held, self._timeline.offset, now + VALUE_LASTS
        for saved in some:
            # The clock may have been set back meanwhile: no value lives for longer than a day.
            until = saved.until - offset
            is_there = held.restore(HeldValue(saved.key, saved.value, saved.source, min(until, latest)), now)
            if not is_there:
                # Perhaps somebody has put an older one meanwhile.
                held.supersede(saved.key, saved.value, now)
            if not is_there or until > latest:
                held.changed.note(packed(saved.key))

    def _take_holders(self, some: Holders, now: float) -> None:
        node, offset = self._node, self._timeline.offset
        latest = now + node.policy.store_expiry + node.policy.query_timeout
        for entry, holder in some:
            if entry.packed_key in self._brought:
                continue
            until = holder.until - offset
            seen = tuple((ip, then - offset) for ip, then in holder.seen)
            is_there = node.publisher.restore_holder(entry, holder.contact, until, now, seen)
            if not is_there or until > latest:
                node.publisher.mark_changed([entry])

    def _end(self, now: float) -> None:
        self.is_over = True
        self._brought.clear()
        self._node.store.changed.put_back(self._merged.take())
        self._node.values.held.changed.put_back(self._merged_values.take())
        self._node.publisher.restored(now)
        own = self._counts[0]
        log.info(
            "restored %s, %s, %s, %s and %s held for others, %s",
            count(len(self._node.overlays.contacts()), "contact"),
            count(own, "own entry"),
            count(len(self._node.values.own), "own value"),
            count(len(self._node.store), "entry"),
            count(len(self._node.values.held), "value"),
            count(len(self._node.withdrawals), "withdrawal"),
        )

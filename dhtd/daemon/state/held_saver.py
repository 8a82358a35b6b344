"""Saves what a node holds for others: the entries and the values under the keys that have changed.

Until all of the file is restored, the node lacks a part of it. What has changed is then written beside the rest of the
file, and once more at the end: until then, what is gone is still in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dhtd.core.ids import unpacked
from dhtd.core.node import Node
from dhtd.core.storage.changed_keys import ChangedKeys
from dhtd.daemon.state.file import SavedHeldValue, SavedRecord, StateFile
from dhtd.daemon.state.restorer import Restorer
from dhtd.daemon.timeline import Timeline

Write = Callable[[], None]


class HeldSaver:
    """Says what to write. If writing fails within the context, the changes are among the next ones.

    `most`: of so many keys. A look at all entries of a full store takes 150 ms, in which nobody is answered.
    """

    def __init__(self, file: StateFile, timeline: Timeline) -> None:
        self._file = file
        self._timeline = timeline

    @contextmanager
    def entries(self, node: Node, restorer: Restorer | None, most: int | None = None) -> Iterator[Write]:
        """Yield the function that writes held entries. The `restorer` is one that has not finished."""
        with _taken(node.store.changed, most) as changed:
            keys = [unpacked(key) for key in (node.store.keys() if changed is None else changed)]
            entries = [
                (key, [SavedRecord(key, held.record, held.lease, held.session) for held in node.store.held(key)])
                for key in keys
            ]

            def write() -> None:
                if restorer is None:
                    self._file.save_held(entries, whole=changed is None)
                else:
                    self._file.merge_held(entry for _, some in entries for entry in some)

            yield nothing if changed == set() else write
        if restorer is not None:
            restorer.merged(changed)

    @contextmanager
    def values(self, node: Node, restorer: Restorer | None, most: int | None = None) -> Iterator[Write]:
        """Yield the function that writes held values, in the same way."""
        there, offset = node.values.held, self._timeline.offset
        with _taken(there.changed, most) as changed:
            found = [(key, there.held(key)) for key in (there.keys() if changed is None else changed)]
            values = [
                (
                    unpacked(key),
                    None
                    if held is None
                    else SavedHeldValue(held.key, held.value, held.source, held.expires_at + offset),
                )
                for key, held in found
            ]

            def write() -> None:
                if restorer is None:
                    self._file.save_held_values(values, whole=changed is None)
                else:
                    self._file.merge_held_values([held for _, held in values if held is not None])

            yield nothing if changed == set() else write
        if restorer is not None:
            restorer.merged_values(changed)


def nothing() -> None:
    """Write nothing, where nothing has changed."""


@contextmanager
def _taken(keys: ChangedKeys, most: int | None) -> Iterator[set[bytes] | None]:
    changed = keys.take(most)
    try:
        yield changed
    except BaseException:
        keys.put_back(changed)
        raise

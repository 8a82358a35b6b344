"""Facts about own entries that stay on this machine: their names, and the files that declare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from dhtd.core.ids import Id
from dhtd.core.records import Peer, RecordKey


class Label(NamedTuple):
    """The facts about one own entry. The network sees its ID and its port alone."""

    name: str | None = None  # of its ID
    file: str | None = None  # the path of the file that has made it; None if it was made by hand


BLANK: Final = Label()


class Labels:
    """The labels of own entries, and the declarations of files. Entries of one ID have one name."""

    def __init__(self) -> None:
        self._labels: dict[RecordKey, Label] = {}  # without blank ones
        self.declared: Mapping[RecordKey, str] = {}  # the paths of files, by the entries that they declare now

    def of(self, record_key: RecordKey) -> Label:
        """Return the label of an entry; a blank one if it has none."""
        return self._labels.get(record_key, BLANK)

    def set(self, record_key: RecordKey, label: Label) -> None:
        """Label an entry."""
        if label == BLANK:
            self._labels.pop(record_key, None)
        else:
            self._labels[record_key] = label

    def forget(self, record_keys: Iterable[RecordKey]) -> None:
        """Drop the labels of entries that are gone."""
        for record_key in record_keys:
            self._labels.pop(record_key, None)

    def name(self, key: Id, ports: Iterable[int]) -> str | None:
        """Return the name of an ID with entries on these ports."""
        names = (self.of(RecordKey.of(key, Peer.on(port))).name for port in ports)
        return next((name for name in names if name is not None), None)

    def text(self, record_key: RecordKey) -> str:
        """Return an entry for the log: its ID, its name if it has one, and its port."""
        name = self.name(record_key.key, [record_key.port])
        named = "" if name is None else f" ({name})"
        return f"{record_key.key:064x}{named} port {record_key.port}"

    def file(self, record_key: RecordKey) -> str | None:
        """Return the file that declares an entry."""
        return self.declared.get(record_key) or self.of(record_key).file

    def names(self) -> list[tuple[RecordKey, str]]:
        """Return the entries that have names, with these."""
        return [(each, label.name) for each, label in self._labels.items() if label.name is not None]

    def made_by_files(self) -> list[tuple[RecordKey, str]]:
        """Return the entries that files have made, and the paths of these files."""
        return [(each, label.file) for each, label in self._labels.items() if label.file is not None]

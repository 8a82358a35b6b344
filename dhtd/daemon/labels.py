"""Facts about own entries and values that stay on this machine: names, and the files that declare entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from dhtd.core.ids import NATIVE, Id, Keyspace, packed
from dhtd.core.records import RecordKey


class Label(NamedTuple):
    """The facts about one own entry. The network sees its ID and its port alone."""

    name: str | None = None  # of its ID
    file: str | None = None  # the path of the file that has made it; None if it was made by hand


BLANK: Final = Label()


class Labels:
    """The labels of own entries, the names of own values, and the declarations of files.

    The entries of one ID have one name.
    """

    def __init__(self, keyspace: Keyspace = NATIVE) -> None:
        self.keyspace: Final = keyspace
        self._labels: dict[bytes, dict[RecordKey, Label]] = {}  # by packed key; without blank ones
        self._value_names: dict[bytes, str] = {}  # of own values, by packed key
        self.declared: Mapping[RecordKey, str] = {}  # the paths of files, by the entries that they declare now

    def __iter__(self) -> Iterator[tuple[RecordKey, Label]]:
        """Yield the entries with labels."""
        return ((record_key, label) for those in self._labels.values() for record_key, label in those.items())

    def of(self, record_key: RecordKey) -> Label:
        """Return the label of an entry; a blank one if it has none."""
        return self._labels.get(record_key.packed_key, {}).get(record_key, BLANK)

    def set(self, record_key: RecordKey, label: Label) -> None:
        """Label an entry."""
        if label == BLANK:
            self.forget([record_key])
        else:
            self._labels.setdefault(record_key.packed_key, {})[record_key] = label

    def forget(self, record_keys: Iterable[RecordKey]) -> None:
        """Drop the labels of entries that are gone."""
        for record_key in record_keys:
            those = self._labels.get(record_key.packed_key, {})
            if those.pop(record_key, None) is not None and not those:
                del self._labels[record_key.packed_key]

    def name(self, key: Id) -> str | None:
        """Return the name of an ID."""
        names = (label.name for label in self._labels.get(packed(key), {}).values())
        return next((name for name in names if name is not None), self.value_name(key))

    def value_name(self, key: Id) -> str | None:
        """Return the name of the own value under this ID."""
        return self._value_names.get(packed(key))

    def name_value(self, key: Id, name: str | None) -> None:
        """Name an own value; None: it has no name, or is gone."""
        if name is None:
            self._value_names.pop(packed(key), None)
        else:
            self._value_names[packed(key)] = name

    def names(self) -> list[tuple[RecordKey, str]]:
        """Return the entries that have names, with these."""
        return [(each, label.name) for each, label in self if label.name is not None]

    def text(self, record_key: RecordKey) -> str:
        """Return an entry for the log: its ID, its name if it has one, and its port."""
        name = self.of(record_key).name
        named = "" if name is None else f" ({name})"
        return f"{self.keyspace.format(record_key.key)}{named} port {record_key.port}"

    def file(self, record_key: RecordKey) -> str | None:
        """Return the file that declares an entry, or that has made it."""
        return self.declared.get(record_key) or self.of(record_key).file

    def made_by_files(self) -> list[tuple[RecordKey, str]]:
        """Return the entries that files have made, and the paths of these files."""
        return [(each, label.file) for each, label in self if label.file is not None]

"""What a state file holds, as values. Times are in seconds of the file's time: see `Timeline`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.publishing.sightings import Seen
from dhtd.core.records import Peer, RecordKey, Value
from dhtd.daemon.labels import BLANK, Label


@dataclass(frozen=True, slots=True)
class SavedOwn:
    """An own entry. Files before version 5 have no labels."""

    record_key: RecordKey
    label: Label = BLANK


@dataclass(frozen=True, slots=True)
class SavedRecord:
    """An entry held for another node: see `HeldRecord`."""

    key: Id
    record: Peer
    lease: int
    session: bytes

    @property
    def record_key(self) -> RecordKey:
        """What the entry is found by."""
        return RecordKey.of(self.key, self.record)


@dataclass(frozen=True, slots=True)
class SavedHolder:
    """A node that may hold an own entry, or a deleted one, until then, in seconds of the file's time: see `Timeline`.

    `seen`: from where the stores came, as it has seen it, see `dhtd.core.publishing.sightings`.
    Files before version 3 do not tell.
    """

    contact: Contact
    until: float
    seen: Seen = ()


@dataclass(frozen=True, slots=True)
class SavedGuard:
    """The guard of an own entry: a check, which survives a restart, or `HELD`."""

    what: str
    every: float = 0.0  # seconds
    passed: bool = True  # else the entry is not published


HELD: Final = SavedGuard("")  # by processes and connections: at the next start, the entry is gone


@dataclass(frozen=True, slots=True)
class SavedOwnValue:
    """A value that the node keeps in the network."""

    key: Id
    value: Value
    wanted: int  # so many nodes at least are to hold it
    name: str | None = None  # of its ID


@dataclass(frozen=True, slots=True)
class SavedHeldValue:
    """A value held for another node: see `HeldValue`."""

    key: Id
    value: Value
    source: bytes
    until: float


@dataclass(frozen=True, slots=True)
class SavedState:
    """All that the file holds: contacts in the order in which they were saved, and what has expired, too."""

    node_id: Id | None
    contacts: list[Contact]
    own: list[RecordKey]
    held: list[SavedRecord]
    holders: dict[RecordKey, list[SavedHolder]] = field(default_factory=dict)  # of own entries, and of former ones
    labels: dict[RecordKey, Label] = field(default_factory=dict)  # of own entries, without blank ones
    guards: dict[RecordKey, SavedGuard] = field(default_factory=dict)
    own_values: list[SavedOwnValue] = field(default_factory=list)
    held_values: list[SavedHeldValue] = field(default_factory=list)

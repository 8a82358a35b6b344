"""What survives a restart of a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.publishing.sightings import Seen
from dhtd.core.records import RecordKey
from dhtd.core.storage.held_record import HeldRecord


@dataclass(frozen=True, slots=True)
class Holding:
    """A node that may hold an own or a deleted entry, until when, and under which addresses of this machine."""

    record_key: RecordKey
    contact: Contact
    until: float
    seen: Seen


@dataclass(frozen=True, slots=True)
class Saved:
    """A state file. Entries expire by the machine's wall clock, also those that other nodes hold for it."""

    id: Id
    contacts: tuple[Contact, ...]
    own: tuple[RecordKey, ...]
    held: tuple[HeldRecord, ...]
    holders: tuple[Holding, ...] = ()
    session: bytes | None = None  # None: a new one is drawn

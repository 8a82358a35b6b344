"""What becomes of a contact that answers: whether it enters the routing table."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.messages import Contact


@dataclass(frozen=True, slots=True)
class Inserted:
    """The contact is in the table now."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The contact is in the table now, in place of `evicted`."""

    evicted: Contact


@dataclass(frozen=True, slots=True)
class Known:
    """The contact was in the table already; its record is up to date."""


@dataclass(frozen=True, slots=True)
class Verify:
    """The bucket is full: ping `questionable`. If it fails, the newcomer, which waits, takes its place."""

    questionable: Contact


@dataclass(frozen=True, slots=True)
class Full:
    """The bucket is full of good contacts; the newcomer waits for one of them to turn bad."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The contact claims our own ID, or one that a contact elsewhere has, or has changed its ID too often."""


@dataclass(frozen=True, slots=True)
class Contested:
    """A contact elsewhere has this ID: ping `incumbent`. If it fails, the newcomer, which waits, takes its place."""

    incumbent: Contact


@dataclass(frozen=True, slots=True)
class Crowded:
    """The contact's address or network has as many contacts as it may, by this cap."""

    cap: str


Admission = Inserted | Replaced | Known | Verify | Full | Refused | Contested | Crowded

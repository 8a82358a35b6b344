"""An entry of this machine, from its first publication to its withdrawal."""

from __future__ import annotations

from enum import Enum, auto

from dhtd.core.events import Handle
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact


class EntryState(Enum):
    """How far an own entry is. A failure leads back to WANTED."""

    WANTED = auto()  # to be looked up, when its turn comes
    SOUGHT = auto()  # the successor of its key is being looked up
    OFFERED = auto()  # a node was asked to store it, or that it is withdrawn
    HELD = auto()  # a node has stored it, and is asked again when a renewal is due


class OwnEntry:
    """A key that this machine serves on a port, or did until it was withdrawn."""

    __slots__ = (
        "failures",
        "holder",
        "is_withdrawn",
        "key",
        "lasts_until",
        "op",
        "port",
        "referrals",
        "stamp",
        "state",
    )

    def __init__(self, key: Id, port: int, op: Handle | None, now: float) -> None:
        self.key = key
        self.port = port
        self.op = op  # the command that waits for its first publication, or for its withdrawal
        self.state = EntryState.WANTED
        self.stamp = stamp(now)
        self.is_withdrawn = False
        self.holder: Contact | None = None
        self.lasts_until = now  # when the last lease that we have asked for is over
        self.referrals = 0
        self.failures = 0  # in a row

    @property
    def name(self) -> bytes:
        """What it is found by."""
        return packed(self.key) + self.port.to_bytes(2, "big")

    def withdraw(self, op: Handle | None, now: float) -> None:
        """It is to be withdrawn: what holders have is out of date."""
        self.op, self.is_withdrawn, self.failures = op, True, 0
        self.stamp = max(self.stamp + 1, stamp(now))


def stamp(now: float) -> int:
    """Return the stamp of a record of this moment."""
    return max(0, int(now * 1e6))

"""A node that holds own records or watches of ours, as `Heartbeats` follows it."""

from __future__ import annotations

from typing import Protocol

from dhtd.core.messages import Contact
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.restock import Restock
from dhtd.core.records import RecordKey


class Watching(Protocol):
    """Has watches at holders."""

    def lost(self, key: bytes, contact: Contact, now: float) -> None:
        """A node does not answer any more that told us of changes under this packed key."""

    def missing(self, key: bytes, contact: Contact, now: float) -> None:
        """A node may have forgotten our watch of this key."""


class Holder:
    """A node that holds some of our records, or watches."""

    __slots__ = (
        "entries",
        "misses",
        "repeats",
        "restock",
        "restock_at",
        "restocks",
        "slot",
        "surplus",
        "token",
        "was_asked",
        "watches",
    )

    def __init__(self) -> None:
        self.entries: dict[RecordKey, OwnEntry] = {}  # that it has taken
        self.was_asked = False  # since this node knows of it
        self.watches: dict[bytes, Watching] = {}  # by packed key
        self.token = b""  # for the next renewal
        self.misses = 0  # heartbeats in a row without an answer
        self.repeats = False  # the renewal is sent for the second time, with a new token
        self.restock: Restock | None = None  # under way
        self.restock_at = float("-inf")  # not sooner
        self.restocks = 0  # since it has held all of its entries
        self.slot = 0.0  # from 0 to 1: its place in a beat
        self.surplus = 0  # heartbeats in a row with more records than it took

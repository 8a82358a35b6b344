"""What became of a store, as values."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.counters import (
    STORE_ENTRIES,
    STORE_ENTRIES_PER_KEY,
    STORE_ENTRIES_PER_SOURCE,
    VALUE_KIB,
    VALUE_KIB_PER_SOURCE,
    VALUES,
    VALUES_PER_SOURCE,
)


@dataclass(frozen=True, slots=True)
class Stored:
    """The record is held. If a quota was used up, another one was evicted for it."""

    evicted_by: str | None = None  # the name of the quota


@dataclass(frozen=True, slots=True)
class QuotaReached:
    """The record is not held: a quota is used up, and no other source has more of it."""

    cap: str
    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The value is not held, whatever room there is. The `code` is that of the error which says so."""

    code: int
    text: str


STORED = Stored()
EVICTED_BY = {cap: Stored(cap) for cap in (STORE_ENTRIES_PER_KEY, STORE_ENTRIES, VALUES, VALUE_KIB)}
REFUSED_BY = {
    STORE_ENTRIES_PER_SOURCE: QuotaReached(STORE_ENTRIES_PER_SOURCE, "too many entries from this address"),
    STORE_ENTRIES_PER_KEY: QuotaReached(STORE_ENTRIES_PER_KEY, "too many entries under this key"),
    STORE_ENTRIES: QuotaReached(STORE_ENTRIES, "store is full"),
    VALUES: QuotaReached(VALUES, "store is full"),
    VALUE_KIB: QuotaReached(VALUE_KIB, "store is full"),
    VALUES_PER_SOURCE: QuotaReached(VALUES_PER_SOURCE, "too many values from this address"),
    VALUE_KIB_PER_SOURCE: QuotaReached(VALUE_KIB_PER_SOURCE, "too many bytes from this address"),
}

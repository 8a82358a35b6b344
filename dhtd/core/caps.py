"""The caps: whatever a stranger, or a client, could make grow is held to a number of `Policy`, and has its name here.

Each time that a cap refuses something, leaves something out, or makes something wait, `Counters.caps_hit` counts it
under the name of its field.
"""

from __future__ import annotations

from typing import Final

RATE_LIMIT: Final = "rate_limit"
RATE_LIMIT_TOTAL: Final = "rate_limit_total"
STORE_ENTRIES: Final = "store_entries"
STORE_ENTRIES_PER_KEY: Final = "store_entries_per_key"
STORE_ENTRIES_PER_SOURCE: Final = "store_entries_per_source"

CAPS: Final = (
    RATE_LIMIT,  # queries of one source above it are not answered
    RATE_LIMIT_TOTAL,  # nor those of strangers above it, nor those of all
    STORE_ENTRIES,  # an entry is refused, or evicted for another
    STORE_ENTRIES_PER_KEY,  # the same
    STORE_ENTRIES_PER_SOURCE,  # an entry is refused
)


def none_hit() -> dict[str, int]:
    """Return a count of 0 for each cap."""
    return dict.fromkeys(CAPS, 0)

"""Whether the resources of daemons stay flat.

A run is cut into thirds. In the first, tables fill, entries are made and the allocator finds its size; it does not
count. Then the load goes on as before, and nothing may grow: for each daemon that ran all the time, the median of the
last third is held against that of the second. Killed and restarted daemons are shown beside them, but a fresh process
tells nothing about a slow leak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from tests.soak.probe import Sample

GROWTH: Final = {
    "rss_kb": (1.05, 1024),
    "descriptors": (1.0, 1),
    "threads": (1.0, 1),
}  # at most: a factor, and an offset
JUDGED_FROM: Final = 180.0  # seconds: a shorter run is all warm-up
SAMPLES_MIN: Final = 5  # in a third

Series = Sequence[tuple[float, Sample]]  # time in seconds from the start, and sample


@dataclass(frozen=True)
class Flatness:
    """One quantity of the daemons that ran all the time; medians over them and over each third."""

    quantity: str
    first: float
    second: float
    last: float
    worst: float  # of a single daemon: its last third's median for each of its second third's
    is_flat: bool | None  # None: not judged


def flatness(quantity: str, daemons: Sequence[Series], duration: float) -> Flatness:
    """Compare the thirds of a run that took `duration` seconds."""
    place = Sample._fields.index(quantity)
    thirds = [[_third(series, place, which, duration) for series in daemons] for which in range(3)]
    medians = [[median(values) for values in third if values] for third in thirds]
    first, second, last = (median(values) if values else float("nan") for values in medians)
    factor, offset = GROWTH[quantity]
    pairs = [(median(before), median(after)) for before, after in zip(*thirds[1:], strict=True) if before and after]
    is_enough = bool(daemons) and all(len(values) >= SAMPLES_MIN for third in thirds[1:] for values in third)
    return Flatness(
        quantity,
        first,
        second,
        last,
        max((after / before for before, after in pairs), default=float("nan")),
        all(after <= before * factor + offset for before, after in pairs)
        if is_enough and duration >= JUDGED_FROM
        else None,
    )


def _third(series: Series, place: int, which: int, duration: float) -> list[int]:
    begin, end = which * duration / 3, (which + 1) * duration / 3
    return [sample[place] for at, sample in series if begin <= at < end]

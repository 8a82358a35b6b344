"""The figures of a run: the percentiles are of the latest lookups, and the hops of all."""

from __future__ import annotations

from dhtd.core.events import LookupStats
from dhtd.lab.figures import LATEST, Figures


def test_percentiles_are_of_the_latest_lookups() -> None:
    figures = Figures()
    for number in range(2 * LATEST):
        elapsed = 9.0 if number < LATEST else 0.5
        figures.ended(LookupStats(hops=2, queries=3, responses=3, timeouts=0, elapsed=elapsed))
    told = figures.told()
    assert (told["p50_ms"], told["p99_ms"]) == (500.0, 500.0)
    assert told["hops"] == {"2": 2 * LATEST}
    assert len(figures._elapsed_ms) == LATEST

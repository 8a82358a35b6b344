"""Visits to many entries: some hundreds at a time, whatever the news is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.walks import STEP
from dhtd.core.records import RecordKey
from tests.core.publishing.tracker import KEY, REPLICAS, Tracker, make, publish
from tests.core.small import contact
from tests.records import own_key


class Looks(dict[RecordKey, OwnEntry]):
    """The tracked entries; it counts how often one is looked up, as a walk does with each."""

    looks = 0

    def get(self, *found_by: Any) -> Any:
        self.looks += 1
        return super().get(*found_by)

    def taken(self) -> int:
        looks, self.looks = self.looks, 0
        return looks


NEWS: dict[str, Callable[[Tracker], object]] = {
    "a move": lambda tracker: tracker.upheavals.moved(1_000.0),
    "a pause": lambda tracker: tracker.upheavals.slept(1.0, 1_000.0),
    "a family": lambda tracker: tracker.upheavals.joined(Family.IPV6, 1_000.0),
    "a loss": lambda tracker: [tracker.hurrying.holder_lost(replica, 1_000.0) for replica in REPLICAS[:4]],
    "a contact": lambda tracker: tracker.hurrying.contact_stayed(contact(3, machine=99), 1_000.0, 1_000.0),
    "growth": lambda tracker: tracker.hurrying.network_has(64, Family.IPV4, 1_000.0),
}


@pytest.mark.parametrize("news", NEWS)
@pytest.mark.parametrize("holders", [3, 8])  # three are all nodes of a small network: each contact concerns all entries
def test_no_news_visits_all_entries_at_once(news: str, holders: int) -> None:
    tracker = make(replace(DEFAULT, newcomer_credit=5_000))
    for port in range(1, 3_001):
        publish(tracker, tracker.add(own_key(KEY, port)), 0.0, REPLICAS[:holders])
    looks = tracker._entries = Looks(tracker._entries)
    NEWS[news](tracker)
    steps = [looks.taken()]
    while tracker._walks:
        assert tracker.next_timeout() == 1_000.0
        tracker._walks.step(1_000.0)
        steps.append(looks.taken())
    assert sum(steps) >= 3_000
    assert max(steps) <= 4 * STEP  # four losses are four walks
    if news in ("a loss", "a contact", "growth"):
        assert all(entry.hurried for entry in tracker)

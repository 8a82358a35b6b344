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
from tests.core.publishing.hurried import KEY, REPLICAS, HurriedRecords, make, publish
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


NEWS: dict[str, Callable[[HurriedRecords], object]] = {
    "a move": lambda records: records.upheavals.moved(1_000.0),
    "a pause": lambda records: records.upheavals.slept(1.0, 1_000.0),
    "a family": lambda records: records.upheavals.joined(Family.IPV6, 1_000.0),
    "a loss": lambda records: [records.hurrying.holder_lost(replica, 1_000.0) for replica in REPLICAS[:4]],
    "a contact": lambda records: records.hurrying.contact_stayed(contact(3, machine=99), 1_000.0, 1_000.0),
    "growth": lambda records: records.hurrying.network_has(64, Family.IPV4, 1_000.0),
}


@pytest.mark.parametrize("news", NEWS)
# Three are all nodes of a small network: each contact concerns all entries.
@pytest.mark.parametrize("holders", [pytest.param(3, marks=pytest.mark.no_cover), 8])
def test_no_news_visits_all_entries_at_once(news: str, holders: int) -> None:
    records = make(replace(DEFAULT, newcomer_credit=5_000))
    for port in range(1, 4 * STEP + 101):
        publish(records, records.add(own_key(KEY, port)), 0.0, REPLICAS[:holders])
    looks = records._entries = Looks(records._entries)
    NEWS[news](records)
    steps = [looks.taken()]
    while records._walks:
        assert records.next_timeout() == 1_000.0
        records._walks.step(1_000.0)
        steps.append(looks.taken())
    assert sum(steps) >= 4 * STEP + 100
    assert max(steps) <= 4 * STEP  # four losses are four walks
    if news in ("a loss", "a contact", "growth"):
        assert all(entry.hurried for entry in records)

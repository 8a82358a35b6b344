"""One own entry: its holders, and how its interval follows from how long they stay."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from tests.core.publishing.hurried import KEY, make, publish
from tests.core.small import contact
from tests.records import own_key


def test_holders_are_known_until_their_copies_expire() -> None:
    records = make()
    entry = records.add(own_key(KEY, 80))
    records.may_hold(entry, contact(1), until=10.0)
    records.may_hold(entry, contact(2), until=20.0)
    records.may_hold(entry, contact(1), until=15.0)
    assert records.changed() == {own_key(KEY, 80)}
    assert list(entry.holders(14.9)) == [contact(2), contact(1)]
    assert entry.holders(15.0) == {contact(2): 20.0}
    publish(records, entry, 16.0)
    assert list(entry.holders(0.0)) == [contact(2)]


def test_the_interval_follows_how_long_holders_stay() -> None:
    records = make()
    entry = records.add(own_key(Id(1), 80))
    minutes, now = [], 0.0
    some_stay = range(5, 13)
    for holders in (range(8), range(2, 10), range(2, 10), some_stay, range(13, 21), range(20, 28), range(20, 28)):
        records.began(entry, 0.0)
        records.published(own_key(Id(1), 80), [contact(100 + id) for id in holders], now)
        minutes.append(entry.interval / 60)
        now += entry.interval
    assert minutes == [15, 30, 45, 45, 22.5, 15, 30]


def test_two_publications_in_a_row_prove_nothing() -> None:
    records = make()
    entry = records.add(own_key(Id(1), 80))
    for now in (0.0, 60.0, 120.0):
        records.began(entry, 0.0)
        records.published(own_key(Id(1), 80), [contact(5)], now)
    assert entry.interval == DEFAULT.republish_first
    records.began(entry, 0.0)
    records.published(own_key(Id(1), 80), [], 2_000.0)
    records.began(entry, 0.0)
    records.published(own_key(Id(1), 80), [contact(5)], 4_000.0)  # the network was away, and not the holders
    assert entry.interval == DEFAULT.republish_first

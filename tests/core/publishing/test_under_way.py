"""Withdrawals under way are counted by entry."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.publishing.under_way import UnderWay
from tests.records import own_key

OWN, OTHER = own_key(Id(5), 80), own_key(Id(5), 81)


def test_at_first_none_is_under_way() -> None:
    under_way = UnderWay()
    assert len(under_way) == 0
    assert OWN not in under_way


def test_an_entry_is_under_way_until_its_last_end() -> None:
    under_way = UnderWay()
    under_way.begin(OWN)
    under_way.begin(OWN)
    assert OWN in under_way
    assert under_way.end(OWN) is False
    assert OWN in under_way
    assert under_way.end(OWN) is True
    assert OWN not in under_way
    assert len(under_way) == 0


def test_an_ended_entry_may_begin_again() -> None:
    under_way = UnderWay()
    for _ in range(2):
        under_way.begin(OWN)
        assert under_way.end(OWN) is True


def test_each_port_of_a_key_counts_for_itself() -> None:
    under_way = UnderWay()
    under_way.begin(OWN)
    assert OTHER not in under_way
    under_way.begin(OTHER)
    assert len(under_way) == 2
    assert under_way.end(OTHER) is True
    assert OWN in under_way
    assert len(under_way) == 1

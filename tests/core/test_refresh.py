"""Which buckets are stale."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.refresh import Refresher
from dhtd.core.routing_table import RoutingTable
from tests.core.small import SEVEN, contact
from tests.strategies import ids

AFTER = DEFAULT.bucket_refresh


def make(*members: int, own_id: int = 0, k: int = 2) -> tuple[Refresher, RoutingTable]:
    table = RoutingTable(SEVEN, Id(own_id), k, now=0.0)
    for id in members:
        table.insert(contact(id))
    return Refresher(table, Random(1), DEFAULT), table


def test_with_nobody_to_ask_nothing_is_stale() -> None:
    refresher, _ = make()
    assert refresher.next_timeout() is None
    assert refresher.next_target(1e9) is None


def test_a_bucket_is_stale_after_fifteen_minutes_without_activity() -> None:
    refresher, _ = make(5)
    assert refresher.next_timeout() == AFTER == 15 * 60
    assert refresher.next_target(AFTER - 0.1) is None
    assert refresher.next_target(AFTER) is not None
    assert refresher.next_timeout() == 2 * AFTER
    assert refresher.next_target(AFTER) is None


def test_the_stalest_bucket_comes_first_and_its_target_is_in_its_range() -> None:
    refresher, table = make(1, 2, 64, 65, 32)
    assert len(table.buckets) == 3
    for bucket, activity in zip(table.buckets, (20.0, 10.0, 30.0), strict=True):
        bucket.activity = activity
    assert refresher.next_timeout() == 10.0 + AFTER
    for expected in (1, 0, 2):
        target = refresher.next_target(1_000.0)
        assert target is not None
        assert target in table.buckets[expected]
        assert table.buckets[expected].activity == 1_000.0
    assert refresher.next_target(1_000.0) is None


def test_any_id_of_the_range_may_be_the_target() -> None:
    refresher, table = make(1, 2, 64, 65, 32)
    targets = set()
    for _ in range(2_000):
        for bucket in table.buckets:
            bucket.activity = 0.0 if bucket is table.buckets[1] else 1.0
        targets.add(refresher.next_target(AFTER))
    assert targets == set(range(table.buckets[1].low, table.buckets[1].high + 1))


def test_one_refresh_is_under_way_at_a_time() -> None:
    refresher, _ = make(5)
    refresher.busy = True
    assert refresher.next_timeout() is None
    assert refresher.next_target(1e9) is None
    refresher.busy = False
    assert refresher.next_target(1e9) is not None


@given(ids(SEVEN), st.sets(ids(SEVEN), max_size=40))
def test_who_joins_asks_about_every_bucket_that_is_farther_than_its_nearest_neighbour(
    own: Id, members: set[Id]
) -> None:
    refresher, table = make(*members - {own}, own_id=own)
    for bucket in table.buckets:
        bucket.activity = 500.0
    refresher.expire_far_buckets(500.0)
    nearest = min((member.id ^ own for member in table), default=0)
    for bucket in table.buckets:
        beyond = min(id ^ own for id in range(bucket.low, bucket.high + 1)) > nearest
        assert bucket.activity == (500.0 - AFTER if beyond else 500.0)


def test_a_bucket_that_is_staler_still_stays_so() -> None:
    refresher, table = make(1, 2, 64, 65)
    table.buckets[1].activity = 3.0
    refresher.expire_far_buckets(5_000.0)
    assert table.buckets[1].activity == 3.0

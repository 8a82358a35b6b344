"""Good, questionable, bad."""

from __future__ import annotations

import pytest

from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing_meta import RoutingMeta, Standing

A = Id(1)
LATER = DEFAULT.good_for


def make() -> RoutingMeta:
    meta = RoutingMeta(DEFAULT)
    meta.add(A)
    return meta


def test_a_contact_that_never_answered_is_questionable() -> None:
    assert make().standing(A, 0.0) is Standing.QUESTIONABLE
    assert not make().get(A).reachable


def test_an_answer_makes_a_contact_good_for_fifteen_minutes() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    assert meta.get(A).reachable
    assert meta.standing(A, 100.0 + LATER - 0.001) is Standing.GOOD
    assert meta.standing(A, 100.0 + LATER) is Standing.QUESTIONABLE
    assert LATER == 15 * 60


def test_a_query_counts_only_from_a_contact_that_has_answered() -> None:
    meta = make()
    meta.queried(A, 100.0)
    assert meta.get(A).heard_at is None
    assert meta.standing(A, 100.0) is Standing.QUESTIONABLE
    meta.answered(A, 0.1, 100.0)
    meta.queried(A, 500.0)
    assert meta.standing(A, 500.0 + LATER - 1) is Standing.GOOD


def test_more_than_one_consecutive_timeout_makes_a_contact_bad_however_lately_it_was_heard() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    assert meta.timed_out(A) is False
    assert meta.standing(A, 100.0) is Standing.GOOD
    assert not meta.is_bad(A)
    assert meta.timed_out(A) is True
    assert meta.standing(A, 100.0) is Standing.BAD
    assert meta.is_bad(A)
    assert meta.timed_out(A) is False  # it was bad before


def test_an_answer_ends_a_row_of_timeouts_and_a_query_does_not() -> None:
    meta = make()
    meta.answered(A, 0.1, 100.0)
    meta.timed_out(A)
    meta.answered(A, 0.1, 101.0)
    meta.timed_out(A)
    assert not meta.is_bad(A)
    meta.timed_out(A)
    meta.queried(A, 102.0)
    assert meta.is_bad(A)
    meta.answered(A, None, 103.0)
    assert meta.standing(A, 103.0) is Standing.GOOD


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_how_many_timeouts_are_forgiven_is_policy(allowed: int) -> None:
    meta = RoutingMeta(Policy(bad_after=allowed))
    meta.add(A)
    assert [meta.timed_out(A) for _ in range(allowed + 1)] == [False] * allowed + [True]


def test_only_an_unambiguous_round_trip_is_taken() -> None:
    meta = make()
    meta.answered(A, None, 1.0)
    assert meta.get(A).round_trips.mean is None
    meta.answered(A, 0.25, 1.0)
    assert meta.get(A).round_trips.mean == 0.25


def test_a_contact_that_left_and_comes_back_starts_anew() -> None:
    meta = make()
    meta.answered(A, 0.1, 1.0)
    meta.timed_out(A)
    meta.drop(A)
    with pytest.raises(KeyError):
        meta.get(A)
    record = meta.add(A)
    assert (record.heard_at, record.reachable, record.timeouts, record.round_trips.mean) == (None, False, 0, None)

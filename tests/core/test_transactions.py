"""Queries in flight."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.messages import Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.transactions import InFlight, Retry, RoundTrips, Slow, TimedOut, Transactions
from tests.core.small import endpoint

HERE, ELSEWHERE = endpoint(1), endpoint(2)
TIMEOUT = DEFAULT.query_timeout


def make() -> Transactions[str]:
    return Transactions(8, Random(1), DEFAULT)


def begin(
    transactions: Transactions[str], now: float = 0.0, attempts: int = 1, measured: RoundTrips | None = None
) -> InFlight[str]:
    tid = transactions.new_tid()
    query = InFlight(tid, Ping(), HERE, None, "owner", b"datagram", now, attempts)
    transactions.begin(query, measured)
    return query


def measured(*rtts: float) -> RoundTrips:
    round_trips = RoundTrips()
    for rtt in rtts:
        round_trips.add(rtt)
    return round_trips


def test_an_answer_matches_by_transaction_id_and_exact_source() -> None:
    transactions = make()
    query = begin(transactions)
    other = begin(transactions)
    assert transactions.match(query.tid, HERE) is query
    assert transactions.match(other.tid, HERE) is other
    assert transactions.match(query.tid, ELSEWHERE) is None
    assert transactions.match(query.tid, HERE.with_port(1)) is None
    assert transactions.match(bytes(8), HERE) is None
    assert len(transactions) == 2


def test_an_answered_query_is_over() -> None:
    transactions = make()
    query = begin(transactions, now=10.0)
    assert transactions.conclude(query, 10.25) == 0.25
    assert transactions.match(query.tid, HERE) is None
    assert len(transactions) == 0
    assert transactions.next_timeout() is None
    assert list(transactions.expire(100.0)) == []


def test_transaction_ids_have_the_size_of_the_wire_and_differ_from_those_in_flight() -> None:
    class Repeating(Random):
        """Draws each value twice."""

        def __init__(self) -> None:
            super().__init__(1)
            self.drawn: list[bytes] = []

        def randbytes(self, n: int) -> bytes:
            self.drawn.append(len(self.drawn).__floordiv__(2).to_bytes(n, "big"))
            return self.drawn[-1]

    transactions: Transactions[str] = Transactions(2, Repeating(), DEFAULT)
    tids = [begin(transactions).tid for _ in range(5)]
    assert tids == [number.to_bytes(2, "big") for number in range(5)]


def test_an_unmeasured_query_turns_slow_after_the_initial_guess_and_times_out_at_two_seconds() -> None:
    transactions = make()
    query = begin(transactions, now=1.0)
    assert transactions.next_timeout() == 1.0 + DEFAULT.slow_initial
    assert list(transactions.expire(1.49)) == []
    assert list(transactions.expire(1.5)) == [Slow(query)]
    assert query.slow
    assert transactions.match(query.tid, HERE) is query
    assert transactions.next_timeout() == 1.0 + TIMEOUT
    assert list(transactions.expire(2.99)) == []
    assert list(transactions.expire(3.0)) == [TimedOut(query)]
    assert transactions.match(query.tid, HERE) is None
    assert len(transactions) == 0


def test_a_query_that_nobody_looked_at_in_time_times_out_without_being_slow() -> None:
    transactions = make()
    query = begin(transactions)
    assert list(transactions.expire(60.0)) == [TimedOut(query)]
    assert not query.slow


def test_a_retry_starts_the_clock_again_and_keeps_the_transaction_id() -> None:
    transactions = make()
    query = begin(transactions, attempts=2)
    assert list(transactions.expire(0.5)) == [Slow(query)]
    assert list(transactions.expire(2.5)) == [Retry(query, sent_at=0.0)]
    assert (query.sent_at, query.attempts_left) == (2.5, 1)
    assert transactions.match(query.tid, HERE) is query
    assert transactions.next_timeout() == 2.5 + TIMEOUT
    assert list(transactions.expire(4.5)) == [TimedOut(query)]


def test_the_round_trip_of_a_retried_query_is_not_measured() -> None:
    transactions = make()
    query = begin(transactions, attempts=2)
    list(transactions.expire(2.0))
    assert transactions.conclude(query, 2.1) is None
    assert transactions.round_trips.mean is None


def test_a_contact_s_own_round_trips_decide_before_those_of_all() -> None:
    transactions = make()
    transactions.conclude(begin(transactions), 0.2)
    assert transactions.round_trips.mean == pytest.approx(0.2)
    begin(transactions, now=10.0)
    assert transactions.next_timeout() == pytest.approx(10.0 + 0.2 + 4 * 0.1)  # RFC 6298, first sample
    begin(transactions, now=10.0, measured=measured(0.1))
    assert transactions.next_timeout() == pytest.approx(10.0 + 0.1 + 4 * 0.05)
    begin(transactions, now=1.0, measured=RoundTrips())
    assert transactions.next_timeout() == pytest.approx(1.0 + 0.2 + 4 * 0.1)


def test_no_query_is_slow_before_the_floor_or_after_its_timeout() -> None:
    transactions = make()
    begin(transactions, measured=measured(*[0.001] * 50))
    assert transactions.next_timeout() == DEFAULT.slow_floor
    transactions = make()
    lame = begin(transactions, measured=measured(1.5))
    assert transactions.next_timeout() == TIMEOUT
    assert list(transactions.expire(TIMEOUT)) == [TimedOut(lame)]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=50))
def test_round_trips_stay_within_what_was_measured(rtts: list[float]) -> None:
    round_trips = measured(*rtts)
    patience = round_trips.patience()
    assert round_trips.mean is not None
    assert patience is not None
    assert min(rtts) - 1e-9 <= round_trips.mean <= max(rtts) + 1e-9
    assert patience >= round_trips.mean
    assert RoundTrips().patience() is None


def test_a_steady_contact_earns_a_short_patience_and_a_shaky_one_a_long() -> None:
    steady, shaky = measured(*[0.1] * 40), measured(*[0.02, 0.18] * 20)
    assert steady.mean == pytest.approx(0.1)
    assert steady.patience() == pytest.approx(0.1, abs=0.001)
    assert shaky.mean == pytest.approx(0.1, abs=0.02)
    assert shaky.patience() == pytest.approx(0.42, abs=0.05)


def test_round_trips_follow_rfc_6298() -> None:
    round_trips = measured(0.4)
    assert round_trips.patience() == pytest.approx(0.4 + 4 * 0.2)
    round_trips.add(0.8)
    assert round_trips.mean == pytest.approx(0.4 * 7 / 8 + 0.8 / 8)
    assert round_trips.patience() == pytest.approx(0.45 + 4 * (0.75 * 0.2 + 0.25 * 0.4))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 3)), min_size=1, max_size=30))
def test_every_query_ends_and_waking_at_next_timeout_always_finds_something_to_do(
    starts: list[tuple[float, int]],
) -> None:
    transactions = make()
    ended = []
    now = 0.0
    for gap, attempts in starts:
        now += gap
        begin(transactions, now=now, attempts=attempts)
    while (when := transactions.next_timeout()) is not None:
        happened = list(transactions.expire(max(when, now)))
        assert happened
        ended += [expiry.query.tid for expiry in happened if isinstance(expiry, TimedOut)]
        assert not list(transactions.expire(max(when, now)))
    assert len(ended) == len(set(ended)) == len(starts)
    assert len(transactions) == 0

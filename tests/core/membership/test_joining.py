"""Staying connected."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.events import Silence
from dhtd.core.ids import Id
from dhtd.core.membership.joining import TRANSITIONS, JoiningClock, Turn
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.overlay import Joining, Overlay
from tests.core.small import CODEC

TIMEOUT = DEFAULT.query_timeout


def make(seed: int = 1) -> JoiningClock:
    rng = Random(seed)
    return JoiningClock(Overlay(Family.IPV4, Id(0), CODEC, Random(1), DEFAULT, 0.0), rng, DEFAULT)


def state(join: JoiningClock) -> Joining:
    return join._overlay.joining


def connected(now: float = 0.0) -> JoiningClock:
    join = make()
    assert join.answered(now)
    return join


def test_nothing_is_attempted_before_the_start() -> None:
    join = make()
    assert join.next_timeout() is None
    assert not join.is_attempt_due(1e9)
    assert not join.is_probe_due(1e9)


def test_the_first_attempt_is_made_at_once() -> None:
    join = make()
    join.attempt_now(5.0)
    assert join.next_timeout() == 5.0
    assert not join.is_attempt_due(4.9)
    assert join.is_attempt_due(5.0)
    assert not join.is_attempt_due(5.0)


def test_pauses_grow_up_to_five_minutes() -> None:
    join = make()
    join.attempt_now(0.0)
    now, pauses = 0.0, []
    for _ in range(60):
        assert join.is_attempt_due(now)
        later = join.next_timeout()
        assert later is not None
        pauses.append(later - now - TIMEOUT)
        now = later
    for pause, expected in zip(pauses, [2, 4, 8, 16, 32, 64, 128, 256] + [300] * 52, strict=True):
        assert expected * 0.75 <= pause <= expected
    assert len(set(pauses[8:])) > 40  # jittered


def test_attempts_after_the_start_have_no_pause() -> None:
    join = make()
    join.begin(0.0)
    now, pauses = 0.0, []
    for _ in range(8):
        assert join.is_attempt_due(now)
        later = join.next_timeout()
        assert later is not None
        pauses.append(later - now - TIMEOUT)
        now = later
    assert all(0 < pause <= 0.25 for pause in pauses[:4])
    for pause, expected in zip(pauses[4:], [2, 4, 8, 16], strict=True):
        assert expected * 0.75 <= pause <= expected


def test_a_connected_node_is_not_eager() -> None:
    join = connected()
    join.begin(1.0)
    assert not join.is_eager(1.0)
    assert not join.is_attempt_due(1e9)


def test_an_answer_connects_once() -> None:
    join = make()
    join.attempt_now(0.0)
    join.is_attempt_due(0.0)
    assert join.answered(1.0) is True
    assert state(join) is Joining.CONNECTED
    assert join.answered(2.0) is False
    assert not join.is_attempt_due(1e9)
    join.attempt_now(3.0)
    assert not join.is_attempt_due(1e9)


def test_a_lost_node_retries_after_a_pause() -> None:
    join = connected()
    join.lost(3.0)
    assert state(join) is Joining.SILENT
    due = join.next_timeout()
    assert due is not None
    assert 3.0 + 0.75 * DEFAULT.rejoin_first <= due <= 3.0 + DEFAULT.rejoin_first
    assert join.is_attempt_due(due)


def test_after_an_outage_pauses_start_small_again() -> None:
    join = make()
    join.attempt_now(0.0)
    for when in range(20):
        join.is_attempt_due(when * 1_000.0)
    join.answered(1e5)
    join.joined(DEFAULT.k, 1e5)
    join.lost(1e5)
    due = join.next_timeout()
    assert due is not None
    assert 0.75 * DEFAULT.rejoin_first <= due - 1e5 <= DEFAULT.rejoin_first


def test_a_connected_node_probes_for_lost_parts() -> None:
    join = connected()
    now = 0.0
    for _ in range(5):
        due = join.next_timeout()
        assert due is not None
        assert 0.75 * DEFAULT.probe_interval <= due - now <= DEFAULT.probe_interval
        assert not join.is_probe_due(due - 0.1)
        assert join.is_probe_due(due)
        assert not join.is_probe_due(due)
        now = due
    join.lost(now)
    assert not join.is_probe_due(1e9)


@pytest.mark.parametrize("seed", range(3))
def test_two_nodes_do_not_attempt_in_step(seed: int) -> None:
    one, other = make(seed), make(seed + 100)
    for join in (one, other):
        join.attempt_now(0.0)
        join.is_attempt_due(0.0)
    assert one.next_timeout() != other.next_timeout()


def test_answers_that_lead_nowhere_lengthen_pauses() -> None:
    join = make()
    join.attempt_now(0.0)
    for when in range(20):
        join.is_attempt_due(when * 1_000.0)
    pauses = []
    for when in range(20):
        join.answered(when * 1_000.0)
        join.lost(when * 1_000.0)
        assert state(join) is Joining.SILENT
        due = join.next_timeout()
        assert due is not None
        pauses.append(due - when * 1_000.0)
    assert pauses[0] <= DEFAULT.rejoin_first  # for somebody is there now
    assert pauses[3] > 2 * pauses[1]
    assert pauses[-1] >= 0.75 * DEFAULT.rejoin_max


def test_the_table_reaches_and_leaves_each_state() -> None:
    assert {before for before, _ in TRANSITIONS} == set(Joining)
    assert {*TRANSITIONS.values(), Joining.ALONE} == set(Joining)


@pytest.mark.parametrize("before", Joining)
@pytest.mark.parametrize("turn", Turn)
def test_a_node_turns_as_the_table_says(before: Joining, turn: Turn) -> None:
    join = make()
    join._overlay.joining = before
    join._take(turn)
    assert state(join) is TRANSITIONS.get((before, turn), before)


def test_more_endpoints_are_no_failure() -> None:
    """Names are resolved one by one: each brings an attempt forward while the last one is under way."""
    join = make()
    for now in (0.0, 0.01, 0.02):
        join.begin(now)
        assert join.is_attempt_due(now)
        assert (state(join), join.silence(now)) == (Joining.ALONE, None)
    due = join.next_timeout()
    assert due is not None
    assert join.is_attempt_due(due)
    assert (state(join), join.silence(due)) == (Joining.SILENT, Silence.AT_FIRST)


def test_an_attempt_has_failed_when_the_next_is_due() -> None:
    join = make()
    join.attempt_now(0.0)
    assert join.is_attempt_due(0.0)
    assert state(join) is Joining.ALONE
    assert join.is_attempt_due(100.0)
    assert state(join) is Joining.SILENT
    assert join.answered(101.0)
    join.joined(DEFAULT.k, 102.0)
    assert state(join) is Joining.JOINED

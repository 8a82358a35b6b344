"""Two failures withdraw, one success enters, and what comes and goes too often stays away for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dhtd.daemon.guards.judge import PAUSE_MAX, RECENT, Judge, State
from dhtd.daemon.guards.outcome import Outcome

UP, DOWN = Outcome(True, "up"), Outcome(False, "down")


def states(judge: Judge, *outcomes: Outcome, every: float = 1.0) -> list[str]:
    """Return the states after each outcome, with a + for a published entry."""
    found = []
    for number, outcome in enumerate(outcomes):
        judge.take(outcome, number * every)
        found.append(f"{judge.state.value}{'+' if judge.is_good else ''}")
    return found


def test_one_success_enters() -> None:
    assert states(Judge(0.0), UP) == ["passing+"]


def test_a_new_entry_fails_at_its_second_check() -> None:
    judge = Judge(0.0)
    assert not judge.is_good
    assert states(judge, DOWN, DOWN, DOWN, UP) == ["waiting", "failing", "failing", "passing+"]


def test_one_failure_alone_changes_nothing() -> None:
    assert states(Judge(0.0), UP, DOWN, UP, DOWN, UP) == ["passing+"] * 5


def test_two_failures_in_a_row_withdraw() -> None:
    assert states(Judge(0.0), UP, DOWN, DOWN, UP) == ["passing+", "passing+", "failing", "passing+"]


def test_a_published_entry_stays_until_two_failures() -> None:
    judge = Judge(0.0, is_published=True)
    assert (judge.state, judge.is_good) == (State.WAITING, True)
    assert states(judge, DOWN, DOWN) == ["waiting+", "failing"]
    assert states(Judge(0.0, is_published=True), UP) == ["passing+"]


def test_the_third_withdrawal_makes_it_wait() -> None:
    judge = Judge(0.0)
    falls = (UP, DOWN, DOWN)
    assert states(judge, *falls, *falls, *falls, UP)[-2:] == ["failing", "waiting"]
    assert judge.message == "up; entered in 9 s, because it was withdrawn 3 times within 10 min"
    judge.take(UP, 17.0)
    assert judge.state is State.WAITING
    judge.take(UP, 18.0)
    assert (judge.state, judge.message, judge.since) == (State.PASSING, "up", 18.0)


def test_a_service_stays_away_for_five_minutes_at_most() -> None:
    judge, now, away = Judge(0.0), 0.0, []
    for _ in range(8):
        judge.take(UP, now)
        for outcome in (DOWN, DOWN):
            judge.take(outcome, now)
        began = now
        judge.take(UP, now)
        while judge.state is not State.PASSING:
            now += 1.0
            judge.take(UP, now)
        away.append(now - began)
    assert away == [0.0, 0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0]


def test_old_withdrawals_are_forgotten() -> None:
    judge = Judge(0.0)
    falls = (UP, DOWN, DOWN)
    assert states(judge, *falls, *falls, *falls)[-1] == "failing"
    judge.take(UP, 2 * RECENT)
    judge.take(DOWN, 2 * RECENT + 1)
    judge.take(DOWN, 2 * RECENT + 2)
    judge.take(UP, 2 * RECENT + 3)
    assert judge.state is State.PASSING


def test_the_time_of_a_state_is_its_beginning() -> None:
    judge = Judge(0.0)
    judge.take(UP, 5.0)
    judge.take(UP, 6.0)
    assert judge.since == 5.0


@given(st.lists(st.booleans(), min_size=200, max_size=600), st.sampled_from([0.5, 5.0]))
def test_flapping_is_bounded(outcomes: list[bool], every: float) -> None:
    """Whatever the checks say, an entry is entered at most so often within the time that withdrawals count."""
    judge, entered = Judge(0.0), []
    for number, is_up in enumerate(outcomes):
        was_good = judge.is_good
        judge.take(UP if is_up else DOWN, number * every)
        if judge.is_good and not was_good:
            entered.append(number * every)
    # 10 + 20 + 40 + 80 + 160 s lie between the third withdrawal and the eighth one, and then 300 s between any two.
    for at, first in enumerate(entered):
        assert sum(first <= then < first + PAUSE_MAX for then in entered[at:]) <= 8

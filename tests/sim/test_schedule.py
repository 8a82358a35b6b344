"""The virtual clock against a plain list of planned actions."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtd.sim.schedule import Schedule

TIMES = st.one_of(
    st.integers(0, 12).map(float),  # borders of seconds
    st.floats(0, 12),
    st.floats(0, 5_000),
)


class ScheduleModel(RuleBasedStateMachine):
    """Knows everything that is planned, and looks for the earliest each time."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()
        self.now = 0.0
        self.planned: list[tuple[float, int]] = []
        self.done: list[int] = []
        self.events = 0
        self.names = 0

    def plan(self, after: float) -> None:
        """Plan an action in so many seconds: in the past, if that is negative."""
        self.names += 1
        self.planned.append((max(self.now, self.now + after), self.names))
        self.schedule.at(self.now + after, self.done.append, self.names)

    @rule(after=TIMES)
    def plan_ahead(self, after: float) -> None:
        self.plan(after)

    @rule(late=TIMES)
    def plan_for_what_has_passed(self, late: float) -> None:
        self.plan(-late)

    @rule(afters=st.lists(TIMES, min_size=1, max_size=4))
    def plan_from_within(self, afters: list[float]) -> None:
        """An action that plans others, for its own moment too."""

        def act() -> None:
            assert self.schedule.now == self.now
            for after in afters:
                self.plan(after)

        self.schedule.at(self.now, act)
        before = len(self.planned)
        due = [entry for entry in self.planned if entry[0] <= self.now]
        for _ in due:
            self.take(self.now)
        self.events += 1
        assert self.schedule.step(self.now)
        assert len(self.planned) == before - len(due) + len(afters)

    @rule(within=TIMES)
    def step(self, within: float) -> None:
        self.take(self.now + within)

    def take(self, until: float) -> None:
        """Let one action happen, if one is due by then."""
        due = min(self.planned, default=None)
        before = len(self.done)
        if due is None or due[0] > until:
            assert not self.schedule.step(until)
            self.now = until
            assert len(self.done) == before
        else:
            self.planned.remove(due)
            self.now = due[0]
            self.events += 1
            assert self.schedule.step(until)
            assert self.done[before:] == [due[1]]

    @invariant()
    def the_clock_and_the_counts_agree(self) -> None:
        assert self.schedule.now == self.now
        assert self.schedule.events == self.events
        assert len(self.schedule) == len(self.planned)


TestScheduleModel = ScheduleModel.TestCase


def test_actions_of_one_moment_keep_their_order() -> None:
    schedule = Schedule()
    order: list[str] = []
    schedule.at(5.0, order.append, "planned far ahead")
    schedule.at(4.5, schedule.at, 5.0, order.append, "planned shortly before")
    schedule.at(4.9, schedule.at, 1.0, order.append, "planned too late")
    while schedule.step(10.0):
        pass
    assert order == ["planned too late", "planned far ahead", "planned shortly before"]
    assert schedule.now == 10.0


def test_the_clock_never_goes_back() -> None:
    schedule = Schedule()
    assert not schedule.step(8.0)
    assert not schedule.step(3.0)
    assert schedule.now == 8.0

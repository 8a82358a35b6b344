"""The deadline table, against a dictionary."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtd.core.timers import Timers
from tests.strategies import scaled

keys = st.integers(0, 9)
times = st.integers(0, 20).map(float)


class TimersMachine(RuleBasedStateMachine):
    """Whatever is set, moved, cancelled and taken, the table agrees with a dict of (deadline, order of setting).

    So each setting is taken once at most, never before it is due, and not at all once it was moved or cancelled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.timers: Timers[int] = Timers()
        self.model: dict[int, tuple[float, int]] = {}
        self.serial = 0

    def first_due(self, now: float) -> int | None:
        due = sorted((entry, key) for key, entry in self.model.items() if entry[0] <= now)
        return due[0][1] if due else None

    @rule(key=keys, deadline=times)
    def set(self, key: int, deadline: float) -> None:
        self.serial += 1
        self.timers.set(key, deadline)
        self.model[key] = (deadline, self.serial)

    @rule(moved=st.lists(st.tuples(keys, times), min_size=1, max_size=4))
    def set_again_and_again(self, moved: list[tuple[int, float]]) -> None:
        for key, deadline in moved * 25:  # until the heap is rebuilt
            self.set(key, deadline)

    @rule(key=keys)
    def cancel(self, key: int) -> None:
        self.timers.cancel(key)
        self.model.pop(key, None)

    @rule(now=times)
    def pop_due(self, now: float) -> None:
        due = sorted((entry, key) for key, entry in self.model.items() if entry[0] <= now)
        assert list(self.timers.pop_due(now)) == [key for _, key in due]
        for _, key in due:
            del self.model[key]

    @rule(now=times)
    def pop_one(self, now: float) -> None:
        key = self.first_due(now)
        assert next(self.timers.pop_due(now), None) == key
        if key is not None:
            del self.model[key]

    @rule(now=times, meanwhile=st.lists(st.tuples(keys, st.none() | times), max_size=8))
    def change_while_due_ones_are_taken(self, now: float, meanwhile: list[tuple[int, float | None]]) -> None:
        changes = iter(meanwhile)
        for taken in self.timers.pop_due(now):
            assert taken == self.first_due(now)
            del self.model[taken]
            key, deadline = next(changes, (taken, None))
            if deadline is None:
                self.cancel(key)
            else:
                self.set(key, deadline)
        assert self.first_due(now) is None

    @invariant()
    def agrees(self) -> None:
        assert len(self.timers) == len(self.model)
        assert self.timers.next() == min((deadline for deadline, _ in self.model.values()), default=None)
        for key in range(10):
            assert (key in self.timers) == (key in self.model)
            assert self.timers.get(key) == (self.model[key][0] if key in self.model else None)


TestTimersAgreeWithADictionary = TimersMachine.TestCase
TestTimersAgreeWithADictionary.settings = scaled(60)


def test_a_deadline_is_due_at_its_exact_time() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 5.0)
    assert list(timers.pop_due(4.999)) == []
    assert list(timers.pop_due(5.0)) == ["a"]
    assert list(timers.pop_due(5.0)) == []


def test_a_key_has_its_deadline_until_cancelled() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 5.0)
    assert "a" in timers
    assert timers.get("a") == 5.0
    timers.cancel("a")
    timers.cancel("a")  # without effect
    assert "a" not in timers
    assert timers.get("a") is None


def test_a_key_set_meanwhile_is_taken_if_due() -> None:
    timers: Timers[str] = Timers()
    timers.set("a", 1.0)
    taken = []
    for key in timers.pop_due(2.0):
        taken.append(key)
        if key == "a":
            timers.set("b", 2.0)
            timers.set("c", 3.0)
    assert taken == ["a", "b"]
    assert timers.next() == 3.0


def test_keys_need_no_order() -> None:
    timers: Timers[object] = Timers()
    first, second = object(), object()
    timers.set(first, 1.0)
    timers.set(second, 1.0)
    assert list(timers.pop_due(1.0)) == [first, second]


def test_many_moves_do_not_fill_memory() -> None:
    timers: Timers[str] = Timers()
    timers.set("other", 0.5)
    for moved in range(10_000):
        timers.set("a", float(moved))
        assert len(timers._heap) <= 2 * len(timers) + 65
    assert list(timers.pop_due(1e9)) == ["other", "a"]


def test_moves_leave_the_heap_until_it_pays() -> None:
    timers: Timers[int] = Timers()
    for key in range(100):
        timers.set(key, float(key))
    heap = timers._heap
    for key in range(50):
        timers.set(key, 200.0)
        assert timers._heap is heap

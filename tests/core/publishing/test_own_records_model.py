"""Own entries against a dictionary of entries: each has one chain of publications, in any order of events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.records import RecordKey
from tests.core.publishing.hurried import HurriedRecords
from tests.core.small import contact
from tests.records import own_key
from tests.strategies import scaled

JITTER = 0.1
GAP = 60.0  # seconds from one publication to the next, where news makes it worth the while
SPREAD = 10.0  # seconds in which all are published that nobody holds
EXACT = 1e-6  # seconds that sums of floats may be off
Window = tuple[float, float]  # the earliest and the latest time


def jittered(seconds: float) -> Window:
    return seconds * (1 - JITTER), seconds * (1 + JITTER)


def wait_after(replicas: int, failures: int, minutes: float) -> Window:
    """Return how long after a publication the next one is due, that nobody took so many publications before it."""
    if replicas:
        return jittered(60 * minutes)
    return jittered(min(15.0 * 2**failures, 5 * 60.0))


def minutes_after(minutes: float, before: list[Contact], now: list[Contact], elapsed: float) -> float:
    """Return the interval after a publication with these holders before and now, so many seconds later."""
    if before and now and elapsed >= 30 * minutes:
        lost = [holder for holder in before if holder not in now]
        if 4 * len(lost) <= len(before):
            return min(45.0, 2 * minutes)
        if 2 * len(lost) > len(before):
            return max(15.0, minutes / 2)
    return minutes


@dataclass
class Expected:
    """What an entry should be like. It has a chain from when it was entered, or the network was reached."""

    due: float | None = None
    publishing: bool = False
    minutes: float = 15.0
    published_at: float | None = None
    replicas: list[Contact] = field(default_factory=list)
    failures: int = 0
    lost: set[Id] = field(default_factory=set)
    hurried: bool = False
    hurries: int = 0
    holders: dict[Contact, float] = field(default_factory=dict)


class RecordsMachine(RuleBasedStateMachine):
    """Entries, publications, deletions, news of the network, time and restarts, in any order.

    The machine does what a node does: it begins what is entered or due, once at a time, and ends it once.
    """

    POLICY = Policy(k=3, publishing=2, newcomer_credit=1_000)

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.size = 1
        self.grown_at = float("-inf")
        self.restarts = 0
        self.acknowledged: set[RecordKey] = set()  # in the state file
        self.model: dict[RecordKey, Expected] = {}
        self.own_records = HurriedRecords(Random(0), self.POLICY)

    keys = st.sampled_from([own_key(Id(0), 80), own_key(Id(0), 443), own_key(Id(5), 80)])
    near = st.integers(0, 15).map(Id)
    replicas = st.sampled_from([0, 1, 3, 3, 3, 4]).flatmap(
        lambda count: st.frozensets(st.integers(0, 15).map(Id), min_size=count, max_size=count)
    )

    @initialize(
        seed=st.integers(0, 99),
        now=st.sampled_from([0.0, 1e6]),
        size=st.sampled_from([1, 8]),
        history=st.lists(st.tuples(keys, replicas), max_size=4),
    )
    def begin(self, seed: int, now: float, size: int, history: list[tuple[RecordKey, frozenset[Id]]]) -> None:
        self.now = now
        self.own_records = HurriedRecords(Random(seed), self.POLICY)
        self._network_has(size)
        for key, replicas in history:
            self.is_entered(key)
            self._published(key, replicas)

    @rule(key=keys)
    def is_entered(self, key: RecordKey) -> None:
        self.acknowledged.add(key)
        expected = self.model.setdefault(key, Expected())
        entry = self.own_records.add(key)
        if not expected.publishing:
            self.own_records.began(entry, self.now)
            expected.publishing, expected.due = True, None
        self._agree()

    @rule(key=keys)
    def is_deleted(self, key: RecordKey) -> None:
        expected = self.model.pop(key, None)
        entry = self.own_records.remove(key)
        self.acknowledged.discard(key)
        assert (entry is None) == (expected is None)
        if entry is not None and expected is not None:
            assert entry.holders(self.now) == self._holders(expected)
        self._agree()

    @precondition(lambda self: any(expected.publishing for expected in self.model.values()))
    @rule(data=st.data(), holders=st.sets(near, max_size=4), age=st.sampled_from([0.0, 100.0, 3_600.0]))
    def is_sent_to(self, data: st.DataObject, holders: set[Id], age: float) -> None:
        key = data.draw(st.sampled_from(self._publishing()))
        entry = self.own_records.get(key)
        assert entry is not None
        for id in holders:
            self.own_records.may_hold(entry, contact(id), self.now - age + 3_600.0)
            self.model[key].holders[contact(id)] = self.now - age + 3_600.0
        self._agree()

    @precondition(lambda self: any(expected.publishing for expected in self.model.values()))
    @rule(data=st.data(), replicas=replicas)
    def has_been_published(self, data: st.DataObject, replicas: frozenset[Id]) -> None:
        self._published(data.draw(st.sampled_from(self._publishing())), replicas)

    @rule(key=keys, replicas=replicas, times=st.sampled_from([1, 1, 1, 7]))
    def is_entered_and_published_again_and_again(self, key: RecordKey, replicas: frozenset[Id], times: int) -> None:
        for _ in range(times):
            self.is_entered(key)
            self._published(key, replicas)

    def _published(self, key: RecordKey, replicas: frozenset[Id]) -> None:
        expected = self.model[key]
        taken = [contact(id) for id in sorted(replicas)]
        self.own_records.published(key, iter(taken), self.now)
        if expected.published_at is not None:
            elapsed = self.now - expected.published_at
            expected.minutes = minutes_after(expected.minutes, expected.replicas, taken, elapsed)
        wait = wait_after(len(taken), expected.failures, expected.minutes)
        expected.publishing = False
        expected.hurries = expected.hurries + 1 if expected.hurried else max(0, expected.hurries - 1)
        expected.hurried, expected.lost = False, set()
        expected.published_at, expected.replicas = self.now, taken
        expected.holders = {holder: until for holder, until in expected.holders.items() if until > self.now}
        expected.failures = 0 if taken else expected.failures + 1
        self._agree({key: (self.now + wait[0], self.now + wait[1])})

    @rule(key=keys)
    def a_publication_that_was_called_off_ends(self, key: RecordKey) -> None:
        if key not in self._publishing():
            self.own_records.published(key, [contact(1)], self.now)
            self._agree()

    @rule(several=st.lists(near, min_size=1, max_size=3))
    def contacts_join(self, several: list[Id]) -> None:
        for id in several:
            self._contact_joins(id)

    def _contact_joins(self, id: Id) -> None:
        self.own_records.hurrying.contact_joined(contact(id), self.now)
        self.own_records.hurrying.contact_stayed(contact(id), self.now, self.now)
        concerned = []
        for key, expected in self.model.items():
            nearer_than = [replica for replica in expected.replicas if id ^ key.key <= replica.id ^ key.key]
            is_holder = contact(id) in expected.replicas
            if not expected.publishing and not is_holder and (nearer_than or len(expected.replicas) < 3):
                concerned.append(key)
        self._hurried(concerned, is_newcomer=True)

    def _hurried(self, keys: Iterable[RecordKey], spread: float = 0.0, *, is_newcomer: bool = False) -> None:
        windows = {}
        for key in keys:
            expected = self.model[key]
            if expected.published_at is not None and not expected.hurried:
                expected.hurried = True
                is_first = not expected.replicas and not expected.hurries
                gap = 4 * GAP if is_newcomer and len(expected.replicas) >= 3 else GAP
                earliest, latest = (self.now, self.now) if is_first else self._after_the_gap(expected, gap)
                windows[key] = earliest, max(latest, self.now + spread)
        self._agree(self._sooner(windows))

    @rule(lost=st.lists(near, min_size=1, max_size=3, unique=True))
    def holders_are_lost(self, lost: list[Id]) -> None:
        for id in lost:
            self.own_records.hurrying.holder_lost(contact(id), self.now)
            concerned = []
            for key, expected in self.model.items():
                idle = expected.published_at is not None and not expected.publishing and not expected.hurried
                if idle and contact(id) in expected.replicas:
                    expected.lost.add(id)
                    if 2 * len(expected.lost) >= len(expected.replicas):
                        concerned.append(key)
            self._hurried(concerned, SPREAD)

    @rule(changes=st.lists(st.sampled_from(["doubles", "almost doubles", "halves", "almost halves"]), max_size=4))
    def the_network_grows_and_shrinks(self, changes: list[str]) -> None:
        for change in changes:
            size = {
                "doubles": 2 * self.size,
                "almost doubles": 2 * self.size - 1,
                "halves": max(1, self.size // 2),
                "almost halves": self.size // 2 + 1,
            }
            self._network_has(size[change])

    def _network_has(self, size: int) -> None:
        self.own_records.hurrying.network_has(size, Family.IPV4, self.now)
        published = [key for key, expected in self.model.items() if expected.published_at is not None]
        doubled = size >= 2 * self.size
        if doubled and published and self.now < self.grown_at + 900.0:
            self._agree()
            return
        if doubled and published:
            self.grown_at = self.now
        if doubled or size <= self.size / 2:
            self.size = size
        self._hurried(published if doubled else [])

    @rule()
    def the_network_is_reached(self) -> None:
        self.own_records.upheavals.joined(Family.IPV4, self.now)
        windows = {}
        for key, expected in self.model.items():
            if not expected.replicas:
                expected.failures = 0
                windows[key] = self.now, self.now + SPREAD
        self._agree(self._sooner(windows))

    @rule(seconds=st.sampled_from([0.0, 1.0, 20.0, 100.0, 1_000.0, 3_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self._begin_what_is_due()

    @rule()
    def time_passes_until_something_is_due(self) -> None:
        when = self.own_records.next_timeout()
        if when is not None:
            self.now = max(self.now, when)
            assert self._begin_what_is_due()

    @precondition(lambda self: self.restarts < 2)
    @rule(seed=st.integers(0, 99), pause=st.sampled_from([0.0, 1e4]))
    def is_restarted(self, seed: int, pause: float) -> None:
        self.restarts += 1
        self.now += pause
        self.own_records, self.size, self.grown_at = HurriedRecords(Random(seed), self.POLICY), 1, float("-inf")
        for key in sorted(self.acknowledged):
            self.own_records.add(key)
        self.model = {key: Expected() for key in self.acknowledged}
        self._agree()

    @invariant()
    def what_was_acknowledged_is_tracked_and_nothing_else(self) -> None:
        assert len(self.own_records) == len(self.acknowledged)
        assert {entry.record_key for entry in self.own_records} == self.acknowledged
        for id in (Id(0), Id(5)):
            assert self.own_records.ports(id) == sorted(each.port for each in self.acknowledged if each.key == id)
            for port in (80, 443):
                assert (self.own_records.get(own_key(id, port)) is not None) == (own_key(id, port) in self.acknowledged)

    @invariant()
    def each_entry_has_one_timer_or_one_publication(self) -> None:
        assert set(self.own_records._timetable._publishing) == set(self._publishing())
        assert len(self.own_records._timetable._timers) == sum(
            expected.due is not None for expected in self.model.values()
        )
        for key, expected in self.model.items():
            entry = self.own_records.get(key)
            assert entry is not None
            assert not (expected.publishing and expected.due is not None)
            assert self.own_records.due_in(entry, self.now) == max(0.0, (expected.due or self.now) - self.now)
            assert list(entry.replicas) == expected.replicas
            assert entry.published_at == expected.published_at
            assert entry.holders(self.now) == self._holders(expected)
            assert set(entry.holders(float("-inf"))) == set(expected.holders)  # all that is remembered

    @invariant()
    def the_next_timeout_is_the_earliest_due_time(self) -> None:
        due = [expected.due for expected in self.model.values() if expected.due is not None]
        may_begin = len(self._publishing()) < 2
        assert self.own_records.next_timeout() == (min(due, default=None) if may_begin else None)

    def _publishing(self) -> list[RecordKey]:
        return sorted(key for key, expected in self.model.items() if expected.publishing)

    def _holders(self, expected: Expected) -> dict[Contact, float]:
        return {holder: until for holder, until in expected.holders.items() if until > self.now}

    def _after_the_gap(self, expected: Expected, gap: float) -> Window:
        assert expected.published_at is not None
        gap = min(gap * 4**expected.hurries, 60 * expected.minutes)
        earliest, latest = (expected.published_at + gap for gap in jittered(gap))
        return max(self.now, earliest), max(self.now, latest)

    def _sooner(self, windows: dict[RecordKey, Window]) -> dict[RecordKey, Window]:
        """Return the windows of those that are not being published; nobody's is later than what was set before."""
        sooner = {}
        for key, (earliest, latest) in windows.items():
            expected = self.model[key]
            if not expected.publishing:
                due = float("inf") if expected.due is None else expected.due
                sooner[key] = min(due, earliest), min(due, latest)
        return sooner

    def _begin_what_is_due(self) -> int:
        due = sorted(e.due for e in self.model.values() if e.due is not None and e.due <= self.now)
        due = due[: max(0, 2 - len(self._publishing()))]
        begun = []
        for entry in self.own_records.pop_due(self.now):
            self.own_records.began(entry, self.now)
            expected = self.model[entry.record_key]
            begun.append(expected.due)
            expected.publishing, expected.due = True, None
        assert begun == due
        self._agree()
        return len(begun)

    def _agree(self, windows: dict[RecordKey, Window] | None = None) -> None:
        """Check that these have timers within their windows and the others those that they had; take note of them."""
        windows = windows or {}
        for key, expected in self.model.items():
            due = self.own_records._timetable._timers.get(key)
            if key in windows:
                earliest, latest = windows[key]
                assert due is not None
                assert earliest - EXACT <= due <= latest + EXACT
                expected.due = due
            else:
                assert due == expected.due


TestRecordsStartOneChainAnEntry = RecordsMachine.TestCase
TestRecordsStartOneChainAnEntry.settings = scaled(100)

"""Held entries, against a dictionary of expiries with quotas: what is held, for whom, and to the very second."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.metric import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.store import _SLACK, HeldEntry, QuotaReached, Store, Stored

A, B = Id(1), Id(2)
FULL = QuotaReached("store is full")
KEY_FULL = QuotaReached("too many entries under this key")
SOURCE_FULL = QuotaReached("too many entries from this address")


def at(machine: int, port: int = 80) -> Endpoint:
    return Endpoint.of(f"10.0.0.{machine}", port)


HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
few_keys = st.integers(0, 3).map(Id)
few_endpoints = st.builds(Endpoint.of, st.sampled_from(HOSTS), st.integers(1, 3))


def group_of(endpoint: Endpoint) -> bytes:
    """Return the source: a whole IPv4 address, and of one of IPv6 the half that is its network's."""
    return bytes(endpoint)[:4] if len(endpoint) == 6 else bytes(endpoint)[:8]


class StoreMachine(RuleBasedStateMachine):
    """Puts, restores, removals and sweeps in any order: the store is a dict of expiries, and the quotas hold."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store(DEFAULT)
        self.model: dict[tuple[Id, Endpoint], float] = {}
        self.now = 0.0
        self.changed: set[Id] = set()
        self.policy = DEFAULT

    @initialize(total=st.integers(1, 8), per_key=st.integers(1, 4), per_source=st.integers(1, 4))
    def begin(self, total: int, per_key: int, per_source: int) -> None:
        self.policy = Policy(
            store_expiry=10.0,
            store_entries=total,
            store_entries_per_key=per_key,
            store_entries_per_source=per_source,
        )
        self.store = Store(self.policy)

    def drop_expired(self) -> int:
        expired = [entry for entry, at in self.model.items() if at <= self.now]
        for entry in expired:
            del self.model[entry]
            self.changed.add(entry[0])
        return len(expired)

    def refusal(self, key: Id, endpoint: Endpoint) -> QuotaReached | None:
        if len(self.model) >= self.policy.store_entries:
            return FULL
        if sum(other == key for other, _ in self.model) >= self.policy.store_entries_per_key:
            return KEY_FULL
        group = group_of(endpoint)
        if sum(group_of(other) == group for _, other in self.model) >= self.policy.store_entries_per_source:
            return SOURCE_FULL
        return None

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model)
    @rule(early=st.booleans())
    def time_passes_until_something_expires(self, early: bool) -> None:
        when = min(self.model.values())
        self.now = max(self.now, math.nextafter(when, 0) if early else when)

    @rule(key=few_keys, endpoint=few_endpoints, life=st.none() | st.floats(0.1, 20))
    def put(self, key: Id, endpoint: Endpoint, life: float | None) -> None:
        refusal = None
        if (key, endpoint) not in self.model:
            refusal = self.refusal(key, endpoint)
            if refusal is not None:  # the dead make way for the living
                self.drop_expired()
                refusal = self.refusal(key, endpoint)
        if life is None:
            outcome = self.store.put(key, endpoint, self.now)
            expires_at = self.now + 10.0
        else:
            expires_at = self.now + life
            outcome = self.store.restore(HeldEntry(key, endpoint, expires_at), self.now)
        assert outcome == (refusal or Stored())
        if refusal is None:
            self.model[key, endpoint] = expires_at
            self.changed.add(key)

    @rule(key=few_keys, endpoints=st.lists(few_endpoints, min_size=2, max_size=6))
    def put_several(self, key: Id, endpoints: list[Endpoint]) -> None:
        for endpoint in endpoints:
            self.put(key, endpoint, None)

    @rule(key=few_keys, endpoint=few_endpoints)
    def remove(self, key: Id, endpoint: Endpoint) -> None:
        was_there = self.model.pop((key, endpoint), None) is not None
        assert self.store.remove(key, endpoint) is was_there
        if was_there:
            self.changed.add(key)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def store_again(self, data: Any) -> None:
        self.put(*data.draw(st.sampled_from(sorted(self.model))), None)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove_one(self, data: Any) -> None:
        self.remove(*data.draw(st.sampled_from(sorted(self.model))))

    @rule()
    def sweep(self) -> None:
        assert self.store.sweep(self.now) == self.drop_expired()

    @rule()
    def save(self) -> None:
        assert self.store.take_changes() == self.changed
        assert self.store.take_changes() == set()
        self.changed = set()

    @rule(key=few_keys, endpoint=few_endpoints)
    def change_while_saving_fails(self, key: Id, endpoint: Endpoint) -> None:
        unsaved = self.store.take_changes()
        self.put(key, endpoint, None)
        self.store.mark_changed(unsaved)

    @invariant()
    def agrees(self) -> None:
        assert len(self.store) == len(self.model)
        assert {(held.key, held.endpoint): held.expires_at for held in self.store} == self.model
        for key in map(Id, range(4)):
            live = {endpoint for (other, endpoint), at in self.model.items() if other == key and at > self.now}
            live_here = self.store.get(key, self.now)
            assert (set(live_here), len(live_here)) == (live, len(live))
            held = {entry.endpoint: entry.expires_at for entry in self.store.held(key)}
            assert held == {endpoint: at for (other, endpoint), at in self.model.items() if other == key}
        assert sum(self.store._source_sizes.values()) == len(self.model)
        assert all(self.store._source_sizes.values())
        assert all(len(held) > 1 for held in self.store._held.values() if isinstance(held, dict))
        assert len(self.model) <= len(self.store._queue) <= 2 * len(self.model) + _SLACK


TestTheStoreAgreesWithADictionary = StoreMachine.TestCase


def test_an_entry_is_held_for_an_hour_and_no_longer_answered_with_after_it() -> None:
    store = Store(DEFAULT)
    assert store.put(A, at(1), 100.0) == Stored()
    assert store.get(A, 100.0 + 3_599.9) == [at(1)]
    assert store.get(A, 100.0 + 3_600.0) == []
    assert len(store) == 1  # until it is swept
    assert store.sweep(100.0 + 3_599.9) == 0
    assert store.sweep(100.0 + 3_600.0) == 1
    assert len(store) == 0
    assert store.held(A) == []


def test_storing_again_prolongs_and_does_not_double() -> None:
    store = Store(DEFAULT)
    store.put(A, at(1), 0.0)
    store.put(A, at(1), 1_000.0)
    assert list(store) == [HeldEntry(A, at(1), 4_600.0)]


def test_one_machine_may_serve_a_key_on_several_ports_and_several_machines_may_serve_it() -> None:
    store = Store(DEFAULT)
    endpoints = [at(1, 80), at(1, 81), at(2, 80)]
    for endpoint in endpoints:
        store.put(A, endpoint, 0.0)
    assert store.get(A, 1.0) == endpoints
    assert store.get(B, 1.0) == []


@pytest.mark.parametrize(
    ("policy", "held", "newcomer", "refusal"),
    [
        (Policy(store_entries=2), [(A, at(1)), (B, at(2))], (Id(3), at(3)), FULL),
        (Policy(store_entries_per_key=2), [(A, at(1)), (A, at(2))], (A, at(3)), KEY_FULL),
        (Policy(store_entries_per_source=2), [(A, at(1)), (B, at(1))], (Id(3), at(1, 99)), SOURCE_FULL),
    ],
)
def test_a_quota_refuses_what_is_new_and_never_what_is_held_already(
    policy: Policy, held: list[tuple[Id, Endpoint]], newcomer: tuple[Id, Endpoint], refusal: QuotaReached
) -> None:
    store = Store(policy)
    for entry in held:
        assert store.put(*entry, 0.0) == Stored()
    assert store.put(*newcomer, 1.0) == refusal
    assert store.get(*newcomer[:1], 1.0) == [endpoint for key, endpoint in held if key == newcomer[0]]
    assert store.put(*held[0], 1.0) == Stored()
    assert store.remove(*held[1])
    assert store.put(*newcomer, 1.0) == Stored()


def test_an_ipv6_host_cannot_multiply_its_quota_within_its_64() -> None:
    store = Store(Policy(store_entries_per_source=1))
    assert store.put(A, Endpoint.of("2001:db8::1", 80), 0.0) == Stored()
    assert store.put(A, Endpoint.of("2001:db8::2", 80), 0.0) == SOURCE_FULL
    assert store.put(A, Endpoint.of("2001:db8:0:1::1", 80), 0.0) == Stored()


def test_expired_entries_make_way_before_anything_is_refused() -> None:
    store = Store(Policy(store_entries_per_key=1))
    store.put(A, at(1), 0.0)
    assert store.put(A, at(2), 3_599.0) == KEY_FULL
    assert store.put(A, at(2), 3_600.0) == Stored()
    assert [entry.endpoint for entry in store] == [at(2)]


def test_a_flood_of_refused_entries_never_goes_through_all_that_is_held() -> None:
    class Unwalkable(Store):
        def __iter__(self) -> Iterator[HeldEntry]:
            raise AssertionError("every refusal would cost as much as the whole store")

    store = Unwalkable(Policy(store_entries_per_source=10))
    for port in range(1, 11):
        store.put(A, at(1, port), float(port))
    for second in range(1, 11):  # one expires each second, and makes way for one
        assert store.put(A, at(1, 100 + second), 3_600.0 + second) == Stored()
        for port in range(200, 300):
            assert store.put(A, at(1, port), 3_600.5 + second) == SOURCE_FULL
    assert store.get(A, 3_611.0) == [at(1, 100 + second) for second in range(1, 11)]


def test_a_key_without_entries_leaves_nothing_behind() -> None:
    store = Store(DEFAULT)
    assert not store.remove(A, at(1))
    store.put(A, at(1), 0.0)
    assert not store.remove(A, at(1, 81))
    assert store.remove(A, at(1))
    assert not store.remove(A, at(1))
    assert (store._held, store._source_sizes, len(store)) == ({}, {}, 0)


def test_entries_renewed_again_and_again_take_no_more_memory_and_expire_after_the_last_time() -> None:
    store = Store(DEFAULT)
    for second in range(1_000):
        store.put(A, at(1), float(second))
        store.put(A, at(2), float(second))
        store.put(B, at(1), float(second))
    assert len(store._queue) <= 2 * len(store) + _SLACK
    assert store.sweep(999.0 + DEFAULT.store_expiry - 0.5) == 0
    assert store.sweep(999.0 + DEFAULT.store_expiry) == 3


def test_what_could_not_be_saved_is_among_the_next_changes() -> None:
    store = Store(DEFAULT)
    store.put(A, at(1), 0.0)
    unsaved = store.take_changes()
    store.put(B, at(1), 0.0)
    store.mark_changed(unsaved)
    assert store.take_changes() == {A, B}

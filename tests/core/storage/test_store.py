"""Held entries, against a dictionary of expiries with quotas: which are held, for which source, to the very second.

When a quota is used up, the source with most entries loses to a source with fewer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Peer, RecordKey
from dhtd.core.storage import fair_shares as shares_module
from dhtd.core.storage.fair_shares import Entry, FairShares
from dhtd.core.storage.store import _SLACK, SWEPT, HeldRecord, HeldRecords, QuotaReached, Stored

A, B = Id(1), Id(2)
FULL = QuotaReached("store_entries", "store is full")
KEY_FULL = QuotaReached("store_entries_per_key", "too many entries under this key")
SOURCE_FULL = QuotaReached("store_entries_per_source", "too many entries from this address")


def at(machine: int, port: int = 80) -> Endpoint:
    return Endpoint.of(f"10.0.0.{machine}", port)


HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
few_keys = st.integers(0, 3).map(Id)
few_endpoints = st.builds(Endpoint.of, st.sampled_from(HOSTS), st.integers(1, 3))


def group_of(endpoint: Endpoint) -> bytes:
    """Return the source: a whole IPv4 address, or the network half of an IPv6 one."""
    return bytes(endpoint)[:4] if len(endpoint) == 6 else bytes(endpoint)[:8]


class StoreMachine(RuleBasedStateMachine):
    """Puts, restores, removals and sweeps in any order: the store is a dict of expiries, and the quotas hold."""

    def __init__(self) -> None:
        super().__init__()
        self.store = HeldRecords(DEFAULT)
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
        self.store = HeldRecords(self.policy)

    def drop_expired(self) -> int:
        expired = [entry for entry, at in self.model.items() if at <= self.now]
        for entry in expired:
            del self.model[entry]
            self.changed.add(entry[0])
        return len(expired)

    def used_up(self, key: Id, endpoint: Endpoint) -> QuotaReached | None:
        """Return the first quota without room for another entry."""
        group = group_of(endpoint)
        if sum(group_of(other) == group for _, other in self.model) >= self.policy.store_entries_per_source:
            return SOURCE_FULL
        if sum(other == key for other, _ in self.model) >= self.policy.store_entries_per_key:
            return KEY_FULL
        if len(self.model) >= self.policy.store_entries:
            return FULL
        return None

    def losers(self, quota: QuotaReached, key: Id, endpoint: Endpoint) -> set[tuple[Id, Endpoint]]:
        """Return the entries that may give way: of each source with most, the one that expires first."""
        if quota == SOURCE_FULL:
            return set()
        pool = {entry: at for entry, at in self.model.items() if quota == FULL or entry[0] == key}
        sizes = Counter(group_of(other) for _, other in pool)
        most = max(sizes.values())
        if most - 1 < sizes[group_of(endpoint)] + 1:
            return set()
        losers = set()
        for source in (source for source, size in sizes.items() if size == most):
            first = min(at for (_, other), at in pool.items() if group_of(other) == source)
            losers |= {entry for entry, at in pool.items() if group_of(entry[1]) == source and at == first}
        return losers

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
        quota, losers = None, set()
        if (key, endpoint) not in self.model:
            quota = self.used_up(key, endpoint)
            if quota is not None:  # the dead make way for the living
                self.drop_expired()
                quota = self.used_up(key, endpoint)
            if quota is not None:
                losers = self.losers(quota, key, endpoint)
        if life is None:
            outcome: Stored | QuotaReached | None = self.store.put(key, endpoint, self.now)
            expires_at = self.now + 10.0
        else:
            expires_at = self.now + life
            outcome = self.store.restore(HeldRecord(key, Peer(endpoint), expires_at), self.now)
        if quota is not None and not losers:
            assert outcome == quota
            return
        assert outcome == Stored(None if quota is None else quota.cap)
        if quota is not None:
            [gone] = self.model.keys() - {(held.key, held.record.endpoint) for held in self.store}
            assert gone in losers
            del self.model[gone]
            self.changed.add(gone[0])
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
        assert self.store.take_changes() == set(map(packed, self.changed))
        assert self.store.take_changes() == set()
        self.changed = set()

    @rule(key=few_keys, host=st.sampled_from(HOSTS))
    def a_newcomer_asks(self, key: Id, host: str) -> None:
        """A source without entries here learns before it stores whether it would be refused."""
        endpoint = Endpoint.of(host, 1)
        refuses = self.store.refuses_newcomer(key, endpoint.ip, self.now)
        if any(group_of(other) == group_of(endpoint) for _, other in self.model):
            assert not refuses
            return
        self.drop_expired()
        quota = self.used_up(key, endpoint)
        assert refuses == (quota is not None and not self.losers(quota, key, endpoint))
        assert self.store.is_crowded or not refuses

    @rule(key=few_keys, endpoint=few_endpoints)
    def change_while_saving_fails(self, key: Id, endpoint: Endpoint) -> None:
        unsaved = self.store.take_changes()
        self.put(key, endpoint, None)
        self.store.mark_changed(unsaved)

    @invariant()
    def agrees(self) -> None:
        assert len(self.store) == len(self.model)
        assert {(held.key, held.record.endpoint): held.expires_at for held in self.store} == self.model
        for key in map(Id, range(4)):
            live = {endpoint for (other, endpoint), at in self.model.items() if other == key and at > self.now}
            live_here = self.store.get(key, self.now)
            assert (set(live_here), len(live_here)) == (live, len(live))
            held = {entry.record.endpoint: entry.expires_at for entry in self.store.held(key)}
            assert held == {endpoint: at for (other, endpoint), at in self.model.items() if other == key}
        self.check_shares(self.store._shares, set(self.model))
        for packed_key, crowd in self.store._crowds.items():
            under = {entry for entry in self.model if packed(entry[0]) == packed_key}
            assert len(under) > self.policy.store_entries_per_key // 2
            self.check_shares(crowd, under)
        assert all(len(held) > 1 for held in self.store._held.values() if isinstance(held, dict))
        assert len(self.model) <= len(self.store._queue) <= 2 * len(self.model) + _SLACK

    def check_shares(self, shares: FairShares, entries: set[tuple[Id, Endpoint]]) -> None:
        sizes = Counter(group_of(endpoint) for _, endpoint in entries)
        assert shares._sources.keys() == sizes.keys()
        assert shares.most == max(sizes.values(), default=0)
        by_size: dict[int, set[bytes]] = {}
        for source, size in sizes.items():
            found = shares._sources[source]
            if size == 1:
                assert isinstance(found, tuple)
                assert self.store._current(found) is found
                continue
            assert not isinstance(found, tuple)
            assert found.size == size
            assert len(shares._held(found)) == size
            assert len(found.queue) <= 2 * size + shares_module._SLACK
            by_size.setdefault(size, set()).add(source)
        assert {size: set(sources) for size, sources in shares._by_size.items()} == by_size


TestTheStoreAgreesWithADictionary = StoreMachine.TestCase


def test_a_record_is_held_for_an_hour() -> None:
    store = HeldRecords(DEFAULT)
    assert store.put(A, at(1), 100.0) == Stored()
    assert store.keys() == [packed(A)]
    assert store.get(A, 100.0 + 3_599.9) == [at(1)]
    assert store.get(A, 100.0 + 3_600.0) == []
    assert len(store) == 1  # until it is swept
    assert store.sweep(100.0 + 3_599.9) == 0
    assert store.sweep(100.0 + 3_600.0) == 1
    assert len(store) == 0
    assert store.held(A) == []


def test_a_held_record_is_found_by_its_record_key() -> None:
    store = HeldRecords(DEFAULT)
    store.put(A, at(1), 0.0)
    [held] = store
    assert held.record_key in store
    for other in (RecordKey.of(B, Peer(at(1))), RecordKey.of(A, Peer(at(2))), RecordKey.of(A, Peer.on(80))):
        assert other not in store
    store.put(A, at(2), 0.0)
    assert held.record_key in store
    assert RecordKey.of(A, Peer(at(2))) in store
    store.remove(A, at(1))
    assert held.record_key not in store


def test_storing_again_prolongs_without_doubling() -> None:
    store = HeldRecords(DEFAULT)
    store.put(A, at(1), 0.0)
    store.put(A, at(1), 1_000.0)
    assert list(store) == [HeldRecord(A, Peer(at(1)), 4_600.0)]


def test_a_restored_record_with_less_time_goes_first() -> None:
    store = HeldRecords(Policy(store_entries=2))
    store.put(A, at(1, 80), 0.0)
    store.put(A, at(1, 81), 1.0)
    assert store.restore(HeldRecord(A, Peer(at(1, 81)), 10.0), 2.0) == Stored()
    assert store.put(B, at(2), 3.0) == Stored(evicted_by="store_entries")
    assert store.get(A, 3.0) == [at(1, 80)]


def test_a_key_has_several_ports_and_machines() -> None:
    store = HeldRecords(DEFAULT)
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
        (Policy(store_entries=2), [(A, at(1)), (B, at(1))], (Id(3), at(1, 99)), FULL),
        (Policy(store_entries_per_key=2), [(A, at(1)), (A, at(1, 81))], (A, at(1, 99)), KEY_FULL),
    ],
)
def test_a_quota_refuses_new_records_alone(
    policy: Policy, held: list[tuple[Id, Endpoint]], newcomer: tuple[Id, Endpoint], refusal: QuotaReached
) -> None:
    store = HeldRecords(policy)
    for entry in held:
        assert store.put(*entry, 0.0) == Stored()
    assert store.put(*newcomer, 1.0) == refusal
    assert store.get(*newcomer[:1], 1.0) == [endpoint for key, endpoint in held if key == newcomer[0]]
    assert store.put(*held[0], 1.0) == Stored()
    assert store.remove(*held[1])
    assert store.put(*newcomer, 1.0) == Stored()


def test_a_64_of_ipv6_has_one_quota() -> None:
    store = HeldRecords(Policy(store_entries_per_source=1))
    assert store.put(A, Endpoint.of("2001:db8::1", 80), 0.0) == Stored()
    assert store.put(A, Endpoint.of("2001:db8::2", 80), 0.0) == SOURCE_FULL
    assert store.put(A, Endpoint.of("2001:db8:0:1::1", 80), 0.0) == Stored()


def test_hosts_of_a_link_have_their_own_quotas() -> None:
    store = HeldRecords(Policy(store_entries_per_source=1))
    assert store.put(A, Endpoint.of("fe80::bad", 80), 0.0) == Stored()
    assert store.put(A, Endpoint.of("fe80::bad", 81), 0.0) == SOURCE_FULL
    assert store.put(A, Endpoint.of("fe80::1", 80), 0.0) == Stored()
    assert store.put(A, Endpoint.of("fe80::bad", 80), 1.0) == Stored()  # again
    assert store.remove(A, Endpoint.of("fe80::bad", 80))
    assert store.put(A, Endpoint.of("fe80::bad", 81), 1.0) == Stored()


def test_expired_records_make_way_first() -> None:
    store = HeldRecords(Policy(store_entries_per_key=1))
    store.put(A, at(1), 0.0)
    assert store.put(A, at(2), 3_599.0) == KEY_FULL
    assert store.put(A, at(2), 3_600.0) == Stored()
    assert [entry.record.endpoint for entry in store] == [at(2)]


def test_refusals_never_walk_through_the_store() -> None:
    class Unwalkable(HeldRecords):
        def __iter__(self) -> Iterator[HeldRecord]:
            raise AssertionError("every refusal would cost as much as the whole store")

    store = Unwalkable(Policy(store_entries_per_source=10))
    for port in range(1, 11):
        store.put(A, at(1, port), float(port))
    for second in range(1, 11):  # one expires each second, and makes way for one
        assert store.put(A, at(1, 100 + second), 3_600.0 + second) == Stored()
        for port in range(200, 300):
            assert store.put(A, at(1, port), 3_600.5 + second) == SOURCE_FULL
    assert store.get(A, 3_611.0) == [at(1, 100 + second) for second in range(1, 11)]


def test_an_emptied_key_leaves_nothing_behind() -> None:
    store = HeldRecords(DEFAULT)
    assert not store.remove(A, at(1))
    store.put(A, at(1), 0.0)
    assert not store.remove(A, at(1, 81))
    assert store.remove(A, at(1))
    assert not store.remove(A, at(1))
    assert (store._held, store._shares._sources, store._shares.most, len(store)) == ({}, {}, 0, 0)


def test_renewals_take_no_more_memory() -> None:
    store = HeldRecords(DEFAULT)
    for second in range(1_000):
        store.put(A, at(1), float(second))
        store.put(A, at(2), float(second))
        store.put(B, at(1), float(second))
    assert len(store._queue) <= 2 * len(store) + _SLACK
    assert store.sweep(999.0 + DEFAULT.store_expiry - 0.5) == 0
    assert store.sweep(999.0 + DEFAULT.store_expiry) == 3


def test_a_store_expires_bit_by_bit() -> None:
    """Otherwise an attacker that fills a store could stop it an hour later, with one datagram."""
    store, late = HeldRecords(replace(DEFAULT, store_entries=1_000)), DEFAULT.store_expiry
    for number in range(1_000):
        store.put(Id(number), at(number % 250), 0.0)
    assert store.put(Id(1_000), at(251), late) == Stored()
    assert len(store) == 1_001 - SWEPT
    assert not store.refuses_newcomer(Id(1_001), at(252).ip, late)
    assert len(store) == 1_001 - 2 * SWEPT
    assert [store.sweep(late) for _ in range(3)] == [SWEPT, 1_000 - 3 * SWEPT, 0]
    assert len(store) == 1


def test_sweeping_renewed_entries_takes_no_longer() -> None:
    store = HeldRecords(DEFAULT)
    for time in (0.0, 1.0):
        for number in range(1_000):
            store.put(Id(number), at(1), time)
    queued = len(store._queue)
    assert store.sweep(DEFAULT.store_expiry) == 0
    assert len(store._queue) == queued - SWEPT


def test_unsaved_changes_come_again() -> None:
    store = HeldRecords(DEFAULT)
    store.put(A, at(1), 0.0)
    unsaved = store.take_changes()
    store.put(B, at(1), 0.0)
    store.mark_changed(unsaved)
    assert store.take_changes() == {packed(A), packed(B)}


def test_unsaved_changes_do_not_fill_memory() -> None:
    store = HeldRecords(Policy(store_entries=8))
    most = 2 * 8 + _SLACK
    for number in range(1, most + 1):
        store.put(Id(number), at(1), 0.0)
        store.remove(Id(number), at(1))
    assert store._changed is not None
    assert len(store._changed) == most
    store.put(A, at(1), 0.0)  # among them already
    assert store._changed is not None
    store.put(Id(0), at(1), 0.0)
    assert store.take_changes() is None  # then all there is is to be saved
    assert store.take_changes() == set()
    store.put(A, at(1), 1.0)
    store.mark_changed(None)
    store.put(B, at(1), 0.0)
    assert store.take_changes() is None
    store.mark_changed({packed(Id(key)) for key in range(most)})
    store.mark_changed({packed(Id(most))})
    assert store.take_changes() is None


# Which entry gives way


def test_no_source_keeps_others_out_of_a_full_store() -> None:
    """An attacker that has filled it loses its entries one by one, until all have the same number."""
    store = HeldRecords(Policy(store_entries=64))
    for number in range(64):
        assert store.put(Id(number), at(66), float(number)) == Stored()
    assert store.put(Id(64), at(66), 64.0) == FULL
    for number in range(32):
        assert store.put(Id(100 + number), at(1), 100.0) == Stored("store_entries")
    assert store.put(Id(200), at(1), 100.0) == FULL  # each has half
    left = {entry.key for entry in store if entry.record.endpoint == at(66)}
    assert left == set(range(32, 64))  # it has lost the entries that would have expired first
    for number in range(21):
        assert store.put(Id(300 + number), at(2), 100.0) == Stored("store_entries")
    assert store.put(Id(400), at(2), 100.0) == FULL
    sizes = Counter(entry.record.endpoint for entry in store)
    assert sorted(sizes.values()) == [21, 21, 22]


def test_no_source_keeps_others_out_of_a_full_key() -> None:
    store = HeldRecords(Policy(store_entries_per_key=16))
    for port in range(1, 17):
        store.put(A, at(66, port), float(port))
    assert store.put(A, at(66, 17), 17.0) == KEY_FULL
    for machine in range(1, 16):
        assert store.put(A, at(machine), 20.0) == Stored("store_entries_per_key")
    assert store.put(A, at(16), 20.0) == KEY_FULL  # sixteen sources with one each
    assert set(store.get(A, 21.0)) == {at(66, 16), *(at(machine) for machine in range(1, 16))}
    assert store.put(B, at(16), 20.0) == Stored()


def test_two_sources_do_not_evict_in_turn_for_ever() -> None:
    store = HeldRecords(Policy(store_entries=3))
    for entry in (A, at(1)), (B, at(1)), (A, at(2)):
        assert store.put(*entry, 0.0) == Stored()
    for key in map(Id, range(10, 20)):
        for machine in (1, 2):
            assert store.put(key, at(machine), 1.0) == FULL


def test_only_a_fair_store_refuses_a_newcomer() -> None:
    store = HeldRecords(Policy(store_entries=8, store_entries_per_key=4))
    for machine in range(1, 5):
        store.put(A, at(machine), 0.0)
    assert store.is_crowded
    assert store.refuses_newcomer(A, at(9).ip, 1.0)
    assert not store.refuses_newcomer(B, at(9).ip, 1.0)
    assert not store.refuses_newcomer(A, at(1).ip, 1.0)  # it may want to renew, or to withdraw
    for machine in range(5, 9):
        store.put(B, at(machine), 2.0)
    assert store.refuses_newcomer(Id(3), at(9).ip, 2.0)
    assert not store.refuses_newcomer(Id(3), at(9).ip, 3_600.0)  # four have expired
    assert not store.refuses_newcomer(A, at(9).ip, 3_600.0)
    assert store.refuses_newcomer(B, at(9).ip, 3_600.0)


def test_a_node_may_hold_nothing_at_all() -> None:
    store = HeldRecords(Policy(store_entries=0))
    assert store.is_crowded
    assert store.refuses_newcomer(A, at(1).ip, 0.0)
    assert store.put(A, at(1), 0.0) == FULL
    assert len(store) == 0


def test_a_half_full_key_is_no_crowd() -> None:
    store = HeldRecords(Policy(store_entries_per_key=4))
    for machine in range(1, 5):
        store.put(A, at(machine), 0.0)
    store.remove(A, at(1))
    assert store.is_crowded
    store.put(A, at(1), 1.0)
    for machine in (1, 2):
        store.remove(A, at(machine))
    assert (store.is_crowded, store._crowds) == (False, {})


def test_removed_entries_take_no_memory() -> None:
    """Otherwise it could put and remove without end, and quotas would not count this."""
    store = HeldRecords(Policy(store_entries=2_000))
    for key in map(Id, range(1_000)):
        store.put(key, at(1), 0.0)
    for key in map(Id, range(998)):
        store.remove(key, at(1))
    [several] = store._shares._sources.values()
    assert not isinstance(several, tuple)
    assert len(several.queue) <= 2 * 2 + shares_module._SLACK
    store.put(Id(1), at(1), 0.0)
    assert len(store._queue) <= 2 * len(store) + _SLACK


def test_a_full_store_costs_the_same_at_any_size() -> None:
    """Counted in looks at records, not in seconds: the logarithm of the number of entries, and no more."""

    class Counted(HeldRecords):
        looks = 0

        def _current(self, record: Entry) -> Entry | None:
            self.looks += 1
            return super()._current(record)

    def looks(entries: int) -> float:
        quotas = Policy(store_entries=entries, store_entries_per_key=entries, store_entries_per_source=entries)
        store = Counted(quotas)
        for number in range(entries):
            store.put(Id(number % 8), at(66, 1 + number), float(number))
        before = store.looks
        for number in range(entries // 4):
            source = Endpoint.of(f"10.1.{number >> 8}.{number & 255}", 80)
            assert store.put(Id(number % 8), source, 1e3) == Stored("store_entries")
        return (store.looks - before) / (entries // 4)

    assert looks(16_384) < 2 * looks(256)


def test_a_renewed_record_stays_longer() -> None:
    store = HeldRecords(Policy(store_entries=3, store_expiry=100.0))
    for key in (A, B, Id(3)):
        store.put(key, at(1), 0.0)
    store.put(A, at(1), 10.0)
    assert store.put(A, at(2), 20.0) == Stored(evicted_by="store_entries")
    assert [key for key in (A, B, Id(3)) if at(1) in store.get(key, 20.0)] == [A, Id(3)]


def test_changes_are_taken_some_at_a_time() -> None:
    store = HeldRecords(DEFAULT)
    for number in range(5):
        store.put(Id(number), Endpoint.of("10.0.0.1", 80), 0.0)
    assert store.changes == 5
    taken = [store.take_changes(2) or set() for _ in range(3)]
    assert [len(some) for some in taken] == [2, 2, 1]
    assert store.changes == 0
    assert set.union(*taken) == {packed(Id(number)) for number in range(5)}
    store.mark_changed(None)
    assert (store.changes, store.take_changes(2)) == (0, None)

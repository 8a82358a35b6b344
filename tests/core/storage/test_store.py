"""Held entries, against a dictionary of leases with quotas: which are held, for which session, to the very second.

When a quota is used up, the source with most entries loses to a source with fewer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import floor
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Peer, RecordKey
from dhtd.core.storage.fair_shares import FairShares
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.leases import SESSION_KEPT, Lease
from dhtd.core.storage.outcomes import QuotaReached, Stored
from dhtd.core.storage.store import SWEPT, HeldRecords

A, B = Id(1), Id(2)
ONE, TWO = b"1" * 16, b"2" * 16  # sessions
FULL = QuotaReached("store_entries", "store is full")
KEY_FULL = QuotaReached("store_entries_per_key", "too many entries under this key")
SOURCE_FULL = QuotaReached("store_entries_per_source", "too many entries from this address")


def at(machine: int, port: int = 80) -> Endpoint:
    return Endpoint.of(f"10.0.0.{machine}", port)


HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
few_keys = st.integers(0, 3).map(Id)
few_endpoints = st.builds(Endpoint.of, st.sampled_from(HOSTS), st.integers(1, 3))
few_sessions = st.sampled_from([ONE, TWO])
few_leases = st.sampled_from([1, 10, 60, 200, 4 * 3_600])

Held = tuple[Id, Endpoint, bytes]  # with its session


def group_of(endpoint: Endpoint) -> bytes:
    """Return the source: a whole IPv4 address, or the network half of an IPv6 one."""
    return bytes(endpoint)[:4] if len(endpoint) == 6 else bytes(endpoint)[:8]


class StoreMachine(RuleBasedStateMachine):
    """Stores, renewals, removals and sweeps in any order: each session has one lease, and the quotas hold."""

    def __init__(self) -> None:
        super().__init__()
        self.store = HeldRecords(DEFAULT)
        self.held: dict[Held, None] = {}  # the first stored first
        self.leases: dict[tuple[bytes, bytes], tuple[float, int]] = {}  # by address and session
        self.now = 0.0
        self.changed: set[Id] = set()
        self.policy = DEFAULT

    @initialize(
        total=st.integers(1, 8), per_key=st.integers(1, 4), per_source=st.integers(1, 4), now=st.integers(0, 99)
    )
    def begin(self, total: int, per_key: int, per_source: int, now: int) -> None:
        self.now = now / 2
        self.policy = Policy(store_entries=total, store_entries_per_key=per_key, store_entries_per_source=per_source)
        self.store = HeldRecords(self.policy)

    def expires_at(self, held: Held) -> float:
        return self.leases[held[1].ip, held[2]][0]

    def drop(self, held: Held) -> None:
        key, endpoint, session = held
        del self.held[held]
        self.changed.add(key)
        if not any((other.ip, its) == (endpoint.ip, session) for _, other, its in self.held):
            del self.leases[endpoint.ip, session]

    def drop_expired(self) -> None:
        for held in [held for held in self.held if self.expires_at(held) <= self.now]:
            self.drop(held)

    def used_up(self, key: Id, endpoint: Endpoint) -> QuotaReached | None:
        """Return the first quota without room for another entry."""
        group = group_of(endpoint)
        if sum(group_of(other) == group for _, other, _ in self.held) >= self.policy.store_entries_per_source:
            return SOURCE_FULL
        if sum(other == key for other, _, _ in self.held) >= self.policy.store_entries_per_key:
            return KEY_FULL
        if len(self.held) >= self.policy.store_entries:
            return FULL
        return None

    def losers(self, quota: QuotaReached, key: Id, endpoint: Endpoint) -> set[Held]:
        """Return the entries that may give way: those of each source with most."""
        if quota == SOURCE_FULL:
            return set()
        pool = [held for held in self.held if quota == FULL or held[0] == key]
        sizes = Counter(group_of(other) for _, other, _ in pool)
        most = max(sizes.values())
        if most - 1 < sizes[group_of(endpoint)] + 1:
            return set()
        return {held for held in pool if sizes[group_of(held[1])] == most}

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 61.0, 200.0, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.held)
    @rule(early=st.booleans())
    def time_passes_until_something_expires(self, early: bool) -> None:
        when = min(map(self.expires_at, self.held))
        self.now = max(self.now, math.nextafter(when, 0) if early else when)

    @rule(key=few_keys, endpoint=few_endpoints, session=few_sessions, lease=few_leases, restored=st.booleans())
    def put(self, key: Id, endpoint: Endpoint, session: bytes, lease: int, restored: bool) -> None:
        held = key, endpoint, session
        quota, losers = None, set[Held]()
        if held not in self.held:
            quota = self.used_up(key, endpoint)
            if quota is not None:  # the dead make way for the living
                self.drop_expired()
                quota = self.used_up(key, endpoint)
            if quota is not None:
                losers = self.losers(quota, key, endpoint)
        if restored:
            outcome = self.store.restore(HeldRecord(key, Peer(endpoint), 0.0, lease, session), self.now)
        else:
            outcome = self.store.put(key, endpoint, session, lease, self.now)
        if quota is not None and not losers:
            assert outcome == quota
            if restored:
                self.changed.add(key)
            return
        assert outcome == Stored(None if quota is None else quota.cap)
        if quota is not None:
            [gone] = self.held.keys() - self.kept().keys()
            assert gone in losers
            self.drop(gone)
        if restored:
            self.is_restored(held, lease)
            return
        if held not in self.held or self.leases[endpoint.ip, session][1] != lease:
            self.changed.add(key)
        self.held[held] = None
        self.leases[endpoint.ip, session] = float(floor(self.now + lease)), lease

    def is_restored(self, held: Held, lease: int) -> None:
        """A record that was stored again meanwhile stays as it is. A new one shortens no lease."""
        if held in self.held:
            return
        whose = held[1].ip, held[2]
        is_there = any((endpoint.ip, its) == whose for _, endpoint, its in self.held)
        if not is_there or self.now + lease > self.leases[whose][0]:
            self.leases[whose] = float(floor(self.now + lease)), lease
        self.held[held] = None

    @rule(key=few_keys, endpoints=st.lists(few_endpoints, min_size=2, max_size=6), session=few_sessions)
    def put_several(self, key: Id, endpoints: list[Endpoint], session: bytes) -> None:
        for endpoint in endpoints:
            self.put(key, endpoint, session, 60, restored=False)

    @rule(host=st.sampled_from(HOSTS), session=few_sessions, lease=few_leases | st.just(0))
    def renew(self, host: str, session: bytes, lease: int) -> None:
        ip = Endpoint.of(host, 1).ip
        number = sum((endpoint.ip, its) == (ip, session) for _, endpoint, its in self.held)
        assert self.store.renew(ip, session, lease, self.now) == number
        if number and lease:
            self.leases[ip, session] = float(floor(self.now + lease)), lease
        elif number:
            for held in [held for held in self.held if (held[1].ip, held[2]) == (ip, session)]:
                self.drop(held)

    @rule(key=few_keys, endpoint=few_endpoints, session=few_sessions)
    def remove(self, key: Id, endpoint: Endpoint, session: bytes) -> None:
        held = key, endpoint, session
        assert self.store.remove(*held) is (held in self.held)
        if held in self.held:
            self.drop(held)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), lease=few_leases)
    def store_again(self, data: Any, lease: int) -> None:
        self.put(*data.draw(st.sampled_from(sorted(self.held))), lease, restored=False)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def remove_one(self, data: Any) -> None:
        self.remove(*data.draw(st.sampled_from(sorted(self.held))))

    @rule()
    def sweep(self) -> None:
        while self.store.sweep(self.now):
            pass
        self.drop_expired()

    @rule()
    def save(self) -> None:
        assert self.store.changed.take() == set(map(packed, self.changed))
        assert self.store.changed.take() == set()
        self.changed = set()

    @rule(key=few_keys, host=st.sampled_from(HOSTS))
    def a_newcomer_asks(self, key: Id, host: str) -> None:
        """A source without entries here learns before it stores whether it would be refused."""
        endpoint = Endpoint.of(host, 1)
        refuses = self.store.refuses_newcomer(key, endpoint.ip, self.now)
        if any(group_of(other) == group_of(endpoint) for _, other, _ in self.held):
            assert not refuses
            return
        self.drop_expired()
        quota = self.used_up(key, endpoint)
        assert refuses == (quota is not None and not self.losers(quota, key, endpoint))
        assert self.store.is_crowded or not refuses

    @rule(key=few_keys, endpoint=few_endpoints)
    def change_while_saving_fails(self, key: Id, endpoint: Endpoint) -> None:
        unsaved = self.store.changed.take()
        self.put(key, endpoint, ONE, 60, restored=False)
        self.store.changed.put_back(unsaved)

    def kept(self) -> dict[Held, tuple[float, int]]:
        """Return what the store holds."""
        sessions = {session[:SESSION_KEPT]: session for session in (ONE, TWO)}
        return {
            (held.key, held.record.endpoint, sessions[held.session]): (held.expires_at, held.lease)
            for held in self.store
        }

    @invariant()
    def agrees(self) -> None:
        assert len(self.store) == len(self.held)
        assert self.kept() == {held: self.leases[held[1].ip, held[2]] for held in self.held}
        for key in map(Id, range(4)):
            under = [held for held in self.held if held[0] == key]
            live = {held[1] for held in under if self.expires_at(held) > self.now}
            live_here = self.store.get(key, self.now)
            assert (set(live_here), len(live_here)) == (live, len(live))
            assert sorted(held.record.endpoint for held in self.store.held(key)) == sorted(held[1] for held in under)
        self.check_shares(self.store._sources.shares, set(self.held))
        for packed_key, crowd in self.store._crowds.items():
            within = {held for held in self.held if packed(held[0]) == packed_key}
            assert len(within) > self.policy.store_entries_per_key // 2
            self.check_shares(crowd.shares, within)
        assert all(len(held) > 1 for held in self.store._held.values() if isinstance(held, dict))
        assert self.store._doubles >= len(self.held) - len({held[:2] for held in self.held})
        assert (
            self.store._doubles
            or not self.store._held
            or all(
                len(place) in (6, 18) for held in self.store._held.values() if isinstance(held, dict) for place in held
            )
        )

    def check_shares(self, shares: FairShares, entries: set[Held]) -> None:
        sizes = Counter(group_of(endpoint) for _, endpoint, _ in entries)
        assert shares.most == max(sizes.values(), default=0)
        by_size: dict[int, set[bytes]] = {}
        for source, size in sizes.items():
            if size > 1:
                by_size.setdefault(size, set()).add(source)
        assert {size: set(sources) for size, sources in shares._by_size.items()} == by_size


TestTheStoreAgreesWithADictionary = StoreMachine.TestCase


def put(
    store: HeldRecords, key: Id, endpoint: Endpoint, now: float, session: bytes = ONE, lease: int = 3_600
) -> Stored | QuotaReached:
    return store.put(key, endpoint, session, lease, now)


def test_a_record_is_held_for_its_lease() -> None:
    store = HeldRecords(DEFAULT)
    assert put(store, A, at(1), 100.0, lease=60) == Stored()
    assert list(store.keys()) == [packed(A)]
    assert store.get(A, 159.9) == [at(1)]
    assert store.get(A, 160.0) == []
    assert len(store) == 1  # until it is swept
    assert not store.sweep(159.9)
    assert len(store) == 1
    assert not store.sweep(160.0)
    assert len(store) == 0
    assert store.held(A) == []


def test_a_lease_ends_on_a_full_second() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.25, lease=60)
    put(store, B, at(2), 0.5, lease=60)
    assert [held.expires_at for held in store] == [60.0, 60.0]
    assert store.get(A, 59.9) == [at(1)]


def test_one_renewal_prolongs_all_of_a_session() -> None:
    store = HeldRecords(DEFAULT)
    for key in (A, B):
        for session in (ONE, TWO):
            put(store, key, at(1), 0.0, session, lease=60)
    assert store.renew(at(1).ip, ONE, 60, 30.0) == 2
    assert sorted(held.expires_at for held in store) == [60.0, 60.0, 90.0, 90.0]
    assert store.renew(at(2).ip, ONE, 60, 30.0) == 0  # another machine
    assert store.renew(at(1).ip, b"3" * 16, 60, 30.0) == 0


def test_a_renewal_may_shorten() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0, lease=3_600)
    put(store, A, at(2), 0.0, lease=60)
    assert store.renew(at(1).ip, ONE, 30, 10.0) == 1
    assert (store.get(A, 39.9), store.get(A, 40.0)) == ([at(1), at(2)], [at(2)])
    assert store.renew(at(2).ip, ONE, 0, 10.0) == 1
    assert store.get(A, 10.0) == [at(1)]
    assert len(store) == 1
    assert not store.sweep(40.0)
    assert len(store) == 0


def test_no_store_brings_back_what_was_dropped() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0)
    put(store, B, at(1), 0.0)
    assert store.renew(at(1).ip, ONE, 0, 10.0) == 2
    put(store, B, at(1), 10.0)
    assert (store.get(A, 10.0), store.get(B, 10.0), len(store)) == ([], [at(1)], 1)


def test_what_is_dropped_is_dropped_in_steps() -> None:
    store = HeldRecords(DEFAULT)
    for number in range(SWEPT + 8):
        put(store, Id(number), at(1), 0.0)
    assert store.renew(at(1).ip, ONE, 0, 10.0) == SWEPT + 8
    assert len(store) == 8
    assert not any(store.get(Id(number), 10.0) for number in range(SWEPT + 8))
    assert not store.sweep(11.0)
    assert len(store) == 0


def test_a_renewed_lease_outlives_its_reminder() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0)
    put(store, B, at(1), 0.0)
    store.renew(at(1).ip, ONE, 1, 10.0)
    store.renew(at(1).ip, ONE, 60, 10.5)
    assert not store.sweep(60.0)
    assert store.get(A, 69.9) == [at(1)]
    assert not store.sweep(70.0)
    assert len(store) == 0


def test_a_lease_may_be_renewed_while_it_is_dropped() -> None:
    store = HeldRecords(DEFAULT)
    for number in range(SWEPT + 8):
        put(store, Id(number), at(1), 0.0, lease=60)
    assert store.sweep(60.0)
    left = len(store)
    assert 0 < left < SWEPT
    assert store.renew(at(1).ip, ONE, 60, 61.0) == left  # the owner learns that some are lost
    assert not store.sweep(61.0)
    assert len(store) == left
    assert not store.sweep(121.0)
    assert len(store) == 0


def test_neighbours_cannot_touch_each_others_records() -> None:
    """Both are behind one NAT, and say that they serve the same port."""
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0, ONE, lease=60)
    put(store, A, at(1), 0.0, TWO, lease=90)
    put(store, A, at(1, 81), 0.0, TWO, lease=90)
    assert store.get(A, 1.0) == [at(1), at(1, 81)]  # each endpoint once
    assert store.remove(A, at(1), TWO)
    assert not store.remove(A, at(1), TWO)
    assert not store.remove(A, at(1, 81), ONE)
    assert store.get(A, 1.0) == [at(1), at(1, 81)]
    put(store, A, at(1), 1.0, TWO)
    assert store.remove(A, at(1), ONE)
    assert store.get(A, 1.0) == [at(1, 81), at(1)]
    assert not store.remove(A, at(1), ONE)
    put(store, A, at(1), 1.0, ONE)
    assert store.remove(A, at(1), TWO)
    assert store.remove(A, at(1, 81), TWO)
    assert (store.get(A, 1.0), store._doubles) == ([at(1)], 0)


def test_without_sessions_each_record_has_its_own_lease() -> None:
    store = HeldRecords(replace(DEFAULT, store_expiry=100.0))
    for key, port, now in ((A, 80, 0.0), (A, 81, 0.0), (B, 80, 0.0), (A, 80, 50.0)):
        assert put(store, key, at(1, port), now, b"", 0) == Stored()
    assert (store.get(A, 120.0), store.get(B, 120.0)) == ([at(1)], [])
    assert store.renew(at(1).ip, b"", 60, 50.0) == 0
    assert [(held.lease, held.session) for held in store.held(B)] == [(100, b"")]
    assert store.remove(B, at(1), b"")
    assert not store.sweep(149.0)
    assert [held.record.endpoint for held in store] == [at(1)]
    assert not store.sweep(150.0)
    assert len(store) == 0


def test_a_held_record_is_found_by_its_record_key() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0)
    [held] = store
    assert held.record_key in store
    for other in (RecordKey.of(B, Peer(at(1))), RecordKey.of(A, Peer(at(2))), RecordKey.of(A, Peer.on(80))):
        assert other not in store
    put(store, A, at(2), 0.0)
    assert held.record_key in store
    assert RecordKey.of(A, Peer(at(2))) in store
    store.remove(A, at(1), ONE)
    assert held.record_key not in store


def test_storing_again_prolongs_without_doubling() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0)
    put(store, A, at(1), 1_000.0)
    assert list(store) == [HeldRecord(A, Peer(at(1)), 4_600.0, 3_600, ONE[:SESSION_KEPT])]


def test_a_renewal_changes_nothing_on_disk() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0, lease=60)
    assert store.changed.take() == {packed(A)}
    store.renew(at(1).ip, ONE, 90, 1.0)
    put(store, A, at(1), 2.0, lease=90)
    assert len(store.changed) == 0
    put(store, A, at(1), 3.0, lease=60)  # a lease of another length is saved
    assert store.changed.take() == {packed(A)}


def test_a_restored_record_has_one_lease_of_grace() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0, lease=60)
    [held] = store
    restored = HeldRecords(DEFAULT)
    assert restored.restore(held, 5_000.0) == Stored()
    assert list(restored) == [replace(held, expires_at=5_060.0)]
    assert restored.renew(at(1).ip, ONE, 60, 5_010.0) == 1


def test_a_restored_record_shortens_no_live_lease() -> None:
    store = HeldRecords(DEFAULT)
    put(store, A, at(1), 0.0, lease=600)
    for key in (A, B):
        assert store.restore(HeldRecord(key, Peer(at(1)), 0.0, 60, ONE[:SESSION_KEPT]), 10.0) == Stored()
    assert {held.key: held.expires_at for held in store} == {A: 600.0, B: 600.0}
    assert store.restore(HeldRecord(Id(3), Peer(at(1)), 0.0, 900, ONE[:SESSION_KEPT]), 10.0) == Stored()
    assert {held.expires_at for held in store} == {910.0}


def test_a_restored_record_without_room_is_to_be_dropped() -> None:
    store = HeldRecords(Policy(store_entries=1))
    put(store, A, at(1), 0.0)
    store.changed.take()
    assert store.restore(HeldRecord(B, Peer(at(2)), 0.0, 60, ONE[:SESSION_KEPT]), 1.0) == FULL
    assert store.changed.take() == {packed(B)}


def test_a_key_has_several_ports_and_machines() -> None:
    store = HeldRecords(DEFAULT)
    endpoints = [at(1, 80), at(1, 81), at(2, 80)]
    for endpoint in endpoints:
        put(store, A, endpoint, 0.0)
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
        assert put(store, *entry, 0.0) == Stored()
    assert put(store, *newcomer, 1.0) == refusal
    assert store.get(*newcomer[:1], 1.0) == [endpoint for key, endpoint in held if key == newcomer[0]]
    assert put(store, *held[0], 1.0) == Stored()
    assert store.remove(*held[1], ONE)
    assert put(store, *newcomer, 1.0) == Stored()


def test_a_64_of_ipv6_has_one_quota() -> None:
    store = HeldRecords(Policy(store_entries_per_source=1))
    assert put(store, A, Endpoint.of("2001:db8::1", 80), 0.0) == Stored()
    assert put(store, A, Endpoint.of("2001:db8::2", 80), 0.0) == SOURCE_FULL
    assert put(store, A, Endpoint.of("2001:db8:0:1::1", 80), 0.0) == Stored()


def test_hosts_of_a_link_have_their_own_quotas() -> None:
    store = HeldRecords(Policy(store_entries_per_source=1))
    assert put(store, A, Endpoint.of("fe80::bad", 80), 0.0) == Stored()
    assert put(store, A, Endpoint.of("fe80::bad", 81), 0.0) == SOURCE_FULL
    assert put(store, A, Endpoint.of("fe80::1", 80), 0.0) == Stored()
    assert put(store, A, Endpoint.of("fe80::bad", 80), 1.0) == Stored()  # again
    assert store.remove(A, Endpoint.of("fe80::bad", 80), ONE)
    assert put(store, A, Endpoint.of("fe80::bad", 81), 1.0) == Stored()


def test_expired_records_make_way_first() -> None:
    store = HeldRecords(Policy(store_entries_per_key=1))
    put(store, A, at(1), 0.0)
    assert put(store, A, at(2), 3_599.0) == KEY_FULL
    assert put(store, A, at(2), 3_600.0) == Stored()
    assert [entry.record.endpoint for entry in store] == [at(2)]


def test_refusals_never_walk_through_the_store() -> None:
    class Unwalkable(HeldRecords):
        def __iter__(self) -> Iterator[HeldRecord]:
            raise AssertionError("every refusal would cost as much as the whole store")

    store = Unwalkable(Policy(store_entries_per_source=10))
    for port in range(1, 11):
        put(store, A, at(1, port), float(port), bytes((port,)) * 16)
    for second in range(1, 11):  # one expires each second, and makes way for one
        assert put(store, A, at(1, 100 + second), 3_600.0 + second) == Stored()
        for port in range(200, 300):
            assert put(store, A, at(1, port), 3_600.5 + second) == SOURCE_FULL
    assert store.get(A, 3_611.0) == [at(1, 100 + second) for second in range(1, 11)]


def test_an_emptied_key_leaves_nothing_behind() -> None:
    store = HeldRecords(DEFAULT)
    assert not store.remove(A, at(1), ONE)
    put(store, A, at(1), 0.0)
    assert not store.remove(A, at(1, 81), ONE)
    assert store.remove(A, at(1), ONE)
    assert not store.remove(A, at(1), ONE)
    assert (store._held, store._sources._sources, store._sources.shares.most, len(store)) == ({}, {}, 0, 0)


def test_leases_take_memory_for_a_minute_at_most() -> None:
    """Reminders and empty leases are in the wheel no longer, however often a session shortens its lease."""

    def filed() -> int:
        return sum(map(len, store._wheel._slots.values()))

    store = HeldRecords(DEFAULT)
    most = 0
    for second in range(1_000):
        now = float(second)
        put(store, A, at(1), now, lease=14_400)
        store.renew(at(1).ip, ONE, 1, now)
        put(store, B, at(2), now)
        store.remove(B, at(2), ONE)
        assert not store.sweep(now)
        most = max(most, filed())
    assert 60 < most <= 3 * 61
    assert not store.sweep(1_100.0)
    assert (filed(), len(store)) == (0, 0)


def test_a_store_expires_bit_by_bit() -> None:
    """Otherwise an attacker that fills a store could stop it a minute later, with one datagram."""
    store, late = HeldRecords(replace(DEFAULT, store_entries=1_000)), 60.0
    for number in range(1_000):
        put(store, Id(number), at(number % 250), 0.0, lease=60)
    assert put(store, Id(1_000), at(251), late) == Stored()
    left = len(store)
    assert left == 1_001 - SWEPT
    assert not store.refuses_newcomer(Id(1_001), at(252).ip, late)
    assert len(store) == left - SWEPT
    assert [store.sweep(late) for _ in range(3)] == [True, False, False]
    assert len(store) == 1


# Which entry gives way


def test_no_source_keeps_others_out_of_a_full_store() -> None:
    """An attacker that has filled it loses its entries one by one, until all have the same number."""
    store = HeldRecords(Policy(store_entries=64))
    for number in range(64):
        assert put(store, Id(number), at(66), float(number)) == Stored()
    assert put(store, Id(64), at(66), 64.0) == FULL
    for number in range(32):
        assert put(store, Id(100 + number), at(1), 100.0) == Stored("store_entries")
    assert put(store, Id(200), at(1), 100.0) == FULL  # each has half
    left = {entry.key for entry in store if entry.record.endpoint == at(66)}
    assert left == set(range(32, 64))  # it has lost the entries that would have expired first
    for number in range(21):
        assert put(store, Id(300 + number), at(2), 100.0) == Stored("store_entries")
    assert put(store, Id(400), at(2), 100.0) == FULL
    sizes = Counter(entry.record.endpoint for entry in store)
    assert sorted(sizes.values()) == [21, 21, 22]


def test_no_source_keeps_others_out_of_a_full_key() -> None:
    store = HeldRecords(Policy(store_entries_per_key=16))
    for port in range(1, 17):
        put(store, A, at(66, port), float(port))
    assert put(store, A, at(66, 17), 17.0) == KEY_FULL
    for machine in range(1, 16):
        assert put(store, A, at(machine), 20.0) == Stored("store_entries_per_key")
    assert put(store, A, at(16), 20.0) == KEY_FULL  # sixteen sources with one each
    assert set(store.get(A, 21.0)) == {at(66, 16), *(at(machine) for machine in range(1, 16))}
    assert put(store, B, at(16), 20.0) == Stored()


def test_two_sources_do_not_evict_in_turn_for_ever() -> None:
    store = HeldRecords(Policy(store_entries=3))
    for entry in (A, at(1)), (B, at(1)), (A, at(2)):
        assert put(store, *entry, 0.0) == Stored()
    for key in map(Id, range(10, 20)):
        for machine in (1, 2):
            assert put(store, key, at(machine), 1.0) == FULL


def test_only_a_fair_store_refuses_a_newcomer() -> None:
    store = HeldRecords(Policy(store_entries=8, store_entries_per_key=4))
    for machine in range(1, 5):
        put(store, A, at(machine), 0.0)
    assert store.is_crowded
    assert store.refuses_newcomer(A, at(9).ip, 1.0)
    assert not store.refuses_newcomer(B, at(9).ip, 1.0)
    assert not store.refuses_newcomer(A, at(1).ip, 1.0)  # it may want to renew, or to withdraw
    for machine in range(5, 9):
        put(store, B, at(machine), 2.0)
    assert store.refuses_newcomer(Id(3), at(9).ip, 2.0)
    assert not store.refuses_newcomer(Id(3), at(9).ip, 3_600.0)  # four have expired
    assert not store.refuses_newcomer(A, at(9).ip, 3_600.0)
    assert store.refuses_newcomer(B, at(9).ip, 3_600.0)


def test_a_node_may_hold_nothing_at_all() -> None:
    store = HeldRecords(Policy(store_entries=0))
    assert store.is_crowded
    assert store.refuses_newcomer(A, at(1).ip, 0.0)
    assert put(store, A, at(1), 0.0) == FULL
    assert len(store) == 0


def test_a_half_full_key_is_no_crowd() -> None:
    store = HeldRecords(Policy(store_entries_per_key=4))
    for machine in range(1, 5):
        put(store, A, at(machine), 0.0)
    store.remove(A, at(1), ONE)
    assert store.is_crowded
    put(store, A, at(1), 1.0)
    for machine in (1, 2):
        store.remove(A, at(machine), ONE)
    assert (store.is_crowded, store._crowds) == (False, {})


def test_removed_entries_take_no_memory() -> None:
    """Otherwise it could put and remove without end, and quotas would not count this."""
    store = HeldRecords(Policy(store_entries=2_000))
    for key in map(Id, range(1_000)):
        put(store, key, at(1), 0.0)
    for key in map(Id, range(999)):
        store.remove(key, at(1), ONE)
    [lease] = store._sources._sources.values()
    assert isinstance(lease, Lease)
    assert isinstance(lease._entries, tuple)


def test_the_record_stored_first_gives_way() -> None:
    store = HeldRecords(Policy(store_entries=3))
    for key in (A, B, Id(3)):
        put(store, key, at(1), 0.0)
    assert put(store, A, at(2), 20.0) == Stored(evicted_by="store_entries")
    assert [key for key in (A, B, Id(3)) if at(1) in store.get(key, 20.0)] == [B, Id(3)]


def test_a_seed_is_forgotten_with_its_record() -> None:
    store = HeldRecords(replace(DEFAULT, store_entries_per_key=2))
    here, there, third = at(1), at(2), at(3)
    store.put(Id(7), here, b"", 0, 0.0, is_seed=True)
    store.put(Id(7), there, b"", 0, 1.0)
    store.put(Id(8), there, b"", 0, 1.0, is_seed=True)
    assert (store.seeds(Id(7)), store.seeds(Id(8)), store.seeds(Id(9))) == ({here}, {there}, set())
    assert isinstance(store.put(Id(7), third, b"", 0, 2.0, is_seed=True), QuotaReached)
    store.sweep(DEFAULT.store_expiry + 0.5)
    assert (store.seeds(Id(7)), len(store._seeds)) == (set(), 1)
    store.put(Id(7), here, b"", 0, DEFAULT.store_expiry + 1.0)
    assert store.seeds(Id(7)) == set()
    store.put(Id(7), there, b"", 0, DEFAULT.store_expiry + 1.0, is_seed=True)
    store.put(Id(7), here, b"", 0, DEFAULT.store_expiry + 1.0)
    assert store.seeds(Id(7)) == {there}

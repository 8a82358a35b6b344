"""Watches that are held for other nodes: how long, for whom, and how many."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import VERSION_MAX, Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.storage.outcomes import QuotaReached
from dhtd.core.storage.watched_keys import WatchedKeys
from dhtd.core.watching.held_watches import HeldWatch, HeldWatches
from tests.core.small import contact
from tests.records import SESSION

KEY, OTHER_KEY = Id(77), Id(78)
OTHER = b"another session!"


def put(
    watches: HeldWatches, key: Id = KEY, who: int = 5, session: bytes = SESSION, lease: int = 60, now: float = 0.0
) -> HeldWatch:
    watch = watches.put(key, contact(who), session, lease, 7, now)
    assert isinstance(watch, HeldWatch)
    return watch


def held(policy: object = DEFAULT) -> tuple[HeldWatches, WatchedKeys]:
    keys = WatchedKeys()
    assert isinstance(policy, type(DEFAULT))
    return HeldWatches(policy, keys, Counter()), keys


def test_a_watch_ends_with_its_lease() -> None:
    watches, keys = held()
    watch = put(watches, lease=60)
    assert (watches.next_timeout(), len(watches), len(keys)) == (60.0, 1, 1)
    watches.expire(59.9)
    assert watch in watches
    watches.expire(60.0)
    assert watch not in watches
    assert (watches.next_timeout(), len(watches), len(keys)) == (None, 0, 0)
    assert list(watches.of(packed(KEY))) == []


def test_a_renewal_prolongs_all_of_a_session() -> None:
    watches, _ = held()
    first, second = put(watches), put(watches, OTHER_KEY)
    stranger = put(watches, OTHER_KEY, session=OTHER)
    assert watches.renew(contact(5).endpoint[:-2], SESSION, 60, 30.0) == 2
    watches.expire(60.0)
    assert first in watches
    assert second in watches
    assert stranger not in watches
    assert watches.next_timeout() == 90.0
    assert watches.renew(contact(5).endpoint[:-2], OTHER, 60, 60.0) == 0
    assert watches.renew(contact(6).endpoint[:-2], SESSION, 60, 60.0) == 0
    watches.expire(90.0)
    assert len(watches) == 0


def test_a_shorter_lease_ends_sooner() -> None:
    watches, _ = held()
    put(watches, lease=600)
    assert watches.renew(contact(5).endpoint[:-2], SESSION, 10, 0.0) == 1
    assert watches.next_timeout() == 10.0
    watches.expire(10.0)
    assert len(watches) == 0


def test_a_renewal_for_no_time_drops_all() -> None:
    watches, keys = held()
    put(watches)
    put(watches, OTHER_KEY)
    assert watches.renew(contact(5).endpoint[:-2], SESSION, 0, 1.0) == 2
    assert (len(watches), len(keys), watches.next_timeout()) == (0, 0, None)


def test_watching_again_changes_the_port_alone() -> None:
    watches, keys = held()
    watch = put(watches)
    moved = Contact(Id(6), contact(5).endpoint.with_port(99))
    assert watches.put(KEY, moved, SESSION, 60, 8, 30.0) is watch
    assert (watch.contact, watch.version, len(watches), len(keys)) == (moved, 7, 1, 1)
    watches.expire(60.0)
    assert watch in watches


def test_only_the_session_leaves() -> None:
    watches, _ = held()
    watch = put(watches)
    ip = contact(5).endpoint[:-2]
    watches.leave(KEY, ip, OTHER)
    watches.leave(KEY, contact(6).endpoint[:-2], SESSION)
    watches.leave(OTHER_KEY, ip, SESSION)
    assert watch in watches
    watches.leave(KEY, ip, SESSION)
    assert watch not in watches


def test_one_watch_of_several_leaves() -> None:
    watches, keys = held()
    first, second = put(watches), put(watches, OTHER_KEY)
    third = put(watches, who=6)
    watches.drop(first)
    assert [each in watches for each in (first, second, third)] == [False, True, True]
    assert (len(watches), len(keys)) == (2, 2)


@pytest.mark.parametrize(
    ("cap", "texts"),
    [
        ("watches", ["ok", "ok", "ok", "too many watches"]),
        ("watches_per_key", ["ok", "ok", "ok", "too many watches of this key"]),
        ("watches_per_source", ["ok", "ok", "ok", "too many watches from this address"]),
    ],
)
def test_each_quota_refuses_the_next_one(cap: str, texts: list[str]) -> None:
    watches, _ = held(replace(DEFAULT, **{cap: 3}))  # type: ignore[arg-type]
    told = []
    for number in range(4):
        key = KEY if cap == "watches_per_key" else Id(number)
        who = 5 if cap == "watches_per_source" else 5 + number
        outcome = watches.put(key, contact(who), SESSION, 60, 7, 0.0)
        told.append(outcome.text if isinstance(outcome, QuotaReached) else "ok")
    assert told == texts
    assert len(watches) == 3
    again = watches.put(KEY if cap == "watches_per_key" else Id(0), contact(5), SESSION, 60, 7, 0.0)
    assert isinstance(again, HeldWatch)  # one that is held is prolonged all the same
    watches.drop(again)
    freed = KEY if cap == "watches_per_key" else Id(3)
    assert isinstance(watches.put(freed, contact(5), OTHER, 60, 7, 0.0), HeldWatch)


@pytest.mark.parametrize("cap", ["watches", "watches_per_key"])
def test_one_source_keeps_no_other_from_watching(cap: str) -> None:
    caps_hit: Counter[str] = Counter()
    watches = HeldWatches(replace(DEFAULT, **{cap: 4}), WatchedKeys(), caps_hit)  # type: ignore[arg-type]
    greedy = [put(watches, session=number.to_bytes(16, "big")) for number in range(4)]
    modest = [put(watches, who=6), put(watches, who=7)]
    assert [watch in watches for watch in (*greedy, *modest)] == [False, False, True, True, True, True]
    third = put(watches, who=8)
    assert [watch in watches for watch in (*greedy, *modest, third)] == [False] * 3 + [True] * 4
    assert isinstance(watches.put(KEY, contact(9), SESSION, 60, 7, 0.0), QuotaReached)
    assert (len(watches), caps_hit) == (4, {cap: 3})


def test_a_source_gives_way_in_one_watcher() -> None:
    """The watcher of the watch that gives way is another one than that of the new watch, or is new as well."""
    watches, keys = held(replace(DEFAULT, watches=2))
    first, second = put(watches), put(watches, OTHER_KEY)
    third = put(watches, Id(79), who=6)
    assert [watch in watches for watch in (first, second, third)] == [False, True, True]
    assert (len(watches), len(keys)) == (2, 2)


def test_a_network_of_ipv6_is_one_source() -> None:
    watches, _ = held(replace(DEFAULT, watches_per_source=1))
    one = Endpoint.of("2001:db8::1", 1)
    put_there = watches.put(KEY, Contact(Id(1), one), SESSION, 60, 7, 0.0)
    assert isinstance(put_there, HeldWatch)
    other = Contact(Id(2), Endpoint.of("2001:db8::2", 1))
    assert isinstance(watches.put(OTHER_KEY, other, OTHER, 60, 7, 0.0), QuotaReached)


def test_versions_never_leave_their_range() -> None:
    watches, _ = held()
    watch = put(watches)
    watch.version = VERSION_MAX - 1
    assert [watch.next_version() for _ in range(3)] == [VERSION_MAX, 0, 1]

"""Lists of the endpoints under a key: kept for the next answer, and never older than what is held."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint, Scope
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT
from dhtd.core.storage.listed import KEPT, Listed
from dhtd.core.storage.store import HeldRecords

KEY = Id(5)
ONE, TWO = b"1" * 16, b"2" * 16


def at(number: int) -> Endpoint:
    return Endpoint.of(f"203.0.113.{number}", 80)


def two_held() -> HeldRecords:
    store = HeldRecords(DEFAULT)
    store.put(KEY, at(1), ONE, 60, 0.0)
    store.put(KEY, at(2), TWO, 90, 0.0)
    return store


def endpoints(store: HeldRecords, now: float) -> tuple[Endpoint, ...]:
    return store.listed(KEY, now).endpoints


def test_the_same_list_serves_until_one_expires() -> None:
    store = two_held()
    listed = store.listed(KEY, 0.0)
    assert listed == Listed((at(1), at(2)), Scope.PUBLIC, 60.0)
    assert store.listed(KEY, 59.0) is listed
    assert endpoints(store, 60.0) == (at(2),)
    assert endpoints(store, 90.0) == ()


def test_what_comes_and_goes_is_listed() -> None:
    store = two_held()
    assert endpoints(store, 1.0) == (at(1), at(2))
    store.put(KEY, at(3), ONE, 60, 1.0)
    assert endpoints(store, 1.0) == (at(1), at(2), at(3))
    store.remove(KEY, at(2), TWO)
    assert endpoints(store, 1.0) == (at(1), at(3))


def test_a_renewal_brings_back_what_has_expired() -> None:
    store = two_held()
    assert endpoints(store, 60.0) == (at(2),)
    assert store.renew(at(1).ip, ONE, 60, 61.0) == 1
    assert endpoints(store, 61.0) == (at(1), at(2))


def test_a_shorter_lease_ends_sooner() -> None:
    store = two_held()
    assert endpoints(store, 0.0) == (at(1), at(2))
    store.renew(at(2).ip, TWO, 10, 0.0)
    assert endpoints(store, 10.0) == (at(1),)


def test_the_scope_is_that_of_all() -> None:
    lan = Endpoint.of("192.168.0.1", 80)
    for other, scope in ((Endpoint.of("10.0.0.1", 80), Scope.PRIVATE), (at(1), None)):
        store = HeldRecords(DEFAULT)
        store.put(KEY, lan, ONE, 60, 0.0)
        assert store.listed(KEY, 0.0).scope is Scope.PRIVATE
        store.put(KEY, other, TWO, 60, 0.0)
        assert store.listed(KEY, 0.0).scope is scope


def test_no_more_lists_are_kept_than_may_be() -> None:
    store = HeldRecords(DEFAULT)
    for number in range(KEPT + 8):
        for session in (ONE, TWO):
            store.put(Id(number), Endpoint.of("203.0.113.1", 1 + session[0]), session, 60, 0.0)
        store.listed(Id(number), 0.0)
    assert len(store._listed) == KEPT

"""Held values, one at a time: newer ones and older ones, quotas, time and restarts."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, ERROR_SIGNATURE, Put
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.core.storage.held_values import SWEPT, HeldValue, HeldValues
from dhtd.core.storage.outcomes import REFUSED_BY, QuotaReached, Refused, Stored
from tests.values import LASTS, hold

A, B = Id(1), Id(2)
KIB = 1_024
HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
ONE, TWO, THREE = (Endpoint.of(f"10.0.0.{number}", 80) for number in (1, 2, 3))
FORGED = Refused(ERROR_SIGNATURE, "bad signature")
FEW = replace(DEFAULT, values=4, values_per_source=3)
AT_LATEST = DEFAULT.replicate * 1.25  # a silent value is to be replicated


def mutable(seq: int, data: bytes = b"data") -> Mutable:
    return Mutable(b"k" * 32, b"", seq, data, b"s" * 64)


def make(policy: Policy = DEFAULT, own_id: int = 0) -> HeldValues:
    return HeldValues(Id(own_id), policy, Random(1))


def forged(value: Value) -> Refused:
    return FORGED


def test_a_value_is_held_until_it_expires() -> None:
    values = make()
    assert hold(values, A, mutable(1), ONE, 0.5, lasts=60) == Stored()
    assert values.get(A, 0.5) == (mutable(1), 59)
    assert values.get(A, math.nextafter(60, 0)) == (mutable(1), 0)
    assert values.get(A, 60) is None
    assert values.get(B, 0) is None
    assert len(values) == 1
    assert values.sweep(60) == ([], False)
    assert (len(values), values.size, list(values)) == (0, 0, [])


def test_an_expired_value_is_in_nobodys_way() -> None:
    values = make()
    hold(values, A, mutable(5), ONE, 0, lasts=60)
    assert hold(values, A, mutable(1), TWO, 60) == Stored()
    assert values.get(A, 60) == (mutable(1), LASTS)


@pytest.mark.parametrize(
    ("held", "value", "cas", "refused"),
    [
        (mutable(2), mutable(1), None, Refused(ERROR_SEQ, "a newer value is held")),
        (mutable(2), mutable(2, b"other"), None, Refused(ERROR_SEQ, "another value is held")),
        (mutable(2), mutable(3), 1, Refused(ERROR_CAS, "the seq is 2")),
        (mutable(2), mutable(1), 1, Refused(ERROR_CAS, "the seq is 2")),
        (mutable(0), Immutable(b"k" * 32), None, Refused(ERROR_SEQ, "a signed value is held")),
        (mutable(0), Immutable(b"k" * 32), 0, Refused(ERROR_SEQ, "a signed value is held")),
        (Immutable(b"a"), Immutable(b"b"), None, Refused(ERROR_SEQ, "another value is held")),
    ],
)
def test_what_does_not_supersede_is_refused(held: Value, value: Value, cas: int | None, refused: Refused) -> None:
    values = make()
    hold(values, A, held, ONE, 0)
    assert hold(values, A, value, TWO, 10, cas=cas) == refused
    assert list(values) == [HeldValue(A, held, ONE.ip, LASTS)]


@pytest.mark.parametrize(
    ("held", "value", "cas"),
    [
        (mutable(2), mutable(3), None),
        (mutable(2), mutable(9), 2),
        (Immutable(b"k" * 32), mutable(0), None),
        (Immutable(b"k" * 32), mutable(0), 7),
    ],
)
def test_what_supersedes_is_held(held: Value, value: Value, cas: int | None) -> None:
    values = make()
    hold(values, A, held, ONE, 0)
    assert hold(values, A, value, TWO, 10, cas=cas) == Stored()
    assert list(values) == [HeldValue(A, value, TWO.ip, 10 + LASTS)]


def test_a_lost_answer_costs_nothing() -> None:
    """A put that was taken comes again: its cas is old, but the value is there."""
    values = make()
    hold(values, A, mutable(1), ONE, 0)
    for now in (0, 1):
        assert hold(values, A, mutable(2), ONE, now, cas=1) == Stored()


def test_no_put_shortens_a_life() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0, lasts=600)
    hold(values, A, mutable(1), TWO, 10, lasts=60)
    assert list(values) == [HeldValue(A, mutable(1), ONE.ip, 600)]
    hold(values, A, mutable(2), TWO, 10, lasts=60)
    assert list(values) == [HeldValue(A, mutable(2), TWO.ip, 600)]


def test_only_a_longer_life_is_saved() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0, lasts=600)
    values.changed.take()
    hold(values, A, mutable(1), ONE, 10, lasts=590)
    assert values.changed.take() == set()
    hold(values, A, mutable(1), ONE, 10, lasts=591)
    assert values.changed.take() == {packed(A)}


def test_so_many_changes_are_remembered() -> None:
    values = make(replace(FEW, values_per_source=99))
    for number in range(2 * FEW.values + 64):
        hold(values, Id(200 - number), mutable(1), ONE, 0)
    assert len(values.changed) == 2 * FEW.values + 64
    hold(values, Id(1), mutable(1), ONE, 0)
    assert values.changed.take() is None


def test_a_forged_put_changes_nothing() -> None:
    values = make(FEW)
    for number in range(3):
        hold(values, Id(number), mutable(1), ONE, 0)
    hold(values, Id(3), mutable(1), TWO, 0)
    values.changed.take()
    for key in (A, Id(9)):  # in place of another, and of a source that has more
        put = Put(key, b"", mutable(2), None, LASTS)
        assert values.put(put, THREE.ip, 0, forged) == FORGED
    assert values.changed.take() == set()
    assert [each.key for each in values] == [Id(number) for number in range(4)]


def test_a_signature_is_verified_only_where_it_matters() -> None:
    values, asked = make(FEW), list[Value]()

    def verify(value: Value) -> None:
        asked.append(value)

    def put(key: Id, value: Value) -> None:
        values.put(Put(key, b"", value, None, LASTS), ONE.ip, 0, verify)

    for number in range(5):
        put(Id(number), mutable(2))
    assert len(asked) == FEW.values_per_source
    put(A, mutable(2))
    put(A, mutable(1))
    assert len(asked) == FEW.values_per_source
    put(A, mutable(3))
    assert asked[-1] == mutable(3)


# Quotas


def test_a_source_has_so_many_values() -> None:
    values = make(FEW)
    for number in range(3):
        assert hold(values, Id(number), mutable(1), ONE, 0) == Stored()
    assert hold(values, Id(3), mutable(1), ONE, 0) == REFUSED_BY["values_per_source"]
    assert hold(values, A, mutable(2), ONE, 0) == Stored()  # in place of its own
    assert hold(values, Id(3), mutable(1), TWO, 0) == Stored()
    assert hold(values, Id(3), mutable(2), ONE, 0) == REFUSED_BY["values_per_source"]


def test_a_source_has_so_many_bytes() -> None:
    values = make(replace(DEFAULT, value_kib_per_source=1))
    assert hold(values, A, Immutable(bytes(511)), ONE, 0) == Stored()
    assert hold(values, B, Immutable(bytes(512)), ONE, 0) == REFUSED_BY["value_kib_per_source"]
    assert hold(values, B, Immutable(bytes(511)), ONE, 0) == Stored()
    assert hold(values, Id(3), Immutable(b""), ONE, 0) == REFUSED_BY["value_kib_per_source"]
    assert values.size == KIB


def test_a_longer_value_in_place_needs_room() -> None:
    values = make(replace(DEFAULT, value_kib_per_source=1))
    hold(values, A, mutable(1, bytes(500)), ONE, 0)
    assert hold(values, A, mutable(2, bytes(918)), ONE, 0) == Stored()
    assert hold(values, A, mutable(3, bytes(919)), ONE, 0) == REFUSED_BY["value_kib_per_source"]
    assert values.size == KIB


def test_a_source_with_more_gives_way() -> None:
    values = make(FEW)
    for number in range(3):
        hold(values, Id(number), mutable(1), ONE, 0)
    hold(values, Id(64), mutable(1), TWO, 0)
    assert hold(values, Id(100), mutable(1), THREE, 0) == Stored("values")
    assert [each.key for each in values] == [Id(0), Id(1), Id(64), Id(100)]


def test_a_source_keeps_its_fair_share() -> None:
    values = make(replace(FEW, values=6, values_per_source=6))
    for number in range(5):
        hold(values, Id(number), mutable(1), ONE, 0)
    for number in range(4):
        hold(values, Id(100 - number), mutable(1), TWO, 0)
    assert [each.key for each in values] == [Id(0), Id(1), Id(3), Id(99), Id(98), Id(97)]
    assert hold(values, Id(127), mutable(1), ONE, 0) == REFUSED_BY["values"]


def test_a_full_store_takes_the_place_of_the_farthest() -> None:
    values = make(replace(FEW, values=3, values_per_source=9), own_id=8)
    for key in (9, 40, 41):
        hold(values, Id(key), mutable(1), ONE, 0)
    assert hold(values, Id(100), mutable(1), ONE, 0) == REFUSED_BY["values"]
    assert hold(values, Id(42), mutable(1), ONE, 0) == Stored("values")
    assert [each.key for each in values] == [Id(9), Id(41), Id(42)]
    hold(values, Id(41), mutable(1), ONE, 0)
    assert hold(values, Id(10), mutable(1), ONE, 0) == Stored("values")
    assert [each.key for each in values] == [Id(9), Id(41), Id(10)]


def test_a_long_value_takes_the_place_of_several() -> None:
    values = make(replace(DEFAULT, value_kib=2))
    for number in range(8):
        hold(values, Id(number), Immutable(bytes(255)), ONE, 0)
    assert values.size == 2 * KIB
    assert hold(values, Id(9), Immutable(bytes(900)), TWO, 0) == Stored("value_kib")
    assert [each.key for each in values] == [Id(0), Id(1), Id(2), Id(3), Id(9)]


def test_a_store_of_one_value_each_keeps_them() -> None:
    values = make(FEW)
    hosts = [Endpoint.of(f"10.0.0.{number}", 80) for number in range(6)]
    for number in range(4):
        assert not values.refuses_newcomer(Id(number), hosts[number].ip)
        hold(values, Id(number), mutable(1), hosts[number], 0)
    assert values.refuses_newcomer(Id(9), hosts[4].ip)
    assert hold(values, Id(9), mutable(1), hosts[4], 0) == REFUSED_BY["values"]
    assert not values.refuses_newcomer(A, hosts[4].ip)  # it may have a newer one
    assert not values.refuses_newcomer(Id(9), hosts[0].ip)  # it may have come to renew
    hold(values, Id(0), mutable(2), hosts[1], 0)
    assert not values.refuses_newcomer(Id(9), hosts[4].ip)
    values.sweep(LASTS)
    assert not values.refuses_newcomer(Id(9), hosts[4].ip)


def test_a_store_without_room_takes_nothing() -> None:
    for policy in (replace(DEFAULT, values=0), replace(DEFAULT, value_kib=0)):
        values = make(policy)
        assert values.refuses_newcomer(A, ONE.ip)
        assert isinstance(hold(values, A, Immutable(b""), ONE, 0), QuotaReached)


# Time


def test_a_long_silent_value_is_named_once() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0, lasts=86_400)
    now, named = 0.0, list[float]()
    while now < 3 * AT_LATEST:
        now += 30
        silent, _ = values.sweep(now)
        named += [now] * len(silent)
    assert len(named) in (2, 3)
    gaps = [after - before for before, after in zip([0, *named], named, strict=False)]
    assert all(DEFAULT.replicate - 60 <= gap <= AT_LATEST + 60 for gap in gaps)


def test_a_value_that_is_put_again_is_not_silent() -> None:
    values = make()
    for now in range(0, 20_000, 1_800):
        hold(values, A, mutable(1), ONE, now, lasts=86_400)
        assert values.sweep(now + 1_799) == ([], False)


def test_what_was_heard_since_is_not_still_silent() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0, lasts=86_400)
    ([silent], _) = values.sweep(AT_LATEST)
    still = values.still(silent)
    assert still == HeldValue(A, mutable(1), ONE.ip, 86_400)
    hold(values, A, mutable(1), TWO, AT_LATEST + 1)
    assert values.still(silent) is None
    values.sweep(86_400)
    assert values.still(silent) is None


def test_many_values_are_swept_bit_by_bit() -> None:
    values = make()
    for number in range(SWEPT + 10):
        hold(values, Id(number), Immutable(b""), ONE, 0, lasts=60)
    assert values.sweep(60) == ([], True)
    assert len(values) == 10
    assert values.sweep(60) == ([], False)
    assert len(values) == 0


def test_what_was_replaced_is_swept_once() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0, lasts=30)
    hold(values, A, mutable(2), ONE, 0, lasts=60)
    values.sweep(30)
    assert len(values) == 1
    values.sweep(60)
    assert len(values) == 0


# What this node finds itself


def test_a_found_value_supersedes_a_held_one() -> None:
    values = make()
    hold(values, A, mutable(1), ONE, 0)
    values.changed.take()
    values.supersede(A, mutable(1, b"other"), 10)
    values.supersede(B, mutable(2), 10)
    assert values.changed.take() == set()
    values.supersede(A, mutable(2), 10)
    assert list(values) == [HeldValue(A, mutable(2), ONE.ip, LASTS)]
    assert values.changed.take() == {packed(A)}


def test_a_found_value_without_room_ends_the_old_one() -> None:
    values = make(replace(DEFAULT, value_kib_per_source=1))
    for key in (A, B):
        hold(values, key, mutable(1, bytes(100)), ONE, 0)
    values.supersede(A, mutable(2, bytes(1_000)), 10)
    assert [each.key for each in values] == [B]
    full = make(replace(DEFAULT, value_kib=1))
    for key in (A, B, Id(64)):
        hold(full, key, mutable(1, bytes(200)), ONE, 0)
    full.supersede(A, mutable(2, bytes(400)), 10)
    assert [each.key for each in full] == [B, A]


# A restart


def test_a_restored_value_is_as_it_was() -> None:
    values, later = make(), make()
    hold(values, A, mutable(1), ONE, 0)
    (kept,) = values
    assert later.restore(kept, 10)
    assert list(later) == [kept]
    assert later.changed.take() == set()  # it is on disk
    assert later.keys() == [packed(A)]
    assert not later.restore(kept, 10)
    assert not later.restore(kept._replace(key=B), LASTS)


def test_what_does_not_fit_after_a_restart_is_noted() -> None:
    values = make(replace(FEW, values=2))
    kept = [HeldValue(Id(number), mutable(1), ONE.ip, 600.0) for number in (1, 64, 2, 100)]
    assert [values.restore(each, 0) for each in kept] == [True, True, True, False]
    assert [each.key for each in values] == [Id(1), Id(2)]
    assert values.changed.take() == {packed(Id(64)), packed(Id(100))}


def test_a_value_gives_no_way_to_its_successor() -> None:
    values = make(replace(DEFAULT, value_kib=1))
    for number in range(4):
        hold(values, Id(number), mutable(1, bytes(150)), ONE, 0)
    assert hold(values, Id(2), mutable(2, bytes(300)), ONE, 0) == Stored("value_kib")
    assert [each.key for each in values] == [Id(0), Id(1), Id(2)]
    assert values.held(packed(Id(2))) == HeldValue(Id(2), mutable(2, bytes(300)), ONE.ip, LASTS)
    assert values.held(packed(Id(3))) is None

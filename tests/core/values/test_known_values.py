"""What a node knows itself: of a held value and an own one under the same key, the one that supersedes the other."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.events import ValueSuperseded
from dhtd.core.ids import Id, packed
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, ERROR_SIGNATURE, VALUE_LASTS, Get, Put
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Immutable, Value
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.storage.outcomes import STORED, Refused, Stored
from dhtd.core.values.known_values import KnownValues
from dhtd.core.values.own_values import OwnValues
from tests.core.small import endpoint
from tests.values import by_owner, hold, squatting

KEY, NOW = Id(77), 1_000.0
OLD, NEW = by_owner(1, b"old"), by_owner(2, b"new")
DATA = Immutable(b"data")


def knowing(held: Value | None, own: Value | None) -> KnownValues:
    known = KnownValues(HeldValues(Id(0), DEFAULT, Random(1)), OwnValues(DEFAULT, Random(1), {}), lambda _: None)
    if held is not None:
        hold(known.held, KEY, held, endpoint(1), NOW, 60)
    if own is not None:
        known.own.keep(KEY, own, 1)
    return known


@pytest.mark.parametrize(
    ("held", "own", "known"),
    [
        (None, None, None),
        (OLD, None, (OLD, 60)),
        (None, OLD, (OLD, VALUE_LASTS)),
        (NEW, OLD, (NEW, 60)),
        (OLD, NEW, (NEW, VALUE_LASTS)),
        (OLD, OLD, (OLD, VALUE_LASTS)),
        (squatting(OLD), OLD, (OLD, VALUE_LASTS)),
        (OLD, squatting(OLD), (OLD, 60)),
    ],
)
def test_the_newer_one_is_known(held: Value | None, own: Value | None, known: tuple[Value, int] | None) -> None:
    assert knowing(held, own).get(KEY, NOW) == known


def test_an_expired_value_is_not_known() -> None:
    known = knowing(NEW, None)
    assert known.get(KEY, NOW + 59.9) == (NEW, 0)
    assert known.get(KEY, NOW + 60) is None
    assert knowing(NEW, OLD).get(KEY, NOW + 60) == (OLD, VALUE_LASTS)


def test_another_key_has_another_value() -> None:
    assert knowing(OLD, NEW).get(Id(78), NOW) is None


@pytest.mark.parametrize(
    ("held", "seq", "answer"),
    [
        (NEW, None, NEW),
        (NEW, 1, NEW),
        (NEW, 2, 2),
        (NEW, 3, 2),
        (DATA, None, DATA),
        (DATA, 0, 0),
        (DATA, 5, 0),
    ],
)
def test_only_a_newer_value_is_told(held: Value, seq: int | None, answer: Value | int) -> None:
    assert knowing(held, None).answer(Get(KEY, None, seq), NOW) == (answer, 60)


def test_of_nothing_there_is_no_seq() -> None:
    assert knowing(None, None).answer(Get(KEY, None, 5), NOW) == (None, 0)


def put(known: KnownValues, value: Value, cas: int | None = None, *, genuine: bool = True) -> Stored | Refused:
    verify = (lambda _: None) if genuine else (lambda _: Refused(ERROR_SIGNATURE, "bad signature"))
    outcome = known.put(Put(KEY, b"token", value, cas, 60), endpoint(2).ip, NOW, verify)
    assert isinstance(outcome, Stored | Refused)
    return outcome


def test_an_own_value_counts_as_held() -> None:
    known = knowing(None, NEW)
    assert put(known, OLD) == Refused(ERROR_SEQ, "a newer value is held")
    assert put(known, by_owner(3, b"newest"), cas=1) == Refused(ERROR_CAS, "the seq is 2")
    assert len(known.held) == 0
    own = known.own.get(KEY)
    assert own is not None
    assert own.value == NEW


def test_an_own_value_gives_way_to_a_newer_one() -> None:
    told: list[ValueSuperseded] = []
    known = KnownValues(HeldValues(Id(0), DEFAULT, Random(1)), OwnValues(DEFAULT, Random(1), {}), told.append)
    own = known.own.keep(KEY, OLD, 1)
    assert put(known, NEW, cas=1) == STORED
    assert own.value == NEW
    assert told == [ValueSuperseded(KEY, NEW)]
    assert known.own.changed == {packed(KEY)}


def test_what_is_not_taken_changes_no_own_value() -> None:
    known = knowing(None, OLD)
    assert put(known, NEW, genuine=False) == Refused(ERROR_SIGNATURE, "bad signature")
    own = known.own.get(KEY)
    assert own is not None
    assert own.value == OLD


def test_the_own_value_is_held_for_others_as_well() -> None:
    known = knowing(None, OLD)
    assert put(known, OLD) == STORED
    assert known.own.changed == set()

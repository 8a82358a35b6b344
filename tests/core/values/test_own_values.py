"""The values that a node keeps: which there are, and when each is published again."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.counters import none_hit
from dhtd.core.ids import Id, packed
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable
from dhtd.core.values.own_values import OwnValue, OwnValues
from dhtd.errors import TooManyValues
from tests.core.small import contact
from tests.values import by_owner

KEY, OTHER = Id(77), Id(78)
OLD, NEW = by_owner(1, b"old"), by_owner(2, b"new")
REPLICAS = tuple(map(contact, range(70, 78)))
NOW = 1_000.0
EARLIEST, LATEST = DEFAULT.value_republish * 0.9, DEFAULT.value_republish * 1.1


def make(policy: Policy = DEFAULT, seed: int = 1) -> OwnValues:
    return OwnValues(policy, Random(seed), none_hit())


def pauses(values: OwnValues, own: OwnValue, replicas: int, count: int) -> list[float]:
    """Publish a value so often, and return how long it rests after each time."""
    found = []
    for _ in range(count):
        values.published(own, REPLICAS[:replicas], NOW)
        at = values.next_timeout()
        assert at is not None
        found.append(at - NOW)
    return found


# Which there are


def test_a_value_takes_the_place_of_another() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    assert values.keep(KEY, NEW, 3) is own
    assert (own.key, own.packed_key, own.value, own.wanted) == (KEY, packed(KEY), NEW, 3)
    assert (list(values), len(values), values.get(KEY), values.get(OTHER)) == ([own], 1, own, None)


def test_no_node_has_taken_a_new_value_yet() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    assert (own.replicas, own.published_at, own.failures) == ((), None, 0)
    values.published(own, REPLICAS, NOW)
    values.keep(KEY, OLD, 2)
    assert (own.replicas, own.published_at) == (REPLICAS, NOW)
    values.keep(KEY, NEW, 2)
    assert (own.replicas, own.published_at, own.failures) == ((), None, 0)


def test_a_dropped_value_leaves_nothing_behind() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    values.due_at(own, NOW)
    values.supersede(own, NEW)
    assert values.drop(KEY) is own
    assert values.drop(KEY) is None
    assert (list(values), values.get(KEY), values.next_timeout(), values.changed) == ([], None, None, set())


def test_a_value_put_again_is_tried_soon_again() -> None:
    """Else each attempt of its owner in an outage would put off the next one of the node."""
    values = make()
    for _ in range(3):
        own = values.keep(KEY, OLD, 1)
        values.published(own, (), NOW)
        assert values.due_in(own, NOW) == DEFAULT.value_retry


def test_what_others_put_is_to_be_saved() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    values.keep(OTHER, OLD, 1)
    assert values.changed == set()  # the owner of the node has saved these
    values.published(own, REPLICAS, NOW)
    values.supersede(own, NEW)
    assert (own.value, values.changed) == (NEW, {packed(KEY)})
    assert own.replicas == REPLICAS  # which had the former one: dht info does not say that nobody holds it


def test_excess_values_are_refused() -> None:
    hits = none_hit()
    values = OwnValues(Policy(own_values=1), Random(1), hits)
    values.check_room(KEY)
    values.keep(KEY, OLD, 1)
    values.check_room(KEY)
    for _ in range(2):
        with pytest.raises(TooManyValues, match=r"keeps as many values as it takes \(1\): delete some"):
            values.check_room(OTHER)
    assert hits["own_values"] == 2
    values.drop(KEY)
    values.check_room(OTHER)


# When each is published


def test_a_kept_value_has_no_time_by_itself() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    assert values.next_timeout() is None
    values.due_at(own, NOW)
    assert values.next_timeout() == NOW
    values.began(own)
    assert values.next_timeout() is None


@pytest.mark.parametrize("seed", range(5))
def test_a_value_that_is_held_rests_for_long(seed: int) -> None:
    values = make(seed=seed)
    own = values.keep(KEY, OLD, 3)
    rests = pauses(values, own, 3, 20)
    assert all(EARLIEST <= rest <= LATEST for rest in rests)
    assert max(rests) - min(rests) > (LATEST - EARLIEST) / 2
    assert (own.replicas, own.published_at, own.failures) == (REPLICAS[:3], NOW, 0)


@pytest.mark.parametrize(("wanted", "replicas"), [(0, 0), (1, 0), (3, 2), (8, 7)])
def test_a_value_that_too_few_hold_is_tried_soon(wanted: int, replicas: int) -> None:
    values = make()
    own = values.keep(KEY, OLD, wanted)
    assert pauses(values, own, replicas, 7) == [15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    assert (own.replicas, own.published_at) == (REPLICAS[:replicas], None)
    pauses(values, own, max(1, wanted), 1)
    assert pauses(values, own, replicas, 1) == [15.0]
    assert own.published_at == NOW


def test_endless_failures_are_no_great_number() -> None:
    values = make()
    own = values.keep(KEY, OLD, 1)
    assert pauses(values, own, 0, 5_000)[-1] == DEFAULT.value_retry_max
    assert own.failures == 32


def test_a_reached_network_hurries_what_too_few_hold() -> None:
    values = make()
    held, short, none, busy = (values.keep(Id(number), OLD, 3) for number in range(4))
    for own, replicas in ((held, 3), (short, 2), (none, 0)):
        values.published(own, REPLICAS[:replicas], NOW)
        pauses(values, own, replicas, 6)
    values.hurry(NOW)
    assert [own.failures for own in (held, short, none)] == [0, 0, 0]
    due = list(values.pop_due(NOW + DEFAULT.startup_spread, 10))
    assert sorted(due, key=lambda own: own.key) == [short, none]
    values.hurry(NOW)  # what is being published has no time, and is given none
    assert list(values.pop_due(NOW + DEFAULT.startup_spread, 10)) == []
    assert busy.failures == 0


def test_a_value_of_no_quorum_is_hurried_to_one() -> None:
    values = make()
    own = values.keep(KEY, OLD, 0)
    values.published(own, (), NOW)
    values.hurry(NOW)
    assert list(values.pop_due(NOW + DEFAULT.startup_spread, 1)) == [own]
    values.published(own, REPLICAS[:1], NOW)
    values.hurry(NOW)
    assert list(values.pop_due(NOW + DEFAULT.startup_spread, 1)) == []


def test_those_hurried_are_spread() -> None:
    values = make()
    for number in range(100):
        values.due_at(values.keep(Id(number), Immutable(b""), 1), NOW + 300)
    values.hurry(NOW)
    half = NOW + DEFAULT.startup_spread / 2
    assert 30 < len(list(values.pop_due(half, 100))) < 70
    assert len(list(values.pop_due(NOW + DEFAULT.startup_spread, 100))) > 30
    assert values.next_timeout() is None


def test_due_values_are_taken_some_at_a_time() -> None:
    values = make()
    own = [values.keep(Id(number), OLD, 1) for number in range(5)]
    for number, each in enumerate(own):
        values.due_at(each, NOW + number)
    assert list(values.pop_due(NOW - 1, 5)) == []
    assert list(values.pop_due(NOW + 3, 2)) == own[:2]
    assert values.next_timeout() == NOW + 2
    assert list(values.pop_due(NOW + 3, 2)) == own[2:4]
    assert list(values.pop_due(NOW + 3, 2)) == []
    assert list(values.pop_due(NOW + 4, 2)) == own[4:]


def test_more_holders_than_there_can_be_are_not_waited_for() -> None:
    values = make()
    own = values.keep(KEY, OLD, 20)
    [rest] = pauses(values, own, DEFAULT.k, 1)
    assert EARLIEST <= rest <= LATEST
    assert own.published_at == NOW

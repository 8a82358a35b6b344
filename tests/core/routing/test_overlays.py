"""The overlays of a node: what concerns one family goes to that one, and the rest to all."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.overlay import Joining, Overlay
from dhtd.core.routing.overlays import Overlays
from tests.core.small import CODEC, MAPPED, contact, six

FOUR, SIX = Family.IPV4, Family.IPV6


def make(*families: Family, six_id: int = 0) -> Overlays:
    """Return overlays of a node with the ID 0; it may have another one in IPv6."""
    ids = {FOUR: Id(0), SIX: Id(six_id)}
    return Overlays(Overlay(family, ids[family], CODEC, Random(1), DEFAULT, 0.0) for family in families)


def know(overlays: Overlays, *contacts: Contact, now: float = 0.0) -> None:
    """Have these contacts answer."""
    for each in contacts:
        overlays[len(each.endpoint)].state.answered(each, 0.1, now)


def test_each_family_has_its_overlay() -> None:
    overlays = make(FOUR, SIX)
    assert [overlay.family for overlay in overlays] == [FOUR, SIX]
    assert overlays.first is overlays[FOUR] is overlays.of(contact(1).endpoint)
    assert overlays[SIX] is overlays.of(six(1).endpoint)
    assert make(SIX).first.family is SIX
    assert make(SIX).of(contact(1).endpoint) is None


# Our own IDs


def test_one_id_in_all_networks_is_one_target() -> None:
    overlays = make(FOUR, SIX)
    assert (overlays.own_id, overlays.own_ids) == (Id(0), (Id(0), Id(0)))
    assert overlays.own_targets() == [(Id(0), None)]
    assert make(SIX, six_id=9).own_targets() == [(Id(9), None)]


def test_each_id_is_a_target_in_its_network() -> None:
    overlays = make(FOUR, SIX, six_id=9)
    assert (overlays.own_id, overlays.own_ids) == (Id(0), (Id(0), Id(9)))
    assert overlays.own_targets() == [(Id(0), FOUR), (Id(9), SIX)]


def test_we_are_known_by_the_id_of_each_network() -> None:
    overlays = make(FOUR, SIX, six_id=9)
    assert [overlays.own_id_towards(each.endpoint) for each in (contact(1), six(1))] == [Id(0), Id(9)]
    assert make(SIX, six_id=9).own_id_towards(contact(1).endpoint) == Id(9)


# Contacts


def test_contacts_are_restored_to_their_family() -> None:
    overlays = make(FOUR, SIX)
    assert overlays.restore(contact(1)) is True
    assert overlays.restore(six(2)) is True
    assert overlays.contacts() == [contact(1), six(2)]
    assert overlays.restore(contact(1)) is False


def test_no_contact_of_a_foreign_family_is_restored() -> None:
    overlays = make(SIX)
    assert overlays.restore(contact(1)) is False
    assert overlays.restore(Contact(Id(9), MAPPED)) is False
    assert overlays.contacts() == []


def test_only_contacts_that_answer_us_do_so() -> None:
    overlays = make(FOUR)
    overlays.restore(contact(1))
    know(overlays, contact(2))
    told = [overlays.answers_us(each.endpoint) for each in (contact(1), contact(2), contact(3), six(2))]
    assert told == [False, True, False, False]


def test_of_a_good_contact_there_is_nothing_to_learn() -> None:
    overlays = make(FOUR)
    know(overlays, contact(2))
    asked: list[tuple[int, Endpoint]] = [(2, contact(2).endpoint), (3, contact(3).endpoint), (3, six(3).endpoint)]
    assert [overlays.is_settled(Id(id), endpoint, 0.0) for id, endpoint in asked] == [True, False, True]
    assert not overlays.is_settled(Id(2), contact(2).endpoint, DEFAULT.good_for)


def test_round_trips_are_those_of_the_contact() -> None:
    overlays = make(FOUR)
    know(overlays, contact(2))
    trips = overlays.round_trips(Id(2), contact(2).endpoint)
    assert trips is not None
    assert trips.mean == 0.1
    assert overlays.round_trips(Id(3), contact(2).endpoint) is None
    assert overlays.round_trips(Id(2), six(2).endpoint) is None


# Their networks


@pytest.mark.parametrize("family", Family)
def test_one_connected_family_connects_us(family: Family) -> None:
    overlays = make(FOUR, SIX)
    connected = [overlays.is_connected]
    overlays[family].joining = Joining.CONNECTED
    assert [*connected, overlays.is_connected] == [False, True]


def test_networks_in_use_are_asked_or_else_all() -> None:
    overlays = make(FOUR, SIX)
    assert overlays.in_use() == [overlays[FOUR], overlays[SIX]]
    know(overlays, six(1))
    assert overlays.in_use() == [overlays[SIX]]
    know(overlays, contact(1))
    assert overlays.in_use() == [overlays[FOUR], overlays[SIX]]
    overlays[SIX].joining = Joining.SILENT
    assert overlays.in_use() == [overlays[FOUR]]


def test_rumours_go_to_their_family() -> None:
    overlays = make(FOUR, SIX)
    overlays.hear_of([six(1), contact(2), six(3)], 7.0)
    assert [overlay.rumours() for overlay in overlays] == [[contact(2)], [six(1), six(3)]]
    assert [overlay.rumoured_at for overlay in overlays] == [7.0, 7.0]


def test_a_family_without_rumours_hears_nothing() -> None:
    overlays = make(FOUR, SIX)
    overlays.hear_of([six(1)], 7.0)
    assert [overlay.rumoured_at for overlay in overlays] == [None, 7.0]

"""How long answers may be."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from dhtd.core.codec import PackedContacts, Room
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT, MAINLINE
from dhtd.core.serving.byte_budget import ByteBudget
from dhtd.core.serving.rooms import Rooms
from tests.core.mainline import CODEC
from tests.core.small import contact, endpoint

PING = 50
CONTACTS = [contact(number) for number in range(8)]
ROOMS = Rooms(replace(DEFAULT, amplification=3, datagram_sent_max=1_200), PING)


@pytest.mark.parametrize(("size", "room"), [(60, 130), (399, 1_147), (400, 1_200), (401, 1_200), (2_000, 1_200)])
def test_a_stranger_gets_thrice_its_query(size: int, room: int) -> None:
    """And a ping is a part of that, unless a whole datagram is less."""
    assert ROOMS[size] == Room(room)
    assert ROOMS[size] is ROOMS[size]


def test_what_is_kept_for_a_ping_can_be_used() -> None:
    assert ROOMS.most(60) == Room(180)
    assert ROOMS.most(399) == Room(1_197)
    assert ROOMS.most(401) == Room(1_200)
    assert ROOMS.most(60) is ROOMS.most(60)
    assert ROOMS.longest is None


def test_a_budget_pays_for_what_a_query_does_not_allow() -> None:
    policy = replace(MAINLINE, amplification=4, spare_bytes=9_000.0, spare_bytes_per_source=128.0, spare_burst=2.0)
    rooms = Rooms(policy, PING, ByteBudget(policy, Random(1), 0.0))
    assert rooms.longest == Room(MAINLINE.datagram_sent_max)
    assert rooms.pays(100, endpoint(1), 400, 0.0)
    assert not rooms.pays(100, endpoint(1), 657, 0.0)
    assert rooms.pays(100, endpoint(1), 592, 0.0)
    assert not rooms.pays(100, endpoint(1), 465, 0.0)
    assert rooms.pays(100, endpoint(1), 464, 0.0)


def test_what_a_budget_does_not_pay_for_is_cut() -> None:
    policy = replace(MAINLINE, amplification=4, spare_bytes=9_000.0, spare_bytes_per_source=128.0, spare_burst=2.0)
    rooms, near = Rooms(policy, PING, ByteBudget(policy, Random(1), 0.0)), CODEC.pack_contacts(CONTACTS)
    given: list[tuple[int, int]] = []
    ids: list[set[int]] = []

    def encode(packed: PackedContacts, room: Room) -> bytes:
        given.append((len(packed.contacts), room.limit))
        ids.append({contact.id for contact in packed.contacts})
        return bytes(min(room.limit, 400 if given[0][1] == 656 else 0) + 20 * len(packed.contacts))

    # 1. There is enough for all contacts, and they are charged.
    assert len(rooms.afford(100, endpoint(1), Id(5), near, encode, CODEC, 0.0)) == 560
    assert given == [(8, 656)]
    # 2. There is not, so the farthest go.
    given.clear()
    assert len(rooms.afford(5, endpoint(1), Id(5), near, encode, CODEC, 0.0)) == 100
    assert given == [(8, 116), (7, 116), (6, 116), (5, 116)]
    assert ids[-1] == {5, 4, 7, 6, 1}
    # 3. Nothing is left.
    given.clear()
    assert rooms.afford(0, endpoint(1), Id(5), near, encode, CODEC, 0.0) == b""


def test_without_a_budget_nothing_is_paid() -> None:
    assert ROOMS.pays(60, endpoint(1), 1_200, 0.0)


def test_a_proved_address_gets_a_whole_datagram() -> None:
    assert ROOMS.whole == Room(1_200, proved=True)


def test_what_the_rooms_were_made_of_can_be_asked() -> None:
    assert (ROOMS.ping_size, ROOMS.sent_max) == (PING, 1_200)

"""Packed answers against a sort of everybody, and how often they are made."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import PackedContacts
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace, closest
from dhtd.core.messages import Contact
from dhtd.core.routing.answer_cache import AnswerCache

SEVEN = Keyspace(7)
WHOLE = (0, SEVEN.size)


def contact(id: int) -> Contact:
    return Contact(Id(id), Endpoint(id.to_bytes(32, "big")[-4:] + b"\x06\xc1"))


class Packer:
    """Counts what it packs."""

    def __init__(self) -> None:
        self.packed = 0

    def __call__(self, contacts: Sequence[Contact]) -> PackedContacts:
        self.packed += 1
        return PackedContacts(tuple(contacts), b"")


@st.composite
def parted(draw: st.DrawFn, low: int = 0, size: int = SEVEN.size) -> list[int]:
    """Split a range into halves of halves; return their starts."""
    half = size // 2
    if not half or draw(st.booleans()):
        return [low]
    return draw(parted(low, half)) + draw(parted(low + half, half))


@given(st.sets(st.integers(0, SEVEN.size - 1)), st.integers(1, 9), parted())
def test_an_answer_is_the_k_nearest_to_any_target(ids: set[int], k: int, begins: list[int]) -> None:
    contacts = [contact(id) for id in ids]
    pack = Packer()
    nearest = AnswerCache(contacts, k, pack, [*begins, SEVEN.size])
    for _ in range(2):
        for target in range(SEVEN.size):
            expected = closest(contacts, Id(target), k)
            answer = nearest.to(target).contacts
            assert set(answer) == set(expected)
            assert len(answer) == len(expected)
    assert pack.packed <= SEVEN.size  # the second time none is made


def test_without_contacts_the_answer_is_nobody() -> None:
    assert AnswerCache([], 8, Packer(), WHOLE).to(5).contacts == ()


@pytest.mark.parametrize("number", [1, 8])
def test_no_more_than_k_are_one_answer(number: int) -> None:
    pack = Packer()
    nearest = AnswerCache(map(contact, range(number)), 8, pack, WHOLE)
    assert all(nearest.to(target) is nearest.to(0) for target in range(SEVEN.size))
    assert pack.packed == 1


def test_256_bit_ids_are_told_apart() -> None:
    rng = Random(1)
    own = NATIVE.random(rng)
    contacts = [
        contact(own ^ (1 << 255 - place // 8) ^ rng.randrange(1 << 255 - place // 8)) for place in range(80)
    ]  # eight at each distance, doubling
    pack = Packer()
    nearest = AnswerCache(contacts, 8, pack, (0, NATIVE.size))
    far = own ^ 1 << 255
    assert len({id(nearest.to(far ^ rng.getrandbits(255))) for _ in range(500)}) == 1
    assert pack.packed == 1
    for _ in range(300):
        target = Id(own ^ rng.getrandbits(250))
        assert set(nearest.to(target).contacts) == set(closest(contacts, target, 8))

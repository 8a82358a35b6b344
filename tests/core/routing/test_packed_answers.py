"""The contacts that an answer names, packed."""

from __future__ import annotations

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from tests.core.routing.small_table import FAR, NEAR, POLICY, full, make, make_bad
from tests.core.small import CODEC, contact


@pytest.mark.no_cover
@pytest.mark.parametrize("towards", range(128))
def test_a_packed_answer_has_the_closest_contacts(towards: int) -> None:
    state = full()
    state.answered(contact(40), 0.1, 1.0)
    for _ in range(2):  # the second time from the cache
        packed = state.answers.packed_closest(Id(towards))
        assert set(packed.contacts) == set(state.closest(Id(towards), POLICY.k))
        assert packed == CODEC.pack_contacts(packed.contacts)


def test_an_answer_is_packed_once() -> None:
    state = full()
    far = state.answers.packed_closest(Id(127))
    assert state.answers.packed_closest(Id(64)) is far
    assert {member.id for member in far.contacts} == set(FAR)
    near = state.answers.packed_closest(Id(3))
    assert state.answers.packed_closest(Id(3)) is near is not far
    state.answered(contact(40), 0.1, 1.0)
    assert contact(40) in state.answers.packed_closest(Id(33)).contacts


def test_an_answer_names_no_bad_contact() -> None:
    state = make()
    state.answered(contact(100), 0.1, 1.0)
    state.answered(contact(NEAR[0]), 0.1, 1.0)
    two = {contact(100), contact(NEAR[0])}

    def answer() -> set[Contact]:
        return set(state.answers.packed_closest(Id(9)).contacts)

    assert answer() == two
    state.answered(contact(60), 0.1, 1.0)
    assert answer() == {*two, contact(60)}
    make_bad(state, contact(60), 10.0)
    assert answer() == two
    state.answered(contact(60), 0.1, 20.0)
    assert answer() == {*two, contact(60)}
    state.moved(Id(100), contact(100).endpoint)
    assert answer() == {contact(NEAR[0]), contact(60)}
    assert state.restore(contact(90))
    assert answer() == {contact(NEAR[0]), contact(60), contact(90)}


def test_a_bad_contact_returns_when_it_recovers() -> None:
    state = full()
    before = state.answers.packed_closest(Id(64))
    make_bad(state, contact(80), 10.0)
    assert contact(80) not in state.answers.packed_closest(Id(64)).contacts
    assert contact(80) not in state.closest(Id(80), 8)
    assert len(state.answers.packed_closest(Id(64)).contacts) == POLICY.k  # filled up from the next bucket
    state.answered(contact(80), 0.1, 20.0)
    assert set(state.answers.packed_closest(Id(64)).contacts) == set(before.contacts)

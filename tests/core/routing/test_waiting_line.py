"""Newcomers that wait for a place, and claimants that wait for an ID."""

from __future__ import annotations

from dhtd.core.ids import Id, unpacked
from dhtd.core.policy import Policy
from dhtd.core.routing.outcomes import Contested, Inserted
from tests.core.routing.small_table import FAR, NEAR, full, make, make_bad
from tests.core.small import contact


def test_the_latest_claims_wait() -> None:
    state = make(Policy(k=3, replacements=2, claims=2))
    for id in (*NEAR, *FAR):
        state.answered(contact(id), 0.1, 0.0)
    for id in (64, 80, 64, 96):
        assert state.answered(contact(id, machine=200 + id), 0.1, 60.01) == Contested(contact(id))
    assert list(map(unpacked, state._claims._claimants)) == [64, 96]


def test_a_claim_ends_with_its_contact_or_claimant() -> None:
    state = full()
    assert state.answered(contact(64, machine=200), 0.1, 60.01) == Contested(contact(64))
    assert state.answered(contact(5, machine=200), 0.1, 61.0) == Inserted()
    assert make_bad(state, contact(64), 62.0) == [None, None]
    assert state.answered(contact(80, machine=201), 0.1, 63.0) == Contested(contact(80))
    state.moved(Id(80), contact(80).endpoint)
    assert state.answered(contact(80), 0.1, 64.0) == Inserted()
    assert make_bad(state, contact(80), 65.0) == [None, None]


def test_the_latest_newcomers_wait() -> None:
    state = full()
    for id in (112, 113, 114, 112):
        state.answered(contact(id), 0.1, 5.0)
    assert [waiting.id for waiting in state._line.of(state.table.bucket(Id(112)))] == [112, 114]


def test_no_newcomer_comes_in_twice() -> None:
    state = full()
    state.answered(contact(112), 0.1, 5.0)
    state.answered(contact(113), 0.1, 6.0)
    assert state.answered(contact(5, machine=113), 0.1, 7.0) == Inserted()  # same machine, new ID
    assert make_bad(state, contact(80), 10.0) == [None, contact(80)]
    assert state.table.get(Id(113)) is None
    assert state.table.get(Id(112)) == contact(112)
    assert list(state._line.of(state.table.bucket(Id(112)))) == []


def test_a_newcomer_that_is_in_leaves_the_line() -> None:
    state = full()
    state.answered(contact(112), 0.1, 5.0)
    state.moved(Id(64), contact(64).endpoint)
    assert state.answered(contact(112), 0.1, 6.0) == Inserted()
    assert list(state._line.of(state.table.bucket(Id(112)))) == []

"""Rates in fixed memory: a cell has a rate and a burst, and sources share cells by a keyed hash."""

from __future__ import annotations

from random import Random

from dhtd.core.serving.cells import Cells

SOURCE = b"source"


def make(count: int = 1, seed: int = 1) -> Cells:
    """Return cells with one query in two seconds, and six seconds' worth more at once."""
    return Cells(count, 2.0, 6.0, Random(seed), 10.0)


def test_there_are_as_many_cells_as_asked_for() -> None:
    assert len(make(5)) == 5


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    cells = make()
    assert [cells.allows(SOURCE, 10.0) for _ in range(6)] == [True, True, True, True, False, False]
    assert [cells.allows(SOURCE, 12.0) for _ in range(2)] == [True, False]
    assert [cells.allows(SOURCE, 13.9) for _ in range(2)] == [False, False]
    assert [cells.allows(SOURCE, 16.0) for _ in range(3)] == [True, True, False]


def test_a_pause_saves_up_one_burst_alone() -> None:
    cells = make()
    assert sum(cells.allows(SOURCE, 1_000.0) for _ in range(9)) == 4


def test_sources_of_one_cell_share_its_rate() -> None:
    cells = make()
    assert sum(cells.allows(b"%d" % number, 10.0) for number in range(9)) == 4


def test_sources_of_other_cells_are_not_concerned() -> None:
    cells = make(1_024)
    while cells.allows(SOURCE, 10.0):
        pass
    assert sum(cells.allows(b"%d" % number, 10.0) for number in range(100)) == 100


def test_nobody_else_knows_who_shares_a_cell() -> None:
    """Each of these nodes has a key of its own, so other sources share the cell of this one."""
    shared = []
    for seed in range(4):
        cells = make(8, seed)
        while cells.allows(SOURCE, 10.0):
            pass
        shared.append({number for number in range(32) if not cells.allows(b"%d" % number, 10.0)})
    assert all(shared)
    assert len(set(map(frozenset, shared))) == 4


def test_cells_know_when_none_will_owe_anything() -> None:
    cells = make()
    assert cells.settled_at == 10.0
    cells.allows(SOURCE, 12.0)
    assert cells.settled_at == 12.0 + 6.0 + 2.0
    while cells.allows(SOURCE, 13.0):
        pass
    assert cells.settled_at == 13.0 + 6.0 + 2.0


def test_what_is_spare_is_what_a_charge_leaves() -> None:
    cells = make()
    place = cells.place(SOURCE)
    assert cells.spare(place, 10.0) == 3
    cells.charge(place, 2, 10.0)
    assert cells.spare(place, 10.0) == 1
    assert cells.spare(place, 12.0) == 2
    cells.charge(place, 50, 12.0)
    assert cells.spare(place, 12.0) == 0
    assert cells.spare(place, 18.0) == 3  # it owes no more than six seconds' worth


def test_all_are_taken_or_none() -> None:
    cells = make()
    place = cells.place(SOURCE)
    assert not cells.takes(place, 4, 10.0)
    assert cells.takes(place, 2, 10.0)
    assert not cells.takes(place, 2, 10.0)
    assert cells.spare(place, 10.0) == 1

"""The roll: numbers of nodes, and who was up when."""

from __future__ import annotations

import pytest

from dhtd.core.ids import NATIVE
from dhtd.lab import roll as module
from dhtd.lab.roll import LINGER, Roll
from dhtd.sim.host import Host
from dhtd.sim.network import Network


def hosts(count: int) -> tuple[Network, list[Host]]:
    net = Network(1)
    return net, [net.add() for _ in range(count)]


def rows(roll: Roll, time: float) -> list[tuple[int, bool]]:
    return [(row.n, row.is_live) for row in roll.at(time)]


def test_nodes_have_numbers_in_their_order() -> None:
    _, (one, two) = hosts(2)
    roll = Roll(NATIVE)
    assert (roll.came(one, 0.0), roll.came(two, 1.0)) == (0, 1)
    assert roll.hosts == {0: one, 1: two}
    assert roll.number(str(two.endpoint)) == 1
    named = roll.named(1)
    assert named == (NATIVE.format(two.id), str(two.endpoint))
    assert (roll.named(2), roll.number("10.9.9.9:1")) == (None, None)


def test_it_is_known_who_was_up_when() -> None:
    _, (one, two) = hosts(2)
    roll = Roll(NATIVE)
    roll.came(one, 0.0)
    roll.came(two, 10.0)
    assert roll.went(one, 20.0) == 0
    assert rows(roll, 5.0) == [(0, True)]
    assert rows(roll, 10.0) == [(0, True), (1, True)]
    assert rows(roll, 20.0) == [(0, False), (1, True)]
    assert rows(roll, 20.0 + LINGER - 1) == [(0, False), (1, True)]
    assert rows(roll, 20.0 + LINGER) == [(1, True)]
    assert roll.hosts == {1: two}


def test_a_machine_that_is_back_has_its_number() -> None:
    net, (one,) = hosts(1)
    roll = Roll(NATIVE)
    roll.came(one, 0.0)
    saved = net.kill(one)
    roll.went(one, 5.0)
    net.restart(one, saved)
    assert roll.came(one, 9.0) == 0
    assert [rows(roll, time) for time in (4.0, 6.0, 9.0)] == [[(0, True)], [(0, False)], [(0, True)]]


def test_a_machine_under_another_id_is_another_node() -> None:
    net, (one,) = hosts(1)
    roll = Roll(NATIVE)
    roll.came(one, 0.0)
    net.kill(one)
    roll.went(one, 5.0)
    net.restart(one)
    assert roll.came(one, 9.0) == 1
    assert rows(roll, 9.0) == [(0, False), (1, True)]
    assert roll.number(str(one.endpoint)) == 1


def test_old_changes_give_way_and_the_rest_holds() -> None:
    _, (one, two, three) = hosts(3)
    roll = Roll(NATIVE, changes=2)
    roll.came(one, 1.0)
    roll.came(two, 2.0)
    assert roll.kept_from == 0.0
    roll.came(three, 3.0)
    roll.went(one, 4.0)
    assert roll.kept_from == 2.0
    assert rows(roll, 2.0) == [(0, True), (1, True)]
    assert rows(roll, 4.0) == [(0, False), (1, True), (2, True)]


def test_the_long_dead_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SWEEP", 1)
    net, everybody = hosts(4)
    roll = Roll(NATIVE, changes=2)
    one, two, three, four = everybody
    roll.came(one, 0.0)
    roll.went(one, 1.0)
    roll.came(two, 100.0)
    roll.came(three, 200.0)
    roll.came(four, 300.0)
    assert roll.named(0) is None
    assert roll.number(str(one.endpoint)) is None
    assert rows(roll, 300.0) == [(1, True), (2, True), (3, True)]
    net.kill(two)
    roll.went(two, 400.0)
    net.restart(two)
    roll.came(two, 500.0)
    roll.came(one, 600.0)
    assert roll.number(str(one.endpoint)) == 5


def test_the_long_dead_have_names_while_changes_tell_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SWEEP", 1)
    net, (one, two, three) = hosts(3)
    roll = Roll(NATIVE, changes=3)
    roll.came(one, 0.0)
    roll.went(one, 1.0)
    roll.came(two, 100.0)
    net.restart(one, net.kill(one))
    assert roll.came(one, 200.0) == 0
    roll.came(three, 300.0)
    roll.went(three, 400.0)  # now both times are forgotten at which the first one came and went
    assert roll.named(0) == (NATIVE.format(one.id), str(one.endpoint))
    assert roll.number(str(one.endpoint)) == 0
    assert rows(roll, 250.0) == [(1, True), (0, True)]

"""Lookups are compared fairly: both find the nearest if all live; dead contacts cost the textbook its 2 s."""

from __future__ import annotations

from statistics import mean

import pytest

from dhtd.core.ids import NATIVE
from tests.bench.lookups import TIMEOUT, aged, look_up, look_up_by_the_book, main


def test_the_textbook_is_exact_with_nobody_dead() -> None:
    net = aged(1, 60, 0.0)
    for asker in net.hosts[:10]:
        outcome = look_up_by_the_book(net, asker, NATIVE.random(net.rng))
        assert outcome.recall == 1.0
        assert outcome.seconds < TIMEOUT


def test_a_dead_contact_costs_the_textbook_more() -> None:
    net = aged(2, 60, 0.5)
    keys = [NATIVE.random(net.rng) for _ in range(10)]
    askers = net.live[:10]
    textbook = [look_up_by_the_book(net, asker, key) for asker, key in zip(askers, keys, strict=True)]
    ours = look_up(net, list(zip(askers, keys, strict=True)))
    assert all(outcome.seconds > TIMEOUT for outcome in textbook)
    assert sum(outcome.seconds for outcome in ours) < sum(outcome.seconds for outcome in textbook)


def test_dead_nodes_hide_others_from_the_textbook() -> None:
    net = aged(3, 200, 0.2)
    keys = [NATIVE.random(net.rng) for _ in range(40)]
    askers = net.live[:40]
    textbook = [look_up_by_the_book(net, asker, key) for asker, key in zip(askers, keys, strict=True)]
    ours = look_up(net, list(zip(askers, keys, strict=True)))
    assert mean(outcome.recall for outcome in ours) >= 0.99
    assert mean(outcome.recall for outcome in textbook) < 0.97


def test_the_same_seeds_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--nodes=50", "--lookups=5", "--seeds=2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 networks of 50 nodes, 20% of them dead; 10 lookups each" in printed
    assert main(arguments) == 0
    assert capsys.readouterr().out == printed

"""Loss and churn are no outage, all notice a real one, and the same seeds print the same."""

from __future__ import annotations

import pytest

from tests.bench.outages import PACE, PATIENCE, live_through, main, notice


def test_hours_are_counted_for_each_node() -> None:
    quiet = live_through(1, 8, 0.5, loss=0.1)
    assert (quiet.node_hours, quiet.alarms) == (4.0, 0)
    assert quiet.datagrams > 0


def test_nodes_die_at_the_pace_that_is_given() -> None:
    assert live_through(1, 8, 0.5, pace=PACE).datagrams > live_through(1, 8, 0.5).datagrams


def test_each_node_notices_an_outage() -> None:
    noticed = notice(1, 12, 0.1)
    assert len(noticed) == 12
    assert all(0.0 < seconds < PATIENCE for seconds in noticed)


def test_the_same_seeds_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--nodes=3", "--seeds=2", "--hours=0.1", "--loss", "0", "0.2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "2 networks of 3 nodes, 0.1 h each" in printed
    assert [line.partition("  ")[0] for line in printed.splitlines()[3:]] == ["0% lost", "20% lost", "churn"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == printed

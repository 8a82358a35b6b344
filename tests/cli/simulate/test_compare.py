"""`dhtd simulate --compare`: one table, the same figures as JSON, and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.simulate import compare, plot_comparison
from dhtd.sim import comparison
from tests.cli.conftest import Run

TINY = ("simulate", "--compare", "--nodes", "20", "--lookups", "20", "--duration", "10")


def test_a_comparison_is_a_table_and_a_picture(dhtd: Run, tmp_path: Path) -> None:
    ran = dhtd(*TINY, "--plot", str(tmp_path / "both.svg"))
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert lines[2].split()[:3] == ["20", "kademlia", "100.00"]
    assert lines[3].split()[:2] == ["chord", "100.00"]
    assert len(lines[2].split()) == len(lines[3].split()) + 1 == 12
    assert max(map(len, lines[:4])) <= 96
    svg = (tmp_path / "both.svg").read_text()
    assert "dhtd simulate --compare --nodes 20 --lookups 20 --duration 10" in svg or "<path" in svg
    assert f"drawn in {tmp_path / 'both.svg'}" in ran.err


def test_a_comparison_is_the_same_for_a_seed(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "SAMPLES", 5)
    monkeypatch.setattr(comparison, "SAMPLED", 1_000)
    monkeypatch.setattr(comparison.sampled, "__defaults__", (1_000,))
    first, again = (json.loads(dhtd(*TINY, "--warm", "--json").out) for _ in range(2))
    assert first["comparison"] == again["comparison"]
    assert [(row["overlay"], row["nodes"], row["is_sampled"]) for row in first["comparison"]] == [
        ("kademlia", 20, False),
        ("chord", 20, False),
        ("kademlia", 1_000, True),
        ("chord", 1_000, True),
    ]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [(None, [100, 1_000, 10_000]), (50, [50]), (100, [100]), (300, [100, 300]), (20_000, [100, 1_000, 10_000, 20_000])],
)
def test_sizes_go_up_to_the_one_that_is_given(nodes: int | None, expected: list[int]) -> None:
    assert compare.sizes(nodes) == expected


def row(overlay: str, nodes: int, **changed: Any) -> comparison.Row:
    values: dict[str, Any] = {
        "overlay": overlay,
        "nodes": nodes,
        "is_sampled": False,
        "lookups": 500,
        "found": 500,
        "hops_p50": 3,
        "hops_mean": 2.5,
        "latency_p50_ms": 300.0,
        "latency_p99_ms": 900.0,
        "queries_mean": 9.0,
        "bytes_per_node_s": 100.0,
        "churn_success_rate": 0.99,
        "churn_bytes_per_node_s": 200.0,
        "moved_mean": 0.8,
        "moved_per_entry_a_node": 8.0,
    }
    return comparison.Row(**{**values, **changed})


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_is_the_same_for_the_same_figures(suffix: str, tmp_path: Path) -> None:
    nothing = dict.fromkeys(("found", "latency_p50_ms", "bytes_per_node_s", "churn_success_rate", "moved_mean"))
    rows = [
        *(row(overlay, nodes) for nodes in (100, 1_000) for overlay in ("kademlia", "chord")),
        *(row(overlay, 1_000_000, is_sampled=True, **nothing) for overlay in ("kademlia", "chord")),
    ]
    shown = comparison.Comparison(comparison.PLAN, rows, {"kademlia": [0.0, 100.0, 300.0], "chord": [200.0, 400.0]})
    for name in ("one", "two"):
        plot_comparison.draw(shown, "dhtd simulate --compare", tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--nodes", "2000000"], "--nodes 2000000: give a number from 1 to 1000000"),
        (["--closest"], "--closest does not go with --compare"),
        (["--away", "5"], "--away does not go with --compare"),
    ],
)
def test_wrong_options_are_told_before_any_run(
    dhtd: Run, monkeypatch: pytest.MonkeyPatch, given: list[str], told: str
) -> None:
    monkeypatch.delattr(compare.Comparing, "carry_out")
    ran = dhtd("simulate", "--compare", *given)
    assert ran.status == 2
    assert told in ran.err

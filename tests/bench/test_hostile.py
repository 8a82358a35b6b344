"""The measurements of hostile traffic work, and their invariants hold in each run."""

from __future__ import annotations

import json

import pytest

from tests.bench import amplification, flood, hostile, restart
from tests.bench.peers.peer import OPERATIONS


@pytest.mark.slow
def test_dhtd_answers_strangers_at_most_threefold(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert amplification.main(["--peer=dhtd", "--neighbours=24", "--fill=4", "--wait=0.5", "--json"]) == 0
    rows = {row["operation"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    padded = len(OPERATIONS) - 3  # a ping, a store and a put have no padding to leave out
    others = 3  # an unknown method, and two in the name of a contact
    assert len(rows) == len(OPERATIONS) + padded + others
    assert rows["find_value, 50, unpadded"]["query"] == 97
    for row in rows.values():
        assert 0 < row["answer"] <= 3 * row["query"]
        assert row["all"] <= row["answer"] + 56  # a ping to the sender


@pytest.mark.slow
def test_forged_sources_cost_no_memory_or_lookups(capsys: pytest.CaptureFixture[str]) -> None:
    assert flood.main(["--sources=5000", "--rate=5000", "--settle=4", "--", "--rate-limit-total=1000"]) == 0
    printed = capsys.readouterr().out
    assert "caps hit: rate_limit_total" in printed
    assert "found what is there" in printed


def test_the_dearest_datagram_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert hostile.main(["--seconds=1", "--mutants=20"]) == 0
    printed = capsys.readouterr().out
    assert "dearest datagram of 2048 bytes" in printed
    assert "100%" in printed


def test_a_start_with_colliding_keys_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert restart.main(["--entries=200", "--rounds=1"]) == 0
    assert "colliding ÷ random" in capsys.readouterr().out

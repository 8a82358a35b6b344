"""The benchmark works: real processes, a few queries, every answer checked. Speed is not tested."""

from __future__ import annotations

import json

import pytest

from tests.bench.__main__ import main
from tests.bench.peers import bencode
from tests.bench.peers.echo import Echo
from tests.bench.peers.peer import FIND_NODE, OPERATIONS, UnexpectedAnswerError


@pytest.mark.parametrize(
    "value", [b"", b"abc", 0, -7, [], [b"a", 1], {b"a": {b"id": b"x" * 20}, b"q": b"ping", b"t": b"aa", b"y": b"q"}]
)
def test_what_is_bencoded_is_read(value: object) -> None:
    assert bencode.decode(bencode.encode(value)) == value


def test_bencoding_is_that_of_bep_5() -> None:
    query = {b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": b"abcdefghij0123456789"}}
    assert bencode.encode(query) == b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"


@pytest.mark.slow
def test_each_dhtd_operation_is_answered_right(capsys: pytest.CaptureFixture[str]) -> None:
    peers = ["--peer=echo", "--peer=dhtd", "--peer=dhtd-sealed"]
    assert main([*peers, "--rounds=1", "--queries=3200", "--neighbours=24", "--fill=4", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    rows = {(row["operation"], row["implementation"]): row for row in body["rows"]}
    ours = {(operation, name) for operation in OPERATIONS for name in ("dhtd", "dhtd-sealed")}
    assert set(rows) == {(FIND_NODE, "echo"), *ours}
    assert rows[FIND_NODE, "echo"]["to_echo"] == 1.0
    for row in rows.values():
        assert row["lost"] == 0
        assert row["least"] <= row["per_cpu_s"] <= row["most"]


def test_an_answer_that_is_not_whole_is_no_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--peer=dhtd", "--rounds=1", "--queries=3200", "--neighbours=1", "--fill=1"]) == 1
    assert "not what was asked for" in capsys.readouterr().err


def test_a_round_with_wrong_answers_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = iter([True])

    def check(self: Echo, operation: str, answer: bytes) -> None:
        if next(wrong, False):
            raise UnexpectedAnswerError("nothing of use")

    monkeypatch.setattr(Echo, "check", check)
    load = ["--peer=echo", "--queries=3200", "--fill=0", "--json"]
    assert main([*load, "--rounds=1"]) == 0
    output = capsys.readouterr()
    assert output.err == "bench: a round of echo, find_node, is left out: nothing of use\n"
    assert json.loads(output.out)["rows"] == []
    assert main([*load, "--rounds=2"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert [row["implementation"] for row in json.loads(output.out)["rows"]] == ["echo"]


def test_one_operation_may_be_measured_alone(capsys: pytest.CaptureFixture[str]) -> None:
    load = ["--peer=echo", "--queries=3200", "--fill=0", "--rounds=1", "--json"]
    assert main([*load, f"--operation={FIND_NODE}"]) == 0
    [row] = json.loads(capsys.readouterr().out)["rows"]
    assert (row["operation"], row["to_echo"], row["to_libtorrent"]) == (FIND_NODE, 1.0, None)
    assert main([*load, "--operation=ping"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []

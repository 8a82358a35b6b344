"""That the benchmark works: real processes, a few queries, every answer checked. Not how fast anything is."""

from __future__ import annotations

import json

import pytest

from tests.bench.__main__ import PEERS, main
from tests.bench.peers import bencode
from tests.bench.peers.dhtd import Dhtd
from tests.bench.peers.echo import Echo
from tests.bench.peers.peer import FIND_NODE


@pytest.mark.parametrize(
    "value", [b"", b"abc", 0, -7, [], [b"a", 1], {b"a": {b"id": b"x" * 20}, b"q": b"ping", b"t": b"aa", b"y": b"q"}]
)
def test_what_is_bencoded_is_read(value: object) -> None:
    assert bencode.decode(bencode.encode(value)) == value


def test_bencoding_is_that_of_bep_5() -> None:
    query = {b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": b"abcdefghij0123456789"}}
    assert bencode.encode(query) == b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"


def test_each_operation_is_answered_by_whoever_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rounds=1", "--queries=64", "--neighbours=24", "--fill=4", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    rows = {(row["operation"], row["implementation"]): row for row in body["rows"]}
    there = [kind for kind in PEERS.values() if kind.is_there()]
    assert {Echo, Dhtd} <= set(there)
    assert set(rows) == {(operation, kind.name) for kind in there for operation in kind.operations}
    assert rows[FIND_NODE, "echo"]["to_echo"] == 1.0
    for row in rows.values():
        assert row["lost"] == 0
        assert row["least"] <= row["per_cpu_s"] <= row["most"]

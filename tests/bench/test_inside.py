"""The measurements of the inside of a node work. Their figures are not tested."""

from __future__ import annotations

import pytest

from tests.bench import growth, memory, parts, profile


@pytest.mark.slow
def test_memory_is_told_of_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["--contacts=2000", "--held=20000", "--own=500", "--values=20000", "--own-values=500"]) == 0
    rows = {line[:26].strip(): line[26:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert set(rows) == {*memory.PARTS, "daemon at rest", "daemon with held entries"}
    assert all(float(row[-1]) > 0 for row in rows.values())


@pytest.mark.slow
def test_nodes_grow_to_the_size_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--contacts=800", "--held=2000", "--rounds=1", "--queries=500"]) == 0
    printed = capsys.readouterr().out
    rows = [line[:18].strip() for line in printed.splitlines() if " contacts " in line or " entries " in line]
    assert rows[0] == "8 contacts"
    assert rows[-3:] == ["800 contacts", "1 entries", "2,000 entries"]
    assert len(rows) == len(growth.MET) + 3


def test_each_part_of_serving_has_its_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert parts.main(["--rounds=1", "--queries=500"]) == 0
    rows = {line[8:]: float(line[:6]) for line in capsys.readouterr().out.splitlines()[3:]}
    assert len(rows) == 13
    assert {"all of handle_datagram", "open the query, if sealed", "seal the answer"} < rows.keys()


@pytest.mark.slow
def test_a_profile_names_the_functions_that_serve(capsys: pytest.CaptureFixture[str]) -> None:
    assert profile.main(["find_node", "--queries=640", "--neighbours=24", "--fill=3", "--lines=400"]) == 0
    printed = capsys.readouterr().out
    assert "find_node, 640 queries" in printed
    assert "dhtd/core/node.py" in printed
    assert "handle_datagram" in printed

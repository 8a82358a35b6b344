"""`dht enter --file`: a list as a whole or not at all, and a line of output for each entry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, Frame, error

ID = "ab" * 32
WIKI = hashlib.sha256(b"wiki").hexdigest()
HOLDERS = [{"node_id": f"{number:064x}", "endpoint": "192.0.2.1:1729"} for number in range(3)]
LIST = f"# services of this machine\n\nwiki\t8080\n  {ID} 22 # and a comment\n"
WANTED = [{"id": WIKI, "port": 8080, "name": "wiki"}, {"id": ID, "port": 22}]


def entered(number: int, holders: int = 3) -> dict[str, Any]:
    wanted = {"name": None, **WANTED[number]}
    return {**wanted, "replicas": HOLDERS[:holders], "refresh_in_s": 900.0, "expires_in_s": 3600.0}


def answer(*holders: int) -> list[Frame]:
    events: list[Frame] = [{"event": entered(number, count)} for number, count in enumerate(holders)]
    return [*events, {"result": {"entered": len(holders)}}]


@pytest.fixture
def path(home: Path) -> Path:
    path = home / "list"
    path.write_text(LIST)
    return path


def test_each_entry_has_a_line(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", answer(3, 3)) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path)
    assert (done.status, done.out.splitlines()) == (0, [f"{WIKI} 8080 3 wiki", f"{ID} 22 3 -"])
    assert done.err == "entered 2 entries\n"
    assert fake.requests == [("enter-many", {"entries": WANTED, "wait": True, "within_s": 13.5})]


def test_each_entry_has_a_json_object(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", answer(3, 0)) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path, "--no-wait", "--json")
    assert [json.loads(line) for line in done.out.splitlines()] == [entered(0), entered(1, 0)]
    assert (done.status, done.err) == (0, "")
    assert fake.requests[0][1]["wait"] is False


def test_a_list_may_come_from_stdin(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    with FakeDaemon(home / "s", answer(3, 3)) as fake, path.open("rb") as stdin:
        monkeypatch.setattr("dhtd.cli.verbs.enter_list.STDIN", stdin.fileno(), raising=True)
        assert dht("--socket", fake.path, "enter", "--file", "-").status == 0
    assert fake.requests[0][1]["entries"] == WANTED


def test_all_bad_lines_are_told(dht: Run, home: Path) -> None:
    bad = home / "bad"
    bad.write_bytes(
        b"wiki 80\nwiki\nabc 80\nwiki 80 81\nwiki http\n#\n\xff 80\nw\x1bx 80\n" + 300 * b"w" + b" 80\nblog 81\n"
    )
    done = dht("enter", "--file", bad)
    *lines, last = done.err.splitlines()
    assert (done.status, done.out) == (2, "")
    assert last == f"dht: nothing is entered: 7 lines of {bad} cannot be used"
    assert [line.removeprefix(f"{bad}:")[0] for line in lines] == ["2", "3", "4", "5", "7", "8", "9"]
    for line, why in zip(
        lines,
        (
            "has 1 word",
            "'abc' has 3 characters: enter such a name by itself, with --name",
            "has 3 words",
            "'http' is not a port",
            "is not UTF-8",
            "control",
            "300",
        ),
        strict=True,
    ):
        assert why in line
    done = dht("enter", "--json", "--file", bad)
    assert (done.status, done.err) == (2, "")
    assert (done.body["error"]["code"], [each["line"] for each in done.body["lines"]]) == (
        "usage",
        [2, 3, 4, 5, 7, 8, 9],
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--file", ""], "--file is empty"),
        (["--file", "/none"], "cannot read /none: No such file or directory"),
        (["--file", "/"], "cannot read /: Is a directory"),
        (["--file", "/dev/null"], "nothing is entered: /dev/null has no line of NAME PORT or ID PORT"),
        (["--file", "/dev/null", "wiki", "80"], "give an ID and a PORT, or --file LIST"),
        (["--file", "/dev/null", "--name"], "give an ID and a PORT, or --file LIST"),
        ([], "Missing argument 'ID'"),
    ],
)
def test_a_list_that_is_none_is_refused(dht: Run, arguments: list[str], why: str) -> None:
    done = dht("enter", *arguments)
    assert (done.status, done.out) == (2, "")
    assert why in done.err


def test_too_few_replicas_fail_after_all_lines(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", answer(3, 1)) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path, "--min-replicas", 2)
    assert (done.status, len(done.out.splitlines())) == (4, 2)
    assert done.err.startswith("dht: 1 of 2 entries are on fewer nodes than 2. They are kept all the same")
    assert fake.requests[0][1]["min_replicas"] == 2


def test_all_with_too_few_are_counted(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", answer(1, 1)) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path, "--min-replicas", 2)
    assert done.err.startswith("dht: 2 of 2 entries are on fewer nodes than 2.")


def test_a_list_has_a_length(dht: Run, home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.cli.verbs.enter_list.LIST_MAX", len(LIST) - 1)
    done = dht("enter", "--file", path)
    assert (done.status, done.err) == (2, f"dht: {path} is longer than {len(LIST) - 1} bytes\n")
    monkeypatch.setattr("dhtd.cli.verbs.enter_list.LIST_MAX", len(LIST))
    with FakeDaemon(home / "s", answer(3, 3)) as fake:
        assert dht("--socket", fake.path, "enter", "--file", path).status == 0
    assert fake.requests[0][1]["entries"] == WANTED


def test_a_bad_list_from_stdin_is_told_so(dht: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("wiki\n")
    with (tmp_path / "bad").open("rb") as stdin:
        monkeypatch.setattr("dhtd.cli.verbs.enter_list.STDIN", stdin.fileno())
        done = dht("enter", "--file", "-")
    assert done.err.startswith("the standard input:1: a line is NAME PORT or ID PORT, and this one has 1 word\n")


def test_entries_without_holders_are_counted(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", answer(3, 0)) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path)
    assert (done.status, done.err) == (0, "entered 2 entries; no other node holds 1 of them yet: see dht bootstrap\n")


def test_a_refused_rest_is_told(dht: Run, home: Path, path: Path) -> None:
    with FakeDaemon(home / "s", error("state-unusable", "no space left")) as fake:
        assert dht("--socket", fake.path, "enter", "--file", path).err == "dht: no space left\n"
    (home / "s").unlink()
    half = [{"event": entered(0)}, *error("state-unusable", "no space left")]
    with FakeDaemon(home / "s", half) as fake:
        done = dht("--socket", fake.path, "enter", "--file", path)
    assert (done.status, done.err) == (1, "dht: no space left; 1 of 2 entries are entered, the others are not\n")

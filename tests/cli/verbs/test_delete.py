"""`dht delete`: entries and values under one ID."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, error, result

ID = "ab" * 32
NOTHING: dict[str, Any] = {"withdrawn": 0, "pending": 0, "left_behind": [], "declared": [], "kept": None}
EXPIRES = "the value is kept no longer; its copies expire within a day, unless others keep it\n"
DROPPED = {"id": ID, "public_key": None, "seq": None, "salt": None}


def deleted(*ports: int, value: bool) -> dict[str, Any]:
    withdrawn = {**NOTHING, "withdrawn": 8 if ports else 0}
    return {"id": ID, "name": None, "removed": list(ports), **withdrawn, "value": value}


@pytest.mark.parametrize(
    ("body", "out", "err"),
    [
        (deleted(80, 81, value=False), "80\n81\n", "withdrawn from 8 nodes\n"),
        (deleted(80, value=True), "80\n", f"withdrawn from 8 nodes\n{EXPIRES}"),
        (deleted(value=True), "", EXPIRES),
    ],
)
def test_all_under_an_id_is_deleted(body: dict[str, Any], out: str, err: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(body), result(body)) as fake:
        assert dht("--socket", home / "s", "delete", ID) == (0, out, err)
        assert dht("--socket", home / "s", "delete", ID, "--json").body == body
    assert fake.requests == [("delete", {"id": ID})] * 2


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ([ID, "--value"], {"id": ID}),
        ([f"pk:{ID}"], {"public_key": ID}),
        ([f"pk:{ID}", "--value"], {"public_key": ID}),
        ([ID, "--salt", "news"], {"public_key": ID, "salt": "bmV3cw=="}),
    ],
)
def test_a_value_alone_is_deleted(arguments: list[str], request_: dict[str, Any], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(DROPPED), result(DROPPED)) as fake:
        assert dht("--socket", home / "s", "delete", *arguments) == (0, "", EXPIRES)
        assert dht("--socket", home / "s", "delete", *arguments, "--json").body == deleted(value=True)
    assert fake.requests == [("drop", request_)] * 2


@pytest.mark.parametrize("arguments", [[ID], [ID, "--value"]])
def test_digits_without_a_value_are_a_key(arguments: list[str], dht: Run, home: Path) -> None:
    """As they are for `get` and `keep`."""
    nothing = error("not-tracked", "this node keeps no value under this ID")
    with FakeDaemon(home / "s", nothing, result(DROPPED), nothing, nothing) as fake:
        assert dht("--socket", home / "s", "delete", *arguments) == (0, "", EXPIRES)
        assert dht("--socket", home / "s", "delete", *arguments).status == 1
    assert fake.requests[1] == fake.requests[3] == ("drop", {"public_key": ID})


def test_a_value_of_mainline_expires_sooner(dht: Run, home: Path) -> None:
    dropped = {**DROPPED, "id": ID[:40]}
    with FakeDaemon(home / "s", result(dropped)) as fake:
        assert dht("--socket", fake.path, "delete", ID[:40], "--value").err == EXPIRES.replace("a day", "2 hours")


def test_a_port_is_no_part_of_a_key(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error("not-tracked", "not on port 80")) as fake:
        assert dht("--socket", home / "s", "delete", ID, "80") == (1, "", "dht: not on port 80\n")
    assert len(fake.requests) == 1


def test_the_value_of_a_name_is_deleted_as_well(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(deleted(value=True)), result(DROPPED)) as fake:
        dht("--socket", home / "s", "delete", "--name", "wiki")
        dht("--socket", home / "s", "delete", "--name", "wiki", "--value")
    (delete, given), (drop, place) = fake.requests
    assert (delete, drop, given["name"]) == ("delete", "drop", "wiki")
    assert place == {"id": given["id"]}


def test_nothing_to_delete_is_a_negative_answer(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", *[error("not-tracked", "this node keeps no value under this ID")] * 2):
        done = dht("--socket", home / "s", "delete", "--value", ID)
    assert done == (1, "", "dht: this node keeps no value under this ID\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([ID, "80", "--value"], "a PORT is that of an entry, and a value has none: leave it out"),
        ([f"pk:{ID}", "80"], "a PORT is that of an entry, and a value has none: leave it out"),
        (["--name", "wiki", "--salt", "s"], "--salt is for a public key, and --name for a name: give one of them"),
        (["wiki", "--value"], "'wiki' is not an ID: a value is found by the hex digits"),
    ],
)
def test_wrong_usage_of_delete_says_why(arguments: list[str], message: str, dht: Run) -> None:
    done = dht("delete", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err

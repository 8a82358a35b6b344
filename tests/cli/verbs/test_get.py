"""`dht get`: bytes as they are, what an argument means, and what is said about the value."""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.public_keys import format_public_key
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, error, result

ID = "ab" * 32
KEY = bytes(range(32))
STATS = {"hops": 1, "queries": 5, "responses": 4, "timeouts": 1, "elapsed_ms": 12.5, "first_ms": 8.5}
SILENT = {**STATS, "responses": 0, "timeouts": 3}
NODES = [{"node_id": f"{number:02}" * 32, "endpoint": f"192.0.2.{number}:1729"} for number in range(1, 4)]
UNSIGNED = {"public_key": None, "seq": None, "salt": None, "signature": None}


def told(data: bytes | None, **changes: Any) -> dict[str, Any]:
    """Return what the daemon tells of a value."""
    text = None
    if data is not None:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = None
    return {
        "id": ID,
        **UNSIGNED,
        "data": None if data is None else b64encode(data).decode(),
        "text": text,
        "copies": [] if data is None else NODES[:2],
        "stale": [],
        "conflict": False,
        "local": False,
        "complete": True,
        "values": [],
        "stats": STATS,
        **changes,
    }


def signed(data: bytes, seq: int = 7, **changes: Any) -> dict[str, Any]:
    own = {"public_key": KEY.hex(), "seq": seq, "salt": "", "signature": "cd" * 64}
    return told(data, **own, **changes)


@pytest.mark.parametrize("data", [b"", b"hello", b"two\nlines\n", bytes(range(256)), b"\x00" * 1000])
def test_bytes_are_printed_as_they_are(data: bytes, dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    with FakeDaemon(home / "s", result(told(data))) as fake:
        monkeypatch.setattr("dhtd.cli.verbs.get.put_bytes", written.append)
        done = dht("--socket", home / "s", "get", ID)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert written == [data]
    assert fake.requests == [("get", {"id": ID})]


def test_the_json_of_get_is_the_daemon_s(dht: Run, home: Path) -> None:
    body = signed(b"hello")
    with FakeDaemon(home / "s", result(body)):
        assert dht("--socket", home / "s", "get", ID, "--json").body == {**body, "dns": None}


def test_events_are_passed_over(dht: Run, home: Path) -> None:
    events = [{"event": {**signed(b"old", 6), "stats": STATS}}, {"event": {**signed(b"new"), "stats": STATS}}]
    with FakeDaemon(home / "s", [*events, *result(signed(b"new"))]) as fake:
        assert dht("--socket", home / "s", "get", ID, "--first").out == "new"
    assert fake.requests == [("get", {"id": ID, "first": True})]


def test_digits_without_a_value_are_a_public_key(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(told(None)), result(signed(b"hello"))) as fake:
        done = dht("--socket", home / "s", "get", KEY.hex())
    assert (done.status, done.out) == (0, "hello")
    assert fake.requests == [("get", {"id": KEY.hex()}), ("get", {"public_key": KEY.hex()})]


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        ([KEY.hex(), "--salt", "news"], {"public_key": KEY.hex(), "salt": "bmV3cw=="}),
        ([KEY.hex(), "--salt", ""], {"public_key": KEY.hex(), "salt": ""}),
        ([f"pk:{KEY.hex()}"], {"public_key": KEY.hex()}),
        ([format_public_key(KEY)], {"public_key": KEY.hex()}),
        ([format_public_key(KEY), "--salt", "\udcff"], {"public_key": KEY.hex(), "salt": "/w=="}),
    ],
)
def test_a_public_key_is_asked_for_as_one(arguments: list[str], request_: dict[str, Any], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(signed(b"hello"))) as fake:
        assert dht("--socket", home / "s", "get", *arguments).out == "hello"
    assert fake.requests == [("get", request_)]


def test_nothing_found_is_a_negative_answer(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(told(None)), result(told(None))):
        done = dht("--socket", home / "s", "get", ID)
    assert done == (1, "", "dht: no value is there: 4 nodes near it answered, and 1 did not\n")
    missed = told(None, complete=False)
    with FakeDaemon(home / "t", result(missed), result(missed)):
        done = dht("--socket", home / "t", "get", ID, "--json")
    assert (done.status, done.body["error"]["code"]) == (1, "not-found")
    assert "not all nodes that may hold one were heard" in done.body["error"]["message"]
    assert (done.body["id"], done.body["data"]) == (ID, None)


def test_silence_is_no_negative_answer(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(told(None, stats=SILENT, complete=False))) as fake:
        done = dht("--socket", home / "s", "get", ID)
    assert (done.status, done.out) == (4, "")
    assert done.err == (
        "dht: nobody answers, so whether there is a value is not known: 3 nodes near it were asked. See dht status\n"
    )
    assert len(fake.requests) == 1
    with FakeDaemon(home / "t", error("no-peers", "this node knows no other node")):
        assert dht("--socket", home / "t", "get", ID, "--json").status == 4


def test_an_own_copy_in_an_outage_is_called_that(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(signed(b"hello", copies=[], local=True, complete=False, stats=SILENT))):
        done = dht("--socket", home / "s", "get", ID)
    assert done == (0, "hello", "nobody else answers: this is what this node has itself. See dht status\n")
    with FakeDaemon(home / "t", result(signed(b"hello", complete=False))):
        assert dht("--socket", home / "t", "get", ID).err == "not all nodes that may hold a newer value were heard\n"


def test_older_copies_are_counted(dht: Run, home: Path) -> None:
    stale = [{**node, "seq": 6} for node in NODES]
    for many, said in (
        (1, "1 node held an older value, and was sent"),
        (3, "3 nodes held an older value, and were sent"),
    ):
        with FakeDaemon(home / f"s{many}", result(signed(b"hello", stale=stale[:many]))):
            done = dht("--socket", home / f"s{many}", "get", ID)
        assert done == (0, "hello", f"{said} this one\n")


def test_a_conflict_is_told_and_fails_if_strict(dht: Run, home: Path) -> None:
    body = signed(b"one", conflict=True)
    said = "the owner of the key has signed several values with seq 7: dht get --all shows them\n"
    with FakeDaemon(home / "s", *[result(body)] * 3):
        assert dht("--socket", home / "s", "get", ID) == (0, "one", said)
        assert dht("--socket", home / "s", "get", ID, "--strict") == (1, "", f"dht: {said}")
        done = dht("--socket", home / "s", "get", ID, "--strict", "--json")
    assert (done.status, done.body.pop("error")["code"], done.body["text"]) == (1, "conflict", "one")
    with FakeDaemon(home / "t", result(signed(b"one"))):
        assert dht("--socket", home / "t", "get", ID, "--strict") == (0, "one", "")


class Screen(io.TextIOWrapper):
    """A standard stream that is a terminal."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), "utf-8")

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        self.flush()
        self.seek(0)
        return self.read()


@pytest.mark.parametrize(
    ("data", "out", "err"),
    [
        (b"hello", "hello", "\non 2 nodes; 5 queries, 4 nodes answered, 12 ms\n"),
        (b"caf\xc3\xa9\t\n", "caf\u00e9\t\n", "on 2 nodes; 5 queries, 4 nodes answered, 12 ms\n"),
        (b"", "", "on 2 nodes; 5 queries, 4 nodes answered, 12 ms\n"),
        (b"\xff", "", "dht: 1 byte that is no text for a terminal: add > FILE, or --json\n"),
        (b"\x1b[2J!", "", "dht: 5 bytes that are no text for a terminal: add > FILE, or --json\n"),
    ],
)
def test_a_terminal_gets_text_alone(
    data: bytes, out: str, err: str, dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, below = Screen(), Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", below)
    with FakeDaemon(home / "s", result(told(data))):
        status = dht("--socket", home / "s", "get", ID).status
    assert (screen.text, below.text) == (out, err)
    assert status == (2 if err.startswith("dht:") else 0)


def test_an_own_copy_is_called_that_on_a_terminal(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", below := Screen())
    nothing = {**STATS, "queries": 0, "responses": 0}
    with FakeDaemon(home / "s", result(told(b"hello", local=True, stats=nothing)), result(signed(b"hello"))):
        dht("--socket", home / "s", "get", ID)
        dht("--socket", home / "s", "get", ID)
    assert below.text == "this node has it itself\nseq 7; on 2 nodes; 5 queries, 4 nodes answered, 12 ms\n"


def test_all_values_are_shown_with_their_holders(dht: Run, home: Path) -> None:
    def value(data: bytes, seq: int | None, holders: list[dict[str, str]]) -> dict[str, Any]:
        whole = signed(data, seq or 0)
        kept = {key: whole[key] for key in ("public_key", "seq", "salt", "data", "text", "signature")}
        return {**kept, "seq": seq, "holders": holders}

    values = [value(b'say "hi"\n', 7, NODES[:2]), value(b"\xff", 6, NODES[2:]), value(b"", None, [])]
    with FakeDaemon(home / "s", result(signed(b'say "hi"\n', values=values))) as fake:
        done = dht("--socket", home / "s", "get", ID, "--all")
    assert done.out.splitlines() == [
        r'value 7 9 "say \"hi\"\n"',
        *(f"holder {node['node_id']} {node['endpoint']}" for node in NODES[:2]),
        "value 6 1 base64:/w==",
        f"holder {NODES[2]['node_id']} {NODES[2]['endpoint']}",
        'value - 0 ""',
    ]
    assert fake.requests == [("get", {"id": ID, "all": True})]


def test_an_answer_without_a_value_is_another_version(dht: Run, home: Path) -> None:
    for body in ({"id": ID}, {**told(b""), "data": "?"}):
        with FakeDaemon(home / "s", result(body)):
            done = dht("--socket", home / "s", "get", ID)
        (home / "s").unlink()
        assert (done.status, done.out) == (1, "")
        assert "is it of another version than this dht?" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["get", "wiki"],
            "invalid-id",
            "'wiki' is not an ID: a value is found by the hex digits that dht put prints",
        ),
        (["get", ID[1:]], "invalid-id", "64 hex digits"),
        (["get", "pk:abc"], "invalid-public-key", "'pk:abc' is not a public key: pk: and 52 characters"),
        (["get", format_public_key(KEY)[3:]], "invalid-id", f"if it is a public key, write {format_public_key(KEY)}"),
        (["get", ID, "--salt", "x" * 65], "invalid-value", "a salt has 64 bytes at most, and this one has 65"),
        (["get", ID, "--first", "--all"], "usage", "--first ends with one value"),
        (["get", ID, "--first", "--strict"], "usage", "--first ends with one value"),
    ],
)
def test_wrong_usage_of_get_says_why(arguments: list[str], code: str, message: str, dht: Run) -> None:
    done = dht(*arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert dht(*arguments, "--json").body["error"]["code"] == code

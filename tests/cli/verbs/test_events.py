"""`dht events`: a line an event, in words that move no cursor, from a daemon of any version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.happened import line
from dhtd.cli.verbs.events import complete_kind
from dhtd.service.events import KINDS
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, encoded

AT = 1_700_000_000.25
SERVED = {
    "serial": 7,
    "at": AT,
    "kind": "served",
    "endpoint": "192.0.2.1:1729",
    "node_id": "ab",
    "method": "ping",
    "id": None,
    "bytes": 60,
}
STEP = {
    "serial": 8,
    "at": AT,
    "kind": "lookup-step",
    "op": 3,
    "step": "answered",
    "late": False,
    "peers": [],
    "nodes": [{"id": "cd", "endpoint": "192.0.2.2:1729"}, {"id": "ef", "endpoint": "192.0.2.3:1729"}],
}
COUNTED = {"serial": 9, "at": AT, "kind": "counted", "counts": {"served": 70, "asked": 2}}


def frames(*batches: list[Any]) -> bytes:
    return b"".join(encoded({"event": {"last": 9, "events": batch}}) for batch in batches)


def test_each_event_is_a_line(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames([], [SERVED, STEP], [COUNTED])) as fake:
        done = dht("--socket", fake.path, "events")
    time = "2023-11-14T22:13:20.250Z"
    assert done.out.splitlines() == [
        f"{time} served endpoint=192.0.2.1:1729 node_id=ab method=ping bytes=60",
        f"{time} lookup-step op=3 step=answered nodes=192.0.2.2:1729,192.0.2.3:1729",
        f"{time} counted counts=served:70,asked:2",
    ]
    assert fake.requests == [("events", {})]
    assert (done.status, "has closed the connection" in done.err) == (3, True)


def test_json_is_one_object_a_line(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames([SERVED], [COUNTED])) as fake:
        done = dht("--socket", fake.path, "events", "--json", "--kind", "served", "--after", "6")
    *objects, error = map(json.loads, done.out.splitlines())
    assert objects == [SERVED, COUNTED]
    assert error["error"]["code"] == "daemon-unreachable"
    assert fake.requests == [("events", {"after": 6, "kind": "served"})]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--kind", "moon"], "no kind 'moon'; there are: served"), (["--after", "-1"], "--after -1")],
)
def test_what_is_no_kind_or_serial_is_refused(arguments: list[str], message: str, dht: Run) -> None:
    done = dht("events", *arguments)
    assert done.status == 2
    assert message in done.err


def test_a_daemon_that_says_nothing_is_too_late(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", b'{"v": 1, ') as fake:
        assert dht("--socket", fake.path, "--timeout", "0.2", "events").status == 3


@pytest.mark.parametrize("batch", [None, 7, {"x": 1}, [None, 7, "x"], [{}]])
def test_batches_of_another_version_do_no_harm(batch: Any, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", encoded({"event": {"events": batch}}) + encoded({"event": {}})) as fake:
        done = dht("--socket", fake.path, "events")
    assert "Traceback" not in done.err
    assert done.out.splitlines() == (["- -"] if batch == [{}] else [])


@pytest.mark.parametrize("key", [*SERVED, "new"])
@pytest.mark.parametrize(
    "value", [None, True, -1.5, 10**400, float("nan"), "x y", [], [[]], {}, {"x": [1]}, [{"x": 1}]]
)
def test_a_line_takes_any_value(key: str, value: object) -> None:
    assert "\n" not in line({**SERVED, key: value})


def test_a_hostile_text_moves_no_cursor() -> None:
    seen = line({**SERVED, "endpoint": "\x1b[2J\n\u202e", "\x1b": "\r", "kind": "\x07"})
    assert seen.isprintable()


def test_tab_offers_the_kinds() -> None:
    assert complete_kind("lookup-") == ["lookup-begun", "lookup-step", "lookup-ended"]
    assert complete_kind("") == list(KINDS)

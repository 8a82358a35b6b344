"""`dht trace`: lines off a terminal, a tree on one, and texts that would move a terminal's cursor."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dhtd.cli import render_trace
from dhtd.cli.told import Told
from dhtd.cli.traced import Traced, line, sentence
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, encoded

ID = "ab" * 32
ONE, TWO, SERVER = "192.0.2.1:1729", "192.0.2.2:1729", "192.0.2.9:80"
STATS = {"hops": 2, "queries": 2, "responses": 2, "timeouts": 0, "elapsed_ms": 30.0, "first_ms": 20.0}
RESULT = {"id": ID, "name": None, "peers": [SERVER], "stats": STATS, "complete": True}
NOTHING: dict[str, Any] = {
    "hop": None,
    "bits": None,
    "named_by": [],
    "about": None,
    "rtt_ms": None,
    "gained": None,
    "nodes": [],
    "peers": [],
    "late": False,
    "code": None,
}


def step(step: str, query: int, at: float, endpoint: str = ONE, **more: object) -> dict[str, Any]:
    node_id = f"{query:02x}" * 32
    return {**NOTHING, "step": step, "query": query, "at_ms": at, "endpoint": endpoint, "node_id": node_id, **more}


EVENTS = [
    step("asked", 1, 0.0, hop=1, bits=3),
    step("slow", 1, 9.0),
    step("answered", 1, 10.0, rtt_ms=10.0, gained=5, nodes=[{"id": "02" * 32, "endpoint": TWO}], late=True),
    step("asked", 2, 10.0, TWO, hop=2, bits=8, named_by=[ONE]),
    step("answered", 2, 20.0, TWO, rtt_ms=10.0, gained=0, peers=[SERVER]),
    step("asked", 3, 20.0, TWO, hop=2, bits=8, named_by=[ONE], about="cd" * 32),
    step("refused", 3, 25.0, TWO, code=203),
    step("asked", 4, 25.0, "192.0.2.4:1729", hop=1, bits=0),
    step("silent", 4, 26.0, "192.0.2.4:1729"),
]


def frames(*events: dict[str, Any], result: dict[str, Any] = RESULT) -> bytes:
    return b"".join(encoded({"event": event}) for event in events) + encoded({"result": result})


def drawn(events: list[dict[str, Any]], width: int = 100, title: str = "wiki") -> str:
    traced = Traced()
    for event in events:
        traced.take(Told(event))
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(render_trace.tree(traced, title, console))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_each_step_is_a_line(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(*EVENTS)) as fake:
        done = dht("--socket", fake.path, "trace", ID)
    one, two, three, four = ("01" * 32, "02" * 32, "03" * 32, "04" * 32)
    assert done.out.splitlines() == [
        f"0.0 asked 1 {ONE} {one} hop 1 bits 3 by -",
        f"9.0 slow 1 {ONE} {one}",
        f"10.0 answered 1 {ONE} {one} rtt 10.0 gained 5 nodes 1 peers - late",
        f"10.0 asked 2 {TWO} {two} hop 2 bits 8 by {ONE}",
        f"20.0 answered 2 {TWO} {two} rtt 10.0 gained 0 nodes 0 peers {SERVER}",
        f"20.0 asked 3 {TWO} {three} hop 2 bits 8 by {ONE} about {'cd' * 32}",
        f"25.0 refused 3 {TWO} {three} code 203",
        f"25.0 asked 4 192.0.2.4:1729 {four} hop 1 bits 0 by -",
        f"26.0 silent 4 192.0.2.4:1729 {four}",
        "found 1 endpoint in 2 hops, 2 queries, 30 ms; the first after 20 ms",
    ]
    assert (done.status, done.err) == (0, "")


def test_json_has_each_step_and_then_the_result(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(*EVENTS)) as fake:
        done = dht("--socket", fake.path, "trace", ID, "--json")
    assert list(map(json.loads, done.out.splitlines())) == [*EVENTS, RESULT]


@pytest.mark.parametrize(("responses", "status"), [(2, 1), (0, 4)])
def test_the_statuses_are_those_of_lookup(responses: int, status: int, dht: Run, home: Path) -> None:
    nobody = {**RESULT, "peers": [], "stats": {**STATS, "responses": responses, "first_ms": None}}
    with FakeDaemon(home / "s", *[frames(result=nobody)] * 4) as fake:
        traced, looked = (dht("--socket", fake.path, verb, ID) for verb in ("trace", "lookup"))
        assert (traced.status, traced.err) == (looked.status, looked.err) == (status, looked.err)
        assert traced.out == "found nothing in 2 hops, 2 queries, 30 ms\n"
        as_json = [dht("--socket", fake.path, verb, ID, "--json") for verb in ("trace", "lookup")]
        assert as_json[0] == as_json[1]


def test_the_tree_hangs_nodes_under_their_namers() -> None:
    assert drawn(EVENTS).splitlines() == [
        "wiki",
        f"├── ● {ONE} 01010101 3 bits  10 ms  late  +5 bits  knew 1 node",
        f"│   └── ● {TWO} 02020202 8 bits  10 ms  knew 0 nodes  found {SERVER}",
        f"│       └── ✗ {TWO} 03030303 8 bits  refused 203  asked about cdcdcdcd",
        "└── ✗ 192.0.2.4:1729 04040404 0 bits  silent",
    ]


def test_queries_under_way_and_sent_twice_are_drawn() -> None:
    asked = step("asked", 1, 0.0, hop=1, bits=1)
    assert "○ 192.0.2.1:1729 01010101 1 bits  slow" in drawn([asked, step("slow", 1, 9.0)])
    assert "● 192.0.2.1:1729 01010101 1 bits  answered  knew" in drawn([asked, step("answered", 1, 9.0)])


@pytest.mark.parametrize("width", [1, 8, 20, 40])
def test_a_narrow_terminal_cuts_lines(width: int) -> None:
    lines = drawn(EVENTS, width).splitlines()
    assert len(lines) == 5
    assert all(len(line) <= width for line in lines)


def test_hostile_texts_move_no_cursor() -> None:
    evil = "\x1b[2J\r\n\x07[bold]x[/bold]\u202e"
    event = step("answered", 1, 0.0, evil, peers=[evil], about=evil, nodes=[], rtt_ms=1.0)
    event["node_id"] = evil
    seen = drawn([step("asked", 1, 0.0, evil, about=evil), event, step(evil, 1, 1.0, evil)], 200, evil)
    for text in (seen, line(Told(event)), line(Told(step(evil, 1, 1.0, evil)))):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(text)
    assert "[bold]x[/bold]" in seen
    assert "\n" not in line(Told(event))


def test_a_hundred_hops_are_drawn_without_recursion() -> None:
    events = [step("asked", 1, 0.0, "h0")]
    events += [step("asked", n + 1, 0.0, f"h{n}", named_by=[f"h{n - 1}"]) for n in range(1, 3_000)]
    traced = Traced()
    for event in events:
        traced.take(Told(event))
    depth, [query] = 1, traced.first
    while query.next:
        depth, [query] = depth + 1, query.next
    assert depth == 3_000


@pytest.mark.parametrize("key", [*NOTHING, "step", "query", "at_ms", "endpoint", "node_id"])
@pytest.mark.parametrize("value", [..., None, "x", [], {"x": 1}, -1.5, float("nan"), 10**400])
def test_a_daemon_of_another_version_is_drawn(key: str, value: object) -> None:
    for event in EVENTS:
        odd = {name: value if name == key else each for name, each in event.items() if name != key or value is not ...}
        line(Told(odd))
        drawn([event, odd])


def test_queries_are_remembered_up_to_a_limit() -> None:
    traced = Traced()
    for number in range(5_000):
        traced.take(Told(step("asked", number, 0.0, f"h{number}")))
    assert len(traced.first) == 4_096


def test_a_sentence_without_figures_has_dashes() -> None:
    assert sentence(Told({"peers": []})) == "found nothing in - hops, - queries, - ms"

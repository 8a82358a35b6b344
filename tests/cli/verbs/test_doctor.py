"""`dht doctor`: the steps and the verdict, and what only a client can find."""

from __future__ import annotations

import io
import json
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from dhtd import __version__
from dhtd.cli.render_doctor import Steps
from dhtd.cli.told import Told
from dhtd.core.ids import NATIVE
from dhtd.core.names import id_of_name
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, encoded, error, result

ID = "ab" * 32
STEPS: list[dict[str, Any]] = [
    {"step": "daemon", "good": True, "message": "dhtd runs for 3 s", "fault": None},
    {"step": "bootstrap", "good": None, "message": "not tried", "fault": None},
    {"step": "entry", "good": False, "message": "nothing listens on port 80", "fault": "not-listening"},
]
WELL: dict[str, Any] = {
    "id": ID,
    "name": "wiki",
    "healthy": True,
    "fault": None,
    "verdict": "nothing is wrong: 3 nodes hold wiki",
    "command": None,
    "steps": STEPS[:2],
    "served": [],
    "version": __version__,
}
ILL = {
    **WELL,
    "healthy": False,
    "fault": "not-listening",
    "verdict": "nothing listens on port 80",
    "command": "dht delete wiki 80",
    "steps": STEPS,
}
NOT_ENTERED = {**ILL, "fault": "not-entered", "verdict": "nobody has entered wiki", "command": "dht enter wiki PORT"}


def frames(answer: dict[str, Any]) -> bytes:
    return b"".join(encoded({"event": step}) for step in answer["steps"]) + encoded({"result": answer})


def test_each_step_is_a_line_and_then_the_verdict(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(ILL)) as fake:
        done = dht("--socket", fake.path, "doctor", "wiki")
        assert fake.requests == [("doctor", {"id": wiki_id(), "name": "wiki"})]
    assert (done.status, done.err) == (1, "")
    assert done.out.splitlines() == [
        "good daemon: dhtd runs for 3 s",
        "- bootstrap: not tried",
        "bad entry: nothing listens on port 80",
        "nothing listens on port 80",
        f"    dht --socket {fake.path} delete wiki 80",
    ]


def wiki_id() -> str:
    return NATIVE.format(id_of_name("wiki", NATIVE))


def test_if_all_is_well_the_status_is_0(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(WELL)) as fake:
        done = dht("--socket", fake.path, "doctor")
        assert fake.requests == [("doctor", {})]
    assert (done.status, done.out.splitlines()[-1]) == (0, WELL["verdict"])


def test_json_is_one_object_with_all(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(ILL)) as fake:
        done = dht("--socket", fake.path, "doctor", ID, "--json")
    assert (done.status, done.body) == (1, {**ILL, "command": f"dht --socket {fake.path} delete wiki 80"})


def test_a_daemon_is_started_where_none_runs(dht: Run, home: Path) -> None:
    sentence = f"no daemon is running: there is no socket {home}/dhtd/default.sock"
    done = dht("doctor", "wiki")
    assert done == (3, f"bad daemon: {sentence}\n{sentence}\n    dhtd start\n", "")
    assert dht("--instance", "lab", "doctor").out.endswith("    dhtd start --instance lab\n")
    body = dht("doctor", "--json").body
    assert (body["fault"], body["verdict"], body["command"]) == ("no-daemon", sentence, "dhtd start")
    assert [step["fault"] for step in body["steps"]] == ["no-daemon"]


def test_another_instance_that_runs_is_named(dht: Run, home: Path) -> None:
    (home / "dhtd").mkdir(mode=0o700)
    with FakeDaemon(home / "dhtd" / "lab.sock", b""):
        done = dht("doctor", "wiki")
    assert done.status == 3
    assert done.out.splitlines()[-2:] == [
        f"no daemon is running: there is no socket {home}/dhtd/default.sock. This user runs another one: lab",
        "    dht --instance lab doctor --name wiki",
    ]


def test_a_daemon_without_a_doctor_is_to_be_restarted(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error("unknown-method", "no method"), result({"node": {"version": "0.1.0"}})) as fake:
        done = dht("--socket", fake.path, "doctor")
    assert done.status == 1
    assert done.out.splitlines()[-2:] == [
        f"the daemon that runs is dhtd 0.1.0, and this dht is {__version__}: restart it",
        f"    dht --socket {fake.path} stop; dhtd start --socket {fake.path}",
    ]


def test_another_version_is_told_behind_other_faults(dht: Run, home: Path) -> None:
    for answer, fault in ((WELL, "versions-differ"), (ILL, "not-listening")):
        with FakeDaemon(home / "s", frames({**answer, "version": "0.1.0"})) as fake:
            body = dht("--socket", fake.path, "doctor", "--json").body
        (home / "s").unlink()
        assert body["fault"] == fault
        assert body["steps"][-1]["step"] == "version"


@pytest.mark.parametrize("words", [["wiki"], ["wiki2"], None])
def test_the_other_network_of_this_machine_is_asked(words: list[str] | None, dht: Run, home: Path) -> None:
    (home / "dhtd").mkdir(mode=0o700)
    answer = error("bad-request", "no") if words is None else result({"words": words, "complete": True})
    mainline = FakeDaemon(home / "dhtd" / "mainline.sock", answer)
    with FakeDaemon(home / "s", frames(NOT_ENTERED)) as fake, mainline as other:
        body = dht("--socket", fake.path, "doctor", "wiki", "--json").body
        assert other.requests == [("complete", {"what": "own-name", "prefix": "wiki"})]
    assert body["fault"] == ("other-network" if words == ["wiki"] else "not-entered")
    if words == ["wiki"]:
        assert body["command"] == "dht --network mainline doctor --name wiki"
        assert body["verdict"] == "wiki was entered in the mainline network, and not in the native network"


@pytest.fixture
def service() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_the_service_of_another_machine_is_tried(service: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames({**WELL, "served": [service]})) as fake:
        done = dht("--socket", fake.path, "doctor", "wiki")
    assert (done.status, done.out.splitlines()[-1]) == (
        0,
        f"nothing is wrong: 3 nodes hold wiki, and {service} answers",
    )


def test_a_service_that_is_gone_is_named(dht: Run, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
        with FakeDaemon(home / "s", frames({**WELL, "served": [gone, "nonsense"]})) as fake:
            body = dht("--socket", fake.path, "doctor", "wiki", "--json").body
    assert (body["fault"], body["command"]) == ("service-unreachable", f"dht --socket {fake.path} doctor --name wiki")
    assert f"({gone}: Connection refused; nonsense: " in body["verdict"]


def test_strangers_of_the_mainline_network_are_not_tried(dht: Run, home: Path) -> None:
    answer = {**WELL, "id": "ab" * 20, "served": ["127.0.0.1:9"]}
    with FakeDaemon(home / "s", frames(answer)) as fake:
        assert dht("--socket", fake.path, "doctor", "ab" * 20, "--json").body == answer


def test_a_command_is_pasted_as_one(dht: Run, home: Path) -> None:
    path = home / "it's a socket"
    with FakeDaemon(path, frames(ILL)) as fake:
        command = dht("--socket", fake.path, "doctor", "--json").body["command"]
    assert shlex.split(command) == ["dht", "--socket", str(path), "delete", "wiki", "80"]


def drawn(answer: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, legacy_windows=False)
    steps = Steps(console)
    for step in answer["steps"]:
        steps.draw(Told(step))
    steps.end(Told(answer), answer["command"])
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_on_a_terminal_steps_have_marks() -> None:
    assert [line.rstrip() for line in drawn(ILL, 80).splitlines()] == [
        "✓ daemon        dhtd runs for 3 s",
        "· bootstrap     not tried",
        "✗ entry         nothing listens on port 80",
        "",
        "nothing listens on port 80",
        "    dht delete wiki 80",
    ]


@pytest.mark.parametrize("width", [1, 3, 8, 20, 39, 40, 41, 80])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    wide = {**STEPS[2], "message": "維基 " * 30 + "x" * 100}
    lines = drawn({**ILL, "steps": [wide], "verdict": wide["message"], "command": None}, width).splitlines()
    assert all(cell_len(line) <= max(width, 4) for line in lines)


def test_hostile_texts_move_no_cursor(dht: Run, home: Path) -> None:
    evil = "\x1b[2J\r\n\x07[bold]x[/bold]\u202e"
    step = {**STEPS[2], "step": evil, "message": evil}
    answer = {**ILL, "steps": [step], "verdict": evil, "command": evil}
    with FakeDaemon(home / "s", frames(answer)) as fake:
        done = dht("--socket", fake.path, "doctor")
    for seen in (drawn(answer, 80), done.out):
        assert not {"\x1b", "\r", "\x07", "\u202e"} & set(seen)
        assert "[bold]x[/bold]" in seen


@pytest.mark.parametrize("key", [*WELL])
@pytest.mark.parametrize("value", [..., None, "x", [], [1], {"x": 1}, -1.5, True])
def test_a_daemon_of_another_version_is_understood(key: str, value: object, dht: Run, home: Path) -> None:
    odd = {name: value if name == key else each for name, each in ILL.items() if name != key or value is not ...}
    body = b"".join(encoded({"event": step}) for step in STEPS) + encoded({"result": odd})
    with FakeDaemon(home / "s", body, result({})) as fake:
        done = dht("--socket", fake.path, "doctor", ID)
        assert done.status in {0, 1}
        assert "Traceback" not in done.err


def test_json_has_the_keys_of_the_table(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", frames(WELL)) as fake:
        assert json.loads(dht("--socket", fake.path, "doctor", ID, "--json").out) == WELL

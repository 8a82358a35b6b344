"""`dhtd simulate --view`: wrong usage, the address, and the end by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.simulate import options, view
from dhtd.lab.view import check_address
from dhtd.sim.plan import Plan
from tests.cli.conftest import Run
from tests.e2e.daemons import BIN, DEADLINE

WRONG: dict[str, tuple[list[object], str]] = {
    "figures in JSON": (["--view", "--json"], "--view and --json: a run that is looked at has no end"),
    "a picture": (["--view", "--plot", "x.svg"], "--view and --plot: a run that is looked at is not drawn"),
    "a replay": (["--view", "--stop-at", "9"], "--view and --stop-at: a replay stops"),
    "all addresses": (["--view=0.0.0.0:8750"], "--view 0.0.0.0:8750: the page has no token"),
    "another machine": (["--view=192.0.2.1:8750"], "served on addresses of loopback alone, such as 127.0.0.1:8750"),
    "IPv6 of a LAN": (["--view=[fe80::1]:8750"], "served on addresses of loopback alone"),
    "a socket": (["--view=unix:/tmp/x"], "a browser asks for an IP address and a port, such as 127.0.0.1:8750"),
    "a name": (["--view=localhost:8750"], "neither an IP address with a port"),
    "no port": (["--view=127.0.0.1"], "127.0.0.1"),
    "no nodes": (["--view", "--nodes", "0"], "--nodes 0: give a number from 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_status_2_before_any_run(case: str, dhtd: Run, home: Path) -> None:
    arguments, message = WRONG[case]
    done = dhtd("simulate", *arguments)
    assert done.status == 2
    assert message in (done.body["error"]["message"] if "--json" in arguments else done.err)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_a_port_that_is_taken_is_named(taken: int, dhtd: Run) -> None:
    done = dhtd("simulate", f"--view=127.0.0.1:{taken}", "--nodes", 3)
    assert (done.status, done.out) == (1, "")
    assert f"another program has TCP port {taken} at 127.0.0.1: choose another with --view" in done.err


def test_a_missing_extra_is_named(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("dhtd.lab.view")
    monkeypatch.setitem(sys.modules, "dhtd.lab.view", None)  # as where it cannot be imported
    done = dhtd("simulate", "--view", "--nodes", 3)
    assert done.status == 2
    assert "--view needs the module dhtd.lab.view: " in done.err
    assert "pip install 'dhtd[web]'" in done.err


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--view"], options.ADDRESS),
        (["--view", "--warm"], options.ADDRESS),
        (["--view=127.0.0.1:99"], "127.0.0.1:99"),
        (["--view", "[::1]:99"], "[::1]:99"),
    ],
)
def test_the_address_may_be_left_away(
    arguments: list[str], address: str, dhtd: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(view, "look_at", lambda plan, heading, command, where: seen.append(where))
    assert dhtd("simulate", *arguments).status == 0
    assert seen == [address] == [check_address(address)]


@pytest.mark.parametrize(
    ("arguments", "changed", "heading"),
    [
        ([], {"duration": 60.0, "lookups": 210}, ""),
        (["--lookups", "9"], {"duration": 60.0, "lookups": 9}, ""),
        (["--scenario", "pair"], None, "pair: two nodes, restarted"),
    ],
)
def test_a_plan_to_look_at_begins_soon(
    arguments: list[str],
    changed: dict[str, Any] | None,
    heading: str,
    dhtd: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[Plan, str, str]] = []
    monkeypatch.setattr(view, "look_at", lambda plan, heading, command, where: seen.append((plan, heading, command)))
    assert dhtd("simulate", "--view", *arguments).status == 0
    plan = options.make_plan("pair", {}) if changed is None else options.make_plan(None, changed)
    assert seen == [(plan, heading, options.command(plan, None if changed is not None else "pair"))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port: int = holder.getsockname()[1]
    return port


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_view_with_its_figures(end: signal.Signals) -> None:
    command = [str(BIN / "dhtd"), "simulate", f"--view=127.0.0.1:{free_port()}", "--nodes", "20", "--warm"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as run:
        assert run.stdout is not None
        line = run.stdout.readline()
        assert line.startswith("see http://127.0.0.1:")
        assert line.endswith("/ (Ctrl-C ends it)\n")
        url = line.split()[1]
        request = urllib.request.Request(f"{url}v1/events", headers={"Accept": "text/event-stream"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=DEADLINE) as stream:  # a client that stays does not keep it
            assert stream.readline() == b"event: event\n"
            stream.readline()
            data = json.loads(stream.readline().removeprefix(b"data: "))
            assert data["events"][-1]["planned"] == 20
            run.send_signal(end)
            out, err = run.communicate(timeout=DEADLINE)
    assert (run.returncode, err) == (0, "")
    figures = dict(line.rsplit(" ", 1) for line in out.splitlines())
    assert figures["nodes"] == "20"
    assert float(figures["wall_s"]) > 0


@pytest.mark.parametrize("is_pipe", [True, False])
def test_an_output_that_is_lost_ends_a_view(is_pipe: bool) -> None:
    command = [str(BIN / "dhtd"), "simulate", f"--view=127.0.0.1:{free_port()}", "--nodes", "3", "--warm"]
    reading, out = os.pipe() if is_pipe else (os.open(os.devnull, os.O_RDONLY), os.open("/dev/full", os.O_WRONLY))
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False)
    finally:
        os.close(out)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr

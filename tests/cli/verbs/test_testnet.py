"""`dhtd testnet`: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from dhtd.control.client import Client
from dhtd.service.node import STATUS
from dhtd.testing import networks
from tests.cli.conftest import Run
from tests.e2e.daemons import BIN, DEADLINE


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [str(BIN / "dhtd"), "testnet", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[str], number: int) -> tuple[int, str]:
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE)
    return process.returncode, said


def test_a_network_runs_until_ctrl_c() -> None:
    process = start("2")
    assert process.stdout is not None
    lines = [process.stdout.readline().split() for _ in range(2)]
    sockets = [Path(socket) for _, socket in lines]
    for socket, (endpoint, _) in zip(sockets, lines, strict=True):
        with Client(socket, DEADLINE) as client:
            status = client.ask(STATUS)
            assert (status["state"], status["listening"]) == ("joined", [endpoint])
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said == f"all have joined. Ask one: dht --socket {sockets[0]} status. Ctrl-C ends them\n"
    assert end(process, signal.SIGINT) == (0, "")
    assert not sockets[0].parent.exists()


@pytest.mark.parametrize("arguments", [("2", "--json"), ("--json", "--network", "mainline", "2")])
def test_sigterm_leaves_nothing_either(arguments: tuple[str, ...]) -> None:
    process = start(*arguments)
    assert process.stdout is not None
    nodes = json.loads(process.stdout.readline())["nodes"]
    assert [sorted(node) for node in nodes] == [["endpoint", "node_id", "socket"]] * 2
    assert len(nodes[0]["node_id"]) == (40 if "mainline" in arguments else 64)
    assert end(process, signal.SIGTERM) == (-signal.SIGTERM, "")
    assert not Path(nodes[0]["socket"]).parent.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("0",), "0 nodes: give a number from 1 to 128"),
        (("129",), "129 nodes: give a number from 1 to 128"),
        (("--network", "x"), "--network 'x' is none of native, mainline"),
        (("many",), "'many' is not a valid int"),
    ],
)
def test_what_is_no_network_is_refused(
    dhtd: Run, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(networks, "testnet_blocking", None)  # or one that is not refused would run for ever
    done = dhtd("testnet", *arguments)
    assert done.status == 2
    assert message in done.err

"""Entries go with their services: real daemons, clients and services, killed in the middle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemons import BIN, DEADLINE, POLL, Daemon, Network

ID = "19" * 32
SERVICE = """
import os, signal, socket, sys
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", int(sys.argv[1])))
listening.listen()
print(os.getpid(), flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as made:
        made.start(4)
        for daemon in made.daemons:
            daemon.wait_until(lambda node: bool(node["connected"]))
        yield made


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def service(port: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", SERVICE, str(port)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def running(network: Network, owner: Daemon, port: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Serve by `dht enter ... -- SERVICE`; yield the client, and the process of the service."""
    command = [sys.executable, "-c", SERVICE, str(port)]
    with subprocess.Popen(
        [BIN / "dht", "--socket", str(owner.socket), "enter", ID, str(port), "--", *command],
        env=network.environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stdout is not None
        pid = int(client.stdout.readline())
        try:
            yield client, pid
        finally:
            if Path(f"/proc/{pid}").exists():
                os.kill(pid, signal.SIGKILL)
            client.kill()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(POLL)


def is_found(network: Network, port: int) -> bool:
    return all(_finds(daemon, port) for daemon in network.daemons)


def is_gone(network: Network, port: int) -> bool:
    return not any(_finds(daemon, port) for daemon in network.daemons)


def _finds(daemon: Daemon, port: int) -> bool:
    return any(endpoint.endswith(f":{port}") for endpoint in daemon.look_up(ID))


def guards(network: Network, owner: Daemon) -> dict[int, str]:
    return {row["port"]: row["guard"] for row in network.dht(owner, "info", "tracking")["tracking"]}


def test_a_killed_service_takes_its_entry_along(network: Network, port: int) -> None:
    with running(network, network.daemons[1], port) as (client, pid):
        wait_for(lambda: is_found(network, port))
        os.kill(pid, signal.SIGKILL)
        assert client.wait(DEADLINE) == 128 + signal.SIGKILL
        wait_for(lambda: is_gone(network, port))


def test_a_killed_client_takes_its_entry_along(network: Network, port: int) -> None:
    with running(network, network.daemons[1], port) as (client, _):
        wait_for(lambda: is_found(network, port))
        client.kill()
        wait_for(lambda: is_gone(network, port))


def test_a_killed_process_takes_its_entry_along(network: Network, port: int) -> None:
    with service(port) as process:
        network.dht(network.daemons[2], "enter", ID, str(port), "--pid", str(process.pid))
        wait_for(lambda: is_found(network, port))
        process.kill()
        wait_for(lambda: is_gone(network, port))


def test_a_service_that_hangs_is_withdrawn(network: Network, port: int) -> None:
    owner = network.daemons[2]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            check = f"http://127.0.0.1:{port}/"
            network.dht(owner, "enter", ID, str(port), "--check", check, "--every", "0.5")
            wait_for(lambda: is_found(network, port))
            process.send_signal(signal.SIGSTOP)
            wait_for(lambda: is_gone(network, port))
            [row] = network.dht(owner, "info", "tracking")["tracking"]
            assert (row["guard"], row["state"], row["message"]) == ("http", "failing", "no answer within 0.5 s")
            process.send_signal(signal.SIGCONT)
            wait_for(lambda: is_found(network, port))
        finally:
            process.kill()
            network.dht(owner, "delete", ID)


@pytest.mark.slow
def test_a_killed_daemon_forgets_processes_and_keeps_checks(network: Network, port: int) -> None:
    owner = network.daemons[3]
    other = free_port()
    with service(port) as process, running(network, owner, other):
        network.dht(owner, "enter", ID, str(port), "--check", "tcp", "--every", "0.5")
        network.dht(owner, "enter", ID, "9", "--pid", str(process.pid))
        wait_for(lambda: is_found(network, other))
        owner.kill()
        network.launch(owner)
        wait_for(lambda: guards(network, owner) == {port: "tcp", other: "connection"})  # its client has come back
        wait_for(lambda: is_found(network, other) and is_found(network, port))
        process.kill()
        wait_for(lambda: is_gone(network, port) and is_gone(network, 9))
        network.dht(owner, "delete", ID, str(port))

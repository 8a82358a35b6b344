"""Real daemons of the Mainline network: beside one of our own network, read-only, and with declared entries."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.mainline import packed
from tests.e2e.daemons import BIN, DEADLINE, POLL, PORT, Daemon, Network

MAINLINE = "--network=mainline"
HASH, ID = "ab" * 20, "ab" * 32
_HIGH, _LOW = divmod(os.getpid() % 64_516, 254)
ADDRESS = f"127.{1 + _HIGH}.{1 + _LOW}.254"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as net:
        yield net


def node_of(daemon: Daemon) -> dict[str, Any]:
    with daemon.ask() as client:
        return dict(client.info("node")["node"])


def counters_of(daemon: Daemon) -> dict[str, Any]:
    with daemon.ask() as client:
        return dict(client.info("network")["network"])


def test_two_daemons_share_a_machine(network: Network) -> None:
    """They get an address, a home and nothing else: ports, files and sockets differ by themselves."""
    started = []
    try:
        for options in ([], [MAINLINE]):
            process = subprocess.Popen(
                [BIN / "dhtd", "start", f"--bind={ADDRESS}", *options],
                env=network.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            started.append(process)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("node ")
        digits = [len(network.run("dht", *options, "node-id").stdout.split()[0]) for options in ([], [MAINLINE])]
        assert digits == [64, 40]
        # Each ID goes to the daemon of its network, and so does its deletion.
        for id in (HASH, ID, f"magnet:?xt=urn:btih:{HASH}"):
            done = network.run("dht", "enter", id, "80", "--no-wait")
            assert done.returncode == 0, done.stderr
        assert network.run("dht", "info", "tracking").stdout.split()[1] == ID
        assert network.run("dht", MAINLINE, "info", "tracking").stdout.split()[1] == HASH
        assert network.run("dht", "delete", HASH).stdout == "80\n"
        assert network.run("dht", MAINLINE, "info", "tracking").stdout == ""
        # The state file of one is refused by the other.
        files = {path.name: path for path in network.directory.rglob("*.db")}
        assert set(files) == {"default.db", "mainline.db"}
        for process in started:
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        for options, name, bits in (([], "mainline.db", 160), ([MAINLINE], "default.db", 256)):
            done = network.run("dhtd", "start", f"--bind={ADDRESS}", *options, f"--state={files[name]}")
            assert done.returncode == 1
            assert f"is of a network whose IDs have {bits} bits" in done.stderr
            assert "--instance or --state" in done.stderr
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_read_only_node_is_nobody_s_contact(network: Network) -> None:
    one, other = network.start(2, MAINLINE)
    [reader] = network.start(1, MAINLINE, "--read-only=yes")
    one.wait_until(lambda node: node["contacts"]["good"] == 1)
    reader.wait_until(lambda node: node["contacts"]["good"] == 2)
    assert (node_of(reader)["serves"], node_of(one)["serves"]) == ("nobody", "all")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(packed(b"ping", {}), (reader.address, PORT))
    deadline = time.monotonic() + DEADLINE
    while counters_of(reader)["unserved"] == 0:
        assert time.monotonic() < deadline
        time.sleep(POLL)
    # It enters and finds all the same.
    network.dht(reader, "enter", HASH, "80")
    assert other.look_up(HASH) == [f"{reader.address}:80"]
    network.dht(other, "enter", HASH, "81")
    assert set(reader.look_up(HASH)) == {f"{reader.address}:80", f"{other.address}:81"}
    for daemon in (one, other):
        assert node_of(daemon)["contacts"]["good"] == 1


def test_files_declare_info_hashes(network: Network) -> None:
    directory = network.directory / "mainline.d"
    directory.mkdir(mode=0o700)
    for name, id in (("good", HASH), ("bad", ID)):
        path = directory / f"{name}.toml"
        path.write_text(f'[[entry]]\nid = "{id}"\nport = 80\n')
        path.chmod(0o600)
    [daemon] = network.start(1, MAINLINE, f"--entries={directory}")
    deadline = time.monotonic() + DEADLINE
    while not (tracked := network.dht(daemon, "info", "tracking")["tracking"]):
        assert time.monotonic() < deadline
        time.sleep(POLL)
    assert [entry["id"] for entry in tracked] == [HASH]
    assert "64 digits are an ID of the native network" in daemon.log.read_text()


def test_an_entry_outlives_its_deletion(network: Network) -> None:
    """Nobody can be told to forget it, and the client says for how long it is found."""
    one, other = network.start(2, MAINLINE)
    one.wait_until(lambda node: node["contacts"]["good"] == 1)
    network.dht(one, "enter", HASH, "80")
    told = network.dht(one, "delete", HASH)
    assert (told["removed"], told["withdrawn"], told["kept"]["nodes"]) == ([80], 0, 1)
    assert 44 * 60 < told["kept"]["expires_in_s"] < 47 * 60
    assert other.look_up(HASH) == [f"{one.address}:80"]
    counters = counters_of(other)["queries_received"]
    assert (counters["store"], counters["withdraw"]) == (1, 0)


def test_a_lone_node_is_told_of_the_routers(network: Network) -> None:
    [daemon] = network.start(1, MAINLINE)
    told = network.dht(daemon, "lookup", HASH, status=4)
    assert told["error"]["message"].endswith("dhtd start --bootstrap, or --public-bootstrap")

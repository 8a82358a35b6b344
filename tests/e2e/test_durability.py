"""Every acknowledged `enter` survives `kill -9` at any moment."""

from __future__ import annotations

import json
import random
import socket
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dhtd.control.frames import encode
from dhtd.core.ids import NATIVE
from dhtd.daemon.state.file import StateFile
from tests.e2e.daemons import DEADLINE, Daemon, Network
from tests.records import own_key

Entry = tuple[str, int]

IN_FLIGHT = 4  # requests under way when the kill comes
SPINS_MAX = 800_000  # turns of an empty loop, some tens of milliseconds: longer than the requests under way take


@pytest.mark.parametrize(
    ("entries", "kills"),
    [
        (100, 3),
        pytest.param(200, 6, marks=pytest.mark.slow),
        pytest.param(1_000, 25, marks=pytest.mark.slow),
        pytest.param(1_000, 1_000, marks=pytest.mark.long),
    ],
)
def test_acknowledged_entries_survive_kills(entries: int, kills: int) -> None:
    """The kill strikes while several enters are under way: the dice and the machine decide how far they are."""
    rng = random.Random(17)
    with Network() as network:
        (daemon,) = network.start(1)
        acknowledged: set[Entry] = set()
        for kill in range(1, kills + 1):
            while len(acknowledged) < entries * kill // kills:
                entry = random_entry(rng)
                with daemon.ask() as client:
                    client.enter(*entry, wait=False)
                acknowledged.add(entry)
            acknowledged |= enter_while_killed(daemon, [random_entry(rng) for _ in range(IN_FLIGHT)], rng)
            network.launch(daemon)
            with daemon.ask() as client:
                tracked = {(entry["id"], entry["port"]) for entry in client.info("tracking")["tracking"]}
            assert acknowledged <= tracked, f"kill {kill}: {len(acknowledged - tracked)} lost"


def test_holders_are_known_after_an_instant_kill() -> None:
    """A holder that is down during the deletion is then told when it comes back."""
    with Network() as network:
        owner, other, *_ = network.start(4)
        network.dht(owner, "bootstrap", other.endpoint)  # which has it join
        entry = random_entry(random.Random(18))
        with owner.ask() as client:
            replicas = client.enter(*entry, wait=True)["replicas"]
        owner.kill()
        with closing(StateFile.open(owner.state)) as file:
            holders = file.load().holders[own_key(NATIVE.parse(entry[0]), entry[1])]
    assert replicas
    assert {NATIVE.format(holder.contact.id) for holder in holders} >= {replica["node_id"] for replica in replicas}


def enter_while_killed(daemon: Daemon, entries: list[Entry], rng: random.Random) -> set[Entry]:
    """Enter all at once and kill the daemon meanwhile; return the acknowledged entries."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(daemon.socket)) for _ in entries]
        for connection, (id, port) in zip(connections, entries, strict=True):
            connection.sendall(encode({"method": "enter", "params": {"id": id, "port": port, "wait": False}}))
        for _ in range(rng.randrange(SPINS_MAX)):
            pass
        daemon.kill()
        answers = [answer(connection) for connection in connections]
    return {entry for entry, body in zip(entries, answers, strict=True) if "result" in body}


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(DEADLINE)
    connection.connect(str(path))
    return connection


def answer(connection: socket.socket) -> dict[str, object]:
    """Return the answer of a daemon that is dead now: a whole one, or nothing."""
    received = b""
    try:
        while data := connection.recv(65_536):
            received += data
    except ConnectionResetError:
        pass
    body: dict[str, object] = json.loads(received) if received.endswith(b"\n") else {}
    return body


def random_entry(rng: random.Random) -> Entry:
    return NATIVE.format(NATIVE.random(rng)), rng.randint(1, 65_535)

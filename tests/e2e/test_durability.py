"""Every acknowledged `enter` and `put` survives `kill -9` at any moment."""

from __future__ import annotations

import json
import random
import socket
from base64 import b64encode
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dhtd.control.frames import encode
from dhtd.core.ids import NATIVE
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.daemon.state.file import StateFile
from dhtd.service.values import PUT
from dhtd.wire.native_values import key_of
from tests.e2e.daemons import DEADLINE, Daemon, Network
from tests.records import own_key
from tests.values import by_owner

Entry = tuple[str, int]
T = TypeVar("T")

IN_FLIGHT = 4  # requests under way when the kill comes
SPINS_MAX = 800_000  # turns of an empty loop, some tens of milliseconds: longer than the requests under way take


@pytest.mark.parametrize(
    ("entries", "kills"),
    [
        (60, 2),
        pytest.param(500, 12, marks=pytest.mark.slow),
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


@pytest.mark.parametrize(
    ("puts", "kills"),
    [
        (40, 2),
        pytest.param(500, 12, marks=pytest.mark.slow),
        pytest.param(2_000, 1_000, marks=pytest.mark.long),
    ],
)
def test_acknowledged_values_survive_kills(puts: int, kills: int) -> None:
    """Of each signed value, the latest acknowledged one or a later one is there, and each of the others is."""
    rng = random.Random(19)
    with Network() as network:
        (daemon,) = network.start(1)
        numbers = count(1)
        acknowledged: dict[str, int] = {}  # by ID: the seq, 0 for a value that never changes
        done = 0
        for kill in range(1, kills + 1):
            while done < puts * kill // kills:
                value = random_value(rng, next(numbers))
                with daemon.ask() as client:
                    client.ask(PUT, **parameters(value))
                acknowledge(acknowledged, value)
                done += 1
            values = [random_value(rng, next(numbers)) for _ in range(IN_FLIGHT)]
            for value in do_while_killed(daemon, {value: ("put", parameters(value)) for value in values}, rng):
                acknowledge(acknowledged, value)
            network.launch(daemon)
            with daemon.ask() as client:
                kept = {told["id"]: told["seq"] or 0 for told in client.info("values")["values"]}
            lost = [id for id, seq in acknowledged.items() if kept.get(id, -1) < seq]
            assert not lost, f"kill {kill}: {len(lost)} lost"


def test_values_outlive_a_restart() -> None:
    value = by_owner(7, b"news")
    with Network() as network:
        owner, other = network.start(2)
        other.wait_until(lambda about: bool(about["connected"]))
        with owner.ask() as client:
            assert len(client.ask(PUT, **{**parameters(value), "within_s": DEADLINE})["replicas"]) == 1
        assert owner.stop() == other.stop() == 0
        network.launch(other)
        with other.ask() as client:
            [held] = client.info("held_values")["held_values"]
            assert (held["seq"], held["source"]) == (7, owner.address)
            assert 86_000 < held["expires_in_s"] <= 86_400
        network.launch(owner)
        with owner.ask() as client:
            [own] = client.info("values")["values"]
        assert (own["id"], own["seq"]) == (held["id"], 7)


def acknowledge(acknowledged: dict[str, int], value: Value) -> None:
    id, seq = NATIVE.format(key_of(value)), value.seq if isinstance(value, Mutable) else 0
    acknowledged[id] = max(seq, acknowledged.get(id, 0))


def random_value(rng: random.Random, number: int) -> Value:
    """Return a new value: half of them take the place of one of a few signed ones."""
    data = b"%d " % number + rng.randbytes(rng.randrange(900))
    return by_owner(number, data, salt=rng.choice([b"a", b"b", b"c"])) if rng.random() < 0.5 else Immutable(data)


def parameters(value: Value) -> dict[str, Any]:
    """Return the parameters of a put that does not wait for the network."""
    told: dict[str, Any] = {"data": b64encode(value.data).decode(), "within_s": 0.001}
    if isinstance(value, Mutable):
        told |= {"public_key": value.public_key.hex(), "salt": b64encode(value.salt).decode(), "seq": value.seq}
        told["signature"] = value.signature.hex()
    return told


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
    asked = {(id, port): ("enter", {"id": id, "port": port, "wait": False}) for id, port in entries}
    return do_while_killed(daemon, asked, rng)


def do_while_killed(daemon: Daemon, asked: dict[T, tuple[str, dict[str, Any]]], rng: random.Random) -> set[T]:
    """Call methods all at once and kill the daemon meanwhile; return what was acknowledged."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(daemon.socket)) for _ in asked]
        for connection, (method, told) in zip(connections, asked.values(), strict=True):
            connection.sendall(encode({"method": method, "params": told}))
        for _ in range(rng.randrange(SPINS_MAX)):
            pass
        daemon.kill()
        answers = [answer(connection) for connection in connections]
    return {each for each, body in zip(asked, answers, strict=True) if "result" in body}


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

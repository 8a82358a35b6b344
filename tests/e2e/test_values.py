"""Values in a network of real daemons: they outlast the death of their owner, and pass through pipes unchanged."""

from __future__ import annotations

import subprocess
from base64 import b64decode

from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

BLOB = bytes(range(256)) * 3 + b"\r\n\x00"


def through_pipes(network: Network, daemon: Daemon, *arguments: str, given: bytes = b"") -> bytes:
    """Run a real `dht` with a standard input; return what it writes."""
    done = subprocess.run(
        [BIN / "dht", "--socket", str(daemon.socket), *arguments],
        env=network.environment(),
        input=given,
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    )
    return done.stdout


def test_a_value_outlasts_the_death_of_its_owner() -> None:
    with Network() as network:
        owner, *others = network.start(1) + network.start(2)
        for daemon in (owner, *others):
            daemon.wait_until(lambda node: node["contacts"]["good"] == 2)
        id = through_pipes(network, owner, "put", "-", given=BLOB).decode().strip()
        network.dht(others[0], "keep", id)
        owner.kill()
        assert through_pipes(network, others[1], "get", id) == BLOB
        # The owner has it still, and lets go of it.
        network.launch(owner)
        assert b64decode(network.dht(owner, "get", id)["data"]) == BLOB
        assert network.dht(owner, "delete", id)["value"]
        assert network.dht(owner, "delete", id, status=1)["error"]["code"] == "not-tracked"


def test_two_machines_with_one_key_take_turns() -> None:
    with Network() as network:
        one, other, third = network.start(1) + network.start(2)
        for daemon in (one, other, third):
            daemon.wait_until(lambda node: node["contacts"]["good"] == 2)
        key = str(network.directory / "key")
        public = network.dht(one, "key", "new", key)["z32"]
        seqs = [
            network.dht(daemon, "put", "--key", key, "--salt", "news", text)["seq"]
            for daemon, text in ((one, "first"), (other, "second"), (one, "third"))
        ]
        assert seqs == sorted(set(seqs))
        got = network.dht(third, "get", public, "--salt", "news")
        assert (got["text"], got["seq"], got["conflict"]) == ("third", seqs[-1], False)
        refused = network.dht(other, "put", "--key", key, "--salt", "news", "x", "--cas", str(seqs[0]), status=1)
        assert (refused["error"]["code"], refused["found"]["text"]) == ("cas-mismatch", "third")
        network.dht(other, "put", "--key", key, "--salt", "news", "--empty")
        assert network.dht(third, "get", public, "--salt", "news")["text"] == ""

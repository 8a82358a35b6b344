"""A private network of real daemons: strangers are deaf and mute, and a key change loses nothing under load."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dhtd.control.client import Client
from dhtd.core.ids import Id
from dhtd.core.messages import Ping
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import NetworkKey
from dhtd.wire.sealed import MAGIC, Seal
from tests.e2e.daemons import DEADLINE, POLL, PORT, Daemon, Network

ID = "c0ffee" + "00" * 28 + "1d"
VOLATILE = ("uptime_s", "last_activity_s", "age_s", "expires_in_s", "refresh_in_s", "since_s", "rtt_ms")


def keygen(network: Network, name: str) -> Path:
    path = network.directory / name
    done = network.run("dhtd", "keygen", str(path))
    assert done.returncode == 0, done
    return path


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL)


def info(network: Network, daemon: Daemon) -> dict[str, Any]:
    """Return a daemon's report about itself, without the values that change by time alone."""

    def steady(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: steady(member) for key, member in value.items() if key not in VOLATILE}
        return [steady(member) for member in value] if isinstance(value, list) else value

    found: dict[str, Any] = steady(network.dht(daemon, "info"))
    return found


def contacts(daemon: Daemon) -> int:
    with Client(daemon.socket, DEADLINE) as client:
        return client.info("node")["node"]["contacts"]["good"]


@pytest.mark.slow
def test_keys_unite_two_and_exclude_a_third() -> None:
    with Network() as network:
        key = keygen(network, "network.key")
        [one, two] = network.start(2, f"--network-key={key}", "--rate-limit=0", "--log-level=debug")
        until(lambda: contacts(one) == contacts(two) == 1)
        network.dht(one, "enter", ID, "3000")
        assert two.look_up(ID) == [f"{one.address}:3000"]
        fingerprint = NetworkKey.parse(key.read_text()).fingerprint
        assert network.dht(one, "info", "node")["node"]["network_keys"] == [fingerprint]

        # The node of a stranger: it hears of the private nodes, and they hear of it.
        [outside] = network.start(1)
        pinged = network.dht_all([outside, two], "ping", one.endpoint)
        assert [status for status, _ in pinged] == [1, 0]
        pinged = network.dht_all([one, two], "ping", outside.endpoint)
        assert [status for status, _ in pinged] == [1, 1]
        assert network.dht(outside, "lookup", ID, status=4)["error"]["code"] == "no-peers"
        assert network.dht(outside, "info", "node")["node"]["network_keys"] == []
        heard = network.dht(outside, "info", "network")["network"]
        assert (heard["datagrams_received"], heard["malformed"], heard["unopened"]) == (4, 4, 0)
        assert outside.stop() == 0  # otherwise it keeps trying
        assert {contacts(one), contacts(two)} == {1}

        before, log = info(network, one), one.log.read_text()
        flood(one)
        after = info(network, one)
        counted, counted_before = after.pop("network"), before.pop("network")
        assert after == before
        talk, before_it = (each["datagrams_received"] - each["unopened"] for each in (counted, counted_before))
        assert talk - before_it < 50  # of the two with each other: a small network looks itself up at first
        for name in ("malformed", "unmatched", "rate_limited", "bad_queries", "oversized", "defects"):
            assert counted[name] == counted_before[name] == 0
        assert one.log.read_text() == log
        assert one.process.poll() is None


def unopened(daemon: Daemon) -> int:
    with Client(daemon.socket, DEADLINE) as client:
        return int(client.info("network")["network"]["unopened"])


def flood(daemon: Daemon) -> None:
    """Send a daemon garbage, and messages of nodes without its key, as fast as it takes them; it must not answer."""
    rng, codec = Random(1), NativeCodec()
    foreign = Seal([NetworkKey(bytes(32))], Id(0), rng, 0.0)
    before = unopened(daemon)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.bind((daemon.address, 0))
        source.setblocking(False)
        for number in range(10_000):
            ping = codec.encode_query(rng.randbytes(8), Id(number), Ping())
            data = [ping, foreign.seal_query(ping, None, time.time()), MAGIC + rng.randbytes(100), rng.randbytes(100)][
                number % 4
            ]
            source.sendto(data, (daemon.address, PORT))
            if number % 100 == 99:  # no more than the kernel keeps
                until(lambda sent=number + 1: unopened(daemon) == before + sent)  # type: ignore[misc]
        with pytest.raises(BlockingIOError):
            source.recv(1)


@pytest.mark.slow
def test_a_key_change_at_run_time_loses_no_entry() -> None:
    with Network() as network:
        old, new = keygen(network, "old.key"), keygen(network, "new.key")
        names = [NetworkKey.parse(path.read_text()).fingerprint for path in (old, new)]
        config = network.directory / "dhtd.toml"

        def configure(*paths: Path) -> None:
            config.write_text(f"network-key = {json.dumps([str(path) for path in paths])}\n")

        configure(old)
        daemons = network.start(3, f"--config={config}")
        until(lambda: all(contacts(daemon) == 2 for daemon in daemons))
        network.dht(daemons[0], "enter", ID, "3000")
        for step in ((old, new), (new, old), (new,)):
            configure(*step)
            wanted = [names[path is new] for path in step]
            for daemon in daemons:
                daemon.process.send_signal(signal.SIGHUP)
                until(partial(has_keys, daemon, wanted))
                assert [asking.look_up(ID) for asking in daemons] == [[f"{daemons[0].address}:3000"]] * 3
        assert [unopened(daemon) for daemon in daemons] == [0, 0, 0]

        new.chmod(0o644)  # an unusable key changes nothing
        daemons[0].process.send_signal(signal.SIGHUP)
        until(lambda: "the configuration is left as it was: the network key" in daemons[0].log.read_text())
        assert keys_of(daemons[0]) == names[1:]
        new.chmod(0o600)
        config.write_text("network-key = []\n")  # a slip does not open the network either
        daemons[0].process.send_signal(signal.SIGHUP)
        until(lambda: "restart dhtd for this to take effect" in daemons[0].log.read_text())
        assert keys_of(daemons[0]) == names[1:]
        assert daemons[1].look_up(ID) == [f"{daemons[0].address}:3000"]
        for path in (old, new):
            secret = NetworkKey.parse(path.read_text()).secret.hex()
            assert all(secret not in daemon.log.read_text() for daemon in daemons)


def has_keys(daemon: Daemon, wanted: list[str]) -> bool:
    return keys_of(daemon) == wanted


def keys_of(daemon: Daemon) -> list[str]:
    with Client(daemon.socket, DEADLINE) as client:
        return client.info("node")["node"]["network_keys"]

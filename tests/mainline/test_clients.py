"""Real clients on a DHT of nothing but dhtd: each finds what `dht enter` announced, and `dht lookup` finds the client.

All are on an island, a network namespace, which needs root. The clients are other people's programs:

    apt-get install transmission-cli aria2 nodejs npm
    python -m tests.mainline.modules

A test whose client is missing says so and is skipped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.daemons import DEADLINE, POLL, Daemon, Network
from tests.mainline.island import SUBNET, address, island
from tests.netns.lab import LabError

torrents = pytest.importorskip("tests.mainline.torrents", reason="libtorrent is not installed")

from tests.mainline.clients import Aria2, NodeClient, Transmission, missing  # noqa: E402
from tests.mainline.payload import PORT, Payload, Peer  # noqa: E402

pytestmark = pytest.mark.slow

MAINLINE = "--network=mainline"
SEED = "5e" * 32
OURS, THEIRS = "aa" * 20, "bb" * 20


def needs(kind: str) -> pytest.MarkDecorator:
    why = missing(kind)
    return pytest.mark.skipif(why is not None, reason=why or "")


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        with island(), Network(SUBNET) as made:
            yield made
    except LabError as error:
        pytest.skip(f"no network namespace here: {error}")


def start(network: Network, many: int) -> list[Daemon]:
    """Start daemons that know each other, the first one as the router of all."""
    daemons = network.start(1, MAINLINE) + network.start(many - 1, MAINLINE)
    for daemon in daemons:
        daemon.wait_until(lambda node: node["contacts"]["good"] >= min(many - 1, 8))
    return daemons


def wait_for(daemon: Daemon, network: Network, info_hash: str, endpoint: str) -> None:
    """Wait until `dht lookup` finds an endpoint."""
    deadline = time.monotonic() + DEADLINE
    while endpoint not in (found := network.dht(daemon, "lookup", info_hash)["peers"]):
        assert time.monotonic() < deadline, (endpoint, found)
        time.sleep(POLL)


@contextmanager
def seeded(network: Network, many: int, directory: Path) -> Iterator[tuple[list[Daemon], Payload]]:
    """Start daemons, the last one beside a peer with a payload, which `dht enter` announces and nobody else."""
    daemons, payload = start(network, many), Payload.of(many)
    with Peer(daemons[-1].address, payload, directory / "seed"):
        assert network.dht(daemons[-1], "enter", payload.info_hash, str(PORT))["replicas"]
        yield daemons, payload


def test_libtorrent_finds_a_payload(network: Network, tmp_path: Path) -> None:
    with (
        seeded(network, 3, tmp_path) as (daemons, payload),
        torrents.Torrents(address(1), daemons[0].endpoint) as client,
    ):
        client.download(payload, tmp_path)
        payload.wait_in(tmp_path)
        wait_for(daemons[1], network, payload.info_hash, f"{address(1)}:{torrents.PORT}")


@needs("transmission")
def test_transmission_finds_a_payload(network: Network, tmp_path: Path) -> None:
    with seeded(network, 10, tmp_path) as (daemons, payload):
        known = [daemon.endpoint for daemon in daemons]
        with Transmission(address(1), daemons[0].endpoint, tmp_path / "client", payload, known) as client:
            payload.wait_in(client.downloads)
            wait_for(daemons[1], network, payload.info_hash, f"{address(1)}:{PORT}")


@needs("aria2")
def test_aria2_finds_a_payload(network: Network, tmp_path: Path) -> None:
    with (
        seeded(network, 3, tmp_path) as (daemons, payload),
        Aria2(address(1), daemons[0].endpoint, tmp_path / "client", payload) as client,
    ):
        payload.wait_in(client.downloads)
        wait_for(daemons[1], network, payload.info_hash, f"{address(1)}:{PORT}")


@needs("bittorrent-dht")
def test_bittorrent_dht_finds_what_we_enter(network: Network, tmp_path: Path) -> None:
    daemons = start(network, 3)
    with NodeClient("bittorrent-dht", address(1), daemons[0].endpoint, tmp_path / "client") as client:
        network.dht(daemons[1], "enter", OURS, "3000")
        assert client.call("peers", OURS) == [f"{daemons[1].address}:3000"]
        client.call("announce", THEIRS, 4_444)
        for daemon in daemons:
            assert network.dht(daemon, "lookup", THEIRS)["peers"] == [f"{address(1)}:4444"]


@needs("bittorrent-dht")
def test_bittorrent_dht_gets_what_we_put(network: Network, tmp_path: Path) -> None:
    daemons = start(network, 3)
    with NodeClient("bittorrent-dht", address(1), daemons[0].endpoint, tmp_path / "client") as client:
        id = network.dht(daemons[1], MAINLINE, "put", "hello")["id"]
        assert client.call("get", id) == {"value": b"hello".hex(), "seq": None}
        id = client.call("put", b"from npm".hex())
        assert network.dht(daemons[2], MAINLINE, "get", id)["text"] == "from npm"


@needs("bittorrent-dht")
@pytest.mark.parametrize("salt", [(), ("--salt", "news")], ids=["unsalted", "salted"])
def test_bittorrent_dht_gets_the_newest(network: Network, tmp_path: Path, salt: tuple[str, ...]) -> None:
    daemons, key = start(network, 3), str(tmp_path / "key")
    network.dht(daemons[0], "key", "new", key)
    with NodeClient("bittorrent-dht", address(1), daemons[0].endpoint, tmp_path / "client") as client:
        for seq, text in ((1, "one"), (2, "two")):
            put = network.dht(daemons[1], MAINLINE, "put", "--key", key, "--seq", str(seq), *salt, text)
            assert client.call("get", put["id"], *salt[1:]) == {"value": text.encode().hex(), "seq": seq}
        for seq, text in ((1, "one"), (2, "two")):
            public_key = client.call("put", text.encode().hex(), SEED, seq, *salt[1:])
            got = network.dht(daemons[2], MAINLINE, "get", public_key, *salt)
            assert (got["text"], got["seq"], got["public_key"]) == (text, seq, public_key)


@needs("pkarr")
def test_pkarr_resolves_what_we_put(network: Network, tmp_path: Path) -> None:
    daemons = start(network, 3)
    key, zone = tmp_path / "key", tmp_path / "zone"
    key.touch(mode=0o600)
    key.write_text(f"{SEED}\n")
    with NodeClient("pkarr", address(1), daemons[0].endpoint, tmp_path / "client") as client:
        theirs = {"name": "_service", "type": "TXT", "ttl": 30, "data": "theirs"}
        published = client.call("publish", SEED, [theirs])
        assert published["nodes"] >= 2
        name = published["key"]
        got = network.dht(daemons[1], MAINLINE, "get", f"pk:{name}")
        assert got["dns"]["records"] == [{**theirs, "name": f"_service.{name}.", "data": '"theirs"'}]
        # The same key signs newer records of ours.
        zone.write_text("@ 300 A 192.0.2.1\n_service 30 TXT ours\n_http._tcp 60 SRV 1 2 80 @\n")
        put = network.dht(daemons[2], MAINLINE, "put", "--key", str(key), "--dns", str(zone))
        assert put["seq"] > got["seq"]
        service = {"priority": 1, "weight": 2, "port": 80, "target": name}
        assert client.call("resolve", name) == [
            {"name": name, "type": "A", "ttl": 300, "data": "192.0.2.1"},
            {"name": f"_service.{name}", "type": "TXT", "ttl": 30, "data": "ours"},
            {"name": f"_http._tcp.{name}", "type": "SRV", "ttl": 60, "data": service},
        ]

"""dhtd and libtorrent in one Mainline network on loopback: each finds what the other has announced and put."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dhtd.service.entries import ENTER, LOOKUP
from dhtd.service.values import GET, PUT
from dhtd.wire.signatures import signed
from tests.e2e.daemons import DEADLINE, POLL, Daemon, Network

torrents = pytest.importorskip("tests.mainline.torrents", reason="libtorrent is not installed")

MAINLINE = "--network=mainline"
OURS, THEIRS = "aa" * 20, "bb" * 20
_HIGH, _LOW = divmod(os.getpid() % 64_516, 254)


def address(number: int) -> str:
    return f"127.{1 + _HIGH}.{1 + _LOW}.{200 + number}"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as net:
        yield net


def until(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(POLL)
    return value


def look_up(daemon: Daemon, info_hash: str) -> list[str]:
    with daemon.ask() as client:
        *_, result = client.stream(LOOKUP, id=info_hash)
    return list(result["peers"])


def test_each_finds_what_the_other_announces(network: Network) -> None:
    first, second = network.start(2, MAINLINE)
    with torrents.Torrents(address(1)) as theirs:
        theirs.join(first.endpoint)
        theirs.wait_for_nodes(2)
        with second.ask() as client:
            client.ask(ENTER, id=OURS, port=3_000, wait=True, within_s=DEADLINE)
        assert theirs.peers(OURS) == [f"{second.address}:3000"]
        theirs.announce(THEIRS, 4_444)
        assert until(lambda: look_up(first, THEIRS), "no announced peer") == [f"{address(1)}:4444"]


def test_each_gets_what_the_other_puts(network: Network) -> None:
    first, second = network.start(2, MAINLINE)
    with torrents.Torrents(address(2)) as theirs:
        theirs.join(first.endpoint)
        theirs.wait_for_nodes(2)
        with second.ask() as client:
            put = client.ask(PUT, data=base64.b64encode(b"hello").decode(), within_s=DEADLINE)
        assert put["id"] == hashlib.sha1(b"5:hello").hexdigest()
        assert theirs.get(put["id"]) == b"hello"
        for value, bencoded in ((b"from libtorrent", None), ({b"a": 1}, b"d1:ai1ee")):
            key, took = theirs.put(value)
            assert took >= 2
            with first.ask() as client:
                *_, got = client.stream(GET, id=key)
            assert got["bencoded"] is (bencoded is not None)
            assert base64.b64decode(got["data"] or "") == (bencoded or value)


@pytest.mark.parametrize("salt", [b"", b"news"])
def test_signed_values_are_newer_on_both_sides(salt: bytes, network: Network) -> None:
    """Each puts a newer one in place of the value of the other, with one key."""
    seed = hashlib.sha256(salt).digest()
    first, second = network.start(2, MAINLINE)

    def got() -> dict[str, Any]:
        with first.ask() as client:
            *_, found = client.stream(GET, public_key=ours.public_key.hex(), salt=base64.b64encode(salt).decode())
        return dict(found)

    with torrents.Torrents(address(6)) as theirs:
        theirs.join(first.endpoint)
        theirs.wait_for_nodes(2)
        ours = signed(seed, salt, 5, b"ours")
        fields = {"public_key": ours.public_key.hex(), "seq": ours.seq, "signature": ours.signature.hex()}
        with second.ask() as client:
            client.ask(
                PUT,
                data=base64.b64encode(b"ours").decode(),
                salt=base64.b64encode(salt).decode(),
                within_s=DEADLINE,
                **fields,
            )
        assert theirs.get_signed(ours.public_key, salt) == (b"ours", 5)
        assert theirs.put_signed(seed, b"theirs", salt) >= 2
        assert (got()["text"], got()["seq"]) == ("theirs", 6)


def test_a_daemon_is_the_only_router_of_others(network: Network) -> None:
    [router] = network.start(1, MAINLINE)
    with (
        torrents.Torrents(address(3), router.endpoint) as one,
        torrents.Torrents(address(4), router.endpoint) as other,
    ):
        for theirs in (one, other):
            theirs.wait_for_nodes(1)
        one.announce(THEIRS, 4_444)
        assert other.peers(THEIRS) == [f"{address(3)}:4444"]


def test_a_daemon_joins_by_libtorrent_alone(network: Network) -> None:
    with torrents.Torrents(address(5)) as theirs:
        [daemon] = network.start(1, MAINLINE, f"--bootstrap={theirs.endpoint}")
        daemon.wait_until(lambda node: bool(node["observed"]))
        theirs.announce(THEIRS, 4_444)
        theirs.join(daemon.endpoint)
        assert until(lambda: look_up(daemon, THEIRS), "no announced peer") == [f"{address(5)}:4444"]

"""What the daemon of the Mainline network lets strangers do: the limits are on, with the settings as they come.

Each attack goes through a node that the daemon has made of its settings, from addresses of the Internet, on a clock of
the test.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest
from bencode2 import bdecode, bencode

from dhtd.config.sources import load_settings
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.daemon import make_driver
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.daemon.state.file import StateFile
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec
from tests.core.mainline import KEY, announce, key, packed, result

VICTIM, HERE = Endpoint.parse("198.51.100.7:6881"), Endpoint.parse("192.0.2.77:6881")
CODEC = Bep5Codec()
MINUTE = 60


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """Return the node of `dhtd start --network mainline`, with contacts, at time 0."""
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(make_driver, "clock", lambda: 0.0)
    monkeypatch.setattr("random.SystemRandom", lambda: Random(1))
    udp = SimpleNamespace(families=(Family.IPV4,), local=tuple, counters=None, zones=Zones())
    settings = load_settings({"network": "mainline"}, {})
    file = StateFile.open(tmp_path / "state.db", KEYSPACE)
    node = make_driver.make_driver(settings, [], file, cast("UdpSockets", udp), ()).node
    for number in range(9):
        contact = Contact(KEYSPACE.digest(b"%d" % number), public(number))
        node.overlays[Family.IPV4].state.answered(contact, 0.1, 0.0)
    yield node
    file.close()


def public(number: int, port: int = 6881) -> Endpoint:
    """Return an endpoint in a network of its own."""
    return Endpoint.of(f"{11 + number // 250}.{number % 250}.0.1", port)


def sent(node: Node) -> list[tuple[bytes, Endpoint]]:
    out = []
    while (transmit := node.poll_transmit()) is not None:
        out.append((transmit.data, transmit.endpoint))
    return out


def flood(
    node: Node, data: bytes, sources: list[Endpoint], seconds: int, each: int, start: float = 10.0
) -> tuple[int, int]:
    """Send so many copies a second from each source; return the bytes that they took, and those that they brought."""
    taken = brought = 0
    for tick in range(seconds * each):
        for source in sources:
            answer = node.handle_datagram(data, source, start + tick / each)
            taken += len(data)
            brought += 0 if answer is None else len(answer)
    return taken, brought


def test_the_answers_are_limited_by_source_and_in_all(node: Node) -> None:
    ping, one = packed(b"ping", {}), len(node.handle_datagram(packed(b"ping", {}), VICTIM, 0.0) or b"")
    _, brought = flood(node, ping, [VICTIM], 10, 100)
    assert 160 <= brought / one <= 16 * (10 + 2)
    many = [public(number) for number in range(1_000)]
    _, brought = flood(node, ping, many, 2, 8, 100.0)
    assert 4_000 <= brought / one <= 2_000 * (2 + 2)


@pytest.mark.parametrize("method", [b"get_peers", b"get", b"sample_infohashes"])
def test_a_forged_source_gets_four_times_its_query(method: bytes, node: Node) -> None:
    """For a minute, a victim is sent the longest answers that there are: those beyond four times come from a budget."""
    for number in range(60):
        announce(node, public(100 + number))
        announce(node, public(200 + number), KEYSPACE.digest(b"%d" % number))
    value = {b"target": KEYSPACE.to_bytes(KEYSPACE.digest(b"990:" + bytes(990)))}
    token = result(node, b"get", value, public(99))[b"token"]
    assert result(node, b"put", {b"token": token, b"v": bytes(990)}, public(99)).keys() == {b"id"}
    query = packed(method, key() if method == b"get_peers" else value)
    taken, brought = flood(node, query, [VICTIM], MINUTE, 16)
    assert taken < brought <= 4 * taken + 2_048 * (MINUTE + 4)


def test_many_forged_sources_share_a_budget(node: Node) -> None:
    for number in range(60):
        announce(node, public(100 + number))
    query, victims = packed(b"get_peers", key()), [public(1_000 + number) for number in range(250)]
    taken, brought = flood(node, query, victims, 20, 8)
    assert 4 * taken < brought <= 4 * taken + 128 * 1_024 * (20 + 4)


def pings_to_the_victim(node: Node, *, refuses: bool) -> int:
    """Query for a minute in the name of the victim, each time from another port; return how often it was pinged.

    Where it `refuses`, a ping is over at once, and makes room for the next one.
    """
    sent(node)
    out = 0
    for tick in range(MINUTE * 16):
        node.handle_datagram(packed(b"ping", {}), VICTIM.with_port(1_024 + tick), tick / 16)
        node.handle_timeout(tick / 16)
        for data, endpoint in sent(node):
            out += endpoint.ip == VICTIM.ip
            if refuses and endpoint.ip == VICTIM.ip:
                refusal = {b"t": bdecode(data)[b"t"], b"y": b"e", b"e": [202, b"leave me alone"]}
                node.handle_datagram(bencode(refusal), endpoint, tick / 16)
    return out


def test_a_silent_victim_is_pinged_few_at_a_time(node: Node) -> None:
    """The half of the pings that anybody may use holds for a timeout each: 8 in 5 seconds."""
    assert pings_to_the_victim(node, refuses=False) == MINUTE / 5 * 8


def test_a_victim_that_refuses_is_pinged_at_a_pace(node: Node) -> None:
    """Each ping is over at once, so nothing but the pace of one address holds the next one back."""
    assert 2 * MINUTE <= pings_to_the_victim(node, refuses=True) <= 10 + 2 * MINUTE


def answer_all(node: Node, named: tuple[Contact, ...], now: float) -> list[tuple[bytes, Endpoint]]:
    """Answer what the node asks its contacts, naming these nodes; return its queries' methods, and whom it asked."""
    asked = []
    for data, endpoint in sent(node):
        query = bdecode(data)
        asked.append((query[b"q"], endpoint))
        number = next((each for each in range(9) if public(each) == endpoint), None)
        if number is not None:
            body = {b"id": KEYSPACE.to_bytes(KEYSPACE.digest(b"%d" % number)), b"token": b"token"}
            body[b"nodes"] = b"".join(KEYSPACE.to_bytes(each.id) + each.endpoint for each in named)
            node.handle_datagram(bencode({b"t": query[b"t"], b"y": b"r", b"r": body}), endpoint, now)
    return asked


def test_a_victim_that_is_named_often_is_spared(node: Node) -> None:
    """Each answer names eight nodes near the key, all of them at one address."""
    asked = []
    for tick in range(20 * 20):
        now = 1.0 + tick / 20
        if tick % 20 == 0:
            node.commands.lookup(KEY, now)
        ids = (Id(KEY ^ (1 + 8 * tick + each)) for each in range(8))
        asked += answer_all(node, tuple(Contact(id, VICTIM.with_port(1_000 + id % 5_000)) for id in ids), now)
        node.handle_timeout(now)
    to_victim = sum(endpoint.ip == VICTIM.ip for _, endpoint in asked)
    assert 0 < to_victim <= 10 + 2 * 20


def test_the_id_follows_from_the_address(node: Node) -> None:
    for number in range(9):
        node.commands.ping(public(number), 1.0)
    for told, (data, endpoint) in enumerate(sent(node), start=1):
        known = next(Contact(KEYSPACE.digest(b"%d" % each), endpoint) for each in range(9) if public(each) == endpoint)
        tid = bdecode(data)[b"t"]
        node.handle_datagram(CODEC.encode_acknowledged(tid, known.id, HERE), endpoint, 1.0)
        assert bep42.suits(node.own_id, HERE.ip) is (told >= 8)


def test_no_withdrawal_is_ever_sent(node: Node) -> None:
    """libtorrent answers an unknown method like find_node, so a withdrawal would seem to have worked."""
    node.commands.enter(KEY, 80, 1.0)
    methods: set[bytes] = set()
    ports: list[int] = []
    for tick in range(5 * MINUTE):
        now = 1.0 + tick
        if tick == 2 * MINUTE:
            assert b"announce_peer" in methods
            methods.clear()
            _, ports = node.commands.delete(KEY, 80, now)
        methods |= {method for method, _ in answer_all(node, (), now)}
        node.handle_timeout(now)
    assert ports == [80]
    assert methods <= {b"find_node", b"ping"}  # nothing is said of the entry any more

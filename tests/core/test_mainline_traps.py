"""What others' nodes got wrong in the Mainline network, or would make us get wrong: each has a test named for it."""

from __future__ import annotations

from typing import Any

import pytest
from bencode2 import bdecode, bencode

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Answered, Published, Unanswered
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.wire import bep42
from tests.core.mainline import CODEC, KEY, answered, key, make, packed

HOSTS = [Contact(KEYSPACE.digest(b"%d" % number), Endpoint.of(f"203.0.{number}.1", 6881)) for number in range(9)]
STRANGER = Endpoint.parse("198.51.100.7:6881")


def joined() -> Node:
    """Return a node that knows the hosts."""
    node = make()
    for host in HOSTS:
        node.overlays[Family.IPV4].state.answered(host, 0.1, 0.0)
    return node


def sent(node: Node) -> list[tuple[dict[bytes, Any], Contact]]:
    """Return the queries of a node, and whom it asks."""
    out = []
    while (transmit := node.poll_transmit()) is not None:
        out += [(bdecode(transmit.data), host) for host in HOSTS if host.endpoint == transmit.endpoint]
    return out


def reply(node: Node, query: dict[bytes, Any], host: Contact, body: dict[bytes, Any], now: float) -> None:
    """Answer a query without `ip`, as transmission does."""
    result = {b"id": KEYSPACE.to_bytes(host.id), **body}
    assert node.handle_datagram(bencode({b"t": query[b"t"], b"y": b"r", b"r": result}), host.endpoint, now) is None


def events(node: Node) -> list[object]:
    out: list[object] = []
    while (event := node.poll_event()) is not None:
        out.append(event)
    return out


def test_trap_1_tokens_come_with_get_peers() -> None:
    """Nobody gives one with find_node, so a publication that waited for it would store on nobody."""
    node, holders = joined(), []
    op = node.commands.enter(KEY, 80, 1.0)
    for tick in range(20):
        now = 1.0 + tick
        for query, host in sent(node):
            token = {b"token": b"of %d" % HOSTS.index(host)} if query[b"q"] == b"get_peers" else {}
            if query[b"q"] == b"announce_peer":
                assert query[b"a"][b"token"] == b"of %d" % HOSTS.index(host)
                assert query[b"a"][b"port"] == 80
                holders.append(host)
            reply(node, query, host, {b"nodes": b"", **token}, now)
        node.handle_timeout(now)
    [published] = [event for event in events(node) if isinstance(event, Published)]
    assert (published.op, len(published.replicas), len(holders)) == (op, 8, 8)


def test_trap_2_an_error_without_an_id_is_no_contact() -> None:
    node = make()
    op = node.commands.ping(STRANGER, 1.0)
    transmit = node.poll_transmit()
    assert transmit is not None
    tid = bdecode(transmit.data)[b"t"]
    error = bencode({b"t": tid, b"y": b"e", b"e": [203, b"no"]})
    assert node.handle_datagram(error, STRANGER, 1.0) is None
    [event] = events(node)
    assert isinstance(event, Unanswered)
    assert event.op == op
    assert node.overlays.contacts() == []
    assert node.counters.malformed == 0


def test_queries_have_what_each_client_needs() -> None:
    """Rust `mainline` decodes no transaction ID but one of 4 bytes, and others tell us by our version."""
    node = joined()
    node.commands.lookup(KEY, 1.0)
    node.commands.ping(STRANGER, 1.0)
    tids = set()
    for query, _ in sent(node):
        assert query.keys() == {b"a", b"q", b"t", b"v", b"y"}
        assert (len(query[b"t"]), len(query[b"v"])) == (4, 4)
        tids.add(query[b"t"])
    assert len(tids) >= 4


def test_trap_5_a_checksum_is_made_once_a_contact(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long in Python as to answer half a query."""
    made = []

    def crc32c(data: bytes) -> int:
        made.append(data)
        return original(data)

    original = bep42.crc32c
    monkeypatch.setattr(bep42, "crc32c", crc32c)
    node = joined()
    for number in range(30):
        for method, args in ((b"ping", {}), (b"find_node", {b"target": bytes(20)}), (b"get_peers", key())):
            source = HOSTS[number % 9].endpoint if number % 2 else Endpoint.of(f"198.51.{number}.1", 6881)
            assert answered(node, packed(method, args), source, 1.0) is not None
        node.commands.ping(HOSTS[number % 9].endpoint, 1.0)
    for query, host in sent(node):
        data = CODEC.encode_acknowledged(query[b"t"], host.id, Endpoint.parse("192.0.2.1:6881"))
        node.handle_datagram(data, host.endpoint, 1.0)
    assert sum(isinstance(event, Answered) for event in events(node)) == 30
    assert len(made) <= len(HOSTS)

"""A node whose ID follows from its address: it takes the new one everywhere, at once."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Renamed
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, Ping, Put, Query
from dhtd.core.node import Node
from dhtd.core.records import Immutable
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.bep5_values import LASTS
from tests.core.mainline import CODEC, KEY, POLICY, key, make, result

HERE, HERE6 = Endpoint.parse("198.51.100.7:6881"), Endpoint.parse("[2001:db8:7::1]:6881")
STRANGER, STRANGER6 = Endpoint.parse("203.0.113.9:6881"), Endpoint.parse("[2001:db8:9::1]:6881")


def peer(number: int) -> tuple[Id, Endpoint]:
    return KEYSPACE.digest(b"peer %d" % number), Endpoint.of(f"128.{number}.0.1", 6881)


def sent(node: Node) -> list[tuple[Query, Endpoint]]:
    out = []
    while (transmit := node.poll_transmit()) is not None:
        query = CODEC.decode(transmit.data)
        assert isinstance(query, Query)
        out.append((query, transmit.endpoint))
    return out


def told(node: Node, count: int, observed: Endpoint = HERE, now: float = 1.0) -> None:
    """Have so many peers say where the node is."""
    ids = {endpoint: id for id, endpoint in map(peer, range(count))}
    for endpoint in ids:
        node.commands.ping(endpoint, now)
    for query, endpoint in sent(node):
        if query.request == Ping():
            answer = Bep5Codec().encode_acknowledged(query.tid, ids[endpoint], observed)
            assert node.handle_datagram(answer, endpoint, now) is None


def test_all_that_it_says_has_the_new_id() -> None:
    node = make()
    old = node.own_id
    told(node, 7)
    assert node.own_id == old
    sent(node)
    told(node, 8)
    assert bep42.suits(node.own_id, HERE.ip)
    own = KEYSPACE.to_bytes(node.own_id)
    for method, args in ((b"ping", {}), (b"get_peers", key()), (b"get", {b"target": KEYSPACE.to_bytes(KEY)})):
        assert result(node, method, args, STRANGER, 2.0)[b"id"] == own
    # It looks itself up under the new one, and says so.
    asked = [query for query, _ in sent(node) if query.request == FindNode(node.own_id)]
    assert asked
    assert {query.sender for query in asked} == {node.own_id}
    events = []
    while (event := node.poll_event()) is not None:
        events.append(event)
    assert [event for event in events if isinstance(event, Renamed)] == [Renamed(Family.IPV4, node.own_id)]


def test_the_other_family_keeps_its_id() -> None:
    node = make(POLICY, Family.IPV4, Family.IPV6)
    old = KEYSPACE.to_bytes(node.own_id)
    told(node, 8)
    assert result(node, b"get_peers", key(), STRANGER, 2.0)[b"id"] == KEYSPACE.to_bytes(node.own_id) != old
    assert result(node, b"get", {b"target": KEYSPACE.to_bytes(KEY)}, STRANGER6, 2.0)[b"id"] == old


def test_a_node_that_knows_nobody_asks_nobody() -> None:
    node = make()
    voters = [peer(number)[1] for number in range(8)]
    for voter in voters:
        node.external.vote(voter, HERE, 0.0)
    node._news.observed(voters[0], HERE, 0.0)
    assert bep42.suits(node.own_id, HERE.ip)
    assert sent(node) == []


def test_a_contact_of_an_earlier_run_stays() -> None:
    node = make()
    node.overlays.restore(Contact(*peer(20)))
    told(node, 8)
    assert Contact(*peer(20)) in node.overlays.contacts()


def test_other_values_are_far_from_the_new_id() -> None:
    node = make()
    held = node.values.held
    for number in range(20):
        value = Immutable(b"2:%02d" % number)
        put = Put(CODEC.key_of(value), b"", value, None, LASTS)
        held.put(put, STRANGER.ip, 0.0, lambda _: None)
    told(node, 8)
    own_id = node.values._overlays.own_id
    bits = {each.key: each.bits for each in held.by_key.values()}
    assert bits == {packed_key: (int.from_bytes(packed_key, "big") ^ own_id).bit_length() for packed_key in bits}
    assert len(held._shares) == 1  # of one source

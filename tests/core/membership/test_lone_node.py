"""A node that knows nobody still answers for itself."""

from __future__ import annotations

from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import LookupDone
from dhtd.core.ids import Id
from dhtd.core.messages import FindValue, Found, Query, Reply
from dhtd.core.node import Node
from dhtd.wire.native import NativeCodec

LOCAL = Endpoint.of("127.0.0.1", 1729)
ASKER = Endpoint.of("10.0.0.9", 1729)


def lone_node() -> Node:
    return Node(Id(1), NativeCodec(), rng=Random(1), now=0.0, local=[LOCAL])


def found_by(node: Node, key: Id) -> tuple[Endpoint, ...]:
    node.commands.lookup(key, 1.0)
    while (event := node.poll_event()) is not None:
        if isinstance(event, LookupDone):
            return event.endpoints
    raise AssertionError("the lookup did not end")


def test_a_lone_node_finds_its_own_entry() -> None:
    node = lone_node()
    node.commands.enter(Id(7), 3000, 0.0)
    assert found_by(node, Id(7)) == (LOCAL.with_port(3000),)
    assert found_by(node, Id(8)) == ()


def test_the_local_address_yields_to_others_view() -> None:
    node = lone_node()
    node.commands.enter(Id(7), 3000, 0.0)
    node.external.vote(ASKER, Endpoint.of("10.0.0.1", 1729), 0.0)
    assert found_by(node, Id(7)) == (Endpoint.of("10.0.0.1", 3000),)


def test_nobody_else_is_told_the_local_address() -> None:
    codec = NativeCodec()
    node = lone_node()
    node.commands.enter(Id(7), 3000, 0.0)
    query = Query(b"12345678", Id(2), FindValue(Id(7)))
    answer = node.handle_datagram(codec.encode_query(query.tid, query.sender, query.request), ASKER, 1.0)
    assert answer is not None
    reply = codec.decode(answer)
    assert isinstance(reply, Reply)
    result = codec.decode_result(query.request, reply.body)
    assert isinstance(result, Found)
    assert result.endpoints == ()

"""Routers show the way into a network, and never become contacts."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import FindNode, Query
from dhtd.core.policy import MAINLINE
from dhtd.sim.network import Network
from dhtd.wire.bep5 import Bep5Codec
from tests.core.bench import Bench
from tests.core.small import contact, endpoint

ROUTER, OTHER = contact(50), contact(60)


def joined() -> Bench:
    bench = Bench()
    bench.node.start((), bench.now, routers=[ROUTER.endpoint])
    bench.advance(0)
    bench.pong(bench.sent_one(), ROUTER.id)
    return bench


def test_a_router_is_asked_for_others() -> None:
    bench = joined()
    asked = bench.sent_one()
    assert (asked.to, type(asked.request)) == (ROUTER.endpoint, FindNode)
    bench.found(asked, ROUTER.id, [OTHER])
    assert OTHER.endpoint in {sent.to for sent in bench.sent()}


def test_a_router_is_no_contact() -> None:
    bench = joined()
    bench.found(bench.sent_one(), ROUTER.id, [OTHER])
    for sent in bench.sent():
        bench.found(sent, OTHER.id)
    assert bench.node.overlays.contacts() == [OTHER]
    # Not even if it asks us, and not if it was one in an earlier run.
    bench.sent()
    bench.query(FindNode(OTHER.id), ROUTER)
    assert bench.sent() == []
    assert bench.node.overlays.restore(ROUTER)
    assert bench.node.overlays.restore(contact(70))
    bench.node.start((), bench.now, routers=[ROUTER.endpoint])
    assert bench.node.overlays.contacts() == [OTHER, contact(70)]


def test_others_at_its_address_may_be_contacts() -> None:
    bench = joined()
    bench.found(bench.sent_one(), ROUTER.id)
    bench.advance(60)
    bench.sent()
    beside = Query(b"", OTHER.id, FindNode(OTHER.id))
    assert bench.node.state.queried(beside.sender, Endpoint(endpoint(50).ip + b"\0\x09"), bench.now)


@pytest.mark.no_cover
def test_a_network_needs_its_router_only_to_begin() -> None:
    net = Network(1, codec=Bep5Codec(), policy=MAINLINE)
    router = net.add()
    hosts = []
    for _ in range(20):
        host = net.add(start=False)
        host.node.start((), net.now, routers=[router.endpoint])
        net.flush(host)
        hosts.append(host)
        net.run_for(2)
    net.run_for(60)
    assert all(router.id != each.id for host in hosts for each in host.node.overlays.contacts())
    net.kill(router)
    key = net.codec.traits.keyspace.digest(b"a key")
    net.enter(hosts[3], key, 80)
    for host in hosts:
        assert net.lookup(host, key).endpoints == (hosts[3].endpoint.with_port(80),)

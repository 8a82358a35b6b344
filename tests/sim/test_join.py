"""Getting into a network, losing it, and finding it again."""

from __future__ import annotations

from dhtd.core.events import Isolated
from dhtd.core.messages import Ping
from dhtd.core.metric import NATIVE
from dhtd.sim.host import Host
from dhtd.sim.liars import FakeContacts, nowhere
from dhtd.sim.network import Network


def isolations(hosts: list[Host]) -> int:
    return sum(isinstance(event, Isolated) for host in hosts for _, event in host.events)


def test_the_silence_of_nodes_that_do_not_exist_is_no_outage() -> None:
    net = Network(1)
    hosts = net.populate(60)
    net.run_for(30)
    for liar in hosts[:15]:
        liar.lie = FakeContacts()
    honest = hosts[15:]
    for number, host in enumerate(honest):
        host.node.lookup(NATIVE.digest(b"%d" % number), net.now)
        net.flush(host)
    net.run_for(600)
    assert isolations(honest) == 0
    assert max(host.sent for host in honest) < 2_000


def test_queries_with_forged_sources_do_not_make_a_node_believe_in_an_outage() -> None:
    net = Network(2)
    hosts = net.grow(10)
    net.run_for(30)
    victim, sent = hosts[0], hosts[0].sent
    for _ in range(200):
        query = net.codec.encode_query(net.rng.randbytes(8), NATIVE.random(net.rng), Ping())
        net.inject(nowhere(net.rng), victim.endpoint, query)
        net.run_for(0.5)
    assert isolations([victim]) == 0
    assert victim.sent - sent < 200 * 2 + 200  # an answer and a ping for each at most, and the node's own traffic

"""The beliefs of nodes about their reachability, against the truth."""

from __future__ import annotations

import pytest

from dhtd.core.address.reachability import Reach
from dhtd.core.ids import NATIVE
from dhtd.sim import warm
from dhtd.sim.links import Nat
from dhtd.sim.network import Network
from dhtd.sim.places import scattered


@pytest.mark.parametrize(("nat", "reach"), [(None, Reach.PUBLIC), (Nat(lifetime=60.0), Reach.UNKNOWN)])
@pytest.mark.slow
def test_return_visits_through_a_nat_prove_nothing(nat: Nat | None, reach: Reach) -> None:
    net = Network(1, address=scattered)
    others = [net.add(start=False) for _ in range(60)]
    warm.acquaint(net, others)
    host = net.add(nat=nat, bootstrap=others[:2])
    net.run_for(30)
    for number in range(10):
        net.lookup(host, NATIVE.digest(b"%d" % number))
    received = host.node.counters.queries_received["ping"]
    for _ in range(30):
        for other in others[:40]:
            other.node.commands.ping(host.endpoint, net.now)
            net.flush(other)
        net.run_for(30)
    assert host.node.counters.queries_received["ping"] > received + 300  # some have been let in all the time
    assert host.node.outside.reach(net.now) is reach

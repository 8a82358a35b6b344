"""Most of a network dies at once: lookups find all entries of the survivors after three minutes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dhtd.core.ids import NATIVE
from dhtd.core.messages import Message, Query, Renew
from dhtd.core.policy import DEFAULT
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.json_codec import JsonCodec
from dhtd.sim.network import Network


def found_after(net: Network, owners: list[Host], seconds: float) -> int:
    """Return how many of the owners' entries somebody else finds, this long after."""
    net.run_for(seconds)
    live = net.live
    found = 0
    for number, owner in enumerate(owners):
        asker = net.rng.choice([host for host in live if host is not owner])
        key = NATIVE.digest(b"%d" % number)
        found += owner.endpoint.with_port(3_000) in net.lookup(asker, key).endpoints
    return found


@pytest.mark.slow
def test_entries_survive_four_deaths_in_five(
    figure: Callable[[str, object], None],
) -> None:
    net = Network(1)
    hosts = [net.add(start=False) for _ in range(96)]
    warm.acquaint(net, hosts)
    survivors = hosts[:20]
    owners = [survivors[number % 20] for number in range(100)]
    for number, owner in enumerate(owners):
        net.enter(owner, NATIVE.digest(b"%d" % number), 3_000)
    net.run_for(120)
    for host in hosts[20:]:
        net.kill(host)
    found = found_after(net, owners, 180.0)
    figure("of 100 entries found after three minutes", found)
    assert found == 100


def test_an_owner_renews_thrice_a_minute() -> None:
    net = Network(1)
    hosts = [net.add(start=False) for _ in range(24)]
    warm.acquaint(net, hosts)
    owner = hosts[0]
    for number in range(5):
        net.enter(owner, NATIVE.digest(b"%d" % number), 3_000)
    net.run_for(600)
    holders = len(owner.node.publisher.heartbeats)
    assert holders < 24  # of 40 copies: one heartbeat renews all that a holder has
    sent: list[Message] = []
    net.taps.append(lambda source, _, data: sent.append(net.codec.decode(data)) if source == owner.endpoint else None)
    net.run_for(1_200)
    assert len(owner.node.publisher.heartbeats) == holders
    renewals = sum(isinstance(each, Query) and isinstance(each.request, Renew) for each in sent)
    assert 60 < renewals / holders < 67


def test_a_patrol_asks_a_few_times_a_minute() -> None:
    """On a wire without renewals, the patrol asks whether holders are there."""
    sent = []
    for policy in (replace(DEFAULT, patrol=0.0), DEFAULT):
        net = Network(1, policy=policy, codec=JsonCodec(NATIVE, bare=True))
        hosts = [net.add(start=False) for _ in range(24)]
        warm.acquaint(net, hosts)
        for number in range(5):
            net.enter(hosts[0], NATIVE.digest(b"%d" % number), 3_000)
        net.run_for(600)
        before = hosts[0].node.counters.queries_sent
        net.run_for(1_800)
        sent.append(hosts[0].node.counters.queries_sent - before)
    without, with_patrol = sent
    assert 50 < with_patrol - without < 90


def test_an_own_outage_publishes_nothing_again() -> None:
    net = Network(1)
    hosts = [net.add(start=False) for _ in range(24)]
    warm.acquaint(net, hosts)
    owner = hosts[0]
    for number in range(5):
        net.enter(owner, NATIVE.digest(b"%d" % number), 3_000)
    net.run_for(120)
    net.unplug(owner)
    net.run_for(300)
    connected = [owner.node.overlays.is_connected]
    net.heal()
    net.run_for(300)
    connected.append(owner.node.overlays.is_connected)
    assert connected == [False, True]
    for entry in owner.node.own_records:
        assert len(entry.replicas) == 8
        assert 2 * len(entry.lost) < 8
        assert entry.published_at is not None
        assert entry.published_at < 120

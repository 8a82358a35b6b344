"""Index poisoning: an attacker enters itself a thousand times under a key, or liars invent servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import FindNode, Found, Reply
from dhtd.core.policy import DEFAULT
from dhtd.sim.host import Host
from dhtd.sim.liars import Inventor
from dhtd.sim.network import Network
from tests.records import to_store

KEY = NATIVE.digest(b"the key")
PATIENT = replace(DEFAULT, rate_limit=0.0, rate_limit_total=0.0)  # a patient attacker stays below the rate
SERVERS = 4


def grown(size: int) -> Network:
    net = Network(11, policy=PATIENT)
    net.populate(size, join=False)
    return net


def enter(net: Network) -> set[Endpoint]:
    """Have some hosts serve the key; return all its true endpoints."""
    servers = net.hosts[:SERVERS]
    for number, host in enumerate(servers):
        assert len(net.enter(host, KEY, 3_000 + number).replicas) == DEFAULT.k
    return {host.endpoint.with_port(3_000 + number) for number, host in enumerate(servers)}


def fill(net: Network, host: Host, sources: list[Endpoint], count: int) -> None:
    """Have these addresses enter themselves under the key, by turns, each time on another port."""
    node, encode = host.node, net.codec.encode_query
    tokens = {}
    for source in sources:
        answer = node.handle_datagram(encode(net.rng.randbytes(8), Id(1), FindNode(KEY)), source, net.now)
        assert answer is not None
        reply = net.codec.decode(answer)
        assert isinstance(reply, Reply)
        found = net.codec.decode_result(FindNode(KEY), reply.body)
        assert isinstance(found, Found)
        tokens[source] = found.token or b""
    for number in range(count):
        source = sources[number % len(sources)]
        if tokens[source]:
            request = to_store(KEY, 1 + number, tokens[source])
            node.handle_datagram(encode(net.rng.randbytes(8), Id(1), request), source, net.now)


@pytest.mark.parametrize("addresses", [pytest.param(1, marks=pytest.mark.slow), 40])
def test_entering_on_every_port_hides_nobody_else(addresses: int, figure: Callable[[str, object], None]) -> None:
    """An answer has room for a hundred of the thousand entries that a node holds under a key."""
    net = grown(40)
    sources = [Endpoint.of(f"203.0.113.{1 + number}", 1_729) for number in range(addresses)]

    def flood() -> None:
        for host in net.closest(KEY):
            fill(net, host, sources, 2 * DEFAULT.store_entries_per_key)
            assert len(host.node.store.held(KEY)) == DEFAULT.store_entries_per_key

    flood()
    everyone = enter(net)
    flood()  # and again, to evict newcomers
    named = [set(net.lookup(asker, KEY).endpoints) for asker in net.hosts[SERVERS:]]
    found = sum(everyone <= endpoints for endpoints in named)
    figure("honest lookups that found all who serve it", f"{found} of {len(named)}")
    figure("endpoints that a lookup found, at most", max(map(len, named)))
    assert found == len(named)


def test_invented_servers_hide_no_real_ones(
    figure: Callable[[str, object], None],
) -> None:
    """Lookups find the invented servers, too: only their users can tell that they serve nothing."""
    net = grown(60)
    everyone = enter(net)
    others = net.hosts[SERVERS:]
    for host in net.rng.sample(others, 15):
        host.lie = Inventor()
    named = [set(net.lookup(asker, KEY).endpoints) for asker in others if asker.lie is None]
    found = sum(everyone <= endpoints for endpoints in named)
    figure("honest lookups that found all who serve it", f"{found} of {len(named)}")
    figure("endpoints that were invented, in a lookup, at most", max(len(endpoints - everyone) for endpoints in named))
    assert found == len(named)

"""Storage exhaustion: filling stores, or a key, keeps nobody out while others have less."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import FindValue, Found, Reply
from dhtd.core.policy import DEFAULT
from dhtd.core.storage.store import HeldRecords
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from tests.bench.load import resident
from tests.records import hold_peer, to_store

KEY = NATIVE.digest(b"the key")
POLICY = replace(
    DEFAULT,
    rate_limit=0.0,  # a patient attacker has time
    rate_limit_total=0.0,
    store_entries=96,
    store_entries_per_key=24,
    store_entries_per_source=64,
)
MIB = 2**20
ATTACKER = Endpoint.of("203.0.113.66", 1_729)


def attackers(count: int) -> list[Endpoint]:
    return [Endpoint.of(f"203.0.{113 + number // 250}.{1 + number % 250}", 1_729) for number in range(count)]


def grown(size: int = 24) -> Network:
    net = Network(11, policy=POLICY)
    net.grow(size)
    net.run_for(120)
    return net


def store(net: Network, host: Host, key: Id, source: Endpoint, port: int) -> bool:
    """Store with a token, by the book, as an attacker would; return whether it was taken."""
    node, encode = host.node, net.codec.encode_query
    answer = node.handle_datagram(encode(net.rng.randbytes(8), Id(1), FindValue(key)), source, net.now)
    assert answer is not None
    reply = net.codec.decode(answer)
    assert isinstance(reply, Reply)
    found = net.codec.decode_result(FindValue(key), reply.body)
    assert isinstance(found, Found)
    if not found.token:
        return False
    answer = node.handle_datagram(
        encode(net.rng.randbytes(8), Id(1), to_store(key, port, found.token)), source, net.now
    )
    assert answer is not None
    return isinstance(net.codec.decode(answer), Reply)


def fill(net: Network, hosts: Iterable[Host], sources: list[Endpoint], key: Callable[[int], Id], times: int) -> None:
    """Have each of these addresses store on each host, again and again, each time under another port."""
    for host in hosts:
        for number in range(times):
            for place, source in enumerate(sources):
                store(net, host, key(number * len(sources) + place), source, 1 + number)


def shares(host: Host) -> Counter[bytes]:
    return Counter(source_group(entry.record.endpoint.ip) for entry in host.node.store)


def anywhere(number: int) -> Id:
    return NATIVE.digest(b"junk %d" % number)


@pytest.mark.parametrize("sources", [pytest.param(1, marks=pytest.mark.slow), 6])
def test_few_filling_addresses_keep_no_entry_out(sources: int, figure: Callable[[str, object], None]) -> None:
    net, times = grown(), 240 // sources
    fill(net, net.hosts, attackers(sources), anywhere, times)
    for host in net.hosts:
        assert set(shares(host).values()) == {min(64, 96 // sources)}
    keys = {host: NATIVE.digest(b"honest %d" % number) for number, host in enumerate(net.hosts)}
    for host, key in keys.items():
        assert len(net.enter(host, key, 80).replicas) == POLICY.k
    fill(net, net.hosts, attackers(sources), anywhere, times)  # and again, to evict newcomers
    found = sum(
        net.lookup(asker, key).endpoints == (owner.endpoint.with_port(80),)
        for owner, key in keys.items()
        for asker in net.hosts[:3]
        if asker is not owner
    )
    assert found == 3 * len(keys) - 3
    for host in net.hosts:
        assert len(host.node.store) <= POLICY.store_entries
    figure("honest lookups that found their entry", f"{found} of {3 * len(keys) - 3}")
    figure("entries held, at most", max(len(host.node.store) for host in net.hosts))


def test_a_filled_key_leaves_room_for_servers(
    figure: Callable[[str, object], None],
) -> None:
    net = grown()
    holders = net.closest(KEY)
    fill(net, holders, [ATTACKER], lambda number: KEY, times=100)
    for host in holders:
        assert len(host.node.store.held(KEY)) == POLICY.store_entries_per_key
    servers = net.hosts[:8]
    for number, host in enumerate(servers):
        assert len(net.enter(host, KEY, 3_000 + number).replicas) == POLICY.k
    fill(net, holders, [ATTACKER], lambda number: KEY, times=100)
    everyone = {host.endpoint.with_port(3_000 + number) for number, host in enumerate(servers)}
    askers = net.hosts[8:]
    found = sum(everyone <= set(net.lookup(asker, KEY).endpoints) for asker in askers)
    figure("honest lookups that found all", f"{found} of {len(askers)}")
    assert found == len(askers)


@pytest.mark.parametrize("full", [4, POLICY.k, 12])
def test_entries_spill_past_full_nearest_nodes(full: int, figure: Callable[[str, object], None]) -> None:
    """One node cannot defend itself against as many addresses as it has places, each with one entry.

    So others hold the entries, and lookups find them, even if all the nearest nodes are full.
    """
    net = grown()
    nearest = net.closest(KEY, full)
    fill(net, nearest, attackers(POLICY.store_entries), anywhere, times=1)
    for host in nearest:
        assert set(shares(host).values()) == {1}
    before = [set(host.node.store) for host in nearest]
    owner = net.closest(KEY, 24)[-1]
    refused = sum(host.node.counters.bad_queries for host in nearest)
    published = net.enter(owner, KEY, 80)
    assert [set(host.node.store) for host in nearest] == before
    assert not {host.contact for host in nearest} & set(published.replicas)
    assert len(published.replicas) == published.asked == POLICY.k
    askers = [host for host in net.hosts if host is not owner]
    found = sum(net.lookup(asker, KEY).endpoints == (owner.endpoint.with_port(80),) for asker in askers)
    figure("honest lookups that found the entry", f"{found} of {len(askers)}")
    assert found == len(askers)
    assert sum(host.node.counters.bad_queries for host in nearest) == refused  # nobody was asked in vain
    assert net.delete(owner, KEY).nodes == POLICY.k
    assert all(net.lookup(asker, KEY).endpoints == () for asker in net.hosts)


def test_a_full_store_grows_no_further(figure: Callable[[str, object], None]) -> None:
    """Few sources fill it and lose entries to many, and new ones send twenty times as much; one renews and renews."""
    policy = replace(DEFAULT, store_entries=8_192, store_entries_per_source=1_024)
    held, number = HeldRecords(policy), 0

    def send(count: int, sources: int) -> Counter[str]:
        """Have these sources, by turns, store new entries, every tenth of them under one of a hundred keys."""
        nonlocal number
        outcomes = Counter[str]()
        for _ in range(count):
            number += 1
            source = (sources << 8 | number % sources).to_bytes(4, "big")
            endpoint = Endpoint(source + (1 + number // sources % 65_535).to_bytes(2, "big"))
            key = Id(number % 1_000 // 10 if number % 10 == 0 else number << 100)
            outcomes[type(hold_peer(held, key, endpoint, number / 1_000)).__name__] += 1
            hold_peer(held, KEY, ATTACKER, number / 1_000)
        return outcomes

    send(16_384, 9)
    assert len(held) == policy.store_entries
    send(32_768, 50_001)
    before = resident(os.getpid()) if sys.platform == "linux" else 0
    figure("sent to it when it was full", dict(send(163_840, 200_003)))
    assert len(held) == policy.store_entries
    if sys.platform == "linux":
        grown_by = resident(os.getpid()) - before
        figure("memory grown by", f"{grown_by / MIB:.2f} MiB")
        assert grown_by < 4 * MIB


def test_a_filled_store_is_empty_a_lease_later(figure: Callable[[str, object], None]) -> None:
    net = grown()
    host = net.closest(KEY)[0]
    before = {(entry.key, entry.record.endpoint) for entry in host.node.store}
    fill(net, [host], attackers(8), anywhere, times=50)
    assert len(host.node.store) == POLICY.store_entries
    filled = len(host.node.store)
    net.run_for(POLICY.store_expiry + POLICY.store_sweep)
    figure("entries held before, full, and after", f"{len(before)}, {filled}, {len(host.node.store)}")
    assert {(entry.key, entry.record.endpoint) for entry in host.node.store} == before
    assert host.node.store._sources._sources.keys() == {source_group(endpoint.ip) for _, endpoint in before}
    assert not host.node.store.is_crowded

"""Nodes that reach each other by loopback, a LAN and the internet: which hear of each other, at which address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Answered, LookupDone
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Found, Reply
from dhtd.core.policy import Policy
from dhtd.wire.native import NativeCodec
from tests.core.bench import QUIET, Bench, Sent
from tests.records import hold_peer, let_go, own_key

KEY = NATIVE.digest(b"key")
HOSTS = {
    "loopback": "127.0.0.2",
    "loopback6": "::1",
    "link": "169.254.1.2",
    "link6": "fe80::2",
    "lan": "192.168.1.2",
    "lan6": "fd00::2",
    "internet": "203.0.113.2",
    "internet6": "2001:db8::2",
}
LOCAL = {"loopback": {"loopback", "loopback6"}, "link": {"link", "link6"}}


def node(name: str, number: int = 0) -> Contact:
    """Return a node at this kind of address."""
    host = HOSTS[name] if name == "loopback6" else f"{HOSTS[name][:-1]}{2 + number}"
    return Contact(NATIVE.digest(f"{name} {number}".encode()), Endpoint.of(host, 1_729 + number))


def visible(name: str) -> set[str]:
    """Return the kinds of addresses with the same meaning for a node at this one."""
    kind = name.rstrip("6")
    kinds = {kind, "internet"} | ({"lan"} if kind != "internet" else set())
    return {other for other in HOSTS if other.rstrip("6") in kinds}


def dual(policy: Policy = QUIET) -> Bench:
    return Bench(policy=policy, codec=NativeCodec(dual_stack=True), families=list(Family))


def ask(bench: Bench, request: FindNode | FindValue, source: Contact) -> Found:
    """Ask with a token, for everything that the node tells."""
    issued = bench.node.responder._tokens.issue(source.endpoint.ip, NATIVE.to_bytes(KEY), bench.now)
    request = replace(request, token=issued)
    reply = bench.query(request, source)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(request, reply.body)
    assert isinstance(found, Found)
    bench.sent()
    return found


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("request_of", [FindNode, FindValue])
def test_a_contact_is_named_within_its_scope(name: str, request_of: type[FindNode | FindValue]) -> None:
    bench = dual()
    for overlay in bench.node.overlays:
        for other in HOSTS:
            if len(node(other).endpoint) == overlay.family:
                overlay.state.answered(node(other), 0.1, bench.now)
    for _ in range(2):  # packed for the first, and as packed
        named = set(ask(bench, request_of(KEY), node(name, 1)).contacts)
        assert named == {node(other) for other in visible(name)}
    assert {node(other) for other in visible(name)} == set(ask(bench, request_of(KEY), node(name, 2)).contacts)
    overlay = bench.node.overlays.first
    overlay.state.answered(node("internet", 7), 0.1, bench.now)
    assert node("internet", 7) in ask(bench, request_of(KEY), node(name, 1)).contacts


@pytest.mark.parametrize("name", HOSTS)
def test_an_endpoint_is_named_within_its_scope(name: str) -> None:
    bench = dual()
    for other in HOSTS:
        hold_peer(bench.node.store, KEY, node(other).endpoint, bench.now)
    assert set(ask(bench, FindValue(KEY), node(name, 1)).endpoints) == {node(each).endpoint for each in visible(name)}
    for other in HOSTS:
        if other[:4] in ("loop", "link"):
            let_go(bench.node.store, KEY, node(other).endpoint)
    assert len(ask(bench, FindValue(KEY), node(name, 1)).endpoints) == (2 if name.startswith("internet") else 4)


@pytest.mark.parametrize("name", HOSTS)
def test_own_entries_are_named_by_scope(name: str) -> None:
    bench = dual()
    bench.node.own_records.add(own_key(KEY, 3_000))
    for other, host in HOSTS.items():
        for number in range(3 if other.startswith("internet") else 1):
            voter = Endpoint.of(f"20{number}.0.113.9", 9) if other == "internet" else node(other, number).endpoint
            voter = Endpoint.of(f"200{number}:db8::9", 9) if other == "internet6" else voter
            bench.node.external.vote(voter, Endpoint.of(host, 1_729), bench.now)
    found = ask(bench, FindValue(KEY), node(name, 1))
    assert len(found.endpoints) == 2
    assert node(name).endpoint.with_port(3_000) in found.endpoints
    assert {endpoint.port for endpoint in found.endpoints} == {3_000}
    others = {node(each).endpoint.with_port(3_000) for each in visible(name)}
    assert set(found.endpoints) <= others


def lookup(bench: Bench, namer: Contact) -> Sent:
    """Begin a lookup at the only contact."""
    bench.node.overlays[len(namer.endpoint)].state.answered(namer, 0.1, bench.now)
    bench.node.commands.lookup(KEY, bench.now)
    return bench.sent_one()


@pytest.mark.parametrize("name", HOSTS)
def test_a_lookup_takes_only_endpoints_in_scope(name: str) -> None:
    bench = dual()
    query = lookup(bench, node(name))
    named = [node(other, 5) for other in HOSTS]
    bench.found(query, node(name).id, named, [contact.endpoint for contact in named])
    asked = {sent.to for sent in bench.sent() if isinstance(sent.request, FindValue)}
    same_family = {node(other, 5).endpoint for other in visible(name) if len(node(other).endpoint) == len(query.to)}
    assert asked == same_family
    bench.advance(10.0)
    done = bench.event(LookupDone)
    assert set(done.endpoints) == {node(other, 5).endpoint for other in visible(name)}


def test_our_ipv6_network_may_name_private_ones() -> None:
    for own in ((), (node("internet6").endpoint[:8],)):
        bench = dual(replace(QUIET, own_networks=own))
        query = lookup(bench, node("internet6"))
        bench.found(query, node("internet6").id, [node("lan6", 5)])
        asked = {sent.to for sent in bench.sent() if isinstance(sent.request, FindValue)}
        assert asked == ({node("lan6", 5).endpoint} if own else set())


def test_private_endpoints_pass_in_our_network() -> None:
    """A LAN of IPv6 has public addresses, and private ones of IPv4."""
    home, lan = node("internet6").endpoint[:8], node("lan", 5)
    for own in ((), (home,)):
        bench = dual()
        bench.node.machine.live_in(own, bench.now)
        hold_peer(bench.node.store, KEY, lan.endpoint, bench.now)
        told = ask(bench, FindValue(KEY), node("internet6", 1)).endpoints
        assert told == ((lan.endpoint,) if own else ())
        for overlay, known in zip(bench.node.overlays, (lan, node("lan6")), strict=True):
            overlay.state.answered(known, 0.1, bench.now)
            overlay.state.answered(node("internet" if known is lan else "internet6"), 0.1, bench.now)
        named = set(ask(bench, FindNode(KEY), node("internet6", 1)).contacts)
        assert named == {node("internet"), node("internet6"), *((lan, node("lan6")) if own else ())}
        bench.node.commands.find_value(node("internet6").endpoint, KEY, bench.now)
        bench.found(bench.sent_one(), node("internet6").id, [], [lan.endpoint])
        result = bench.event(Answered).result
        assert isinstance(result, Found)
        assert result.endpoints == told


def test_find_value_prints_no_foreign_scope() -> None:
    bench = dual()
    bench.node.commands.find_value(node("lan").endpoint, KEY, bench.now)
    named = [node(other).endpoint for other in HOSTS]
    bench.found(bench.sent_one(), node("lan").id, [], named)
    result = bench.event(Answered).result
    assert isinstance(result, Found)
    assert set(result.endpoints) == {node(other).endpoint for other in visible("lan")}


def test_a_moved_node_introduces_itself_again() -> None:
    bench = Bench(policy=replace(QUIET, good_for=1e9, bucket_refresh=1e9))
    peers = [Contact(Id(number), Endpoint.of(f"10.0.0.{number}", 1_729)) for number in (1, 2)]
    bench.know(*peers)
    bench.node.handle_timeout(bench.now)
    bench.advance(100.0)
    bench.sent()
    moved = Endpoint.of("10.5.5.5", 1_729)
    for peer in peers:
        bench.node.commands.ping(peer.endpoint, bench.now)
        for sent in bench.sent():
            bench.pong(sent, sent.to[3], moved)
    bench.advance(0)
    finds = [sent for sent in bench.sent() if sent.request == FindNode(Id(0))]
    assert {sent.to for sent in finds} == {peer.endpoint for peer in peers}
    for sent in finds:
        bench.found(sent, sent.to[3])
    assert [sent.request for sent in bench.sent()] == [FindNode(Id(0), b"token")] * 2

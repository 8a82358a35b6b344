"""What a node of the Mainline network answers: to whom, how much, and what it holds for others."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import pytest
from bencode2 import bdecode, bencode

from dhtd.core.address.reachability import Reach
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Query
from dhtd.core.node import Node
from dhtd.core.policy import MAINLINE
from dhtd.core.records import SEQ_MAX, Immutable, Mutable
from dhtd.core.serving import asides
from dhtd.core.serving.gate import Serves
from dhtd.core.storage.held_values import HeldValue
from dhtd.wire import bep33
from tests.core.mainline import CODEC, KEY, POLICY, announce, answered, key, make, packed, result

STRANGER = Endpoint.parse("198.51.100.7:6881")
STRANGER6 = Endpoint.parse("[2001:db8:7::1]:6881")
MANY = 60


def public(number: int) -> Endpoint:
    return Endpoint.of(f"203.0.{number}.1", 6881)


def known(node: Node, family: Family = Family.IPV4, count: int = 8) -> None:
    """Put contacts into the table."""
    overlay = node.overlays[family]
    for number in range(count):
        at = public(number) if family is Family.IPV4 else Endpoint.of(f"2001:db8:{number:x}::1", 6881)
        overlay.state.answered(Contact(KEYSPACE.digest(b"%d" % number), at), 0.1, 0.0)


def announced(count: int, policy: object = POLICY) -> Node:
    """Return a node with contacts, and with so many peers under one key."""
    assert isinstance(policy, type(POLICY))
    node = make(policy)
    known(node)
    for number in range(count):
        announce(node, public(100 + number))
    return node


def test_a_peer_is_at_its_port() -> None:
    node = make()
    announce(node, public(1), port=80)
    assert result(node, b"get_peers", key(), STRANGER)[b"values"] == [public(1).with_port(80)]


def test_an_implied_port_is_the_one_it_comes_from() -> None:
    node = make()
    announce(node, public(1), port=80, implied_port=1)
    assert result(node, b"get_peers", key(), STRANGER)[b"values"] == [public(1)]


def test_a_forged_source_implies_no_port_0() -> None:
    node = make()
    token = result(node, b"get_peers", key(), STRANGER)[b"token"]
    args = {**key(), b"token": token, b"implied_port": 1}
    for port, is_taken in ((0, False), (1, True)):
        fields = answered(node, packed(b"announce_peer", args), STRANGER.with_port(port))
        assert fields is not None
        assert (fields[b"y"] == b"r") is is_taken
    assert result(node, b"get_peers", key(), STRANGER)[b"values"] == [STRANGER.with_port(1)]


def test_a_peer_is_kept_for_45_minutes() -> None:
    node = make()
    announce(node, public(1))
    announce(node, public(2), now=1_500.0)
    assert result(node, b"get_peers", key(), STRANGER, 2_699.0)[b"values"] == [public(1), public(2)]
    assert result(node, b"get_peers", key(), STRANGER, 2_700.0)[b"values"] == [public(2)]


def test_a_token_is_good_for_five_minutes() -> None:
    node = make()
    token = result(node, b"get_peers", key(), STRANGER)[b"token"]
    args = {**key(), b"port": 80, b"token": token}
    assert b"id" in result(node, b"announce_peer", args, STRANGER, 299.0)
    late = answered(node, packed(b"announce_peer", args), STRANGER, 700.0)
    assert late is not None
    assert (late[b"e"][0], late[b"ip"]) == (203, STRANGER)


# Seeds


def test_seeds_are_left_out_where_they_are_not_wanted() -> None:
    node = make()
    announce(node, public(1), port=80, seed=1)
    announce(node, public(2), port=80)
    both = [public(1).with_port(80), public(2).with_port(80)]
    assert result(node, b"get_peers", key(), STRANGER)[b"values"] == both
    assert result(node, b"get_peers", {**key(), b"noseed": 1}, STRANGER)[b"values"] == both[1:]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_peer_becomes_a_seed_or_none(order: tuple[int, ...]) -> None:
    node = make()
    for is_seed in order:
        announce(node, public(1), port=80, seed=is_seed)
        found = result(node, b"get_peers", {**key(), b"noseed": 1}, STRANGER)
        assert (b"values" in found) == (not is_seed)


def test_a_scrape_counts_both() -> None:
    node = make(replace(POLICY, rate_limit=0.0))
    for number in range(30):
        announce(node, public(number), port=80, seed=int(number < 10))
    found = result(node, b"get_peers", {**key(), b"scrape": 1}, STRANGER)
    assert round(bep33.estimate(found[b"BFpe"])) == 20
    assert round(bep33.estimate(found[b"BFsd"])) == 10
    assert b"values" not in found


@pytest.mark.no_cover
def test_no_option_makes_a_query_dear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with 1000 peers, 30,000 others: a forged query costs no work that grows with these, but once."""
    node = make(replace(POLICY, rate_limit=0.0))
    for number in range(1_000):
        node.store.put(KEY, Endpoint.of(f"203.{number // 250}.{number % 250}.1", 80), b"", 0, 0.0, is_seed=number < 9)
    for number in range(30_000):
        node.store.put(KEYSPACE.digest(b"%d" % number), public(number % 250), b"", 0, 0.0)
    listed, filters = Mock(wraps=list), Mock(wraps=bep33.filter_of)
    monkeypatch.setattr(asides, "list", listed, raising=False)
    monkeypatch.setattr(bep33, "filter_of", filters)
    for _ in range(20):
        assert result(node, b"sample_infohashes", {b"target": bytes(20)}, STRANGER)[b"num"] == 30_001
        result(node, b"get_peers", {**key(), b"scrape": 1}, STRANGER)
    assert (listed.call_count, filters.call_count) == (1, 2)
    # A peer that becomes a seed is counted as one.
    before = result(node, b"get_peers", {**key(), b"scrape": 1}, STRANGER, 9.0)[b"BFsd"]
    node.store.put(KEY, Endpoint.parse("203.1.0.1:80"), b"", 0, 9.0, is_seed=True)
    assert result(node, b"get_peers", {**key(), b"scrape": 1}, STRANGER, 18.0)[b"BFsd"] != before
    assert filters.call_count == 4


def test_options_of_other_queries_change_nothing() -> None:
    node = announced(2)
    target = {b"target": KEYSPACE.to_bytes(KEY)}
    assert result(node, b"find_node", {**target, b"scrape": 1}, STRANGER).keys() == {b"id", b"nodes"}
    assert result(node, b"get_peers", {**key(), b"bs": 1}, STRANGER)[b"values"]


# Samples


def test_a_sample_is_the_same_for_an_hour() -> None:
    node = make(replace(POLICY, rate_limit=0.0))
    keys = [KEYSPACE.digest(b"%d" % number) for number in range(MANY)]
    for number, each in enumerate(keys):
        announce(node, public(number), each)
    ask = (b"sample_infohashes", {b"target": KEYSPACE.to_bytes(KEY)})
    first = result(node, *ask, STRANGER)
    assert (first[b"num"], first[b"interval"]) == (MANY, 3_600)
    names = [first[b"samples"][at : at + 20] for at in range(0, len(first[b"samples"]), 20)]
    assert len(names) == POLICY.sample_keys
    assert set(names) <= set(map(KEYSPACE.to_bytes, keys))
    later = result(node, *ask, public(9), 1_000.0)
    assert (later[b"samples"], later[b"interval"]) == (first[b"samples"], 2_600)
    node.machine.slept(1_600.0, 1_000.0)
    assert result(node, *ask, STRANGER, 1_000.0)[b"interval"] == 1_000
    assert result(node, *ask, STRANGER, 2_001.0)[b"samples"] != first[b"samples"]


def test_a_node_that_holds_nothing_samples_nothing() -> None:
    found = result(make(), b"sample_infohashes", {b"target": KEYSPACE.to_bytes(KEY)}, STRANGER)
    assert (found[b"num"], found[b"samples"]) == (0, b"")


# Families


def test_both_families_are_named_if_both_are_wanted() -> None:
    node = make(POLICY, Family.IPV4, Family.IPV6)
    known(node)
    known(node, Family.IPV6)
    want = {b"want": [b"n4", b"n6"]}
    for source, own in ((STRANGER, b"nodes"), (STRANGER6, b"nodes6")):
        assert result(node, b"get_peers", key(), source).keys() == {b"id", own, b"token"}
        assert result(node, b"get_peers", {**key(), **want}, source).keys() == {b"id", b"nodes", b"nodes6", b"token"}
        found = result(node, b"get", {b"target": KEYSPACE.to_bytes(KEY), **want}, source)
        assert found.keys() == {b"id", b"nodes", b"nodes6", b"token"}


# How much


def size_of(node: Node, data: bytes, source: Endpoint, now: float = 0.0) -> int:
    answer = node.handle_datagram(data, source, now)
    return 0 if answer is None else len(answer)


def test_a_stranger_gets_four_times_its_query_and_a_budget() -> None:
    node = announced(MANY, replace(POLICY, rate_limit=0.0, rate_limit_total=0.0))
    query = packed(b"get_peers", key())
    sizes = [size_of(node, query, STRANGER, 100.0) for _ in range(400)]
    assert sizes[0] > 4 * len(query)
    assert min(sizes) > 3 * len(query)  # contacts and a token are there in any case
    budget = POLICY.spare_bytes_per_source * POLICY.spare_burst
    assert sum(sizes) <= 400 * 4 * len(query) + budget
    assert sum(size - 4 * len(query) for size in sizes if size > 4 * len(query)) > 0.9 * budget
    # After a while there is more.
    assert size_of(node, query, STRANGER, 104.0) == sizes[0]


def test_all_strangers_share_a_budget() -> None:
    policy = replace(POLICY, rate_limit=0.0, rate_limit_total=0.0)
    node, query = announced(MANY, policy), packed(b"get_peers", key())
    sources = [Endpoint.of(f"203.{number // 250}.{number % 250}.9", 6881) for number in range(2_000)]
    more = sum(max(0, size_of(node, query, source, 100.0) - 4 * len(query)) for source in sources)
    assert more <= policy.spare_bytes * policy.spare_burst


def test_a_long_value_comes_out_of_the_budget() -> None:
    node = make(replace(POLICY, rate_limit=0.0, rate_limit_total=0.0))
    known(node)
    value = Immutable(b"990:" + bytes(990))
    target = {b"target": KEYSPACE.to_bytes(CODEC.key_of(value))}
    token = result(node, b"get", target, public(1))[b"token"]
    assert result(node, b"put", {b"token": token, b"v": bytes(990)}, public(1)).keys() == {b"id"}
    query, some = packed(b"get", target), []
    for _ in range(60):
        answer = answered(node, query, STRANGER, 10.0)
        assert answer is not None
        some.append(answer[b"r"])
        assert len(answer[b"r"][b"nodes"]) == 8 * 26
    given = [found for found in some if b"v" in found]
    assert 5 <= len(given) <= 10
    assert given == some[: len(given)]
    assert size_of(node, query, public(2), 10.0) <= MAINLINE.datagram_value_max


@pytest.mark.parametrize("families", [(Family.IPV4,), (Family.IPV6,), tuple(Family)])
@pytest.mark.parametrize("args", [{}, {b"want": [b"n4", b"n6"]}, {b"want": [b"n6"]}, {b"want": [b"n4"]}])
def test_contacts_make_way_for_the_longest_value(families: tuple[Family, ...], args: dict[bytes, object]) -> None:
    """A signed value of 1000 bytes, 8 contacts of IPv6 and a token are more than a datagram may have."""
    node = make(POLICY, *families)
    for family in families:
        known(node, family)
    value = Mutable(bytes(32), b"", SEQ_MAX, b"996:" + bytes(996), bytes(64))
    node.values.known.held.restore(HeldValue(CODEC.key_of(value), value, bytes(4), 7_200.0), 0.0)
    for source in (STRANGER, STRANGER6):
        if source.family in families:
            found = answered(node, packed(b"get", {b"target": KEYSPACE.to_bytes(CODEC.key_of(value)), **args}), source)
            assert found is not None
            assert {b"v", b"k", b"seq", b"sig", b"token"} <= found[b"r"].keys()
            assert len(bencode(found)) <= MAINLINE.datagram_value_max
            named = len(found[b"r"].get(b"nodes", b"")) // 26 + len(found[b"r"].get(b"nodes6", b"")) // 38
            wanted = args.get(b"want", [b"n4", b"n6"])
            assert isinstance(wanted, list)
            if {source.family} == set(families) == {Family.IPV6} and not args:
                ids = sorted(
                    (KEYSPACE.digest(b"%d" % each) for each in range(8)), key=lambda id: id ^ CODEC.key_of(value)
                )
                assert {found[b"r"][b"nodes6"][at : at + 20] for at in range(0, 38 * named, 38)} == set(
                    map(KEYSPACE.to_bytes, ids[:named])
                )
            assert named >= 5 or not set(wanted) & {b"n4" if each is Family.IPV4 else b"n6" for each in families}


MINIMAL = bencode({b"t": b"a", b"y": b"q", b"q": b"get", b"a": {b"id": bytes(20), b"target": bytes(20)}})
BOTH = MINIMAL.replace(b"e1:q", b"4:wantl2:n42:n6ee1:q")


SHORTEST = [MINIMAL.replace(b"3:get", b"1:x"), BOTH.replace(b"3:get", b"1:x")]


@pytest.mark.parametrize("query", [MINIMAL, BOTH, *SHORTEST], ids=["get", "both", "unknown", "unknown, both"])
@pytest.mark.parametrize("source", [STRANGER, STRANGER6], ids=str)
def test_contacts_are_within_the_budget_too(query: bytes, source: Endpoint) -> None:
    node = make(replace(POLICY, rate_limit=0.0, rate_limit_total=0.0), *Family)
    for family in Family:
        known(node, family)
    own = b"nodes" if source is STRANGER else b"nodes6"
    brought = 0
    for _ in range(400):
        answer = node.handle_datagram(query, source, 50.0)
        assert answer is not None
        assert len(bdecode(answer)[b"r"][own]) >= 5 * (26 if source is STRANGER else 38)
        brought += len(answer)
    assert brought <= 400 * 4 * len(query) + POLICY.spare_bytes_per_source * POLICY.spare_burst


@pytest.mark.parametrize("is_read_only", [0, 1])
def test_a_read_only_node_is_never_a_contact(is_read_only: int) -> None:
    node = make()
    data = packed(b"get_peers", key(), ro=is_read_only)
    assert node.handle_datagram(data, public(1), 1.0)
    assert (node.poll_transmit() is None) == bool(is_read_only)


def test_a_put_is_kept_for_two_hours() -> None:
    node = make()
    value = Immutable(b"5:hello")
    target = {b"target": KEYSPACE.to_bytes(CODEC.key_of(value))}
    token = result(node, b"get", target, public(1))[b"token"]
    assert result(node, b"put", {b"token": token, b"v": b"hello"}, public(1)).keys() == {b"id"}
    assert result(node, b"get", target, STRANGER, 7_199.0)[b"v"] == b"hello"
    while (when := node.poll_timeout()) is not None and when < 7_300.0:
        node.handle_timeout(max(when, 1.0))
    assert b"v" not in result(node, b"get", target, STRANGER, 7_300.0)


def test_a_source_has_16_values_at_most() -> None:
    node, codes = make(replace(POLICY, rate_limit=0.0)), []
    for number in range(20):
        data = b"%02d" % number
        key_of = Id(CODEC.key_of(Immutable(b"2:" + data)))
        token = result(node, b"get", {b"target": KEYSPACE.to_bytes(key_of)}, public(1)).get(b"token", b"none")
        fields = answered(node, packed(b"put", {b"token": token, b"v": data}), public(1))
        assert fields is not None
        codes.append(fields[b"e"][0] if b"e" in fields else 0)
    assert codes == [0] * 16 + [202] * 4


# Whom it serves


@pytest.mark.parametrize("serves", Serves)
def test_only_those_that_are_served_are_answered(serves: Serves) -> None:
    node = make()
    known(node)
    node.machine.serve(serves)
    query = packed(b"get_peers", key())
    assert (answered(node, query, public(1), 1.0) is not None) == (serves is not Serves.NOBODY)
    assert (answered(node, query, STRANGER, 1.0) is not None) == (serves is Serves.ALL)
    assert node.counters.unserved == {Serves.ALL: 0, Serves.CONTACTS: 1, Serves.NOBODY: 2}[serves]


def test_a_node_that_serves_few_says_so() -> None:
    node = make()
    for serves in (Serves.CONTACTS, Serves.ALL):
        node.machine.serve(serves)
        node.commands.ping(STRANGER, 1.0)
        transmit = node.poll_transmit()
        assert transmit is not None
        query = CODEC.decode(transmit.data)
        assert isinstance(query, Query)
        assert query.options.is_read_only == (serves is not Serves.ALL)


def test_a_stranger_that_reaches_it_is_seen_all_the_same() -> None:
    node = make()
    node.machine.serve(Serves.CONTACTS)
    assert node.outside.reach(1.0) is Reach.UNKNOWN
    assert answered(node, packed(b"get_peers", key()), STRANGER, 1.0) is None
    assert node.outside.reach(1.0) is Reach.PUBLIC

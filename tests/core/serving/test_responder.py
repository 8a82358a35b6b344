"""The answering side: one query in, one datagram out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Acknowledged,
    Changed,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Renew,
    Reply,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Peer
from dhtd.core.storage.held_record import HeldRecord
from dhtd.sim.json_codec import JsonCodec
from dhtd.wire.native import NativeCodec
from tests.core.bench import US, Bench
from tests.core.small import Beats, contact
from tests.records import KEPT, SESSION, hold_peer, own_key, to_store, to_withdraw
from tests.strategies import scaled

KEY = Id(77)
PEER = contact(100)
ELSEWHERE = Contact(PEER.id, contact(101).endpoint)


def ask(bench: Bench, request: Request, source: Contact = PEER) -> Found:
    """Send a find query; return its result."""
    reply = bench.query(request, source)
    assert isinstance(reply, Reply)
    assert reply.observed == source.endpoint
    result = bench.codec.decode_result(request, reply.body)
    assert isinstance(result, Found)
    return result


def token(bench: Bench, source: Contact = PEER, key: Id = KEY) -> bytes:
    given = ask(bench, FindNode(key), source).token
    assert given is not None
    return given


def is_acknowledged(bench: Bench, request: Request, source: Contact = PEER) -> bool:
    reply = bench.query(request, source)
    return isinstance(reply, Reply) and bench.codec.decode_result(request, reply.body) == Acknowledged()


def test_a_pong_has_our_id_and_the_askers_address() -> None:
    bench = Bench(own_id=5)
    reply = bench.query(Ping(), PEER, tid=b"12345678")
    assert reply == Reply(b"12345678", Id(5), PEER.endpoint, [])
    assert bench.received() == {"ping": 1}


def test_find_node_gives_contacts_and_a_token() -> None:
    bench = Bench()
    members = [contact(id) for id in (1, 2, 3, 64, 80, 96, 70, 71, 72, 73)]
    bench.know(*members)
    result = ask(bench, FindNode(Id(64)))
    assert set(result.contacts) == set(sorted(members, key=lambda member: member.id ^ 64)[:8])
    assert len(result.token or b"") == DEFAULT.token_size
    assert result.endpoints == ()
    assert not result.more


def test_find_value_gives_contacts_and_entries() -> None:
    bench = Bench()
    bench.know(contact(1))
    assert ask(bench, FindValue(KEY)).endpoints == ()
    assert is_acknowledged(bench, to_store(KEY, 80, token(bench)))
    result = ask(bench, FindValue(KEY), ELSEWHERE)
    assert result.endpoints == (PEER.endpoint.with_port(80),)
    assert result.contacts == (contact(1),)
    assert ask(bench, FindValue(Id(78))).endpoints == ()
    bench.now += DEFAULT.store_expiry
    assert ask(bench, FindValue(KEY)).endpoints == ()


def test_find_value_names_own_entries_as_seen() -> None:
    bench = Bench()
    bench.node.own_records.add(own_key(KEY, 443))
    bench.node.own_records.add(own_key(KEY, 80))
    assert ask(bench, FindValue(KEY)).endpoints == ()  # nobody has told us our address
    bench.node.external.vote(PEER.endpoint, US, 0.0)
    assert ask(bench, FindValue(KEY)).endpoints == (US.with_port(80), US.with_port(443))
    hold_peer(bench.node.store, KEY, US.with_port(80), bench.now)
    assert sorted(ask(bench, FindValue(KEY)).endpoints) == [US.with_port(80), US.with_port(443)]


def test_store_holds_the_source_address_and_port() -> None:
    bench = Bench()
    bench.now = 10.0
    assert is_acknowledged(bench, to_store(KEY, 80, token(bench)))
    assert list(bench.node.store) == [
        HeldRecord(KEY, Peer(PEER.endpoint.with_port(80)), 10.0 + DEFAULT.store_expiry, 3_600, KEPT)
    ]


def test_withdraw_drops_only_the_sources_entry() -> None:
    bench = Bench()
    for source in (PEER, ELSEWHERE):
        assert is_acknowledged(bench, to_store(KEY, 80, token(bench, source)), source)
    assert is_acknowledged(bench, to_withdraw(KEY, 80, token(bench)))
    assert [held.record.endpoint for held in bench.node.store] == [ELSEWHERE.endpoint.with_port(80)]
    assert is_acknowledged(bench, to_withdraw(KEY, 80, token(bench)))  # nothing to drop is no error
    assert is_acknowledged(bench, to_withdraw(KEY, 81, token(bench, ELSEWHERE)), ELSEWHERE)
    assert len(bench.node.store) == 1


@pytest.mark.parametrize("make", [to_store, to_withdraw])
def test_a_bad_token_changes_nothing(make: Callable[[Id, int, bytes], Request]) -> None:
    bench = Bench()
    hold_peer(bench.node.store, KEY, PEER.endpoint.with_port(80), 0.0)
    port = 81 if make is to_store else 80
    before = list(bench.node.store)
    stale = token(bench)
    for bad in (b"\0" * 8, b"x", token(bench, ELSEWHERE), token(bench, PEER, Id(78)), stale + b"\0"):
        answer = bench.query(make(KEY, port, bad), PEER)
        assert isinstance(answer, Error)
        assert (answer.code, answer.text) == (ERROR_PROTOCOL, "bad token")
    bench.now = 2 * DEFAULT.token_rotation
    assert isinstance(bench.query(make(KEY, port, stale), PEER), Error)
    assert list(bench.node.store) == before
    assert bench.node.counters.bad_queries == 6


def test_a_token_works_from_any_port() -> None:
    bench = Bench()
    moved = Contact(PEER.id, PEER.endpoint.with_port(9))
    assert is_acknowledged(bench, to_store(KEY, 80, token(bench)), moved)


def test_a_full_store_says_that_it_is_full() -> None:
    bench = Bench(policy=Policy(store_entries=1))
    assert is_acknowledged(bench, to_store(KEY, 80, token(bench)))
    answer = bench.query(to_store(KEY, 81, token(bench)), PEER)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (ERROR_SERVER, "store is full")
    assert len(bench.node.store) == 1
    assert bench.node.counters.bad_queries == 1


def test_queries_are_counted_by_method() -> None:
    bench = Bench()
    requests: list[Request] = [
        Ping(),
        Ping(),
        FindNode(KEY),
        FindValue(KEY),
        to_store(KEY, 1, b"x"),
        to_withdraw(KEY, 1, b"x"),
        Renew(SESSION, 60, b""),
        Watch(KEY, b"x", 60, SESSION),
        Changed(KEY, 0, (), ()),
        Get(KEY),
        Put(KEY, b"x", Immutable(b"data"), None, 60),
    ]
    for request in requests:
        bench.query(request, PEER)
    assert bench.node.counters.queries_received == {
        "ping": 2, "find_node": 1, "find_value": 1, "store": 1, "withdraw": 1, "renew": 1, "watch": 1, "changed": 1,
        "get": 1, "put": 1,
    }  # fmt: skip


def hold(bench: Bench, count: int, first: int = 0) -> set[Endpoint]:
    """Have the node hold this many endpoints under KEY."""
    endpoints = {Endpoint.of(f"10.9.{number // 250}.{number % 250}", 80) for number in range(first, first + count)}
    for endpoint in sorted(endpoints):
        hold_peer(bench.node.store, KEY, endpoint, 0.0)
    return endpoints


def raw(bench: Bench, request: Request, source: Contact = PEER) -> tuple[int, bytes]:
    """Send a query; return its size and its answer."""
    query = bench.codec.encode_query(b"12345678", source.id, request)
    answer = bench.deliver(query, source.endpoint)
    assert answer is not None
    return len(query), answer


@pytest.mark.parametrize("held", [0, 1, 30, 200, 1_000])
def test_answers_obey_both_size_limits(held: int) -> None:
    bench = Bench()
    bench.know(*map(contact, range(1, 20)))
    everything = hold(bench, held)
    size, answer = raw(bench, FindValue(KEY))
    assert len(answer) <= min(3 * size, DEFAULT.datagram_sent_max)
    unproved = ask(bench, FindValue(KEY))
    assert set(unproved.endpoints) <= everything
    assert unproved.more == (len(unproved.endpoints) < held)
    assert len(unproved.contacts) == 8
    _, answer = raw(bench, FindValue(KEY, unproved.token))
    assert len(answer) <= DEFAULT.datagram_sent_max
    proved = ask(bench, FindValue(KEY, unproved.token))
    assert proved.more == (len(proved.endpoints) < held)
    assert len(proved.endpoints) >= len(unproved.endpoints)
    if held > 200:
        assert len(answer) > DEFAULT.datagram_sent_max - 8  # as full as can be


def test_an_invalid_token_proves_nothing() -> None:
    bench = Bench()
    hold(bench, 1_000)
    bench.know(*map(contact, range(1, 9)))
    size, answer = raw(bench, FindValue(KEY, b"x"))
    assert size < 120
    assert len(answer) <= 3 * size
    assert ask(bench, FindValue(KEY, b"x")).more
    assert ask(bench, FindValue(KEY, token(bench, ELSEWHERE))).more
    assert len(ask(bench, FindValue(KEY, token(bench))).endpoints) > 30


@pytest.mark.no_cover
@pytest.mark.parametrize("held", [105, 150, 300, 1_000])
def test_excess_endpoints_alternate_over_time(held: int) -> None:
    bench = Bench()
    bench.know(*map(contact, range(1, 9)))
    everything = hold(bench, held)
    seen: set[Endpoint] = set()
    for _ in range(held // 5):
        proved = ask(bench, FindValue(KEY, token(bench)))
        assert len(proved.endpoints) == len(set(proved.endpoints)) < held
        seen.update(proved.endpoints)
    assert seen == everything


@pytest.mark.no_cover
@pytest.mark.parametrize("crowd", ["10.7.7.7", "2001:db8::7"])
def test_each_source_has_an_endpoint_in_an_answer(crowd: str) -> None:
    bench = Bench()
    bench.know(*map(contact, range(1, 9)))
    for number in range(1_000):
        host = crowd if "." in crowd else f"{crowd}:{number:x}"  # of one /64
        hold_peer(bench.node.store, KEY, Endpoint.of(host, 1 + number), bench.now)
    alone = [Endpoint.of("10.8.8.8", 80), Endpoint.of("2001:db8:8::8", 80), Endpoint.of("10.9.9.9", 80)]
    for endpoint in alone:
        hold_peer(bench.node.store, KEY, endpoint, bench.now)
    for _ in range(100):
        named = ask(bench, FindValue(KEY, token(bench))).endpoints
        assert set(alone) < set(named)
        assert len(named) == len(set(named)) > 30  # the remaining room is for the crowd


@pytest.mark.no_cover
@pytest.mark.parametrize("codec", [NativeCodec(), JsonCodec(NATIVE)], ids=["native", "json"])
@pytest.mark.parametrize("host", ["10.7.7.{}", "2001:db8:{}::7"])
def test_one_source_beside_a_crowd_is_named(codec: Codec, host: str) -> None:
    crowd, alone = Endpoint.of(host.format(7), 1), Endpoint.of(host.format(8), 1)
    for ports in range(1, 200, 19):
        node = Node(Id(1), codec, rng=Random(1), now=0.0, families=[Family(len(crowd))])
        for number in range(2, 10):
            at = Endpoint.of(host.format(number), 9)
            node.state.answered(Contact(Id(number << 200), at), None, 0.0)
        for port in range(1, ports + 1):
            hold_peer(node.store, KEY, crowd.with_port(port), 0.0)
        hold_peer(node.store, KEY, alone, 0.0)
        proof = None
        for _ in range(20):
            request = FindValue(KEY, proof)
            query = codec.encode_query(bytes(codec.traits.tid_size), Id(99), request)
            answer = node.handle_datagram(query, alone, 0.0)
            assert answer is not None
            reply = codec.decode(answer)
            assert isinstance(reply, Reply)
            result = codec.decode_result(request, reply.body)
            assert isinstance(result, Found)
            assert alone in result.endpoints or (proof is None and result.more)
            assert len(result.contacts) == 8 or proof is None
            assert result.more == (len(result.endpoints) <= ports or len(result.contacts) < 8)
            proof = result.token


def test_the_sample_costs_one_random_number() -> None:
    class Counting(Random):
        drawn = 0

        def random(self) -> float:
            self.drawn += 1
            return super().random()

        def getrandbits(self, k: int, /) -> int:
            self.drawn += 1
            return super().getrandbits(k)

    bench = Bench()
    hold(bench, 1_000)
    proof = token(bench)
    rng = bench.node.responder._rng = Counting(1)  # a daemon's asks the kernel for each
    assert len(ask(bench, FindValue(KEY, proof)).endpoints) > 100
    assert rng.drawn == 1


def test_a_short_query_gets_the_nearest_contacts() -> None:
    bench = Bench()
    members = [contact(id) for id in (65, 70, 75, 80, 85, 90, 95, 100)]
    bench.know(*members)
    bare = bench.codec._encode(0, b"12345678", PEER.id, "find_node", [bytes(31) + b"\x50", None])
    answer = bench.deliver(bare, contact(99).endpoint)
    assert answer is not None
    assert len(answer) <= 3 * len(bare)
    reply = bench.codec.decode(answer)
    assert isinstance(reply, Reply)
    result = bench.codec.decode_result(FindNode(Id(80)), reply.body)
    assert isinstance(result, Found)
    assert result.more
    assert 1 <= len(result.contacts) < 8
    nearest = sorted(members, key=lambda member: member.id ^ 80)
    assert list(result.contacts) == nearest[: len(result.contacts)]


def bare_find(bench: Bench, source: Contact) -> tuple[Found, bool]:
    """Ask without padding or a token; return the result, and whether it was longer than a stranger may get."""
    bare = bench.codec._encode(0, b"12345678", source.id, "find_node", [bytes(31) + b"\x50", None])
    answer = bench.deliver(bare, source.endpoint)
    assert answer is not None
    reply = bench.codec.decode(answer)
    assert isinstance(reply, Reply)
    result = bench.codec.decode_result(FindNode(Id(80)), reply.body)
    assert isinstance(result, Found)
    return result, len(answer) > 3 * len(bare)


def test_a_recent_answer_proves_nothing() -> None:
    bench = Bench()
    bench.know(*[contact(id) for id in (65, 70, 75, 80, 85, 90, 95, 100)])
    result, is_long = bare_find(bench, PEER)
    assert (result.more, is_long) == (True, False)


def full_for(*machines: int, policy: Policy) -> Bench:
    """Return a node that holds an entry under `KEY` from each of these."""
    bench = Bench(policy=policy)
    for machine in machines:
        hold_peer(bench.node.store, KEY, contact(machine).endpoint, bench.now)
    return bench


@pytest.mark.parametrize(
    ("policy", "elsewhere"),
    [(Policy(lonely_lookups=0, store_entries=3), True), (Policy(lonely_lookups=0, store_entries_per_key=3), False)],
)
def test_no_token_is_given_without_room(policy: Policy, elsewhere: bool) -> None:
    bench = full_for(1, 2, 3, policy=policy)
    for request in FindNode(KEY), FindValue(KEY):
        assert ask(bench, request).token == b""
        assert ask(bench, request, contact(2)).token  # to renew its entry, or to withdraw it
    assert (ask(bench, FindNode(Id(5))).token == b"") is elsewhere
    found = ask(bench, FindValue(KEY))
    assert (len(found.endpoints), found.more) == (3, False)
    given = token(bench, contact(2))
    assert isinstance(bench.query(to_withdraw(KEY, 1_000, given), contact(2)), Reply)
    assert isinstance(bench.query(to_store(KEY, contact(2).endpoint.port, given), contact(2)), Reply)
    assert isinstance(bench.query(to_withdraw(KEY, contact(2).endpoint.port, given), contact(2)), Reply)
    assert ask(bench, FindNode(KEY)).token


def test_an_answer_without_token_is_short() -> None:
    bench = full_for(*range(1, 65), policy=Policy(lonely_lookups=0, store_entries_per_key=64))
    bare = bench.codec._encode(0, b"12345678", PEER.id, "find_value", [bytes(31) + bytes([KEY]), None])
    answer = bench.deliver(bare, PEER.endpoint)
    assert answer is not None
    assert len(answer) <= 3 * len(bare)
    reply = bench.codec.decode(answer)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(FindValue(Id(KEY)), reply.body)
    assert isinstance(found, Found)
    assert (found.token, found.more) == (b"", False)
    assert 0 < len(found.endpoints) < 64


def test_each_quota_hit_is_counted_by_name() -> None:
    bench = Bench(policy=Policy(lonely_lookups=0, store_entries=4, store_entries_per_key=3, store_entries_per_source=3))

    def store(key: int, machine: int, port: int) -> Reply | Error | None:
        answer = bench.query(FindNode(Id(key)), contact(machine))
        assert isinstance(answer, Reply)
        assert isinstance(answer.body, list)
        return bench.query(to_store(Id(key), port, answer.body[0] or b"none given"), contact(machine))

    def hit() -> dict[str, int]:
        return {cap: hit for cap, hit in bench.node.counters.caps_hit.items() if hit}

    for port in (1, 2, 3):
        assert isinstance(store(77, 1, port), Reply)
    refused = store(77, 1, 4)
    assert isinstance(refused, Error)
    assert (refused.code, refused.text) == (ERROR_SERVER, "too many entries from this address")
    assert isinstance(store(77, 2, 1), Reply)  # in place of one of the three
    assert hit() == {"store_entries_per_source": 1, "store_entries_per_key": 1}
    assert isinstance(store(78, 3, 1), Reply)
    assert isinstance(store(79, 4, 1), Reply)
    assert hit() == {"store_entries_per_source": 1, "store_entries_per_key": 1, "store_entries": 1}


HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1")
sources = st.builds(Endpoint.of, st.sampled_from(HOSTS), st.integers(1, 2))
some_keys = st.integers(76, 78).map(Id)
some_ports = st.integers(80, 81)


class HoldingMachine(RuleBasedStateMachine):
    """Stores and withdrawals from several addresses, with tokens of all kinds.

    An entry stays as its owner's address put it, until it expires or that address takes it away; the token
    has to be one that was issued to that IP for that key in this beat or the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(policy=Policy(rate_limit=0.0, store_entries_per_source=3))
        self.beats = Beats(DEFAULT.token_rotation, self.bench.now)
        self.tokens: dict[bytes, tuple[bytes, Id, int]] = {bytes(8): (b"", KEY, 0)}  # for which IP, key and beat
        self.model: dict[tuple[Id, bytes, int], float] = {}  # key, IP and port, and when it expires
        self.sent: list[tuple[bytes, Store | Withdraw, Endpoint]] = []  # with their transactions
        self.taken: set[tuple[bytes, Store | Withdraw, bytes]] = set()  # from which IP

    def live(self) -> list[tuple[Id, bytes, int]]:
        return [entry for entry, expires_at in self.model.items() if self.bench.now < expires_at]

    def ask(self, request: Request, source: Endpoint) -> Reply | Error | None:
        return self.bench.query(request, Contact(PEER.id, source))

    def token_from(self, key: Id, source: Endpoint, value: bool) -> bytes:
        request = FindValue(key) if value else FindNode(key)
        reply = self.ask(request, source)
        assert isinstance(reply, Reply)
        found = self.bench.codec.decode_result(request, reply.body)
        assert isinstance(found, Found)
        assert found.token is not None
        self.tokens[found.token] = source[:-2], key, self.beats.ask(self.bench.now)
        if value:
            told = [len(source) == len(ip) + 2 or len(ip) == 16 for _, ip, _ in self.live()]  # private ones of IPv4
            live = [entry for entry, is_told in zip(self.live(), told, strict=True) if is_told]
            expected = {ip + port.to_bytes(2, "big") for other, ip, port in live if other == key}
            assert (set(found.endpoints), len(found.endpoints)) == (expected, len(expected))
        return found.token

    @rule(seconds=st.sampled_from([1.0, 59.0, 60.0, 100.0, 199.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.advance(seconds)
        assert not self.bench.node.store.sweep(self.bench.now)  # else a store could bring back what has just expired
        self.model = {entry: self.model[entry] for entry in self.live()}

    @rule(key=some_keys, source=sources, value=st.booleans())
    def find(self, key: Id, source: Endpoint, value: bool) -> None:
        self.token_from(key, source, value)

    @rule(data=st.data(), key=some_keys, source=sources, port=some_ports, withdraw=st.booleans(), right=st.booleans())
    def store_or_withdraw(self, data: Any, key: Id, source: Endpoint, port: int, withdraw: bool, right: bool) -> None:
        others = st.sampled_from(list(self.tokens))
        token = self.token_from(key, source, value=False) if right else data.draw(others)
        tid = len(self.sent).to_bytes(8, "little")
        self.sent.append(
            (tid, to_withdraw(key, port, token) if withdraw else to_store(key, port, token, lease=200), source)
        )
        self.change(*self.sent[-1])

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), source=st.none() | sources, latest=st.booleans())
    def a_datagram_comes_again(self, data: Any, source: Endpoint | None, latest: bool) -> None:
        """From its own source, or from elsewhere."""
        tid, request, came_from = self.sent[-1] if latest else data.draw(st.sampled_from(self.sent))
        self.change(tid, request, source or came_from)

    def change(self, tid: bytes, request: Store | Withdraw, source: Endpoint) -> None:
        key, ip, token = request.key, source[:-2], request.token
        answer = self.bench.query(request, Contact(PEER.id, source), tid)
        beat = self.beats.ask(self.bench.now)
        live, entry = self.live(), (key, ip, request.port)
        if self.tokens[token] not in {(ip, key, beat), (ip, key, beat - 1)}:
            assert isinstance(answer, Error)
            assert (answer.code, answer.text) == (ERROR_PROTOCOL, "bad token")
            return
        storing = isinstance(request, Store)
        if (tid, request, ip) in self.taken:
            event("taken before")
            if storing and entry not in live:
                assert isinstance(answer, Error)
                assert (answer.code, answer.text) == (ERROR_SERVER, "not stored again")
            else:
                assert isinstance(answer, Reply)
            return
        self.taken.add((tid, request, ip))
        if storing and entry not in live and sum(other[1] == ip for other in live) >= 3:
            assert isinstance(answer, Error)
            assert (answer.code, answer.text) == (ERROR_SERVER, "too many entries from this address")
            return
        assert isinstance(answer, Reply)
        assert answer.observed == source
        if storing:
            self.model[entry] = 0.0
            for other in self.model:
                if other[1] == ip:  # of one session: all are renewed
                    self.model[other] = self.bench.now + 200.0
        else:
            self.model.pop(entry, None)

    @invariant()
    def what_is_held_is_what_was_stored(self) -> None:
        held = {
            (entry.key, entry.record.endpoint[:-2], entry.record.endpoint.port): entry.expires_at
            for entry in self.bench.node.store
            if entry.expires_at > self.bench.now
        }
        assert held == {entry: self.model[entry] for entry in self.live()}


TestAnEntryIsItsOwners = HoldingMachine.TestCase
TestAnEntryIsItsOwners.settings = scaled(60)

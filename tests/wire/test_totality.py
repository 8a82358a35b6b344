"""Hostile datagrams, thousands of them: the decoder is total, and a node takes no harm and answers no garbage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    Acknowledged,
    BadQuery,
    Changed,
    Contact,
    Error,
    Find,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.core.storage.held_values import HeldValue
from dhtd.errors import WireError
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from tests.core.small import endpoint
from tests.records import SESSION, hold_peer, own_key, to_store, to_withdraw
from tests.wire.mutator import HOSTILE, Mutator
from tests.wire.vectors import VECTORS

CODEC = NativeCodec()
REQUESTS: tuple[Request, ...] = (
    Ping(),
    FindNode(Id(1)),
    FindValue(Id(1)),
    to_store(Id(1), 1, b"x"),
    to_withdraw(Id(1), 1, b"x"),
    Renew(SESSION, 1, b"x"),
    Watch(Id(1), b"x", 1, SESSION),
    Changed(Id(1), 1, (), ()),
    Get(Id(1)),
    Put(Id(1), b"x", Immutable(b""), None, 1),
)
CORPUS = [vector.data for vector in VECTORS.values()]
EACH = 400  # mutants of each golden datagram
FEW = 8  # of rubbish that a node is sent before it is replaced by a new one


def mutants(seed: int, each: int = EACH) -> Iterator[bytes]:
    mutator = Mutator(seed, CORPUS)
    for vector in VECTORS.values():
        yield vector.data
        yield from mutator.mutants(vector.data, each)


def check_is_total(data: bytes) -> bool:
    """Decode `data`; the result is well-formed. Return whether it is a message."""
    try:
        message = CODEC.decode(data)
    except WireError:
        return False
    assert type(message) in (Query, BadQuery, Reply, Error)
    assert type(message.tid) is bytes
    assert len(message.tid) == 8
    assert message.sender is not None
    assert type(message.sender) is int
    assert 0 <= message.sender < NATIVE.size
    match message:
        case Query(request=request):
            check_request(request)
        case BadQuery(code=code):
            assert code in (203, 204, 205, 207)
        case Error(code=code, text=text):
            assert type(code) is int
            assert type(text) is str
        case Reply(observed=observed, body=body):
            assert type(observed) is Endpoint
            for request in REQUESTS:
                try:
                    check_result(CODEC.decode_result(request, body))
                except WireError:
                    continue
    return True


def check_request(request: Request) -> None:
    match request:
        case FindNode(target, token) | FindValue(target, token):
            assert 0 <= target < NATIVE.size
            assert token is None or (type(token) is bytes and 1 <= len(token) <= 64)
        case Store(key, port, token, lease, session):
            check_entry(key, port, token, session)
            check_integer(lease, 1, 14_400)
        case Withdraw(key, port, token, session):
            check_entry(key, port, token, session)
        case Renew(session, lease, token):
            check_bytes(session, 16, 16)
            check_integer(lease, 0, 14_400)
            check_bytes(token, 0, 64)
        case Watch(key, token, lease, session):
            check_entry(key, 1, token, session)
            check_integer(lease, 1, 14_400)
        case Changed(key, version, added, removed):
            assert 0 <= key < NATIVE.size
            check_integer(version, 0, 2**63 - 1)
            check_endpoints((*added, *removed))
            assert len(added) + len(removed) <= 8
        case Get(key, token, seq):
            assert 0 <= key < NATIVE.size
            if token is not None:
                check_bytes(token, 1, 64)
            if seq is not None:
                check_integer(seq, 0, 2**63 - 1)
        case Put(key, token, value, cas, lasts):
            assert key == CODEC.key_of(value)
            check_bytes(token, 1, 64)
            check_value(value)
            if cas is not None:
                check_integer(cas, 0, 2**63 - 1)
            check_integer(lasts, 1, 86_400)
        case _:
            assert request == Ping()


def check_value(value: Value) -> None:
    check_bytes(value.data, 0, 1_000)
    if isinstance(value, Mutable):
        check_bytes(value.public_key, 32, 32)
        check_bytes(value.salt, 0, 64)
        check_integer(value.seq, 0, 2**63 - 1)
        check_bytes(value.signature, 64, 64)
    assert CODEC.is_genuine(value) in (True, False)


def check_entry(key: Id, port: int, token: bytes, session: bytes) -> None:
    assert 0 <= key < NATIVE.size
    check_integer(port, 1, 65_535)
    check_bytes(token, 1, 64)
    check_bytes(session, 16, 16)


def check_integer(value: object, least: int, most: int) -> None:
    assert type(value) is int
    assert least <= value <= most


def check_bytes(value: object, least: int, most: int) -> None:
    assert type(value) is bytes
    assert least <= len(value) <= most


def check_endpoints(endpoints: tuple[Endpoint, ...]) -> None:
    assert all(type(each) is Endpoint and len(each) in (6, 18) for each in endpoints)


def check_result(result: Result) -> None:
    match result:
        case Found(token, contacts, endpoints, more, held, lasts):
            assert type(token) is bytes
            check_integer(lasts, 0, 86_400)
            if isinstance(held, Value):
                check_value(held)
            elif held is not None:
                check_integer(held, 0, 2**63 - 1)
            assert type(more) is bool
            for contact in contacts:
                assert 0 <= contact.id < NATIVE.size
                check_endpoints((contact.endpoint,))
            check_endpoints(endpoints)
        case Renewed(token, held):
            check_bytes(token, 1, 64)
            if held is not None:
                check_integer(held, 0, 2**64)
        case Watched(token, version, endpoints, more):
            check_bytes(token, 1, 64)
            check_integer(version, 0, 2**63 - 1)
            check_endpoints(endpoints)
            assert type(more) is bool
        case _:
            assert result == Acknowledged()


@pytest.mark.no_cover
def test_any_mutant_is_a_message_or_a_wire_error() -> None:
    messages = errors = 0
    for data in mutants(seed=1):
        if check_is_total(data):
            messages += 1
        else:
            errors += 1
    assert messages + errors == len(VECTORS) * (EACH + 1)
    assert messages > 1_000  # the mutator reaches beyond the envelope ...
    assert errors > 5_000  # ... and is a match for it


def test_one_seed_makes_the_same_mutants() -> None:
    assert list(mutants(7, each=3)) == list(mutants(7, each=3))
    assert list(mutants(7, each=3)) != list(mutants(8, each=3))


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_are_survived(data: bytes) -> None:
    check_is_total(MAGIC + data)
    check_is_total(data)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile[:8].hex())
def test_a_hostile_object_does_no_harm_anywhere(hostile: bytes) -> None:
    tid, sender, observed = b"\xc4\x0812345678", b"\xc4\x20" + bytes(32), b"\xc4\x06123456"
    find_node, code = b"\xa9find_node", b"\xcc\xc9"
    found = [b"\xc4\x01t", b"\xc4\x00", b"\xc4\x00", b"\x90", b"\xc2"]
    changed = [b"\xc4\x20" + bytes(32), b"\x01", b"\x91" + observed, b"\x90"]
    value = [b"\xc4\x20" + bytes(32), b"\xc4\x04salt", b"\x07", b"\xc4\x04data", b"\xc4\x40" + bytes(64)]
    put = [b"\xc4\x01t", b"\x95" + b"".join(value), b"\xc0", b"\x3c"]
    got = [*found[:3], b"\xc2", put[1], b"\x3c"]
    shapes: list[list[bytes]] = [
        [b"\x00", tid, sender, find_node, b"\x92" + b"\xc4\x20" + bytes(32) + b"\xc0"],
        [b"\x00", tid, sender, b"\xa7changed", b"\x94" + b"".join(changed)],
        [b"\x00", tid, sender, b"\xa3put", b"\x94" + b"".join(put)],
        [b"\x01", tid, sender, observed, b"\x95" + b"".join(found)],
        [b"\x01", tid, sender, observed, b"\x96" + b"".join(got)],
        [b"\x02", tid, sender, code, b"\xa4text"],
    ]
    check_is_total(MAGIC + hostile)
    for fields in shapes:
        for place in range(5):
            mutant = [*fields[:place], hostile, *fields[place + 1 :]]
            check_is_total(MAGIC + b"\x95" + b"".join(mutant))
        check_is_total(MAGIC + b"\x96" + b"".join(fields) + hostile)
    for place in range(4):
        args = b"".join([*changed[:place], hostile, *changed[place + 1 :]])
        check_is_total(MAGIC + b"\x95\x00" + tid + sender + b"\xa7changed" + b"\x94" + args)
        args = b"".join([*put[:place], hostile, *put[place + 1 :]])
        check_is_total(MAGIC + b"\x95\x00" + tid + sender + b"\xa3put" + b"\x94" + args)
    for place in range(5):
        other = b"\x95" + b"".join([*value[:place], hostile, *value[place + 1 :]])
        args = b"".join([put[0], other, *put[2:]])
        check_is_total(MAGIC + b"\x95\x00" + tid + sender + b"\xa3put" + b"\x94" + args)
        body = b"".join([*got[:4], other, got[5]])
        check_is_total(MAGIC + b"\x95\x01" + tid + sender + observed + b"\x96" + body)
    for place in range(6):
        body = b"".join([*got[:place], hostile, *got[place + 1 :]])
        check_is_total(MAGIC + b"\x95\x01" + tid + sender + observed + b"\x96" + body)
    for place in range(5):
        body = b"".join([*found[:place], hostile, *found[place + 1 :]])
        check_is_total(MAGIC + b"\x95\x01" + tid + sender + observed + b"\x95" + body)


# A node under fire


def is_query(data: bytes) -> bool:
    try:
        return isinstance(CODEC.decode(data), Query | BadQuery)
    except WireError:
        return False


PEER = endpoint(5)
TOKENLESS = Policy(rate_limit=0)


def make_node() -> Node:
    """Return a node with contacts, held entries, own entries, and a query in flight to PEER."""
    node = Node(NATIVE.digest(b"dave"), CODEC, rng=Random(1), now=0.0, policy=TOKENLESS)
    for number in range(20, 50):
        node.state.answered(Contact(NATIVE.digest(b"%d" % number), endpoint(number)), 0.1, 0.0)
    key = NATIVE.digest(b"printer")
    for number in range(60, 70):
        hold_peer(node.store, key, endpoint(number), 0.0)
    value = Immutable(b"data")
    node.values.held.restore(HeldValue(CODEC.key_of(value), value, bytes(4), 1_000.0), 0.0)
    node.own_records.add(own_key(NATIVE.digest(b"mine"), 80))
    node.commands.ping(PEER, 0.0)
    assert node.poll_transmit() is not None
    return node


def snapshot(node: Node) -> dict[str, object]:
    """Return everything that a datagram might change, except counters."""
    transactions = node.requester.transactions
    return {
        "table": [
            (bucket.low, bucket.high, bucket.activity, tuple(bucket.contacts)) for bucket in node.state.table.buckets
        ],
        "records": {
            id: (record.heard_at, record.reachable, record.timeouts, record.round_trips.mean)
            for id, record in node.state.meta._records.items()
        },
        "waiting": dict(node.state._line._newcomers),
        "heard": node.state.heard_at,
        "store": sorted((held.key, held.record.endpoint, held.expires_at) for held in node.store),
        "values": [(held.key, held.value, held.expires_at) for held in node.values.held],
        "own": [(entry.key, entry.port, entry.replicas, entry.published_at) for entry in node.own_records],
        "in flight": {tid: (query.endpoint, query.attempts_left) for tid, query in transactions._queries.items()},
        "join": (node.overlays.first.is_connected, node.memberships.first.join.next_timeout()),
        "external": node.external.endpoints(),
        "timeout": node.poll_timeout(),
    }


@pytest.mark.no_cover
@pytest.mark.parametrize(("seed", "each"), [(2, 75), pytest.param(12, 300, marks=pytest.mark.slow)])
def test_no_mutant_exceeds_its_rights(seed: int, each: int) -> None:
    """No sender here was given a token, so nothing may be stored; none answers a query, so nothing may be learned."""
    node = make_node()
    stranger = endpoint(200)
    answered = pings = 0
    for data in mutants(seed, each):
        before = snapshot(node)
        answer = node.handle_datagram(data, stranger, 0.0)
        after = snapshot(node)
        try:
            message = CODEC.decode(data)
        except WireError:
            message = None
        if isinstance(message, Query | BadQuery):
            assert answer is not None
            answered += 1
            assert len(answer) <= 3 * len(data)
            reply = CODEC.decode(answer)
            assert isinstance(reply, Reply | Error)
            assert (reply.tid, reply.sender) == (message.tid, node.own_id)
            if isinstance(message, BadQuery):
                assert isinstance(reply, Error)
            if isinstance(message, Query) and not isinstance(message.request, Ping | Find | Renew):
                assert isinstance(reply, Error)
        else:
            assert answer is None
        while (transmit := node.poll_transmit()) is not None:  # at most the ping to a querying stranger
            ping = CODEC.decode(transmit.data)
            assert isinstance(ping, Query)
            assert isinstance(message, Query)
            assert (ping.request, transmit.endpoint) == (Ping(), stranger)
            pings += 1
            after["in flight"] = before["in flight"]
            after["timeout"] = before["timeout"]
        assert after == before
        assert node.poll_event() is None
    assert pings <= 1  # at a time, and this one is never answered
    assert answered > 200


@pytest.mark.no_cover
def test_a_mutant_from_the_peer_needs_the_tid() -> None:
    node = make_node()
    for data in mutants(seed=3, each=60):
        before = snapshot(node)
        queries = is_query(data)
        node.handle_datagram(data, PEER, 0.0)
        while node.poll_transmit() is not None:
            assert queries
        after = snapshot(node)
        if queries:  # a query of a stranger may start a ping to it, and nothing else
            after["in flight"], after["timeout"] = before["in flight"], before["timeout"]
        assert after == before
        assert node.poll_event() is None


def is_asked_again(node: Node) -> bool:
    """Whether a query goes out for the rest of a cut answer."""
    while (transmit := node.poll_transmit()) is not None:
        query = CODEC.decode(transmit.data)
        assert isinstance(query, Query)
        if isinstance(query.request, Find) and query.request.token is not None:
            assert transmit.endpoint == PEER
            return True
    return False


def asking(request: Request) -> tuple[Node, Query, dict[str, object]]:
    """Return a node that has asked PEER, its query, and its state."""
    node = make_node()
    node.commands._ask(request, PEER, 0.0)
    sent = node.poll_transmit()
    assert sent is not None
    query = CODEC.decode(sent.data)
    assert isinstance(query, Query)
    return node, query, snapshot(node)


@pytest.mark.no_cover
@pytest.mark.parametrize(("seed", "each"), [(4, 20), pytest.param(14, 80, marks=pytest.mark.slow)])
def test_a_mutated_answer_is_itself_or_nothing(seed: int, each: int) -> None:
    """Here the transaction ID and the source are right, and everything else may be wrong."""
    mutator = Mutator(seed, CORPUS)
    accepted = ignored = 0
    known = set(make_node().state.table)
    for request in (Ping(), FindNode(Id(9)), FindValue(Id(9)), Get(Id(9))):
        for vector in VECTORS.values():
            if vector.kind not in ("reply", "error"):
                continue
            uses, (node, query, before) = 0, asking(request)
            for mutant in mutator.mutants(vector.data, each):
                data = mutant.replace(vector.tid, query.tid)
                if is_query(data):
                    continue  # spliced with one
                assert node.handle_datagram(data, PEER, 0.1) is None
                event = node.poll_event()
                if event is None and not is_asked_again(node):
                    ignored += 1
                    assert snapshot(node) == before
                    uses += 1  # it is as good as new, but for its count of rubbish
                else:
                    accepted += 1
                    uses = FEW
                    message = CODEC.decode(data)
                    assert isinstance(message, Reply | Error)
                    assert message.tid == query.tid
                    assert message.sender is not None
                    if isinstance(message, Reply):
                        CODEC.decode_result(request, message.body)
                    members = set(node.state.table)
                    assert members - known <= {Contact(message.sender, PEER)}
                    assert snapshot(node)["store"] == before["store"]
                    assert snapshot(node)["own"] == before["own"]
                    assert snapshot(node)["values"] == before["values"]
                if uses == FEW:
                    uses, (node, query, before) = 0, asking(request)
    assert accepted > 100
    assert ignored > 100


@pytest.mark.no_cover
def test_a_node_under_fire_works_on(figure: Callable[[str, object], None]) -> None:
    node = make_node()
    place = 0
    for place, data in enumerate(mutants(seed=5, each=40), start=1):
        now = place * 0.01
        node.handle_datagram(data, endpoint(300 + place % 200), now)
        if place % 50 == 0:
            node.handle_timeout(now)
        while node.poll_transmit() is not None:
            pass
    assert len(node.state.table) > 0
    query = CODEC.encode_query(b"12345678", Id(7), FindValue(NATIVE.digest(b"printer")))
    answer = node.handle_datagram(query, endpoint(7), 1_000.0)
    assert answer is not None
    reply = CODEC.decode(answer)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(FindValue(Id(0)), reply.body)
    assert isinstance(result, Found)
    figure("endpoints found afterwards, and datagrams fired before", f"{len(result.endpoints)} of 10, {place}")
    assert len(result.endpoints) == 10

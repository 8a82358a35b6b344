"""The JSON wire of the simulator obeys the laws that the core relies on, for any input."""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import (
    ERROR_METHOD,
    METHODS,
    VALUE_LASTS,
    BadQuery,
    Changed,
    Contact,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Store,
    Watch,
    Watched,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.records import DATA_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.core.storage.held_values import HeldValue
from dhtd.errors import WireError
from dhtd.sim.json_codec import JsonCodec
from tests.records import SESSION, hold_peer, to_store, to_withdraw

CODECS = [JsonCodec(Keyspace(7)), JsonCodec(Keyspace(160)), JsonCodec(NATIVE), JsonCodec(Keyspace(160), bare=True)]
STRANGER = Endpoint.of("2001:db8::7", 9)

SIGNED = Mutable(b"k" * 32, b"salt", SEQ_MAX, b"data", b"s" * 64)
FIELDS: list[object] = [SIGNED.public_key.hex(), SIGNED.salt.hex(), SEQ_MAX, SIGNED.data.hex(), SIGNED.signature.hex()]

hexes = st.sampled_from(["", "00", "0b0000010001", "0b000001000", "zz", "00" * 18, "00" * 700])
leaves = st.none() | st.booleans() | st.integers(-1, 130) | st.floats() | hexes | st.text(max_size=3)
garbage = st.recursive(
    leaves,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=2), each, max_size=2),
    max_leaves=8,
)
methods = st.sampled_from([*METHODS.values(), "pong"])


def make_node(codec: JsonCodec) -> Node:
    """Return a node with neighbours and an entry, and with an ID of the greatest length."""
    node = Node(Id(codec.traits.keyspace.size - 1), codec, rng=Random(1), now=0.0)
    for number in range(8):
        node.state.answered(Contact(Id(number), Endpoint.of(f"11.0.{number}.1", 1)), 0.1, 0.0)
    hold_peer(node.store, Id(3), STRANGER, 0.0)
    node.values.held.restore(HeldValue(Id(3), SIGNED, STRANGER.ip, 80_000.0), 0.0)
    return node


@pytest.mark.parametrize("codec", CODECS, ids=["7", "160", "256", "bare"])
@given(method=methods | garbage, args=garbage, tid=hexes, pad=st.sampled_from([0, 40, 120]))
def test_answers_are_at_most_three_queries_long(
    codec: JsonCodec, method: object, args: object, tid: str, pad: int
) -> None:
    for asked in (args, [3, args], [3, 80, args], [3, None, args], ["00", args, None, 60]):
        query = json.dumps(["query", tid, 0, method, asked]).encode()
        query = query.ljust(pad)
        answer = make_node(codec).handle_datagram(query, STRANGER, 1.0)
        assert answer is None or len(answer) <= DEFAULT.amplification * len(query)


@pytest.mark.parametrize("codec", CODECS, ids=["7", "160", "256", "bare"])
def test_the_shortest_get_has_room_to_answer(codec: JsonCodec) -> None:
    """The longest of the short answers: from an ID of many digits, with a token, a seq of many, and a day."""
    answers = 0
    for size in range(200):
        query = json.dumps(["query", "", 0, "get", [3, None, SEQ_MAX]]).encode().ljust(size)
        answer = make_node(codec).handle_datagram(query, STRANGER, 1.0)
        assert answer is None or len(answer) <= DEFAULT.amplification * len(query)
        answers += answer is not None
    assert answers


@pytest.mark.parametrize("codec", CODECS, ids=["7", "160", "256", "bare"])
@given(body=garbage, observed=hexes)
def test_an_answer_of_garbage_does_no_harm(codec: JsonCodec, body: object, observed: str) -> None:
    node = make_node(codec)
    node.commands.lookup(Id(3), 0.0)
    node.commands.enter(Id(4), 80, 0.0)
    for whole in (body, ["00", body, [], True], ["00", [[1, body]], [body], body], ["00", [], body, False]):
        for _ in range(8):
            sent = node.poll_transmit()
            if sent is not None:
                tid = json.loads(sent.data)[1]
                node.handle_datagram(json.dumps(["reply", tid, 1, observed, whole]).encode(), sent.endpoint, 0.1)
    node.handle_timeout(10.0)
    while node.poll_event() is not None:
        pass


@given(garbage)
def test_any_json_is_a_message_or_a_wire_error(value: object) -> None:
    for data in (json.dumps(value).encode(), b"[" * 3_000, b"9" * 5_000, b'{"a":' * 1_000, b"\xff"):
        with pytest.raises(WireError):
            JsonCodec(NATIVE).decode(data)


@pytest.mark.parametrize("codec", CODECS, ids=["7", "160", "256", "bare"])
def test_the_shortest_of_our_own_queries_are_read(codec: JsonCodec) -> None:
    key, token = Id(0), b"\0"
    requests: list[Request] = [Ping(), FindNode(key, token), FindValue(key, token)]
    if Renew in codec.traits.requests:
        requests += [to_store(key, 1, token), to_withdraw(key, 1, token)]
        requests += [Renew(SESSION, 0, b""), Watch(key, token, 1, SESSION), Changed(key, 0, (), (STRANGER,))]
        empty = Immutable(b"")
        requests += [Get(key, token), Put(codec.key_of(empty), token, empty, None, 1)]
    else:
        requests += [Store(key, 1, token, 0, b"")]
    assert {type(request) for request in requests} == codec.traits.requests
    for request in requests:
        query = Query(bytes(codec.traits.tid_size), Id(0), request)
        assert codec.decode(codec.encode_query(query.tid, query.sender, request)) == query


BAD_LEASES: list[object] = [None, -1, 14_401, 2**63, True, 60.0, "60", []]
BAD_SESSIONS: list[object] = [None, "", "00" * 15, "00" * 17, "zz" * 16, 0]
BAD_ENDPOINTS: list[object] = [
    None,
    0,
    "",
    [0],
    [None],
    ["00" * 5],
    ["00" * 7],
    ["zz" * 6],
    9 * ["00" * 6],
    [["00" * 6]],
]
BAD_SEQS: list[object] = [-1, 2**63, True, 7.0, "7", []]
BAD_VALUES: list[object] = [
    *(None, 7, True, "zz", {}, [], FIELDS[:4], [*FIELDS, ""], "00" * (DATA_MAX + 1)),
    *([*FIELDS[:2], bad, *FIELDS[3:]] for bad in BAD_SEQS),
    *([*FIELDS[:place], "00" * 65, *FIELDS[place + 1 :]] for place in (0, 1, 4)),
    [*FIELDS[:3], "00" * (DATA_MAX + 1), FIELDS[4]],
]
GOOD: dict[str, tuple[list[object], list[list[object]]]] = {
    "store": ([3, 80, "00", 60, "00" * 16], [[], [0, True], [None], [0, *BAD_LEASES], BAD_SESSIONS]),
    "withdraw": ([3, 80, "00", "00" * 16], [[], [0, True], [None], BAD_SESSIONS]),
    "renew": (["00" * 16, 0, ""], [BAD_SESSIONS, BAD_LEASES, [None]]),
    "watch": ([3, "00", 60, "00" * 16], [[], [None], BAD_LEASES, BAD_SESSIONS]),
    "changed": ([3, 7, ["00" * 6], ["00" * 18]], [[], [-1, 2**63, True, None], BAD_ENDPOINTS, BAD_ENDPOINTS]),
    "get": ([3, "00", 0], [[None, "3", 3.0], [0, True, "zz"], BAD_SEQS]),
    "put": (["00", FIELDS, None, 60], [[None, 0, "zz"], BAD_VALUES, BAD_SEQS, [0, 86_401, *BAD_SEQS]]),
}


@pytest.mark.parametrize("method", GOOD)
def test_leases_watches_and_values_are_strict(method: str) -> None:
    codec = JsonCodec(NATIVE)

    def read(args: list[object]) -> Message | None:
        with suppress(WireError):
            return codec.decode(json.dumps(["query", "00", 0, method, args]).encode().ljust(200))
        return None

    good, bads = GOOD[method]
    assert isinstance(read(good), Query)
    for place, several in enumerate(bads):
        for bad in several:
            assert not isinstance(read([*good[:place], bad, *good[place + 1 :]]), Query), bad


def test_a_bare_wire_has_no_leases() -> None:
    codec = JsonCodec(NATIVE, bare=True)
    for method, (args, _) in GOOD.items():
        data = json.dumps(["query", "0000", 0, method, args]).encode().ljust(400)
        assert codec.decode(data) == BadQuery(bytes(2), Id(0), ERROR_METHOD, "unknown method")
    query = codec.encode_query(bytes(2), Id(0), Store(Id(3), 80, b"x", 0, b""))
    assert json.loads(query)[4] == [3, 80, b"x".hex()]


@pytest.mark.parametrize("held", [None, 0, 3])
def test_a_renewal_is_answered(held: int | None) -> None:
    codec, request = JsonCodec(NATIVE), Renew(SESSION, 60, b"")
    reply = codec.decode(codec.encode_renewed(bytes(4), Id(1), STRANGER, b"token", held))
    assert isinstance(reply, Reply)
    assert codec.decode_result(request, reply.body) == Renewed(b"token", held)
    for bad in ([], ["00"], ["00", -1], ["00", True], ["00", "1"], [None, 1], ["zz", 1], ["00", 1, 1]):
        with pytest.raises(WireError):
            codec.decode_result(request, bad)


@pytest.mark.parametrize("limit", [0, 300, 600, 1_200])
def test_a_watch_is_answered_with_what_fits(limit: int) -> None:
    codec, request = JsonCodec(NATIVE), Watch(Id(3), b"token", 60, SESSION)
    named = [STRANGER.with_port(1 + number) for number in range(20)]
    query = Query(bytes(4), Id(1), request)
    data, told = codec.encode_watched(query, Id(1), STRANGER, b"token", 7, Room(limit), named)
    assert len(data) <= max(limit, 200)
    reply = codec.decode(data)
    assert isinstance(reply, Reply)
    result = codec.decode_result(request, reply.body)
    assert isinstance(result, Watched)
    assert (result.token, result.version, result.more) == (b"token", 7, told < 20)
    assert result.endpoints == tuple(named[:told])
    for place, bad in enumerate([None, -1, BAD_ENDPOINTS]):
        with pytest.raises(WireError):
            codec.decode_result(request, [*["00", 7, [], False][:place], bad, *["00", 7, [], False][place + 1 :]])


def got(codec: JsonCodec, held: Value | int | None, room: Room, others: list[Contact] | None = None) -> Found:
    """Return an answer to a get with eight contacts, as it is read."""
    near = [Contact(Id(number), Endpoint.of(f"11.0.{number}.1", 1)) for number in range(8)]
    query, packed = Query(bytes(4), Id(1), Get(Id(0))), codec.pack_contacts(near)
    beside = None if others is None else codec.pack_contacts(others)
    data = codec.encode_got(query, Id(1), STRANGER, b"token", packed, room, held, 60, beside)
    assert len(data) <= room.limit or room.proved
    reply = codec.decode(data)
    assert isinstance(reply, Reply)
    result = codec.decode_result(query.request, reply.body)
    assert isinstance(result, Found)
    assert (result.token, result.lasts) == (b"token", 60)
    assert list(result.contacts) == [*near, *(others or [])][: len(result.contacts)]
    return result


@pytest.mark.parametrize("held", [None, 0, SEQ_MAX, Immutable(b""), Immutable(bytes(300)), SIGNED])
@pytest.mark.parametrize("codec", CODECS[:3], ids=["7", "160", "256"])
def test_a_get_is_answered_value_first(codec: JsonCodec, held: Value | int | None) -> None:
    six = Contact(Id(9), Endpoint.of("2001:db8::9", 1))
    whole = got(codec, held, Room(10_000), [six])
    assert (whole.held, len(whole.contacts), whole.more) == (held, 9, False)
    is_value = isinstance(held, Value)
    for limit in range(200, 2_000, 50):
        some = got(codec, held, Room(limit, proved=True), [six])
        assert some.held == held
        assert some.more is (is_value and len(some.contacts) < 8)
        some = got(codec, held, Room(limit), [six])
        is_left_out = is_value and some.held is None
        assert is_left_out or some.held == held
        assert some.more is (is_left_out or len(some.contacts) < 8)


def test_a_get_may_be_cut_to_its_token() -> None:
    codec, request = JsonCodec(NATIVE), Get(Id(3))
    reply = codec.decode(codec.encode_cut(Query(bytes(4), Id(1), request), Id(1), STRANGER, b"token"))
    assert isinstance(reply, Reply)
    assert codec.decode_result(request, reply.body) == Found(b"token", (), (), True, None, 0)


@pytest.mark.parametrize(
    "bad",
    [
        *([], [None], [None, 0, 0]),
        *([held, 60] for held in [bad for bad in BAD_VALUES if bad not in (None, 7)]),
        *([held, 60] for held in (-1, 2**63, True)),
        *([None, lasts] for lasts in (None, -1, VALUE_LASTS + 1, True, "60")),
    ],
)
def test_a_bad_value_in_an_answer_is_none(bad: list[object]) -> None:
    codec = JsonCodec(NATIVE)
    with pytest.raises(WireError):
        codec.decode_result(Get(Id(3)), ["00", [], [], False, *bad])


def test_a_key_has_the_leading_bits_of_the_native_one() -> None:
    native = JsonCodec(NATIVE).key_of(SIGNED)
    for codec in CODECS[:3]:
        assert codec.key_of(SIGNED) == native >> 256 - codec.traits.keyspace.bits
        assert not codec.is_genuine(SIGNED)
        put = Put(codec.key_of(SIGNED), b"t", SIGNED, None, 60)
        assert codec.decode(codec.encode_query(bytes(4), Id(0), put)) == Query(bytes(4), Id(0), put)

"""The Mainline wire, field by field: what is answered, what is refused, and what fits."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from bencode2 import bencode

from dhtd.core.codec import NOTHING, Named, Room, Sample
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE, Id
from dhtd.core.messages import (
    NO_OPTIONS,
    Acknowledged,
    BadQuery,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Options,
    Ping,
    Put,
    Query,
    Renew,
    Reply,
    Request,
    Store,
)
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.wire import bep5_decoder, bep5_values, bep33
from dhtd.wire.bep5 import TRAITS, Bep5Codec
from dhtd.wire.signatures import signable, signed
from tests.wire.mainline import Fields, fields_of

CODEC = Bep5Codec()
SENDER, TARGET = MAINLINE.random(Random(1)), MAINLINE.random(Random(2))
HERE, HERE6 = Endpoint.parse("192.0.2.1:6881"), Endpoint.parse("[2001:db8::1]:6881")
TID, TOKEN = b"abcd", b"a token!"
SIGNED = signed(bytes(32), b"", 5, b"five")._replace(data=b"4:five")


def contacts(count: int, *, ipv6: bool = False) -> list[Contact]:
    rng = Random(count)
    size = 16 if ipv6 else 4
    return [Contact(MAINLINE.random(rng), Endpoint(rng.randbytes(size) + b"\x1a\xe1")) for _ in range(count)]


def packed_query(method: bytes, args: dict[bytes, Any], **top: Any) -> bytes:
    fields = {b"t": TID, b"y": b"q", b"q": method, b"a": {b"id": MAINLINE.to_bytes(SENDER), **args}}
    fields |= {key.encode(): value for key, value in top.items()}
    return bencode(fields)


def decoded(method: bytes, args: dict[bytes, Any], **top: Any) -> Query | BadQuery:
    message = CODEC.decode(packed_query(method, args, **top))
    assert isinstance(message, Query | BadQuery)
    return message


def ask(request: Request, options: Options = NO_OPTIONS) -> Query:
    return Query(TID, SENDER, request, options)


def body(data: bytes) -> Fields:
    fields = fields_of(data)
    assert bencode(fields) == data  # it is canonical
    assert (fields[b"t"], fields[b"y"], len(fields[b"v"])) == (TID, b"r", 4)
    result: Fields = fields[b"r"]
    assert result[b"id"] == MAINLINE.to_bytes(TARGET)
    return result


def found(query: Query, *, at: Endpoint = HERE, limit: int = 1_024, named: Named = NOTHING, **given: Any) -> Fields:
    own = CODEC.pack_contacts(given.get("near", contacts(8, ipv6=not at.is_ipv4)))
    others = given.get("others")
    other = None if others is None else CODEC.pack_contacts(others)
    data = CODEC.encode_found(query, TARGET, at, TOKEN, own, Room(limit), named, other)
    if not named.endpoints and named.sample is None:
        assert len(data) <= 1_024
    else:
        least = len(CODEC.encode_found(query, TARGET, at, TOKEN, own, Room(0), NOTHING, other))
        assert len(data) <= max(limit, least + 40 * query.options.samples)
    return body(data)


# Queries of others


@pytest.mark.parametrize("tid", [b"a", b"ab", b"abcdefgh", b"x" * 64])
def test_transaction_ids_of_1_to_64_bytes_are_echoed(tid: bytes) -> None:
    query = CODEC.decode(packed_query(b"ping", {}, t=tid))
    assert query == Query(tid, SENDER, Ping())
    assert fields_of(CODEC.encode_acknowledged(tid, TARGET, HERE))[b"t"] == tid
    assert fields_of(CODEC.encode_error(tid, TARGET, 203, "no"))[b"t"] == tid


@pytest.mark.parametrize(
    "changed",
    [
        {b"t": None},
        {b"t": b""},
        {b"t": b"x" * 65},
        {b"t": 5},
        {b"y": None},
        {b"y": b"x"},
        {b"y": 1},
        {b"y": b"q", b"q": 5},
        {b"y": b"q", b"q": b"ping"},  # without arguments
        {b"y": b"q", b"q": b"ping", b"a": []},
        {b"y": b"q", b"q": b"ping", b"a": {}},
        {b"y": b"q", b"q": b"ping", b"a": {b"id": b"x" * 19}},
        {b"y": b"q", b"q": b"ping", b"a": {b"id": b"x" * 21}},
        {b"y": b"q", b"q": b"ping", b"a": {b"id": 5}},
        {b"y": b"r"},
        {b"y": b"r", b"r": []},
        {b"y": b"r", b"r": {}},
        {b"y": b"e"},
        {b"y": b"e", b"e": b"no"},
        {b"y": b"e", b"e": [203]},
        {b"y": b"e", b"e": [b"no", 203]},
        {b"y": b"e", b"e": [-1, b"no"]},
        {b"y": b"e", b"e": [10**100, b"no"]},
        {b"y": b"e", b"e": [203, b"no"], b"r": {b"id": b"short"}},
    ],
)
def test_a_bad_envelope_gets_no_answer(changed: Fields) -> None:
    fields = {key: value for key, value in {b"t": TID, **changed}.items() if value is not None}
    with pytest.raises(WireError):
        CODEC.decode(bencode(fields))


@pytest.mark.parametrize(
    ("method", "args", "code"),
    [
        (b"find_node", {}, 203),
        (b"find_node", {b"target": b"x" * 19}, 203),
        (b"find_node", {b"target": b"x" * 32}, 203),
        (b"find_node", {b"target": 5}, 203),
        (b"get_peers", {}, 203),
        (b"get_peers", {b"info_hash": b"x" * 32}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"port": 1}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"port": 1, b"token": b""}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"port": 1, b"token": b"x" * 65}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"port": 1, b"token": 5}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN, b"port": 0}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN, b"port": -1}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN, b"port": 65_536}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN, b"port": b"80"}, 203),
        (b"announce_peer", {b"info_hash": b"x" * 20, b"token": TOKEN, b"implied_port": 0}, 203),
        (b"get", {}, 203),
        (b"put", {b"token": TOKEN}, 203),
        (b"put", {b"v": b"x"}, 203),
        (b"put", {b"token": TOKEN, b"v": b"x", b"cas": -1}, 203),
        (b"put", {b"token": TOKEN, b"v": b"x", b"cas": b"1"}, 203),
        (b"put", {b"token": TOKEN, b"v": b"x" * 997}, 205),
        (b"frobnicate", {}, 204),
        (b"frobnicate", {b"target": b"short"}, 203),
        (b"sample_infohashes", {}, 204),
    ],
)
def test_bad_arguments_get_an_error(method: bytes, args: Fields, code: int) -> None:
    bad = decoded(method, args)
    assert isinstance(bad, BadQuery)
    assert (bad.tid, bad.sender, bad.code) == (TID, SENDER, code)


@pytest.mark.parametrize("method", [b"vote", b"frobnicate", b"\xff"])
@pytest.mark.parametrize("name", [b"target", b"info_hash"])
def test_an_unknown_method_leads_on(method: bytes, name: bytes) -> None:
    assert decoded(method, {name: MAINLINE.to_bytes(TARGET)}) == ask(FindNode(TARGET))


def test_an_implied_port_is_that_of_the_datagram() -> None:
    args = {b"info_hash": MAINLINE.to_bytes(TARGET), b"token": TOKEN, b"port": 80}
    assert decoded(b"announce_peer", args) == ask(Store(TARGET, 80, TOKEN, 0, b""), Options())
    for port in ({b"port": 80}, {b"port": 0}, {b"port": 99_999}, {}):
        query = decoded(b"announce_peer", {**args, **port, b"implied_port": 1})
        assert isinstance(query, Query)
        assert query.request == Store(TARGET, 0, TOKEN, 0, b"")


@pytest.mark.parametrize(
    ("args", "top", "options"),
    [
        ({}, {}, NO_OPTIONS),
        ({b"bs": 1}, {}, NO_OPTIONS),
        ({}, {"ro": 1}, Options(is_read_only=True)),
        ({}, {"ro": 0}, NO_OPTIONS),
        ({b"want": [b"n6"]}, {}, Options(families=frozenset({Family.IPV6}))),
        ({b"want": [b"n4", b"n6"]}, {}, Options(families=frozenset(Family))),
        ({b"want": [b"n7", 5]}, {}, NO_OPTIONS),
        ({b"want": b"n4"}, {}, NO_OPTIONS),
        ({b"noseed": 1}, {}, Options(no_seeds=True)),
        ({b"noseed": 0, b"scrape": 1}, {}, Options(scrapes=True)),
    ],
)
def test_options_are_read(args: Fields, top: dict[str, Any], options: Options) -> None:
    query = decoded(b"get_peers", {b"info_hash": MAINLINE.to_bytes(TARGET), **args}, **top)
    assert query == ask(FindValue(TARGET), options)


def test_a_usual_query_has_no_options_made() -> None:
    usual = CODEC.decode(CODEC.encode_query(TID, SENDER, FindValue(TARGET)))
    assert isinstance(usual, Query)
    assert usual.options is NO_OPTIONS


# Our own queries


@pytest.mark.parametrize("cas", [None, 0, 4])
@pytest.mark.parametrize("salt", [b"", b"salt"])
def test_a_put_comes_back(cas: int | None, salt: bytes) -> None:
    value = signed(bytes(32), salt, 5, b"five")._replace(data=b"4:five")
    put = Put(CODEC.key_of(value), TOKEN, value, cas, bep5_values.LASTS)
    data = CODEC.encode_query(TID, SENDER, put)
    assert bencode(fields_of(data)) == data
    assert fields_of(data)[b"a"][b"target"] == MAINLINE.to_bytes(put.key)
    assert CODEC.decode(data) == ask(put, Options())


@pytest.mark.parametrize(
    "request_",
    [
        Ping(),
        FindNode(TARGET),
        FindValue(TARGET),
        Get(TARGET),
        Get(TARGET, seq=0),
        Store(TARGET, 80, TOKEN, 0, b""),
        Store(TARGET, 80, TOKEN, 0, b"", is_seed=True),
        Put(bep5_values.key_of(Immutable(b"i5e")), TOKEN, Immutable(b"i5e"), None, bep5_values.LASTS),
    ],
)
@pytest.mark.parametrize("is_read_only", [False, True])
@pytest.mark.parametrize("dual_stack", [False, True])
def test_a_query_comes_back(request_: Request, *, is_read_only: bool, dual_stack: bool) -> None:
    options = Options(is_read_only=is_read_only)
    data = Bep5Codec(dual_stack=dual_stack).encode_query(TID, SENDER, request_, options)
    assert bencode(fields_of(data)) == data
    query = CODEC.decode(data)
    assert isinstance(query, Query)
    wants = dual_stack and isinstance(request_, FindNode | FindValue | Get)
    assert query.request == request_
    assert query.options == Options(is_read_only=is_read_only, families=frozenset(Family) if wants else None)


def test_other_requests_are_not_of_this_wire() -> None:
    assert Renew not in TRAITS.requests
    with pytest.raises(TypeError, match="leases"):
        CODEC.encode_query(TID, SENDER, Renew(b"", 0, b""))
    with pytest.raises(TypeError, match="leases"):
        CODEC.encode_renewed(TID, SENDER, HERE, b"", None)
    with pytest.raises(TypeError, match="leases"):
        CODEC.encode_watched(ask(Ping()), SENDER, HERE, b"", 0, Room(0), ())
    with pytest.raises(TypeError, match="leases"):
        CODEC.encode_cut(ask(FindNode(TARGET)), SENDER, HERE, b"")


# Answers


def test_contacts_and_token_are_there_without_room() -> None:
    near = contacts(8)
    result = found(ask(FindValue(TARGET)), limit=0, near=near)
    assert result[b"nodes"] == b"".join(MAINLINE.to_bytes(each.id) + each.endpoint for each in near)
    assert result[b"token"] == TOKEN
    assert found(ask(FindNode(TARGET)), limit=0, near=near).keys() == {b"id", b"nodes"}
    assert found(ask(FindNode(TARGET)), near=[]).keys() == {b"id"}


@pytest.mark.parametrize("at", [HERE, HERE6])
def test_contacts_are_of_the_wanted_families(at: Endpoint) -> None:
    near, others = contacts(8, ipv6=not at.is_ipv4), contacts(8, ipv6=at.is_ipv4)
    names = {Family.IPV4: b"nodes", Family.IPV6: b"nodes6"}
    for families in (None, frozenset({Family.IPV4}), frozenset({Family.IPV6}), frozenset(Family)):
        for request in (FindNode(TARGET), FindValue(TARGET)):
            result = found(ask(request, Options(families=families)), at=at, near=near, others=others)
            assert {names[each] for each in families or {at.family}} == result.keys() & {b"nodes", b"nodes6"}
    # One that has no contacts of the other family has none to name.
    assert b"nodes" not in found(ask(FindNode(TARGET), Options(families=frozenset(Family))), at=HERE6, near=near[:0])


def test_a_get_names_the_wanted_families_too() -> None:
    own, others = CODEC.pack_contacts(contacts(8)), CODEC.pack_contacts(contacts(8, ipv6=True))
    query = ask(Get(TARGET), Options(families=frozenset(Family)))
    result = body(CODEC.encode_got(query, TARGET, HERE, TOKEN, own, Room(1_024), None, 0, others))
    assert result.keys() == {b"id", b"nodes", b"nodes6", b"token"}


def endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(bytes([10, 0, number >> 8, number & 255]) + b"\0\x50") for number in range(count)]


@pytest.mark.parametrize("limit", [0, 300, 400, 401, 407, 408, 409, 700, 1_024])
@pytest.mark.parametrize("count", [1, 2, 50, 300])
def test_as_many_endpoints_as_fit_are_named(limit: int, count: int) -> None:
    values = endpoints(count)
    result = found(ask(FindValue(TARGET)), limit=limit, named=Named(values))
    told = result.get(b"values", [])
    assert told == values[: len(told)]
    if len(told) < count:
        longer = bencode({b"r": {**result, b"values": [*told, values[0]]}, b"t": TID, b"y": b"r", b"v": b"1234"})
        assert len(longer) + len(b"2:ip6:") + 6 > limit
    assert (b"values" in result) == bool(told)


def test_others_are_chosen_where_not_all_fit() -> None:
    asked: list[tuple[Id, int, int]] = []

    def choose(key: Id, some: Sequence[Endpoint], most: int) -> Sequence[Endpoint]:
        asked.append((key, len(some), most))
        return some[-most:]

    result = found(ask(FindValue(TARGET)), limit=500, named=Named(endpoints(300), choose))
    [(key, some, most)] = asked
    assert (key, some) == (TARGET, 300)
    assert result[b"values"] == endpoints(300)[-most:]


@pytest.mark.parametrize("at", [HERE, HERE6])
def test_endpoints_are_of_the_family_of_the_source(at: Endpoint) -> None:
    query = ask(FindValue(TARGET), Options(families=frozenset(Family)))
    assert found(query, at=at, named=Named([HERE, HERE6]))[b"values"] == [at]
    assert b"values" not in found(query, at=at, named=Named([HERE6 if at is HERE else HERE]))


def test_the_other_family_takes_no_room_from_endpoints() -> None:
    six = [Endpoint(bytes([0x20, 1, number]) + bytes(13) + b"\0\x50") for number in range(100)]
    result = found(ask(FindValue(TARGET)), limit=700, named=Named([*six, *endpoints(100)]))
    assert result == found(ask(FindValue(TARGET)), limit=700, named=Named(endpoints(100)))


@pytest.mark.parametrize(("limit", "is_there"), [(1_024, True), (880, True), (700, False)])
def test_a_scrape_has_two_filters(limit: int, *, is_there: bool) -> None:
    some = endpoints(40)
    named = Named(some, seeds=some[:10])
    result = found(ask(FindValue(TARGET), Options(scrapes=True)), limit=limit, named=named)
    assert b"values" not in result
    assert (b"BFpe" in result, b"BFsd" in result) == (is_there, is_there)
    if is_there:
        assert round(bep33.estimate(result[b"BFpe"])) == 30
        assert round(bep33.estimate(result[b"BFsd"])) == 10


@pytest.mark.parametrize(("limit", "most"), [(1_024, 20), (600, 12), (340, 0), (0, 0)])
def test_a_sample_has_as_many_keys_as_fit(limit: int, most: int) -> None:
    keys = [MAINLINE.random(Random(number)) for number in range(50)]
    query = ask(FindNode(TARGET), Options(samples=True))
    result = found(query, limit=limit, named=Named(sample=Sample(keys, 1_000, 21_600)))
    assert (result[b"num"], result[b"interval"]) == (1_000, 21_600)
    assert abs(len(result[b"samples"]) // 20 - most) <= 1
    assert result[b"samples"] == b"".join(map(MAINLINE.to_bytes, keys))[: len(result[b"samples"])]


# Values


@pytest.mark.parametrize("held", [Immutable(b"4:five"), Immutable(b"i5e"), Immutable(b"d1:ai1ee"), SIGNED, 5, None])
@pytest.mark.parametrize("limit", [1_452, 400])
def test_a_value_comes_back(held: Value | int | None, limit: int) -> None:
    packed = CODEC.pack_contacts(contacts(8))
    data = CODEC.encode_got(ask(Get(TARGET, seq=5)), TARGET, HERE, TOKEN, packed, Room(limit), held, 0)
    assert bencode(fields_of(data)) == data
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(Get(TARGET, seq=5), reply.body)
    is_left_out = limit == 400 and isinstance(held, Mutable)
    value = None if is_left_out else held
    lasts = bep5_values.LASTS if isinstance(value, Value) else 0
    assert result == Found(TOKEN, packed.contacts, held=value, lasts=lasts)
    assert isinstance(held, Mutable) or len(data) <= 400


@pytest.mark.parametrize("families", [None, frozenset({Family.IPV6}), frozenset(Family)])
@pytest.mark.parametrize("at", [HERE, HERE6])
@pytest.mark.parametrize("known", [8, 0])
def test_contacts_make_way_for_a_value(families: frozenset[Family] | None, at: Endpoint, known: int) -> None:
    own = CODEC.pack_contacts(contacts(known, ipv6=at is HERE6))
    others = CODEC.pack_contacts(contacts(8, ipv6=at is HERE))
    query, held = (
        ask(Get(TARGET), Options(families=families)),
        Mutable(bytes(32), b"", 1, b"896:" + bytes(896), bytes(64)),
    )
    bare = len(CODEC.encode_got(query, TARGET, at, TOKEN, CODEC.pack_contacts([]), Room(1_452), held, 0))
    for limit in range(bare - 1, bare + 300):
        data = CODEC.encode_got(query, TARGET, at, TOKEN, own, Room(limit, proved=True), held, 0, others)
        assert (b"v" in body(data)) is (limit >= bare)
        assert len(data) <= limit or limit < bare


def test_without_a_token_an_answer_names_none() -> None:
    packed = CODEC.pack_contacts(contacts(8))
    data = CODEC.encode_got(ask(Get(TARGET)), TARGET, HERE, b"", packed, Room(400), None, 0)
    assert body(data).keys() == {b"id", b"nodes"}
    data = CODEC.encode_found(ask(FindValue(TARGET)), TARGET, HERE, b"", packed, Room(400))
    assert body(data).keys() == {b"id", b"nodes"}
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert CODEC.decode_result(FindValue(TARGET), reply.body) == Found(b"", packed.contacts)


def test_a_salt_is_that_of_the_question() -> None:
    salted = signed(bytes(32), b"salt", 5, b"five")._replace(data=b"4:five")
    key, packed = CODEC.key_of(salted), CODEC.pack_contacts(())
    data = CODEC.encode_got(ask(Get(key)), TARGET, HERE, TOKEN, packed, Room(1_024), salted, 0)
    assert b"salt" not in body(data)
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(Get(key, salt=b"salt"), reply.body)
    assert isinstance(result, Found)
    assert result.held == salted
    assert CODEC.is_genuine(salted)
    other = CODEC.decode_result(Get(key), reply.body)
    assert isinstance(other, Found)
    assert isinstance(other.held, Mutable)
    assert not CODEC.is_genuine(other.held)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({b"k": b"x" * 31}, 203),
        ({b"k": 5}, 203),
        ({b"sig": b"x" * 63}, 203),
        ({b"sig": None}, 203),
        ({b"seq": -1}, 203),
        ({b"seq": 2**63}, 203),
        ({b"seq": None}, 203),
        ({b"salt": 5}, 203),
        ({b"salt": b"x" * 65}, 207),
        ({b"v": b"x" * 997}, 205),
        ({b"v": [b"x" * 994, 1]}, 205),
    ],
)
def test_a_malformed_value_gets_its_error(changed: Fields, code: int) -> None:
    args = {
        b"token": TOKEN,
        b"k": SIGNED.public_key,
        b"seq": 5,
        b"sig": SIGNED.signature,
        b"v": b"five",
        **changed,
    }
    bad = decoded(b"put", {key: value for key, value in args.items() if value is not None})
    assert isinstance(bad, BadQuery)
    assert bad.code == code


@pytest.mark.parametrize(
    "result",
    [
        {b"nodes": b"x" * 25},
        {b"nodes": [b"x" * 26]},
        {b"nodes6": b"x" * 39},
        {b"token": 5},
        {b"token": b"x" * 65},
        {b"values": b"x" * 6},
    ],
)
def test_a_malformed_result_is_refused(result: Fields) -> None:
    with pytest.raises(WireError):
        CODEC.decode_result(FindValue(TARGET), result)


@pytest.mark.parametrize("result", [{b"v": b"x", b"k": b"short"}, {b"v": b"x" * 997}])
def test_a_malformed_answer_with_a_value_is_refused(result: Fields) -> None:
    with pytest.raises(WireError):
        CODEC.decode_result(Get(TARGET), result)


def test_endpoints_of_no_family_are_passed_over() -> None:
    values = [bytes(HERE), b"x" * 7, 5, bytes(HERE6), b"x" * 12]
    assert CODEC.decode_result(FindValue(TARGET), {b"values": values}) == Found(b"", (), (HERE, HERE6))


def test_few_contacts_are_remembered() -> None:
    codec, many = Bep5Codec(remembered=4), contacts(30)
    reply = CODEC.decode(
        CODEC.encode_found(ask(FindNode(TARGET)), TARGET, HERE, b"", CODEC.pack_contacts(many), Room(0))
    )
    assert isinstance(reply, Reply)
    assert codec.decode_result(FindNode(TARGET), reply.body) == Found(None, tuple(many))
    assert codec.decode_result(Ping(), reply.body) == Acknowledged()


def test_the_seq_of_an_answer_counts_if_it_was_asked_for() -> None:
    assert CODEC.decode_result(Get(TARGET), {b"seq": 5}) == Found(b"", ())
    assert CODEC.decode_result(Get(TARGET, seq=5), {b"seq": 5}) == Found(b"", (), held=5)
    assert CODEC.decode_result(Get(TARGET, seq=5), {b"seq": -5}) == Found(b"", ())


@pytest.mark.parametrize("ip", [b"", b"x" * 5, 5, b"x" * 7])
def test_an_odd_observed_address_is_none(ip: object) -> None:
    fields = {b"t": TID, b"y": b"r", b"r": {b"id": MAINLINE.to_bytes(SENDER)}, b"ip": ip}
    reply = CODEC.decode(bencode(fields))
    assert isinstance(reply, Reply)
    assert reply.observed is None


def test_a_long_error_is_cut() -> None:
    error = CODEC.decode(bencode({b"t": TID, b"y": b"e", b"e": [203, b"\xff" * 900]}))
    assert error == Error(TID, None, 203, "\ufffd" * 200)


def test_bep_44_signs_the_bencoded_value() -> None:
    # The vectors of BEP 44: the same text, without a salt and with one.
    key = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
    text = bep5_values.wrapped(b"Hello World!")
    assert bep5_values.key_of(Immutable(text)) == int("e5f96f6f38320f0f33959cb4d3d656452117aadb", 16)
    assert bep5_values.key_of(Mutable(key, b"", 1, text, b"")) == int("4a533d47ec9c7d95b1ad75f576cffc641853b750", 16)
    salted = Mutable(key, b"foobar", 1, text, b"")
    assert bep5_values.key_of(salted) == int("411eba73b6f087ca51a3795d9c8c938d365e32c1", 16)
    assert signable(b"foobar", 1, text) == b"4:salt6:foobar3:seqi1e1:v12:Hello World!"
    assert CODEC.is_genuine(Immutable(text))


@pytest.mark.parametrize("data", [b"", b"five", b"\0:e", b"x" * 996])
def test_bytes_are_wrapped_and_unwrapped(data: bytes) -> None:
    assert bep5_values.unwrapped(bep5_values.wrapped(data)) == data


@pytest.mark.parametrize("value", [b"i5e", b"le", b"d1:ai1ee", b"l4:fivee"])
def test_what_is_no_string_is_not_unwrapped(value: bytes) -> None:
    assert bep5_values.unwrapped(value) is None


# What it costs


def test_our_own_usual_datagrams_are_plain() -> None:
    packed = CODEC.pack_contacts(contacts(8))
    for request in (Ping(), FindNode(TARGET), FindValue(TARGET), Get(TARGET), Store(TARGET, 80, TOKEN, 0, b"")):
        assert CODEC.is_plain(CODEC.encode_query(TID, SENDER, request))
    assert CODEC.is_plain(CODEC.encode_found(ask(FindValue(TARGET)), TARGET, HERE, TOKEN, packed, Room(400)))
    assert CODEC.is_plain(CODEC.encode_error(TID, TARGET, 203, "no", HERE6))
    assert CODEC.is_plain(CODEC.encode_acknowledged(TID, TARGET, HERE6))
    assert not CODEC.is_plain(b"d1:ad1:x" + b"le" * 20)
    assert not CODEC.is_plain(b"d1:ad2:id20:" + bytes(600))


_NAMES = {FindNode: (b"find_node", b"target"), FindValue: (b"get_peers", b"info_hash"), Get: (b"get", b"target")}


@pytest.mark.parametrize("kind", _NAMES)
@pytest.mark.parametrize("tid", [b"ab", b"abcd", b"\n\n"])
def test_the_short_way_reads_as_the_common_one(
    kind: type[FindNode], tid: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever byte of a find is another one, or is missing."""
    method, name = _NAMES[kind]
    plain = [packed_query(method, {name: MAINLINE.to_bytes(TARGET)}, t=tid, **more) for more in ({}, {"v": b"LT\1\2"})]
    assert all(CODEC.decode(data) == Query(tid, SENDER, kind(TARGET)) for data in plain)
    datagrams = [
        data[:at] + other + data[at + 1 :]
        for data in plain
        for at in range(len(data))
        for other in (b"", b"1", b"e", b":")
    ]
    quickly = [_read(data) for data in datagrams]
    monkeypatch.setattr(bep5_decoder, "_FIND", lambda _: None)
    assert [_read(data) for data in datagrams] == quickly


def _read(data: bytes) -> object:
    try:
        return CODEC.decode(data)
    except WireError:
        return None

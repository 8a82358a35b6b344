"""The native wire: messages survive it, other bytes are refused, and no answer exceeds its limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Named, PackedContacts, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_METHOD,
    ERROR_PROTOCOL,
    LEASE_MAX,
    METHODS,
    VERSION_MAX,
    Acknowledged,
    BadQuery,
    Changed,
    Contact,
    Error,
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
    Result,
    Watch,
    Watched,
)
from dhtd.core.policy import DEFAULT
from dhtd.core.records import SEQ_MAX, Immutable
from dhtd.errors import WireError
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import (
    CHANGED_SIZE_MAX,
    FIND_NODE_SIZE,
    FIND_VALUE_SIZE,
    GET_SIZE,
    MAGIC,
    PUT_SIZE_MAX,
    TOKEN_MAX,
)
from tests.records import LEASE, SESSION, to_store, to_withdraw
from tests.strategies import contacts, endpoints, endpoints4, ids, messages, queries, results, tids, tokens

CODEC = NativeCodec()
TID = b"12345678"
SENDER = bytes(range(32))
ID = Id(int.from_bytes(SENDER, "big"))
SENDER_ID = Id(ID ^ 1)
AT4, AT6 = Endpoint.of("1.2.3.4", 5), Endpoint.of("2001:db8::1", 5)
KEY = bytes(31) + b"\x09"
BUSY = "busy: too many signatures to verify"  # the longest text of a refusal
RENEW, WATCH = Renew(SESSION, 60, b"x"), Watch(Id(9), b"x", 60, SESSION)
CHANGED = Changed(Id(9), 7, (AT4,), (AT6,))
ONE_OF_EACH: tuple[Request, ...] = (
    *(Ping(), FindNode(Id(1)), FindValue(Id(1)), to_store(Id(1), 1, b"x"), to_withdraw(Id(1), 1, b"x")),
    *(RENEW, WATCH, CHANGED, Get(Id(1)), Put(Id(1), b"x", Immutable(b"data"), None, 60)),
)


def test_values_are_what_the_user_gives() -> None:
    assert (CODEC.traits.wrap(b"4:spam"), CODEC.traits.unwrap(b"4:spam")) == (b"4:spam", b"4:spam")


def raw(*fields: object) -> bytes:
    return MAGIC + msgpack.packb(list(fields))


def ask(method: str, *args: object) -> Message:
    return CODEC.decode(raw(0, TID, SENDER, method, list(args)))


# Encoding and decoding


@pytest.mark.parametrize("request_", [FindNode(ID), FindValue(ID), Get(ID), Get(ID, None, 300)])
def test_a_padded_find_is_read_as_by_msgpack(
    request_: FindNode | FindValue | Get,
) -> None:
    def read(decode: Callable[[bytes], Message], data: bytes) -> object:
        try:
            return decode(data)
        except WireError:
            return WireError

    data = CODEC.encode_query(TID, SENDER_ID, request_)
    assert CODEC.decode(data) == Query(TID, SENDER_ID, request_)
    for place in range(len(data)):
        for value in (0, 1, 0x7F, 0xC0, 0xFF, data[place] ^ 1):
            other = data[:place] + bytes([value]) + data[place + 1 :]
            assert read(CODEC.decode, other) == read(CODEC._decode, other), place


@given(messages())
def test_a_query_or_an_error_survives_the_wire(message: Query | Error) -> None:
    if isinstance(message, Query):
        data = CODEC.encode_query(message.tid, message.sender, message.request)
    else:
        assert message.sender is not None
        data = CODEC.encode_error(message.tid, message.sender, message.code, message.text)
    assert CODEC.decode(data) == message


@given(results(), tids(), ids(), endpoints(), st.sampled_from([FindNode(Id(1)), FindValue(Id(1)), Get(Id(1))]))
def test_a_result_survives_the_wire(
    result: Result, tid: bytes, sender: Id, observed: Endpoint, find: FindNode | FindValue | Get
) -> None:
    request: Request = Ping()
    expected: Result = result
    if isinstance(result, Acknowledged):
        data = CODEC.encode_acknowledged(tid, sender, observed)
    elif isinstance(result, Renewed):
        request = RENEW
        data = CODEC.encode_renewed(tid, sender, observed, result.token, result.held)
    elif isinstance(result, Watched):
        request, expected = WATCH, replace(result, more=False)
        query, room = Query(tid, Id(0), request), Room(10_000)
        data, told = CODEC.encode_watched(query, sender, observed, result.token, result.version, room, result.endpoints)
        assert told == len(result.endpoints)
    else:
        request = find
        token, lasts = result.token, result.lasts
        assert token is not None
        packed, query, room = CODEC.pack_contacts(result.contacts), Query(tid, Id(0), request), Room(10_000)
        if isinstance(find, Get):
            data = CODEC.encode_got(query, sender, observed, token, packed, room, result.held, lasts)
            expected = Found(token, result.contacts, (), False, result.held, lasts)
        else:
            data = CODEC.encode_found(query, sender, observed, token, packed, room, Named(result.endpoints))
            expected = Found(token, result.contacts, result.endpoints if isinstance(find, FindValue) else (), False)
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert (reply.tid, reply.sender, reply.observed) == (tid, sender, observed)
    assert CODEC.decode_result(request, reply.body) == expected


@given(st.lists(contacts(), max_size=20))
def test_packed_contacts_count_the_elements(several: list[Contact]) -> None:
    packed = CODEC.pack_contacts(several)
    assert packed.contacts == tuple(several)
    unpacker = msgpack.Unpacker()
    unpacker.feed(packed.wire)
    nodes4, nodes6 = unpacker
    assert nodes4 == b"".join(NATIVE.to_bytes(c.id) + c.endpoint for c in several if len(c.endpoint) == 6)
    assert nodes6 == b"".join(NATIVE.to_bytes(c.id) + c.endpoint for c in several if len(c.endpoint) == 18)


@pytest.mark.parametrize("count", [0, 15, 16, 255, 256, 300])
def test_any_number_of_endpoints_survives(count: int) -> None:
    named = tuple(Endpoint.of(f"10.0.{number // 256}.{number % 256}", 80) for number in range(count))
    query = Query(TID, ID, FindValue(Id(9)))
    data = CODEC.encode_found(query, ID, AT4, b"token", CODEC.pack_contacts([]), Room(1_000_000), Named(named))
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert CODEC.decode_result(query.request, reply.body) == Found(b"token", (), named, False)


# Refusals


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DHT",
        MAGIC,
        b"DHT\x00" + raw(0, TID, SENDER, "ping", [])[4:],
        b"DHT\x02" + raw(0, TID, SENDER, "ping", [])[4:],
        b"dht\x01" + raw(0, TID, SENDER, "ping", [])[4:],
        b"DHS\x01" + raw(0, TID, SENDER, "ping", [])[4:],
        b" " + raw(0, TID, SENDER, "ping", []),
    ],
)
def test_another_magic_or_version_is_not_ours(data: bytes) -> None:
    with pytest.raises(WireError):
        CODEC.decode(data)


@pytest.mark.parametrize("junk", [b"\x00", b"\xc0", b"\x90", raw(0)[4:], b"\xc1"])
def test_nothing_may_be_behind_the_array(junk: bytes) -> None:
    good = raw(0, TID, SENDER, "ping", [])
    assert CODEC.decode(good) == Query(TID, ID, Ping())
    with pytest.raises(WireError):
        CODEC.decode(good + junk)


@pytest.mark.parametrize("size", range(4, 56))
def test_a_datagram_that_ends_too_soon_is_none(size: int) -> None:
    good = raw(0, TID, SENDER, "ping", [])
    assert len(good) == 56
    with pytest.raises(WireError):
        CODEC.decode(good[:size])


@pytest.mark.parametrize(
    "whole", [None, 0, True, "text", b"bytes", {}, {"a": 1}, 1.5, [], [0], [0, TID, SENDER, "ping"]]
)
def test_the_object_is_an_array_of_at_least_five(whole: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(MAGIC + msgpack.packb(whole))


@pytest.mark.parametrize("kind", [3, -1, 256, 2**63, None, True, False, 0.0, "0", b"\x00", [0], {}])
def test_the_type_is_0_1_or_2(kind: object) -> None:
    for tail in (["ping", []], [bytes(AT4), []], [201, "text"]):
        with pytest.raises(WireError):
            CODEC.decode(raw(kind, TID, SENDER, *tail))


@pytest.mark.parametrize("tid", [b"", b"1234567", b"123456789", "12345678", 12345678, None, [1] * 8])
def test_the_transaction_id_is_eight_bytes(tid: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(0, tid, SENDER, "ping", []))


@pytest.mark.parametrize("sender", [b"", bytes(31), bytes(33), "a" * 32, 7, None])
def test_the_sender_is_32_bytes(sender: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(0, TID, sender, "ping", []))


@pytest.mark.parametrize("method", [b"ping", 1, None, True, ["ping"]])
def test_the_method_is_text(method: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(0, TID, SENDER, method, []))


@pytest.mark.parametrize("method", ["", "Ping", "ping ", "pong", "find_nodes", "\0", "\u00fcnicode"])
def test_an_unknown_method_is_a_bad_query(method: str) -> None:
    assert ask(method) == BadQuery(TID, ID, ERROR_METHOD, "unknown method")


@pytest.mark.parametrize("method", [*METHODS.values(), "pong"])
@pytest.mark.parametrize("args", [None, {}, b"", "", 0, True])
def test_arguments_must_be_an_array(method: str, args: object) -> None:
    message = CODEC.decode(raw(0, TID, SENDER, method, args))
    assert message == BadQuery(TID, ID, ERROR_PROTOCOL, "bad arguments")


@pytest.mark.parametrize("method", ["find_node", "find_value"])
def test_find_arguments_are_id_and_token(method: str) -> None:
    for token in (None, b"x", bytes(TOKEN_MAX)):
        assert isinstance(ask(method, KEY, token), Query)
    bads: list[list[object]] = [
        [],
        [KEY],
        [None, None],
        [KEY[1:], None],
        [KEY + b"\0", None],
        ["a" * 32, None],
        [KEY, b""],
        [KEY, bytes(TOKEN_MAX + 1)],
        [KEY, "token"],
        [KEY, 0],
        [KEY, False],
        [None, KEY],
    ]
    for bad in bads:
        assert ask(method, *bad) == BadQuery(TID, ID, ERROR_PROTOCOL, "bad arguments")


BAD_KEYS: list[object] = [None, b"", KEY[1:], KEY + b"\0", "k" * 32, 9, [KEY]]
BAD_PORTS: list[object] = [None, 0, -1, 65_536, 2**63, True, 80.0, "80", b"\0P", [80]]
BAD_SHOWN: list[object] = [None, b"", bytes(TOKEN_MAX + 1), "x", 0, False, [b"x"]]
BAD_LEASES: list[object] = [None, 0, -1, -(2**63), LEASE_MAX + 1, 2**63, 2**64 - 1, True, False, 60.0, "60", b"<", [60]]
BAD_SHORTER: list[object] = [bad for bad in BAD_LEASES if bad != 0]
BAD_SESSIONS: list[object] = [None, b"", SESSION[1:], SESSION + b"\0", "s" * 16, 16, [SESSION]]
BAD_VERSIONS: list[object] = [None, -1, -(2**63), 2**63, 2**64 - 1, True, 7.0, "7", b"\7", []]
BAD_ENDPOINTS: list[object] = [
    *(None, b"", bytes(6), "e", 0, {}, {"a": 1}, [b""], [bytes(5)], [bytes(7)], [bytes(17)], [bytes(19)]),
    *([bytes(6), "123456"], [bytes(6), None], [[bytes(6)]], [[]], 9 * [bytes(6)], 300 * [b""], 300 * [[]]),
]
ARGUMENTS: dict[str, tuple[Request, list[object], list[list[object]]]] = {
    "store": (
        to_store(Id(9), 80, b"x"),
        [KEY, 80, b"x", LEASE, SESSION],
        [BAD_KEYS, BAD_PORTS, BAD_SHOWN, BAD_LEASES, BAD_SESSIONS],
    ),
    "withdraw": (
        to_withdraw(Id(9), 80, b"x"),
        [KEY, 80, b"x", SESSION],
        [BAD_KEYS, BAD_PORTS, BAD_SHOWN, BAD_SESSIONS],
    ),
    "renew": (
        RENEW,
        [SESSION, 60, b"x"],
        [BAD_SESSIONS, BAD_SHORTER, [bad for bad in BAD_SHOWN if bad != b""]],
    ),
    "watch": (WATCH, [KEY, b"x", 60, SESSION], [BAD_KEYS, BAD_SHOWN, BAD_SHORTER, BAD_SESSIONS]),
    "changed": (
        CHANGED,
        [KEY, 7, [bytes(AT4)], [bytes(AT6)]],
        [BAD_KEYS, BAD_VERSIONS, BAD_ENDPOINTS, BAD_ENDPOINTS],
    ),
}


@pytest.mark.parametrize("method", ARGUMENTS)
@pytest.mark.parametrize("behind", [[], [bytes(200)]], ids=["short", "long"])
def test_each_argument_is_strict(method: str, behind: list[object]) -> None:
    request, good, bads = ARGUMENTS[method]
    assert ask(method, *good, *behind) == Query(TID, ID, request)
    bad_query = BadQuery(TID, ID, ERROR_PROTOCOL, "bad arguments")
    for place, several in enumerate(bads):
        assert ask(method, *good[:place]) == bad_query
        for bad in several:
            assert ask(method, *good[:place], bad, *good[place + 1 :], *behind) == bad_query, bad


def test_each_argument_may_be_at_its_limit() -> None:
    for port in (1, 255, 256, 65_535):
        for lease in (1, 127, 128, LEASE_MAX):
            store = to_store(Id(9), port, bytes(TOKEN_MAX), lease)
            assert ask("store", KEY, port, bytes(TOKEN_MAX), lease, SESSION) == Query(TID, ID, store)
    for lease in (0, LEASE_MAX):
        assert ask("renew", SESSION, lease, b"") == Query(TID, ID, Renew(SESSION, lease, b""))
        assert ask("watch", KEY, b"x", lease, SESSION) == Query(TID, ID, Watch(Id(9), b"x", lease, SESSION))
    for version in (0, VERSION_MAX):
        assert ask("changed", KEY, version, [], []) == Query(TID, ID, Changed(Id(9), version, (), ()))


@pytest.mark.parametrize("at", [AT4, AT6])
@pytest.mark.parametrize("added", [0, 1, 7, 8, 9])
def test_a_changed_names_a_few_endpoints(at: Endpoint, added: int) -> None:
    assert CHANGED_MAX == 8
    for removed in (8 - added, 9 - added):
        named = added * (at,), max(0, removed) * (at,)
        data = CODEC.encode_query(TID, ID, Changed(Id(9), VERSION_MAX, *named))
        if len(named[0]) + len(named[1]) > CHANGED_MAX:
            assert CODEC.decode(data) == BadQuery(TID, ID, ERROR_PROTOCOL, "bad arguments")
        else:
            assert CODEC.decode(data) == Query(TID, ID, Changed(Id(9), VERSION_MAX, *named))
            assert CODEC.is_plain(data)


def test_the_longest_changed_is_plain() -> None:
    longest = CODEC.encode_query(TID, ID, Changed(Id(9), VERSION_MAX, CHANGED_MAX * (AT6,), ()))
    assert len(longest) == CHANGED_SIZE_MAX
    assert CODEC.is_plain(longest)
    assert not CODEC.is_plain(longest + bytes(CHANGED_SIZE_MAX))


def test_an_endpoint_may_be_written_overlong() -> None:
    endpoint = b"\xc5\x00\x06" + AT4
    args = b"\x94\xc4\x20" + KEY + b"\x07\xdd\x00\x00\x00\x08" + 8 * endpoint + b"\xdc\x00\x00"
    head = MAGIC + b"\x95\x00\xc4\x08" + TID + b"\xc4\x20" + SENDER + b"\xd9\x07changed"
    assert CODEC.decode(head + args) == Query(TID, ID, Changed(Id(9), 7, 8 * (AT4,), ()))


@pytest.mark.parametrize("observed", [b"", bytes(4), bytes(7), bytes(16), bytes(19), "123456", None, [1, 2]])
def test_an_observed_address_is_6_or_18_bytes(observed: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(1, TID, SENDER, observed, []))


@pytest.mark.parametrize("body", [None, {}, b"", "", 0, True])
def test_a_result_is_an_array(body: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(1, TID, SENDER, bytes(AT4), body))
    for request in ONE_OF_EACH:
        with pytest.raises(WireError):
            CODEC.decode_result(request, body)


@pytest.mark.parametrize(
    ("code", "text"), [(True, "text"), ("201", "text"), (201.0, "text"), (None, "text"), (201, b"text"), (201, None)]
)
def test_an_error_has_an_integer_and_a_text(code: object, text: object) -> None:
    with pytest.raises(WireError):
        CODEC.decode(raw(2, TID, SENDER, code, text))


@pytest.mark.parametrize("code", [0, 201, 299, -5, 2**32])
def test_an_unknown_error_code_is_an_error(code: int) -> None:
    assert CODEC.decode(raw(2, TID, SENDER, code, "text")) == Error(TID, ID, code, "text")


GOOD_FOUND = [b"token", bytes(38), bytes(50), False]


BAD_TOKENS: list[object] = [None, bytes(TOKEN_MAX + 1), "token", 5]
BAD_NODES4: list[object] = [None, bytes(37), bytes(39), bytes(6), "n" * 38, []]
BAD_NODES6: list[object] = [None, bytes(49), bytes(51), bytes(18), "n" * 50, []]
BAD_MARKS: list[object] = [None, 0, 1, "false", b"\xc2"]
BAD_ELEMENTS = [BAD_TOKENS, BAD_NODES4, BAD_NODES6, BAD_MARKS]


@pytest.mark.parametrize("of_value", [False, True])
@pytest.mark.parametrize(("place", "bad"), [(place, bad) for place, bads in enumerate(BAD_ELEMENTS) for bad in bads])
def test_a_found_result_is_strict(of_value: bool, place: int, bad: object) -> None:
    request: Request = FindValue(Id(1)) if of_value else FindNode(Id(1))
    body: list[object] = list(GOOD_FOUND)
    if of_value:
        body.insert(3, [])
    assert isinstance(CODEC.decode_result(request, body), Found)
    body[4 if of_value and place == 3 else place] = bad
    with pytest.raises(WireError):
        CODEC.decode_result(request, body)


@pytest.mark.parametrize(
    "bad",
    [None, b"", bytes(6), "e", {}, [b""], [bytes(5)], [bytes(6), bytes(7)], [bytes(6), "123456"], [bytes(6), None]],
)
def test_endpoints_have_6_or_18_bytes(bad: object) -> None:
    request = FindValue(Id(1))
    good = CODEC.decode_result(request, [b"token", b"", b"", [bytes(AT4), bytes(AT6)], True])
    assert good == Found(b"token", (), (AT4, AT6), True)
    with pytest.raises(WireError):
        CODEC.decode_result(request, [b"token", b"", b"", bad, True])


BAD_ISSUED: list[object] = [None, b"", bytes(TOKEN_MAX + 1), "token", 5]
BAD_HELD: list[object] = [-1, -(2**63), True, False, 1.0, "1", b"", []]
RESULTS: list[tuple[Request, Result, list[object], list[list[object]]]] = [
    (RENEW, Renewed(b"t", 3), [b"t", 3], [BAD_ISSUED, BAD_HELD]),
    (RENEW, Renewed(b"t", None), [b"t", None], [BAD_ISSUED, BAD_HELD]),
    (
        WATCH,
        Watched(b"t", 7, (AT4, AT6), True),
        [b"t", 7, [bytes(AT4), bytes(AT6)], True],
        [BAD_ISSUED, BAD_VERSIONS, [None, b"", {}, [b""], [bytes(5)], [bytes(6), None], [[]]], BAD_MARKS],
    ),
]


@pytest.mark.parametrize(("request_", "result", "good", "bads"), RESULTS)
@pytest.mark.parametrize("behind", [[], [bytes(200)], [bytes(1_500)]], ids=["short", "long", "unchecked"])
def test_a_lease_result_is_strict(
    request_: Request, result: Result, good: list[object], bads: list[list[object]], behind: list[object]
) -> None:
    def read(*body: object) -> Result:
        reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), [*body, *behind]))
        assert isinstance(reply, Reply)
        return CODEC.decode_result(request_, reply.body)

    assert read(*good) == result
    for place, several in enumerate(bads):
        for bad in several:
            with pytest.raises(WireError):
                read(*good[:place], bad, *good[place + 1 :])
        with pytest.raises(WireError):
            CODEC.decode_result(request_, good[:place])


def test_endpoints_are_an_array_in_any_length() -> None:
    for size in (0, 1_500):
        reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), [b"t", b"", b"", True, bytes(size), bytes(100)]))
        assert isinstance(reply, Reply)
        with pytest.raises(WireError):
            CODEC.decode_result(FindValue(Id(9)), reply.body)


@pytest.mark.parametrize("length", range(5))
def test_a_found_result_that_is_too_short_is_none(length: int) -> None:
    body = [b"token", b"", b"", [], False]
    with pytest.raises(WireError):
        CODEC.decode_result(FindValue(Id(1)), body[:length])
    if length < 4:
        with pytest.raises(WireError):
            CODEC.decode_result(FindNode(Id(1)), [b"token", b"", b"", False][:length])


UNKNOWN: list[object] = [None, 7, b"x", "y", [1, [2]], {"a": True}, 1.5]


def test_unknown_trailing_elements_are_ignored() -> None:
    queries: dict[Request, list[object]] = {
        Ping(): ["ping", []],
        FindNode(Id(9)): ["find_node", [KEY, None]],
        FindValue(Id(9), b"x"): ["find_value", [KEY, b"x"]],
        **{request: [method, args] for method, (request, args, _) in ARGUMENTS.items()},
    }
    for request, (method, args) in queries.items():
        assert isinstance(args, list)
        assert CODEC.decode(raw(0, TID, SENDER, method, args + UNKNOWN, *UNKNOWN)) == Query(TID, ID, request)
    reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), [*UNKNOWN], *UNKNOWN))
    assert isinstance(reply, Reply)
    for request in (Ping(), to_store(Id(9), 80, b"x"), to_withdraw(Id(9), 80, b"x"), CHANGED):
        assert CODEC.decode_result(request, reply.body) == Acknowledged()
    for request, result, body, _ in RESULTS:
        assert CODEC.decode_result(request, [*body, *UNKNOWN]) == result
    assert CODEC.decode_result(FindNode(Id(1)), [b"t", b"", b"", True, *UNKNOWN]) == Found(b"t", (), (), True)
    assert CODEC.decode_result(FindValue(Id(1)), [b"t", b"", b"", [], True, *UNKNOWN]) == Found(b"t", (), (), True)
    assert CODEC.decode(raw(2, TID, SENDER, 201, "text", *UNKNOWN)) == Error(TID, ID, 201, "text")


def test_overlong_integers_are_accepted() -> None:
    """msgpack leaves the choice, and another implementation may use it."""
    long = (
        MAGIC
        + b"\xdc\x00\x05\xcd\x00\x00\xc5\x00\x08"
        + TID
        + b"\xc6\x00\x00\x00\x20"
        + SENDER
        + b"\xd9\x04ping\xdc\0\0"
    )
    assert CODEC.decode(long) == Query(TID, ID, Ping())


def test_invalid_utf_8_is_no_text() -> None:
    assert CODEC.decode(MAGIC + b"\x95\x00\xc4\x08" + TID + b"\xc4\x20" + SENDER + b"\xa4ping\x90") == Query(
        TID, ID, Ping()
    )
    with pytest.raises(WireError):
        CODEC.decode(MAGIC + b"\x95\x00\xc4\x08" + TID + b"\xc4\x20" + SENDER + b"\xa4pin\xff\x90")


# Sizes


@given(tids(), ids(), ids())
def test_a_find_without_token_is_padded_exactly(tid: bytes, sender: Id, target: Id) -> None:
    assert len(CODEC.encode_query(tid, sender, FindNode(target))) == FIND_NODE_SIZE == 184
    assert len(CODEC.encode_query(tid, sender, FindValue(target))) == FIND_VALUE_SIZE == 400
    for seq in (None, 0, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, SEQ_MAX):
        assert len(CODEC.encode_query(tid, sender, Get(target, None, seq))) == GET_SIZE == 404


@given(tids(), ids(), ids(), tokens())
def test_a_find_query_with_a_token_is_not_padded(tid: bytes, sender: Id, target: Id, token: bytes) -> None:
    for request in (FindNode(target, token), FindValue(target, token), Get(target, token), Get(target, token, SEQ_MAX)):
        assert len(CODEC.encode_query(tid, sender, request)) <= 4 + 1 + 1 + 10 + 34 + 14 + 1 + 34 + 2 + len(token)


@given(queries())
def test_no_query_is_longer_than_a_datagram(query: Query) -> None:
    data = CODEC.encode_query(query.tid, query.sender, query.request)
    if isinstance(query.request, Put):
        assert len(data) <= PUT_SIZE_MAX < DEFAULT.datagram_received_max
    else:
        assert len(data) <= (CHANGED_SIZE_MAX if isinstance(query.request, Changed) else GET_SIZE)
        assert len(data) < DEFAULT.datagram_sent_max


def six(number: int) -> Contact:
    return Contact(Id(1 << number), Endpoint.of(f"2001:db8::{number:x}", 1))


def four(number: int) -> Contact:
    return Contact(Id(1 << number), Endpoint.of(f"10.0.0.{number}", 1))


def found(
    request: FindNode | FindValue,
    several: list[Contact],
    endpoints: list[Endpoint],
    limit: int,
    *,
    proved: bool = False,
) -> tuple[int, Found]:
    """Encode an answer under a limit; return its size and its content."""
    packed = CODEC.pack_contacts(several)
    data = CODEC.encode_found(Query(TID, ID, request), ID, AT6, bytes(8), packed, Room(limit, proved), Named(endpoints))
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(request, reply.body)
    assert isinstance(result, Found)
    return len(data), result


@given(st.lists(st.lists(st.integers(1, 9), max_size=4), max_size=12), st.integers(1, 4))
def test_the_pack_cache_never_alters_answers(answers: list[list[int]], remembered: int) -> None:
    codec = NativeCodec(remembered)
    for numbers in answers:
        named = [four(number) if number % 2 else six(number) for number in numbers]
        packed = codec.pack_contacts(named)
        data = codec.encode_found(Query(TID, ID, FindNode(ID)), ID, AT6, bytes(8), packed, Room(1_200, proved=True))
        reply = codec.decode(data)
        assert isinstance(reply, Reply)
        assert reply.sender == ID
        result = codec.decode_result(FindNode(ID), reply.body)
        assert isinstance(result, Found)
        assert sorted(result.contacts) == sorted(named)
        assert len(codec._contacts) <= remembered
        assert len(codec._ids) <= remembered


def test_the_contact_cache_is_limited() -> None:
    codec = NativeCodec(remembered=2)
    for numbers in ([1, 2], [3, 4], [5, 6]):
        named = [four(number) for number in numbers]
        data = codec.encode_found(
            Query(TID, ID, FindNode(ID)), ID, AT6, bytes(8), codec.pack_contacts(named), Room(1_200, proved=True)
        )
        reply = codec.decode(data)
        assert isinstance(reply, Reply)
        assert codec.decode_result(FindNode(ID), reply.body) == Found(bytes(8), tuple(named), ())
        assert len(codec._contacts) <= 2


def test_a_contact_named_again_is_the_same_object() -> None:
    first, again = (found(FindNode(ID), [four(3), six(4)], [], 1200)[1].contacts for _ in range(2))
    assert [one is other for one, other in zip(first, again, strict=True)] == [True, True]


def test_eight_ipv6_nodes_fit_an_unproved_answer() -> None:
    eight = [six(number) for number in range(1, 9)]
    size, result = found(FindNode(Id(0)), eight, [], 3 * FIND_NODE_SIZE)
    assert size <= 3 * FIND_NODE_SIZE
    assert result.contacts == tuple(eight)
    assert not result.more


def test_a_find_value_gets_a_full_datagram() -> None:
    assert DEFAULT.datagram_sent_max == 3 * FIND_VALUE_SIZE
    eight = [six(number) for number in range(1, 9)]
    size, result = found(FindValue(Id(0)), eight, [AT6] * 200, 3 * FIND_VALUE_SIZE)
    assert 1_180 < size <= 1_200
    assert len(result.contacts) == 8
    assert len(result.endpoints) == 35
    assert result.more


@given(
    st.lists(contacts(), max_size=12, unique_by=lambda contact: contact.id),
    st.lists(endpoints(), max_size=40),
    st.integers(100, 1_200),
    ids(),
    st.booleans(),
    st.booleans(),
)
def test_endpoints_and_then_far_contacts_are_cut(
    several: list[Contact], named: list[Endpoint], limit: int, target: Id, of_value: bool, proved: bool
) -> None:
    request = FindValue(target) if of_value else FindNode(target)
    size, result = found(request, several, named, limit, proved=proved)
    whole, _ = found(request, several, named, 1_000_000)
    assert size <= limit
    if whole + 2 <= limit:
        assert len(result.contacts) == len(several)
        assert len(result.endpoints) == (len(named) if of_value else 0)
    nearest = sorted(several, key=lambda contact: contact.id ^ target)
    assert set(result.contacts) == set(nearest[: len(result.contacts)])
    assert result.endpoints == tuple(named[: len(result.endpoints)] if of_value else ())
    is_cut = len(result.contacts) < len(several) or (of_value and len(result.endpoints) < len(named))
    names_all = not of_value or len(result.endpoints) == len(named)
    assert result.more == (not names_all if proved else is_cut)
    if len(result.contacts) < len(several):
        assert limit - size < 50 + 6  # not one more would have fitted
    elif is_cut:
        assert limit - size < 2 + 18 + 3


def test_contacts_go_before_endpoints() -> None:
    several = [four(number) for number in range(1, 9)]
    _, result = found(FindValue(Id(0)), several, [AT4] * 5, 410)
    assert len(result.contacts) == 8
    assert 0 < len(result.endpoints) < 5
    _, result = found(FindValue(Id(0)), several, [AT4] * 5, 300)
    assert 0 < len(result.contacts) < 8


def test_one_byte_decides_if_an_answer_is_whole() -> None:
    several = [four(number) for number in range(1, 9)]
    whole, _ = found(FindNode(Id(0)), several, [], 10_000)
    size, result = found(FindNode(Id(0)), several, [], whole)
    assert (size, len(result.contacts), result.more) == (whole, 8, False)
    _, result = found(FindNode(Id(0)), several, [], whole - 1)
    assert (len(result.contacts), result.more) == (7, True)


def test_endpoints_fill_an_answer_to_its_limit() -> None:
    whole, _ = found(FindValue(Id(0)), [], [AT4] * 30, 10_000)
    for missing in range(8 * 14):  # so that at least 16 go, and their number takes its three bytes
        size, result = found(FindValue(Id(0)), [], [AT4] * 30, whole - missing)
        assert len(result.endpoints) == 30 - (missing + 7) // 8
        assert size == whole - 8 * (30 - len(result.endpoints))


def test_an_impossible_limit_gives_the_shortest() -> None:
    size, result = found(FindNode(Id(0)), [four(1), six(2)], [], 0)
    assert (size, result.contacts, result.more) == (86, (), True)
    watched = CODEC.encode_watched(Query(TID, ID, WATCH), ID, AT4, bytes(8), 0, Room(0), [AT4])
    assert watched == (raw(1, TID, NATIVE.to_bytes(ID), bytes(AT4), [bytes(8), 0, [], True]), 0)


@pytest.mark.parametrize(
    "request_",
    [kind(Id(5), token) for kind in (FindNode, FindValue, Get) for token in (None, b"x")] + [Get(Id(5), b"x", 7)],
)
@pytest.mark.parametrize("observed", [AT4, AT6])
def test_an_answer_may_be_cut_to_its_token(request_: FindNode | FindValue | Get, observed: Endpoint) -> None:
    data = CODEC.encode_cut(Query(TID, ID, request_), ID, observed, b"a token!")
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert (reply.tid, reply.sender, reply.observed) == (TID, ID, observed)
    assert CODEC.decode_result(request_, reply.body) == Found(b"a token!", (), (), more=True)
    args = [bytes(32), None, None] if isinstance(request_, Get) else [bytes(32), None]
    bare = MAGIC + msgpack.packb([0, TID, NATIVE.to_bytes(ID), METHODS[type(request_)], args])
    assert len(data) < len(bare)


@given(tids(), ids(), ids())
def test_the_shortest_find_has_room_to_answer(tid: bytes, sender: Id, target: Id) -> None:
    for method in ("find_node", "find_value"):
        bare = MAGIC + msgpack.packb([0, tid, NATIVE.to_bytes(sender), method, [NATIVE.to_bytes(target), None]])
        message = CODEC.decode(bare)
        assert isinstance(message, Query)
        assert isinstance(message.request, FindNode | FindValue)
        size, _ = found(message.request, [six(number) for number in range(1, 9)], [AT6], 3 * len(bare))
        assert size <= 3 * len(bare)


@given(st.lists(endpoints(), max_size=60), st.integers(100, 600), st.integers(0, VERSION_MAX))
def test_a_watch_is_told_as_much_as_fits(named: list[Endpoint], limit: int, version: int) -> None:
    data, told = CODEC.encode_watched(Query(TID, ID, WATCH), ID, AT6, b"token", version, Room(limit), named)
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(WATCH, reply.body)
    assert isinstance(result, Watched)
    assert (reply.tid, reply.sender, reply.observed) == (TID, ID, AT6)
    assert (result.token, result.version) == (b"token", version)
    assert result.more == (told < len(named))
    assert len(data) <= limit
    assert result.endpoints == tuple(named[:told])
    if result.more:
        assert limit - len(data) < 2 + 18 + 3


@given(tids(), ids(), endpoints())
def test_other_answers_stay_below_threefold(tid: bytes, id: Id, observed: Endpoint) -> None:
    shortest = len(raw(0, TID, SENDER, "", None))
    assert len(CODEC.encode_acknowledged(tid, id, observed)) <= 3 * shortest
    assert len(CODEC.encode_renewed(tid, id, observed, bytes(8), None)) <= 3 * shortest
    for text in ("unknown method", "bad arguments", "bad token", "too many entries from this address", BUSY):
        assert len(CODEC.encode_error(tid, id, 204, text)) <= 3 * shortest


@given(st.lists(endpoints4(), max_size=3))
def test_a_cached_pack_is_sent_as_it_is(named: list[Endpoint]) -> None:
    several = (four(1), four(2))
    packed = PackedContacts(several, b"\xc4\x00\xc4\x00")  # a pack that differs from its contacts shows
    data = CODEC.encode_found(Query(TID, ID, FindValue(Id(1))), ID, AT4, b"t", packed, Room(1_200), Named(named))
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert CODEC.decode_result(FindValue(Id(1)), reply.body) == Found(b"t", (), tuple(named), False)

"""Values on the native wire: get, put, and what an answer with a value has room for."""

from __future__ import annotations

from hashlib import sha256

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Room
from dhtd.core.endpoint import IPV4_SIZE, Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_DATA,
    ERROR_PROTOCOL,
    ERROR_SALT,
    VALUE_LASTS,
    Acknowledged,
    BadQuery,
    Contact,
    Found,
    Get,
    Message,
    Put,
    Query,
    Reply,
    rest_of,
)
from dhtd.core.policy import DEFAULT
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.wire import native_values
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import GET_SIZE, MAGIC, PUT_SIZE_MAX, TOKEN_MAX
from tests.strategies import contacts, endpoints, ids, puts, scaled, seqs, tids, tokens, values

CODEC = NativeCodec()
TID, SENDER, ID = b"12345678", bytes(range(32)), Id(int.from_bytes(bytes(range(32)), "big"))
KEY = bytes(31) + b"\x09"
AT4, AT6 = Endpoint.of("1.2.3.4", 5), Endpoint.of("2001:db8::1", 5)
TOKEN = bytes(8)  # as long as ours
PUBLIC_KEY, SIGNATURE = b"k" * 32, b"s" * 64  # of nobody: the wire leaves it to the core when to verify
FIELDS: list[object] = [PUBLIC_KEY, b"salt", 7, b"data", SIGNATURE]
SIGNED = Mutable(PUBLIC_KEY, b"salt", 7, b"data", SIGNATURE)
LARGEST = Mutable(PUBLIC_KEY, bytes(SALT_MAX), SEQ_MAX, bytes(DATA_MAX), SIGNATURE)
FIXED = Immutable(b"data")
FIXED_KEY = Id(int(sha256(b"data").hexdigest(), 16))
SIGNED_KEY = Id(int(sha256(PUBLIC_KEY + b"salt").hexdigest(), 16))


def raw(*fields: object) -> bytes:
    return MAGIC + msgpack.packb(list(fields))


def ask(method: str, *args: object) -> Message:
    return CODEC.decode(raw(0, TID, SENDER, method, list(args)))


def refused(code: int, text: str = "bad arguments") -> BadQuery:
    return BadQuery(TID, ID, code, text)


# Keys


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (FIXED, FIXED_KEY),
        (Immutable(b""), Id(int(sha256(b"").hexdigest(), 16))),
        (SIGNED, SIGNED_KEY),
        (SIGNED._replace(seq=8, data=b"", signature=bytes(64)), SIGNED_KEY),
        (SIGNED._replace(salt=b""), Id(int(sha256(PUBLIC_KEY).hexdigest(), 16))),
    ],
)
def test_a_key_is_the_hash_of_what_never_changes(value: Value, key: Id) -> None:
    assert CODEC.key_of(value) == key


def test_anybody_can_put_data_under_a_signed_key() -> None:
    assert CODEC.key_of(Immutable(PUBLIC_KEY + b"salt")) == CODEC.key_of(SIGNED)


@given(puts(), tids(), ids())
def test_a_put_is_read_under_its_values_key(put: Put, tid: bytes, sender: Id) -> None:
    data = CODEC.encode_query(tid, sender, put)
    assert CODEC.decode(data) == Query(tid, sender, put)
    assert CODEC.is_plain(data)


# Arguments

BAD_KEYS: list[object] = [None, b"", KEY[1:], KEY + b"\0", "k" * 32, 9, [KEY]]
BAD_TOKENS: list[object] = [b"", bytes(TOKEN_MAX + 1), "x", 0, False, [b"x"]]
BAD_SEQS: list[object] = [-1, -(2**63), SEQ_MAX + 1, 2**64 - 1, True, False, 7.0, "7", b"\7", []]
BAD_LASTS: list[object] = [None, 0, VALUE_LASTS + 1, *BAD_SEQS]
BAD_FIELDS: list[list[object]] = [
    [None, b"", bytes(31), bytes(33), "k" * 32, 7, []],
    [None, "salt", 7, [b"salt"]],
    [None, *BAD_SEQS],
    [None, "data", 7, [b"data"]],
    [None, b"", bytes(63), bytes(65), "s" * 64, 7],
]
BAD_VALUES: list[object] = [
    *(None, 7, True, 1.5, "data", {}, [], [[]], [b"data"], [FIELDS]),
    *(FIELDS[:4], [*FIELDS, None], [*FIELDS, b"behind"], 3 * FIELDS, 500 * [b""]),
    *([*FIELDS[:place], bad, *FIELDS[place + 1 :]] for place, bads in enumerate(BAD_FIELDS) for bad in bads),
]
ARGUMENTS: list[tuple[str, Get | Put, list[object], list[list[object]]]] = [
    ("get", Get(Id(9)), [KEY, None, None], [BAD_KEYS, BAD_TOKENS, BAD_SEQS]),
    ("get", Get(Id(9), b"x", 7), [KEY, b"x", 7], [BAD_KEYS, BAD_TOKENS, BAD_SEQS]),
    (
        "put",
        Put(FIXED_KEY, b"x", FIXED, None, 60),
        [b"x", b"data", None, 60],
        [[None, *BAD_TOKENS], BAD_VALUES, BAD_SEQS, BAD_LASTS],
    ),
    (
        "put",
        Put(SIGNED_KEY, b"x", SIGNED, 6, 60),
        [b"x", FIELDS, 6, 60],
        [[None, *BAD_TOKENS], BAD_VALUES, BAD_SEQS, BAD_LASTS],
    ),
]


@pytest.mark.parametrize(("method", "request_", "good", "bads"), ARGUMENTS)
@pytest.mark.parametrize("behind", [[], [None, {"a": [1]}, "x"], [bytes(200)], [bytes(1_500)]], ids=len)
def test_each_argument_is_strict(
    method: str, request_: Get | Put, good: list[object], bads: list[list[object]], behind: list[object]
) -> None:
    assert ask(method, *good, *behind) == Query(TID, ID, request_)
    for place, several in enumerate(bads):
        assert ask(method, *good[:place]) == refused(ERROR_PROTOCOL)
        for bad in several:
            assert ask(method, *good[:place], bad, *good[place + 1 :], *behind) == refused(ERROR_PROTOCOL), bad


def test_each_argument_may_be_at_its_limit() -> None:
    for seq in (0, SEQ_MAX):
        assert ask("get", KEY, bytes(TOKEN_MAX), seq) == Query(TID, ID, Get(Id(9), bytes(TOKEN_MAX), seq))
        for lasts in (1, VALUE_LASTS):
            put = Put(SIGNED_KEY, b"x", SIGNED._replace(seq=seq), seq, lasts)
            assert ask("put", b"x", [*FIELDS[:2], seq, *FIELDS[3:]], seq, lasts) == Query(TID, ID, put)


def test_a_value_may_be_at_its_limits() -> None:
    for value in (Immutable(b""), Immutable(bytes(DATA_MAX)), LARGEST, SIGNED._replace(salt=b"", seq=0, data=b"")):
        put = Put(CODEC.key_of(value), bytes(TOKEN_MAX), value, SEQ_MAX, VALUE_LASTS)
        assert CODEC.decode(CODEC.encode_query(TID, ID, put)) == Query(TID, ID, put)


def test_too_many_bytes_have_errors_of_their_own() -> None:
    too_big = refused(ERROR_DATA, "a value has 1000 bytes at most")
    for size in (DATA_MAX + 1, 1_800):
        assert ask("put", b"x", bytes(size), None, 60) == too_big
        assert ask("put", b"x", [*FIELDS[:3], bytes(size), SIGNATURE], None, 60) == too_big
    for salt in (bytes(SALT_MAX + 1), bytes(300)):
        for data in (b"", bytes(DATA_MAX), bytes(DATA_MAX + 1)):
            bad = ask("put", b"x", [PUBLIC_KEY, salt, 7, data, SIGNATURE], None, 60)
            assert bad == refused(ERROR_SALT, "a salt has 64 bytes at most")


def test_a_value_may_be_written_overlong() -> None:
    head = MAGIC + b"\x95\x00\xc4\x08" + TID + b"\xc4\x20" + SENDER + b"\xa3put"
    fields = b"\xc4\x20%b\xc5\x00\x04salt\xcd\x00\x07\xc6\x00\x00\x00\x04data\xc4\x40%b" % (PUBLIC_KEY, SIGNATURE)
    for array in (b"\x95", b"\xdc\x00\x05", b"\xdd\x00\x00\x00\x05"):
        data = head + b"\x94\xc4\x01x" + array + fields + b"\xc0\xcd\x00\x3c"
        assert CODEC.decode(data) == Query(TID, ID, Put(SIGNED_KEY, b"x", SIGNED, None, 60))


@given(st.none() | seqs() | values())
def test_msgpack_itself_writes_the_same_value(held: Value | int | None) -> None:
    plain = list(held) if isinstance(held, Mutable) else held.data if isinstance(held, Immutable) else held
    assert native_values.encode(held) == msgpack.packb(plain)


@pytest.mark.parametrize("bits", range(64))
def test_msgpack_itself_writes_the_same_number(bits: int) -> None:
    for number in {2**bits - 1, min(2**bits, SEQ_MAX)}:
        assert native_values.integer(number) == msgpack.packb(number)


# Sizes


def put(value: Value, token: bytes = TOKEN) -> bytes:
    return CODEC.encode_query(TID, ID, Put(CODEC.key_of(value), token, value, SEQ_MAX, VALUE_LASTS))


def test_the_largest_put_is_plain_and_no_larger_one() -> None:
    assert len(put(LARGEST)) == 1_250 + len(TOKEN) <= DEFAULT.datagram_value_max
    longest = put(LARGEST, bytes(TOKEN_MAX))
    assert len(longest) == PUT_SIZE_MAX == 1_250 + TOKEN_MAX
    assert CODEC.is_plain(longest)
    assert not CODEC.is_plain(longest + b"\0")
    assert not CODEC.is_plain(raw(0, TID, SENDER, "put", [TOKEN, bytes(200), None, 60, None]))
    assert not CODEC.is_plain(raw(0, TID, SENDER, "pat", [TOKEN, bytes(200), None, 60]))


@given(tids(), ids(), ids(), st.none() | seqs(), st.none() | tokens())
def test_our_own_gets_are_plain(tid: bytes, sender: Id, key: Id, seq: int | None, token: bytes | None) -> None:
    request = Get(key, token if token is None else token[:8], seq)
    data = CODEC.encode_query(tid, sender, request)
    assert CODEC.is_plain(data)
    assert CODEC.decode(data) == Query(tid, sender, request)
    assert token is not None or len(data) == GET_SIZE


def four(number: int) -> Contact:
    return Contact(Id(1 << number), Endpoint.of(f"10.0.0.{number}", 1))


def six(number: int) -> Contact:
    return Contact(Id(1 << number), Endpoint.of(f"2001:db8::{number:x}", 1))


FOURS, SIXES = [four(number) for number in range(1, 9)], [six(number) for number in range(1, 9)]


def got(
    held: Value | int | None,
    near: list[Contact],
    room: Room,
    *,
    at: Endpoint = AT6,
    request: Get | None = None,
    others: list[Contact] | None = None,
    token: bytes = TOKEN,
    lasts: int = VALUE_LASTS,
) -> tuple[int, Found]:
    """Encode an answer under a limit; return its size and its content."""
    request = request or Get(Id(0))
    beside = None if others is None else CODEC.pack_contacts(others)
    packed = CODEC.pack_contacts(near)
    data = CODEC.encode_got(Query(TID, ID, request), ID, at, token, packed, room, held, lasts, beside)
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    assert (reply.tid, reply.sender, reply.observed) == (TID, ID, at)
    result = CODEC.decode_result(request, reply.body)
    assert isinstance(result, Found)
    assert (result.token, result.lasts, result.endpoints) == (token, lasts, ())
    return len(data), result


WHOLE = Room(DEFAULT.datagram_sent_max, proved=True)
PADDED = Room(DEFAULT.datagram_sent_max)  # for a padded query


def test_a_padded_get_has_a_full_datagram() -> None:
    assert DEFAULT.datagram_sent_max <= 3 * GET_SIZE


@pytest.mark.parametrize(("at", "near", "others"), [(AT4, FOURS, SIXES), (AT6, SIXES, FOURS)], ids=["IPv4", "IPv6"])
def test_a_small_value_leaves_room_for_all_contacts(at: Endpoint, near: list[Contact], others: list[Contact]) -> None:
    for held in (None, 0, SEQ_MAX, Immutable(bytes(100)), SIGNED):
        size, result = got(held, near, PADDED, at=at, others=others)
        assert size <= PADDED.limit
        assert (result.held, result.more) == (held, False)
        assert set(result.contacts) == {*near, *others}


@pytest.mark.parametrize("at", [AT4, AT6], ids=["IPv4", "IPv6"])
def test_the_largest_value_fits_a_proved_answer(at: Endpoint) -> None:
    near, others = (FOURS, SIXES) if at == AT4 else (SIXES, FOURS)
    size, result = got(LARGEST, near, WHOLE, at=at, others=others)
    assert size == 1_244 + len(at) + len(TOKEN)
    assert DEFAULT.datagram_sent_max < size <= DEFAULT.datagram_value_max
    assert (result.held, result.contacts, result.more) == (LARGEST, (), True)
    # Where there are no contacts, nothing is left out.
    size, result = got(LARGEST, [], WHOLE, at=at)
    assert (result.held, result.contacts, result.more) == (LARGEST, (), False)
    # A stranger is told to prove itself, and is given the contacts meanwhile.
    size, result = got(LARGEST, near, PADDED, at=at, others=others)
    assert size <= PADDED.limit
    assert (result.held, result.more) == (None, True)
    assert set(result.contacts) == {*near, *others}


@pytest.mark.parametrize("size", range(700, DATA_MAX + 1, 20))
def test_three_gets_bring_all_that_there_is(size: int) -> None:
    for held in (Immutable(bytes(size)), LARGEST._replace(data=bytes(size))):
        request: Get | None = Get(Id(0))
        values: list[Value | int | None] = []
        known: set[Contact] = set()
        while request is not None:
            shown = held if request.seq is None else request.seq
            room = WHOLE if request.token == TOKEN else PADDED
            length, result = got(shown, SIXES, room, request=request)
            assert length <= DEFAULT.datagram_value_max
            values.append(result.held)
            known.update(result.contacts)
            rest = rest_of(request, result)
            assert rest is None or isinstance(rest, Get)
            request = rest
        assert held in values
        assert known == set(SIXES)
        assert len(values) <= 3


@pytest.mark.parametrize(
    ("request_", "held", "rest"),
    [
        (Get(Id(9)), None, Get(Id(9), TOKEN)),
        (Get(Id(9)), FIXED, Get(Id(9), TOKEN, 0)),
        (Get(Id(9), TOKEN), SIGNED, Get(Id(9), TOKEN, 7)),
        (Get(Id(9), None, 3), None, Get(Id(9), TOKEN, 3)),
        (Get(Id(9), None, 3), SIGNED, None),
        (Get(Id(9), TOKEN), None, None),
        (Get(Id(9), TOKEN, 3), 3, None),
    ],
)
def test_the_rest_of_a_get_is_asked_for_once(request_: Get, held: Value | int | None, rest: Get | None) -> None:
    assert rest_of(request_, Found(TOKEN, (), (), True, held, 60)) == rest
    assert rest_of(request_, Found(TOKEN, (), (), False, held, 60)) is None
    assert rest_of(request_, Found(b"", (), (), True, held, 60)) is None


@scaled(300)
@given(
    near=st.lists(contacts(), max_size=10, unique_by=lambda contact: contact.id),
    others=st.none() | st.lists(contacts(), max_size=10),
    held=st.none() | seqs() | values(),
    limit=st.integers(150, 1_200),
    key=ids(),
    at=endpoints(),
    proved=st.booleans(),
    token=st.just(b"") | tokens(),
)
def test_a_value_goes_first_and_far_contacts_last(
    near: list[Contact],
    others: list[Contact] | None,
    held: Value | int | None,
    limit: int,
    key: Id,
    at: Endpoint,
    proved: bool,
    token: bytes,
) -> None:
    near = [contact for contact in near if len(contact.endpoint) == len(at)]
    beside = None if others is None else [contact for contact in others if len(contact.endpoint) != len(at)]
    size, result = got(held, near, Room(limit, proved), at=at, request=Get(key), others=beside, token=token)
    # 1. What is held is there, or has no room in an answer to a stranger.
    is_value = isinstance(held, Value)
    is_left_out = is_value and result.held is None
    assert result.held == held or (is_left_out and not proved)
    if is_left_out:
        assert size + len(msgpack.packb(held)) > limit
    # 2. It alone may make an answer longer than its room.
    mine = [contact for contact in result.contacts if len(contact.endpoint) == len(at)]
    theirs = [contact for contact in result.contacts if contact not in mine]
    assert size <= limit or (is_value and proved and not result.contacts)
    assert size <= max(limit, 1_244 + len(at) + len(token))
    # 3. The nearest contacts are there, and then those of the other family.
    assert set(mine) == set(sorted(near, key=lambda contact: contact.id ^ key)[: len(mine)])
    assert set(theirs) <= set(beside or ())
    is_cut = len(mine) < len(near)
    if is_cut:
        assert size + 33 + len(at) > limit
        assert len(theirs) * 38 < 50, "of two families, the requester's goes first"
    # 4. It says so, if another query brings the rest.
    assert result.more == (token != b"" and (is_left_out or (is_cut and (is_value or not proved))))


# Results

BAD_HELD: list[object] = [bad for bad in BAD_VALUES if bad is not None and bad != 7]
GOT: list[tuple[Found, list[object]]] = [
    (Found(b"t", (), (), True), [b"t", b"", b"", True, None, 0]),
    (Found(b"t", (), (), False, 7, 60), [b"t", b"", b"", False, 7, 60]),
    (Found(b"", (), (), False, FIXED, VALUE_LASTS), [b"", b"", b"", True, b"data", VALUE_LASTS]),
    (Found(b"t", (), (), False, SIGNED, 1), [b"t", b"", b"", False, FIELDS, 1]),
]
TOO_LARGE: list[list[object]] = [
    [*FIELDS[:3], bytes(DATA_MAX + 1), SIGNATURE],
    [PUBLIC_KEY, bytes(SALT_MAX + 1), *FIELDS[2:]],
]
BAD_RESULT: list[list[object]] = [
    [None, bytes(TOKEN_MAX + 1), "token", 5],
    [None, bytes(37), "n" * 38, []],
    [None, bytes(49), "n" * 50, []],
    [None, 0, 1, "false"],
    [*BAD_HELD, SEQ_MAX + 1, -1, True, bytes(DATA_MAX + 1), *TOO_LARGE],
    [None, -1, VALUE_LASTS + 1, 2**63, True, 1.0, "1", b"\1"],
]


@pytest.mark.parametrize(("result", "good"), GOT, ids=["none", "seq", "immutable", "signed"])
@pytest.mark.parametrize("behind", [[], [None, "x"], [bytes(200)]], ids=len)
def test_a_result_of_get_is_strict(result: Found, good: list[object], behind: list[object]) -> None:
    def read(*body: object) -> object:
        reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), [*body, *behind]))
        assert isinstance(reply, Reply)
        return CODEC.decode_result(Get(Id(9)), reply.body)

    assert read(*good) == result
    for place, several in enumerate(BAD_RESULT):
        for bad in several:
            with pytest.raises(WireError):
                read(*good[:place], bad, *good[place + 1 :])
        with pytest.raises(WireError):
            CODEC.decode_result(Get(Id(9)), good[:place])


@pytest.mark.parametrize("size", [0, 200, 1_500])
def test_a_value_of_another_form_is_none(size: int) -> None:
    """Elements behind the fifth of a signed value are not ignored: nobody has signed them."""
    for held in ([*FIELDS, None], FIELDS[:4], [FIELDS], [b"data"]):
        reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), [b"t", b"", b"", True, held, 60, bytes(size)]))
        assert isinstance(reply, Reply)
        with pytest.raises(WireError):
            CODEC.decode_result(Get(Id(9)), reply.body)


def test_a_put_is_acknowledged_with_nothing() -> None:
    request = Put(FIXED_KEY, b"x", FIXED, None, 60)
    for body in ([], [None], [bytes(200)]):
        reply = CODEC.decode(raw(1, TID, SENDER, bytes(AT4), body))
        assert isinstance(reply, Reply)
        assert CODEC.decode_result(request, reply.body) == Acknowledged()


@pytest.mark.parametrize("at", [AT4, AT6], ids=["IPv4", "IPv6"])
def test_a_get_may_be_cut_to_its_token(at: Endpoint) -> None:
    for request in (Get(Id(9)), Get(Id(9), None, 7), Get(Id(9), b"x", 7)):
        reply = CODEC.decode(CODEC.encode_cut(Query(TID, ID, request), ID, at, TOKEN))
        assert isinstance(reply, Reply)
        assert CODEC.decode_result(request, reply.body) == Found(TOKEN, (), (), True, None, 0)
    assert len(at) in (IPV4_SIZE, 18)

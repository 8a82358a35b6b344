"""The native wire against a slow reading of its specification, for any change to a datagram on its way.

`read` below gives the meaning of a datagram: tables of what each element must be, and a loop over them. Each kind of
message survives encoding and decoding. For anything else, a part of a datagram, one with other bytes, two of them
spliced, another object in place of one, the decoder agrees with the specification, and a decoded message can be encoded
again. And no answer is too long, whatever a node knows and whatever it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from random import Random

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import (
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
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Mutable, Peer, Value
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.held_values import HeldValue
from dhtd.errors import WireError
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_results import Unread
from dhtd.wire.reader import CHECKED
from tests.records import KEPT, SESSION, own_key, to_store, to_withdraw
from tests.strategies import (
    changes,
    contacts,
    endpoints,
    errors,
    ids,
    leases,
    ports,
    puts,
    requests,
    results,
    scaled,
    seqs,
    sessions,
    tids,
    tokens,
)
from tests.wire.mutator import HOSTILE, Mutator
from tests.wire.vectors import VECTORS

pytestmark = pytest.mark.no_cover

CODEC = NativeCodec()
SENT_MAX = 1_200
VALUE_MAX = 1_280  # the same with a value
ANYWHERE = ("0.0.0.0/0", "::/0")  # no network has limits
LARGEST = Mutable(bytes(32), bytes(64), 2**63 - 1, bytes(1_000), bytes(64))

# The specification

Check = Callable[[object], bool]


def a_bin(*sizes: int) -> Check:
    return lambda value: type(value) is bytes and len(value) in sizes


def a_text(value: object) -> bool:
    return type(value) is str


def an_array(value: object) -> bool:
    return type(value) is list


def an_integer(value: object) -> bool:
    return type(value) is int


def a_boolean(value: object) -> bool:
    return value is True or value is False


def nodes_of(size: int) -> Check:
    return lambda value: type(value) is bytes and len(value) % size == 0


def an_array_of_endpoints(value: object) -> bool:
    return isinstance(value, list) and all(an_endpoint(element) for element in value)


def an_integer_of(least: int, most: int) -> Check:
    return lambda value: an_integer(value) and least <= value <= most  # type: ignore[operator]


def a_count_or_nil(value: object) -> bool:
    return value is None or an_integer_of(0, 2**64)(value)


def either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def nothing(value: object) -> bool:
    return value is None


def a_value_of_any_size(value: object) -> bool:
    return any_bin(value) or (isinstance(value, list) and len(value) == len(SIGNED) and begins_with(value, SIGNED))


def a_value(value: object) -> bool:
    return a_value_of_any_size(value) and too_large(value) is None


def any_bin(value: object) -> bool:
    return type(value) is bytes


def too_large(value: object) -> int | None:
    """Return the code of the error about a value of too many bytes."""
    if isinstance(value, list) and len(value[1]) > 64:
        return 207
    return 205 if len(value[3] if isinstance(value, list) else value) > 1_000 else None  # type: ignore[arg-type]


an_id, an_endpoint, a_token = a_bin(32), a_bin(6, 18), a_bin(*range(1, 65))
a_token_or_none = a_bin(*range(65))  # of an answer
a_port, a_lease, a_version = an_integer_of(1, 65_535), an_integer_of(1, 14_400), an_integer_of(0, 2**63 - 1)
a_session = a_bin(16)
a_seq, a_day = an_integer_of(0, 2**63 - 1), 86_400
SIGNED: tuple[Check, ...] = (a_bin(32), any_bin, a_seq, any_bin, a_bin(64))


def a_token_or_nil(value: object) -> bool:
    return value is None or a_token(value)


ENVELOPE = (an_integer, a_bin(8), an_id)
ARGUMENTS: dict[str, tuple[Check, ...]] = {
    "ping": (),
    "find_node": (an_id, a_token_or_nil),
    "find_value": (an_id, a_token_or_nil),
    "store": (an_id, a_port, a_token, a_lease, a_session),
    "withdraw": (an_id, a_port, a_token, a_session),
    "renew": (a_session, an_integer_of(0, 14_400), a_token_or_none),
    "watch": (an_id, a_token, an_integer_of(0, 14_400), a_session),
    "changed": (an_id, a_version, an_array_of_endpoints, an_array_of_endpoints),
    "get": (an_id, a_token_or_nil, either(nothing, a_seq)),
    "put": (a_token, a_value_of_any_size, either(nothing, a_seq), an_integer_of(1, a_day)),
}
TEXTS = {
    203: "bad arguments",
    204: "unknown method",
    205: "a value has 1000 bytes at most",
    207: "a salt has 64 bytes at most",
}
FIND = (a_token_or_none, nodes_of(38), nodes_of(50))
AT_MOST = 8  # endpoints of both arrays of a changed
RESULTS: dict[type[Request], tuple[Check, ...]] = {
    Ping: (),
    FindNode: (*FIND, a_boolean),
    FindValue: (*FIND, an_array_of_endpoints, a_boolean),
    Get: (*FIND, a_boolean, either(nothing, a_seq, a_value), an_integer_of(0, a_day)),
    Put: (),
    Store: (),
    Withdraw: (),
    Renew: (a_token, a_count_or_nil),
    Watch: (a_token, a_version, an_array_of_endpoints, a_boolean),
    Changed: (),
}
ONE_OF_EACH: tuple[Request, ...] = (
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


def begins_with(value: object, shape: tuple[Check, ...]) -> bool:
    """Whether this is an array that begins with such elements; more at the end are for later versions."""
    return (
        isinstance(value, list)
        and len(value) >= len(shape)
        and all(check(element) for check, element in zip(shape, value, strict=False))
    )


def read(data: bytes) -> Message | None:
    """Return the meaning of a datagram, or None."""
    if data[:4] != b"DHT\x01":
        return None
    try:
        fields = msgpack.unpackb(data[4:])
    except Exception:  # noqa: BLE001 - whatever it is, this is not one object
        return None
    if not begins_with(fields, ENVELOPE):
        return None
    tid, sender = fields[1], number(fields[2])
    if fields[0] == 0 and begins_with(fields[3:], (a_text, lambda value: True)):
        return read_query(tid, sender, fields[3], fields[4])
    if fields[0] == 1 and begins_with(fields[3:], (an_endpoint, an_array)):
        return Reply(tid, sender, Endpoint(fields[3]), fields[4])
    if fields[0] == 2 and begins_with(fields[3:], (an_integer, a_text)):
        return Error(tid, sender, fields[3], fields[4])
    return None


def read_query(tid: bytes, sender: Id, method: str, args: object) -> Query | BadQuery:
    if not isinstance(args, list):
        return BadQuery(tid, sender, 203, "bad arguments")
    if method not in ARGUMENTS:
        return BadQuery(tid, sender, 204, "unknown method")
    if not begins_with(args, ARGUMENTS[method]) or (method == "changed" and len(args[2] + args[3]) > AT_MOST):
        return BadQuery(tid, sender, 203, "bad arguments")
    if method == "put":
        code = too_large(args[1])
        if code is not None:
            return BadQuery(tid, sender, code, TEXTS[code])
    kinds: dict[str, Callable[[], Request]] = {
        "ping": Ping,
        "find_node": lambda: FindNode(number(args[0]), args[1]),
        "find_value": lambda: FindValue(number(args[0]), args[1]),
        "store": lambda: Store(number(args[0]), *args[1:5]),
        "withdraw": lambda: Withdraw(number(args[0]), *args[1:4]),
        "renew": lambda: Renew(*args[:3]),
        "watch": lambda: Watch(number(args[0]), *args[1:4]),
        "changed": lambda: Changed(number(args[0]), args[1], endpoints_of(args[2]), endpoints_of(args[3])),
        "get": lambda: Get(number(args[0]), *args[1:3]),
        "put": lambda: Put(key_of(args[1]), args[0], value_of(args[1]), *args[2:4]),
    }
    return Query(tid, sender, kinds[method]())


def read_result(request: Request, body: list[object]) -> Result | None:
    """Return the meaning of a reply's body as an answer to `request`, or None."""
    if not begins_with(body, RESULTS[type(request)]):
        return None
    if isinstance(request, Renew):
        return Renewed(*body[:2])  # type: ignore[arg-type]
    if isinstance(request, Watch):
        return Watched(body[0], body[1], endpoints_of(body[2]), body[3])  # type: ignore[arg-type]
    if not isinstance(request, FindNode | FindValue | Get):
        return Acknowledged()
    token, nodes4, nodes6, *rest = body
    assert isinstance(token, bytes)
    named = rest[0] if isinstance(request, FindValue) else []
    several = (*read_nodes(nodes4, 38), *read_nodes(nodes6, 50))
    more = rest[1 if isinstance(request, FindValue) else 0] is True and token != b""
    held, lasts = rest[1:3] if isinstance(request, Get) else (None, 0)
    if not isinstance(held, int | None):
        held = value_of(held)
    return Found(token, several, endpoints_of(named), more, held, lasts)  # type: ignore[arg-type]


def value_of(value: object) -> Value:
    return Mutable(*value) if isinstance(value, list) else Immutable(value)  # type: ignore[arg-type]


def key_of(value: object) -> Id:
    hashed = value[0] + value[1] if isinstance(value, list) else value
    return number(sha256(hashed).digest())  # type: ignore[arg-type]


def endpoints_of(named: object) -> tuple[Endpoint, ...]:
    assert isinstance(named, list)
    return tuple(map(Endpoint, named))


def read_nodes(nodes: object, size: int) -> Iterator[Contact]:
    assert isinstance(nodes, bytes)
    while nodes:
        yield Contact(number(nodes[:32]), Endpoint(nodes[32:size]))
        nodes = nodes[size:]


def number(data: object) -> Id:
    assert isinstance(data, bytes)
    return Id(int(data.hex(), 16))


# Messages, with their meaning

Said = tuple[bytes, Message]


def packed(*fields: object) -> bytes:
    """Return a datagram as another implementation may write it."""
    return b"DHT\x01" + msgpack.packb(fields)


def said_query(tid: bytes, sender: Id, request: Request) -> Said:
    return CODEC.encode_query(tid, sender, request), Query(tid, sender, request)


def said_badly(tid: bytes, sender: Id, method: str, args: list[object] | None) -> Said:
    return packed(0, tid, in_bytes(sender), method, args), BadQuery(tid, sender, 203, "bad arguments")


def said_of_later_versions(tid: bytes, sender: Id, method: str, args: list[object]) -> Said:
    return packed(0, tid, in_bytes(sender), method, args), BadQuery(tid, sender, 204, "unknown method")


def said_acknowledged(tid: bytes, sender: Id, observed: Endpoint) -> Said:
    return CODEC.encode_acknowledged(tid, sender, observed), Reply(tid, sender, observed, [])


def said_found(tid: bytes, sender: Id, observed: Endpoint, found: Found, request: FindNode | FindValue | Get) -> Said:
    token, query, room = found.token, Query(tid, Id(0), request), Room(100_000)
    assert token is not None
    packed = CODEC.pack_contacts(found.contacts)
    if isinstance(request, Get):
        data = CODEC.encode_got(query, sender, observed, token, packed, room, found.held, found.lasts)
    else:
        data = CODEC.encode_found(query, sender, observed, token, packed, room, Named(found.endpoints))
    return data, Reply(tid, sender, observed, body_of(found, request, more=False))


def said_found_by_others(
    tid: bytes, sender: Id, observed: Endpoint, found: Found, request: Request, more: bool, unknown: list[object]
) -> Said:
    body = body_of(found, request, more) + unknown
    return packed(1, tid, in_bytes(sender), bytes(observed), body, *unknown), Reply(tid, sender, observed, body)


def said_renewed(tid: bytes, sender: Id, observed: Endpoint, renewed: Renewed) -> Said:
    data = CODEC.encode_renewed(tid, sender, observed, renewed.token, renewed.held)
    return data, Reply(tid, sender, observed, [renewed.token, renewed.held])


def said_watched(tid: bytes, sender: Id, observed: Endpoint, watched: Watched) -> Said:
    query = Query(tid, Id(0), Watch(Id(1), b"x", 1, SESSION))
    token, version, room = watched.token, watched.version, Room(100_000)
    data, _ = CODEC.encode_watched(query, sender, observed, token, version, room, watched.endpoints)
    return data, Reply(tid, sender, observed, [token, version, list(map(bytes, watched.endpoints)), False])


def said_error(error: Error) -> Said:
    assert error.sender is not None
    return CODEC.encode_error(error.tid, error.sender, error.code, error.text), error


def body_of(found: Found, request: Request, more: bool) -> list[object]:
    nodes = {
        size: b"".join(in_bytes(id) + endpoint for id, endpoint in pairs(found) if len(endpoint) == size)
        for size in (6, 18)
    }
    named: list[object] = [list(map(bytes, found.endpoints))] if isinstance(request, FindValue) else []
    held: object = found.held
    if isinstance(held, Value):
        held = list(held) if isinstance(held, Mutable) else held.data
    return [found.token, nodes[6], nodes[18], *named, more, *([held, found.lasts] if isinstance(request, Get) else [])]


def pairs(found: Found) -> list[tuple[Id, Endpoint]]:
    return [(contact.id, contact.endpoint) for contact in found.contacts]


def in_bytes(id: Id) -> bytes:
    return bytes.fromhex(f"{id:064x}")


FOUND = results().filter(lambda result: isinstance(result, Found))
RENEWED = results().filter(lambda result: isinstance(result, Renewed))
WATCHED = results().filter(lambda result: isinstance(result, Watched))
KEYS = ids()
FINDS = st.sampled_from([FindNode(Id(1)), FindValue(Id(1)), Get(Id(1))])
SAID: dict[str, st.SearchStrategy[Said]] = {
    "ping": st.builds(said_query, tids(), ids(), st.just(Ping())),
    "find_node": st.builds(said_query, tids(), ids(), st.builds(FindNode, KEYS, st.none() | tokens())),
    "find_value": st.builds(said_query, tids(), ids(), st.builds(FindValue, KEYS, st.none() | tokens())),
    "store": st.builds(said_query, tids(), ids(), st.builds(Store, KEYS, ports(), tokens(), leases(), sessions())),
    "withdraw": st.builds(said_query, tids(), ids(), st.builds(Withdraw, KEYS, ports(), tokens(), sessions())),
    "renew": st.builds(said_query, tids(), ids(), st.builds(Renew, sessions(), leases(0), st.just(b"") | tokens())),
    "watch": st.builds(said_query, tids(), ids(), st.builds(Watch, KEYS, tokens(), leases(0), sessions())),
    "changed": st.builds(said_query, tids(), ids(), changes()),
    "get": st.builds(said_query, tids(), ids(), st.builds(Get, KEYS, st.none() | tokens(), st.none() | seqs())),
    "put": st.builds(said_query, tids(), ids(), puts()),
    "bad arguments": st.builds(
        said_badly,
        tids(),
        ids(),
        st.sampled_from([method for method in ARGUMENTS if method != "ping"]),
        st.sampled_from([None, [], [None, None, None], [bytes(32)], [bytes(32), 0, 0], [bytes(32), 0, [], [[]]]]),
    ),
    "unknown method": st.builds(
        said_of_later_versions,
        tids(),
        ids(),
        st.text(max_size=10).filter(lambda method: method not in ARGUMENTS),
        st.just([1, {"a": None}]),
    ),
    "acknowledged": st.builds(said_acknowledged, tids(), ids(), endpoints()),
    "found": st.builds(said_found, tids(), ids(), endpoints(), FOUND, FINDS),
    "found by others": st.builds(
        said_found_by_others,
        tids(),
        ids(),
        endpoints(),
        FOUND,
        FINDS,
        st.booleans(),
        st.sampled_from([[], [None], ["x", [1]]]),
    ),
    "renewed": st.builds(said_renewed, tids(), ids(), endpoints(), RENEWED),
    "watched": st.builds(said_watched, tids(), ids(), endpoints(), WATCHED),
    "error": st.builds(said_error, errors()),
}
ANYTHING_SAID = st.sampled_from(sorted(SAID)).flatmap(SAID.__getitem__)


def decoded(data: bytes) -> Message:
    """Return the decoder's reading of a datagram, with the result of a reply read to its end."""
    message = CODEC.decode(data)
    if isinstance(message, Reply) and isinstance(message.body, Unread):
        unpacker = msgpack.Unpacker()
        unpacker.feed(message.body.data[message.body.at :])
        return replace(message, body=unpacker.unpack())
    return message


def is_bad_only_where_nobody_looks(data: bytes) -> bool:
    """Whether a datagram is one object except for texts and keys that no message has, or has a long end."""
    if len(data) > CHECKED:
        return True
    unpacker = msgpack.Unpacker()
    unpacker.feed(data[4:])
    unpacker.skip()
    return unpacker.tell() == len(data) - 4


def check(data: bytes) -> Message | None:
    """Check that the decoder agrees with the specification on `data`, and that the message can be encoded again."""
    meaning = read(data)
    if meaning is None:
        try:
            CODEC.decode(data)
        except WireError:
            return None
        assert is_bad_only_where_nobody_looks(data)
        return None
    assert repr(decoded(data)) == repr(meaning)  # so that NaN equals itself, and True is not 1
    match meaning:
        case Query(tid, sender, request):
            assert CODEC.decode(CODEC.encode_query(tid, sender, request)) == meaning
        case Error(tid, sender, code, text):
            assert sender is not None
            assert CODEC.decode(CODEC.encode_error(tid, sender, code, text)) == meaning
        case Reply():
            for request in ONE_OF_EACH:
                check_result(meaning, request, CODEC.decode(data))
        case BadQuery(_, _, code, text):
            assert text == TEXTS[code]
    return meaning


def check_result(reply: Reply, request: Request, received: Message) -> None:
    assert isinstance(reply.body, list)
    assert isinstance(received, Reply)
    meaning = read_result(request, reply.body)
    if meaning is None:
        with pytest.raises(WireError):
            CODEC.decode_result(request, received.body)
        return
    assert CODEC.decode_result(request, received.body) == meaning
    assert reply.observed is not None
    whole: Result = meaning
    if isinstance(meaning, Found):
        assert isinstance(request, FindNode | FindValue | Get)
        again, _ = said_found(reply.tid, reply.sender, reply.observed, meaning, request)
        whole = replace(meaning, more=False)
    elif isinstance(meaning, Renewed):
        again, _ = said_renewed(reply.tid, reply.sender, reply.observed, meaning)
    elif isinstance(meaning, Watched):
        again, _ = said_watched(reply.tid, reply.sender, reply.observed, meaning)
        whole = replace(meaning, more=False)
    else:
        again = CODEC.encode_acknowledged(reply.tid, reply.sender, reply.observed)
    repeated = CODEC.decode(again)
    assert isinstance(repeated, Reply)
    assert CODEC.decode_result(request, repeated.body) == whole


@pytest.mark.parametrize("kind", SAID)
@scaled(25)
@given(data=st.data())
@pytest.mark.no_cover
def test_what_is_said_is_what_is_read(kind: str, data: st.DataObject) -> None:
    datagram, meaning = data.draw(SAID[kind])
    assert decoded(datagram) == meaning
    assert check(datagram) == meaning


@scaled(60)
@given(ANYTHING_SAID, st.sampled_from([b"\x00", b"\xc0", b"\x90", *HOSTILE]))
def test_a_partial_or_extended_datagram_is_none(said: Said, behind: bytes) -> None:
    datagram, _ = said
    for data in (*(datagram[:size] for size in range(len(datagram))), datagram + behind):
        try:
            CODEC.decode(data)
        except WireError:
            continue
        assert len(data) > CHECKED


@scaled(150)
@given(ANYTHING_SAID, ANYTHING_SAID, st.integers(0, 2**32))
def test_any_mutation_is_read_as_specified(one: Said, other: Said, seed: int) -> None:
    for mutant in Mutator(seed, [one[0], other[0]]).mutants(one[0], 15):
        check(mutant)


@scaled(100)
@given(ANYTHING_SAID, ANYTHING_SAID, st.floats(0, 1), st.floats(0, 1))
def test_spliced_datagrams_are_read_as_specified(one: Said, other: Said, until: float, since: float) -> None:
    check(one[0][: int(until * len(one[0]))] + other[0][int(since * len(other[0])) :])


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.no_cover
def test_any_flipped_bit_or_lost_byte_is_survived(name: str) -> None:
    data = VECTORS[name].data
    for place in range(len(data)):
        before, byte, behind = data[:place], data[place], data[place + 1 :]
        for bit in range(8):
            check(before + bytes([byte ^ 1 << bit]) + behind)
        check(before + behind)
        check(before + bytes([byte, byte]) + behind)


OTHERS: tuple[object, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 0.0, 1.0, 201, 14_400, 14_401, 65_535, 65_536, float("nan")),
    *(2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *("", "ping", "store", "pong", "x" * 8, "x" * 32),
    *(
        bytes(size)
        for size in (
            0,
            1,
            5,
            6,
            7,
            8,
            9,
            15,
            16,
            17,
            18,
            19,
            31,
            32,
            33,
            38,
            39,
            50,
            51,
            63,
            64,
            65,
            76,
            88,
            1_000,
            1_001,
        )
    ),
    *([bytes(32), b"", 0, b"", bytes(64)], [bytes(32), bytes(65), 0, bytes(1_001), bytes(64)], 86_400, 86_401),
    *([], [[]], [None], [bytes(6)], [bytes(6), bytes(18)], [bytes(18), bytes(7)], 9 * [bytes(6)]),
    *({}, {"a": 1}, {1: "a"}, {b"a": 1}),
)


@pytest.mark.parametrize("name", [vector.name for vector in VECTORS.values() if vector.kind != "silence"])
@pytest.mark.no_cover
def test_any_object_may_replace_any_other(name: str) -> None:
    fields = msgpack.unpackb(VECTORS[name].data[4:])
    for other in OTHERS:
        for variant in variants(fields, other):
            check(b"DHT\x01" + msgpack.packb(variant))


def variants(value: object, other: object) -> Iterator[object]:
    """Yield `value` with `other` instead of each object in it, and at the end of each array in it."""
    yield other
    if isinstance(value, list):
        yield [*value, other]
        for place, element in enumerate(value):
            for variant in variants(element, other):
                yield [*value[:place], variant, *value[place + 1 :]]


# How long an answer may be

PING_SIZE = len(CODEC.encode_query(bytes(8), Id(0), Ping()))


@pytest.mark.parametrize("of_ipv6", [[], [3], [1, 3, 5, 6], list(range(9))], ids=len)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 40, 300])
def test_an_answer_fills_its_limit_exactly(of_ipv6: list[int], count: int) -> None:
    """For each size of a query, with the address proved and not."""
    key = Id(2**255)
    at = [Endpoint.of(f"2001:db8::{n}" if n % 9 in of_ipv6 else f"192.0.2.{n % 250}", 1 + n) for n in range(count + 8)]
    node = Node(Id(1), CODEC, rng=Random(1), now=0.0, policy=Policy(rate_limit=0, exempt_networks=ANYWHERE))
    for number in range(8):
        node.state.answered(Contact(Id(2**250 + number), at[number]), 0.1, 0.0)
    for endpoint in at[8:]:
        node.store.restore(HeldRecord(key, Peer(endpoint), 1_000.0, 3_600, KEPT), 0.0)
    asker = Endpoint.of("192.0.2.9", 9)
    token: bytes | None = None
    for request in (FindNode(key), FindValue(key)):
        method = "find_value" if isinstance(request, FindValue) else "find_node"
        found = Found(b"", ())
        for padding in range(0, 420, 11):
            query = packed(0, bytes(8), bytes(32), method, [in_bytes(key), token, bytes(padding)])
            limit = 3 * len(query)
            if limit < SENT_MAX and not (method == "find_value" and count):
                limit -= PING_SIZE  # the ping to the sender
            found = answer_of(node, request, query, asker, limit)
            is_cut = len(found.contacts) < 8 or len(found.endpoints) < (count if method == "find_value" else 0)
            assert found.more == is_cut
        proved = packed(0, bytes(8), bytes(32), method, [in_bytes(key), found.token])
        result = answer_of(node, request, proved, asker, SENT_MAX)
        assert result.more == (len(result.endpoints) < (count if method == "find_value" else 0))


def answer_of(node: Node, request: Request, query: bytes, source: Endpoint, limit: int) -> Found:
    """Ask the node, and check that the answer fits, and that one more contact or endpoint would not."""
    answer = node.handle_datagram(query, source, 0.0)
    assert answer is not None
    limit = min(limit, SENT_MAX)
    assert len(answer) <= limit
    reply = check(answer)
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, list)
    found = read_result(request, reply.body)
    assert isinstance(found, Found)
    if found.more:
        assert limit - len(answer) < (50 if len(found.contacts) < 8 else 20) + 3 + 3
    return found


@scaled(120)
@given(
    members=st.lists(contacts(), max_size=24),
    held=st.lists(endpoints(), max_size=150),
    own=st.lists(ports(), max_size=60),
    seen=st.lists(endpoints(), max_size=3),
    source=endpoints(),
    kind=st.sampled_from([*ARGUMENTS, "", "an unknown method"]),
    proof=st.sampled_from(["none", "wrong", "right"]),
    padding=st.none() | st.integers(0, 1_900),
    is_full=st.booleans(),
    is_dual=st.booleans(),
    value=st.sampled_from([Immutable(b""), Immutable(bytes(1_000)), *(2 * [LARGEST])]),
    holds_it=st.booleans(),
)
def test_no_answer_exceeds_its_limit(
    members: list[Contact],
    held: list[Endpoint],
    own: list[int],
    seen: list[Endpoint],
    source: Endpoint,
    kind: str,
    proof: str,
    padding: int | None,
    is_full: bool,
    is_dual: bool,
    value: Value,
    holds_it: bool,
) -> None:
    policy = Policy(rate_limit=0, store_entries=1 if is_full else DEFAULT.store_entries, exempt_networks=ANYWHERE)
    key = CODEC.key_of(value)
    families = tuple(Family) if is_dual else (Family.IPV4,)
    node = Node(Id(1), CODEC, rng=Random(1), now=0.0, policy=policy, families=families)
    for contact in members:
        of_family = [overlay for overlay in node.overlays if overlay.family == len(contact.endpoint)]
        (of_family or [node.overlays.first])[0].state.answered(contact, 0.1, 0.0)
    for endpoint in held:
        node.store.restore(HeldRecord(key, Peer(endpoint), 1_000.0, 3_600, KEPT), 0.0)
    for port in own:
        node.own_records.add(own_key(key, port))
    for number, endpoint in enumerate(seen):
        node.external.vote(Endpoint.of(f"192.0.2.{number}", 1), endpoint, 0.0)

    if holds_it:
        node.values.held.restore(HeldValue(key, value, bytes(4), 1_000.0), 0.0)

    token: bytes | None = None if proof == "none" else b"a wrong one"
    if proof == "right":
        asked = CODEC.encode_query(bytes(8), Id(5), FindNode(key))
        reply = CODEC.decode(node.handle_datagram(asked, source, 0.0) or b"")
        assert isinstance(reply, Reply)
        result = CODEC.decode_result(FindNode(key), reply.body)
        assert isinstance(result, Found)
        token = result.token or None
        proof = "right" if token else "none"
    args: dict[str, list[object]] = {
        "find_node": [in_bytes(key), token],
        "find_value": [in_bytes(key), token],
        "store": [in_bytes(key), 80, token or b"x", 60, SESSION],
        "withdraw": [in_bytes(key), 80, token or b"x", SESSION],
        "renew": [SESSION, 60, token or b""],
        "watch": [in_bytes(key), token or b"x", 60, SESSION],
        "changed": [in_bytes(key), 1, [bytes(6)], []],
        "get": [in_bytes(key), token, None],
        "put": [token or b"x", list(value) if isinstance(value, Mutable) else value.data, None, 60],
    }
    pad: list[object] = [] if padding is None else [bytes(padding)]
    query = packed(0, bytes(8), bytes(32), kind, [*args.get(kind, []), *pad])
    answer = node.handle_datagram(query, source, 0.0)
    assert answer is not None
    assert len(answer) <= (VALUE_MAX if kind == "get" and proof == "right" and holds_it else SENT_MAX)
    if proof != "right" and node.state.table.at(source) is None:
        assert len(answer) <= 3 * len(query)
    assert check(answer) is not None
    while (transmit := node.poll_transmit()) is not None:
        assert len(transmit.data) <= SENT_MAX


@given(tids(), ids(), requests())
def test_no_query_exceeds_a_datagram(tid: bytes, sender: Id, request: Request) -> None:
    longest = 1_250 + len(request.token) if isinstance(request, Put) else SENT_MAX
    assert len(CODEC.encode_query(tid, sender, request)) <= longest

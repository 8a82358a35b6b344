"""The golden datagrams: this implementation reads in them what their file says, and writes the very same bytes."""

from __future__ import annotations

import hashlib
from random import Random

import msgpack
import pytest

import dhtd.core.messages
from dhtd.core.codec import Named, Room
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    ERROR_DATA,
    ERROR_METHOD,
    ERROR_PROTOCOL,
    ERROR_SALT,
    METHODS,
    Acknowledged,
    BadQuery,
    Error,
    FindValue,
    Found,
    Get,
    Query,
    Renewed,
    Reply,
    Watched,
)
from dhtd.core.node import Node
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.wire import signatures
from dhtd.wire.native import NativeCodec
from tests.core.small import endpoint
from tests.wire.vectors import VECTORS, Vector

CODEC = NativeCodec()
DUAL = NativeCodec(dual_stack=True)  # for queries that need it, by their file
# The fields of a vector that are the arguments of its method, in their order.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "find_node": ("target", "token"),
    "find_value": ("target", "token"),
    "store": ("target", "port", "token", "lease", "session"),
    "withdraw": ("target", "port", "token", "session"),
    "renew": ("session", "lease", "token"),
    "watch": ("target", "token", "lease", "session"),
    "changed": ("target", "version", "added", "removed"),
    "get": ("target", "token", "seq"),
    "put": ("token", "value", "cas", "lasts"),
}
CODES = {value for name, value in vars(dhtd.core.messages).items() if name.startswith("ERROR_")}


def of(*kinds: str) -> list[Vector]:
    return [vector for vector in VECTORS.values() if vector.kind in kinds]


def named(vector: Vector) -> str:
    return vector.name


def test_there_is_a_datagram_of_each_kind() -> None:
    assert {vector.fields["method"] for vector in of("query")} == ARGUMENTS.keys() == set(METHODS.values())
    answers = {vector.fields["answers"] for vector in of("reply")}
    assert answers == {"ping", "find_node", "find_value", "renew", "watch", "get"}
    assert {vector.fields["code"] for vector in of("error")} == CODES
    bad = {vector.fields["code"] for vector in of("bad-query")}
    assert bad == {ERROR_PROTOCOL, ERROR_METHOD, ERROR_DATA, ERROR_SALT}
    assert len(of("silence")) >= 10
    assert len(of("query", "reply", "error", "bad-query", "silence")) == len(VECTORS)


def test_the_ids_are_those_of_the_names() -> None:
    used = {vector.fields["sender"] for vector in VECTORS.values() if "sender" in vector.fields}
    assert used == {hashlib.sha256(name).hexdigest() for name in (b"alice", b"bob")}
    targets = {vector.fields["target"] for vector in VECTORS.values() if "target" in vector.fields}
    signed = VECTORS["get-reply"].held
    assert isinstance(signed, Mutable)
    key = hashlib.sha256(signed.public_key + signed.salt).hexdigest()
    assert targets == {hashlib.sha256(b"printer").hexdigest(), key}


def test_the_values_are_those_of_the_secret() -> None:
    seed, keys = hashlib.sha256(b"secret").digest(), set()
    for vector in of("query", "reply"):
        if vector.fields.get("method") == "put" or vector.fields.get("answers") == "get":
            value = vector.held
            if isinstance(value, Mutable):
                assert value == signatures.signed(seed, b"status", value.seq, value.data)
            if isinstance(value, Value):
                assert CODEC.is_genuine(value)
                keys.add(CODEC.key_of(value))
    assert keys == {NATIVE.parse(VECTORS["get"].fields["target"]), NATIVE.digest(b"printer")}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=named)
def test_each_vector_has_its_stated_size(vector: Vector) -> None:
    assert len(vector.data) == vector.fields["size"] <= 1_200


@pytest.mark.parametrize("vector", of("query"), ids=named)
def test_a_query_says_what_its_file_says(vector: Vector) -> None:
    query = Query(vector.tid, vector.sender, vector.request)
    assert CODEC.decode(vector.data) == query
    codec = DUAL if vector.name.endswith("-dual") else CODEC
    encoded = codec.encode_query(query.tid, query.sender, query.request)
    assert (encoded == vector.data) is vector.is_canonical


@pytest.mark.parametrize("vector", of("reply"), ids=named)
def test_a_reply_says_what_its_file_says(vector: Vector) -> None:
    reply = CODEC.decode(vector.data)
    assert isinstance(reply, Reply)
    assert (reply.tid, reply.sender, reply.observed) == (vector.tid, vector.sender, vector.observed)
    assert CODEC.decode_result(vector.answered_request, reply.body) == vector.result


@pytest.mark.parametrize("vector", [vector for vector in of("reply") if vector.is_canonical], ids=named)
def test_a_reply_is_written_byte_for_byte(vector: Vector) -> None:
    tid, sender, observed = vector.tid, vector.sender, vector.observed
    query, result, room = Query(tid, Id(0), vector.answered_request), vector.result, Room(1_200)
    match result:
        case Acknowledged():
            assert CODEC.encode_acknowledged(tid, sender, observed) == vector.data
        case Renewed(token, held):
            assert CODEC.encode_renewed(tid, sender, observed, token, held) == vector.data
        case Watched(token, version, endpoints):
            watched = CODEC.encode_watched(query, sender, observed, token, version, room, endpoints)
            assert watched == (vector.data, len(endpoints))
        case Found(token, contacts, endpoints, more, held, lasts):
            assert token is not None
            packed = CODEC.pack_contacts(contacts)
            if isinstance(query.request, Get):
                if more:  # a value that has no room
                    held, room = Immutable(bytes(150)), Room(len(vector.data))
                found = CODEC.encode_got(query, sender, observed, token, packed, room, held, lasts)
                assert found == vector.data
                return
            found = CODEC.encode_found(query, sender, observed, token, packed, room, Named(endpoints))
            assert found[:-1] == vector.data[:-1]
            assert (found == vector.data) is not more  # nothing was cut here, so nothing is said to be


@pytest.mark.parametrize("vector", [vector for vector in of("query", "reply") if vector.is_canonical], ids=named)
def test_msgpack_itself_writes_the_same_bytes(vector: Vector) -> None:
    """An independent witness: a generic encoder, given the fields in the order of the specification."""
    fields: list[object]
    if vector.kind == "query":
        args = [witnessed(vector, name) for name in ARGUMENTS[vector.fields["method"]]]
        if "token" in ARGUMENTS[vector.fields["method"]] and vector.token is None:
            is_dual = vector.name.endswith("-dual")
            wanted = {"find_node": 288 if is_dual else 184, "find_value": 400, "get": 404}[vector.fields["method"]]
            args.append(b"")
            fields = [0, vector.tid, NATIVE.to_bytes(vector.sender), vector.fields["method"], args]
            args[-1] = bytes(wanted - 4 - len(msgpack.packb(fields)) - (1 if wanted > 370 else 0))
        fields = [0, vector.tid, NATIVE.to_bytes(vector.sender), vector.fields["method"], args]
    else:
        body: list[object] = []
        result = vector.result
        if isinstance(result, Found):
            nodes = [(NATIVE.to_bytes(contact.id), contact.endpoint) for contact in result.contacts]
            body = [
                result.token,
                b"".join(id + bytes(at) for id, at in nodes if len(at) == 6),
                b"".join(id + bytes(at) for id, at in nodes if len(at) == 18),
            ]
            if isinstance(vector.answered_request, FindValue):
                body.append(list(map(bytes, result.endpoints)))
            body.append(result.more)
            if isinstance(vector.answered_request, Get):
                body += [plain(result.held), result.lasts]
        if isinstance(result, Renewed):
            body = [result.token, result.held]
        if isinstance(result, Watched):
            body = [result.token, result.version, list(map(bytes, result.endpoints)), result.more]
        fields = [1, vector.tid, NATIVE.to_bytes(vector.sender), bytes(vector.observed), body]
    assert b"DHT\x01" + msgpack.packb(fields) == vector.data


def witnessed(vector: Vector, name: str) -> object:
    """Return an argument as plain bytes, integers and lists."""
    if name in ("added", "removed"):
        return list(map(bytes, vector.endpoints(name)))
    if name == "value":
        return plain(vector.held)
    value = vector.fields.get(name)
    return bytes.fromhex(value) if isinstance(value, str) else value


def plain(held: Value | int | None) -> object:
    """Return a value as msgpack has it."""
    if isinstance(held, Immutable):
        return held.data
    return list(held) if isinstance(held, Mutable) else held


@pytest.mark.parametrize("vector", of("error"), ids=named)
def test_an_error_says_what_its_file_says(vector: Vector) -> None:
    error = Error(vector.tid, vector.sender, vector.fields["code"], vector.fields["text"])
    assert CODEC.decode(vector.data) == error
    assert CODEC.encode_error(error.tid, vector.sender, error.code, error.text) == vector.data


@pytest.mark.parametrize("vector", of("bad-query"), ids=named)
def test_a_bad_query_is_answered_with_its_error(vector: Vector) -> None:
    message = CODEC.decode(vector.data)
    assert isinstance(message, BadQuery)
    assert (message.tid, message.sender, message.code) == (vector.tid, vector.sender, vector.fields["code"])
    node = Node(Id(1), CODEC, rng=Random(1), now=0.0)
    answer = node.handle_datagram(vector.data, endpoint(5), 0.0)
    assert answer is not None
    assert CODEC.decode(answer) == Error(vector.tid, Id(1), message.code, message.text)


@pytest.mark.parametrize("vector", of("silence"), ids=named)
def test_the_rest_is_met_with_silence(vector: Vector) -> None:
    with pytest.raises(WireError):
        CODEC.decode(vector.data)
    node = Node(Id(1), CODEC, rng=Random(1), now=0.0)
    assert node.handle_datagram(vector.data, endpoint(5), 0.0) is None
    assert node.poll_transmit() is None
    assert node.poll_event() is None

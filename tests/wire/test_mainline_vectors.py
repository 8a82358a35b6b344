"""What real clients send is understood, and said again in their words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bencode2 import bencode

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import (
    BadQuery,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Reply,
    Request,
    Store,
)
from dhtd.core.records import Immutable, Mutable
from dhtd.wire import bep33
from dhtd.wire.bep5 import Bep5Codec
from tests.wire.mainline import CAPTURED, Captured, Fields, fields_of

CODEC = Bep5Codec()
KINDS: dict[str, type[Request]] = {
    "ping": Ping,
    "find_node": FindNode,
    "get_peers": FindValue,
    "announce_peer": Store,
    "get": Get,
    "put": Put,
    "sample_infohashes": FindNode,
    "frobnicate": FindNode,
}
OURS = (b"v", b"p", b"bs")  # keys of the clients' own, beside the version: no other has to have them
QUERIES = [each for each in CAPTURED.values() if each.kind == "query"]
REPLIES = [each for each in CAPTURED.values() if each.kind == "reply"]
ERRORS = [each for each in CAPTURED.values() if each.kind == "error"]


def number(data: bytes) -> Id:
    return Id(int.from_bytes(data, "big"))


def bare(fields: Fields, *left_out: bytes) -> Fields:
    """Return the fields without empty ones, and without those that are a client's own."""
    return {
        key: bare(value, *left_out) if isinstance(value, dict) else value
        for key, value in fields.items()
        if value != b"" and (key not in (*OURS, *left_out) or (key == b"v" and len(value) != 4))
    }


def named(captured: list[Captured]) -> list[Any]:
    return [pytest.param(each, id=each.name) for each in captured]


def query(captured: Captured) -> Query:
    message = CODEC.decode(captured.data)
    assert isinstance(message, Query)
    return message


@pytest.mark.parametrize("captured", named(QUERIES))
def test_each_query_is_understood(captured: Captured) -> None:
    message, args = query(captured), captured.fields[b"a"]
    assert (message.tid, message.sender) == (captured.tid, number(args[b"id"]))
    assert type(message.request) is KINDS[captured.method]
    assert message.options.no_seeds == (b"noseed" in args)
    assert message.options.samples == (captured.method == "sample_infohashes")
    match message.request:
        case FindNode(target):
            assert target == number(args[b"target"])
        case FindValue(key):
            assert key == number(args[b"info_hash"])
        case Store(key, port, token, lease, session, is_seed):
            assert (key, token, lease, session) == (number(args[b"info_hash"]), args[b"token"], 0, b"")
            assert (port, is_seed) == (0 if args.get(b"implied_port") else args[b"port"], args.get(b"seed") == 1)
        case Get(key, token, seq):
            assert (key, token, seq) == (number(args[b"target"]), None, args.get(b"seq"))
        case Put(key, token, value, cas, lasts):
            assert (token, cas, lasts) == (args[b"token"], args.get(b"cas"), 7_200)
            assert value.data == bencode(args[b"v"])
            assert key == CODEC.key_of(value)
            assert CODEC.is_genuine(value)
            assert isinstance(value, Mutable if b"k" in args else Immutable)
        case _:
            assert message.request == Ping()


@pytest.mark.parametrize("captured", named(QUERIES))
def test_each_query_is_said_again(captured: Captured) -> None:
    message = query(captured)
    if captured.method not in ("sample_infohashes", "frobnicate"):  # we answer these, and never ask them
        again = CODEC.encode_query(message.tid, message.sender, message.request)
        # What we do not say: that we want no seeds, and that the port is that of the datagram.
        left_out = (b"noseed", b"implied_port", b"port")
        assert bare(fields_of(again), b"target", *left_out) == bare(captured.fields, b"target", *left_out)


def asked(captured: Captured) -> Request:
    """Return the request that a reply answers: the one of its capture, or one that its fields suggest."""
    if captured.answers is not None:
        return query(CAPTURED[captured.answers]).request
    body = captured.fields[b"r"]
    if b"k" in body:
        return Get(CODEC.key_of(Mutable(body[b"k"], b"", 0, b"", b"")))
    if b"token" in body:
        return FindValue(Id(0))
    return FindNode(Id(0)) if b"nodes" in body or b"nodes6" in body else Ping()


@pytest.mark.parametrize("captured", named(REPLIES))
def test_each_reply_is_understood(captured: Captured) -> None:
    message, body = CODEC.decode(captured.data), captured.fields[b"r"]
    assert isinstance(message, Reply)
    assert (message.tid, message.sender) == (captured.tid, number(body[b"id"]))
    ip = captured.fields.get(b"ip")
    assert message.observed == (None if ip is None else Endpoint(ip))
    request = asked(captured)
    result = CODEC.decode_result(request, message.body)
    if isinstance(request, FindNode | FindValue | Get):
        assert isinstance(result, Found)
        nodes = [contact.id.to_bytes(20, "big") + contact.endpoint for contact in result.contacts]
        assert b"".join(nodes) == body.get(b"nodes", b"") + body.get(b"nodes6", b"")
        assert result.token == (None if isinstance(request, FindNode) else body.get(b"token", b""))
        assert list(result.endpoints) == body.get(b"values", [])
    if isinstance(request, Get):
        assert isinstance(result, Found)
        held = result.held
        if b"v" in body:
            assert isinstance(held, Immutable | Mutable)
            assert held.data == bencode(body[b"v"])
            assert CODEC.key_of(held) == request.key
            assert CODEC.is_genuine(held)
            assert result.lasts == 7_200
        else:
            assert held == (body.get(b"seq") if request.seq is not None else None)


@pytest.mark.parametrize("captured", named(REPLIES))
def test_each_reply_is_said_again(captured: Captured) -> None:
    message = CODEC.decode(captured.data)
    assert isinstance(message, Reply)
    request = asked(captured)
    observed = message.observed or Endpoint(bytes(6))
    result = CODEC.decode_result(request, message.body)
    ask = Query(message.tid, Id(0), request)
    if isinstance(result, Found):
        packed = CODEC.pack_contacts(result.contacts)
        token, room = result.token or b"", Room(1_500)
        if isinstance(request, Get):
            answer = CODEC.encode_got(ask, message.sender, observed, token, packed, room, result.held, 0)
        else:
            found = Named(result.endpoints)
            answer = CODEC.encode_found(ask, message.sender, observed, token, packed, room, found)
    else:
        answer = CODEC.encode_acknowledged(message.tid, message.sender, observed)
    # The samples and the filters are named by the node: see below.
    special = (b"BFpe", b"BFsd", b"interval", b"num", b"samples", b"ip")
    assert bare(fields_of(answer), *special) == bare(captured.fields, *special)
    assert (b"ip" in captured.fields) <= (fields_of(answer)[b"ip"] == observed)


def test_filters_are_those_of_libtorrent() -> None:
    body = CAPTURED["libtorrent-scrape-reply"].fields[b"r"]
    assert len(body[b"BFpe"]) == len(body[b"BFsd"]) == bep33.SIZE
    # It has one seed and some peers on loopback.
    for name in (b"BFpe", b"BFsd"):
        count = round(bep33.estimate(body[name]))
        assert 0 <= count < 10


@pytest.mark.parametrize("captured", named(ERRORS))
def test_each_error_is_understood(captured: Captured) -> None:
    message, fields = CODEC.decode(captured.data), captured.fields
    body = fields.get(b"r")
    sender = None if body is None else number(body[b"id"])
    assert message == Error(captured.tid, sender, fields[b"e"][0], fields[b"e"][1].decode())
    observed = None if b"ip" not in fields else Endpoint(fields[b"ip"])
    assert isinstance(message, Error)
    again = CODEC.encode_error(message.tid, Id(0), message.code, message.text, observed)
    assert bare(fields_of(again)) == bare(fields, b"r")
    assert CODEC.decode(again) == replace(message, sender=None)


def test_no_captured_query_is_bad() -> None:
    assert not [each.name for each in QUERIES if isinstance(CODEC.decode(each.data), BadQuery)]

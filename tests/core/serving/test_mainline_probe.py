"""Ninety odd queries, which four real clients were asked as well: what this node answers to each.

libtorrent, transmission, aria2 and webtorrent disagree about most of them. Bencode that is not canonical gets no answer
here, though most of them take it.
"""

from __future__ import annotations

from typing import Any

import pytest
from bencode2 import bdecode, bencode
from nacl.signing import SigningKey

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.records import SEQ_MAX
from tests.core.mainline import ASKER, KEY, POLICY, Fields, announce, key, make

PROBE, PEER = Endpoint.parse("198.51.100.7:6881"), Endpoint.parse("203.0.113.9:6881")
SIGNER = SigningKey(bytes(32))
TARGET, HASH, OTHER = KEYSPACE.to_bytes(KEYSPACE.digest(b"target")), KEYSPACE.to_bytes(KEY), b"\x07" * 20
PING: Fields = {b"t": b"aa", b"y": b"q", b"q": b"ping", b"a": {b"id": ASKER}}
PLAIN = bencode(PING)

Answer = int | set[str] | None  # an error, the keys of a result, or silence

PONG = {"id"}
FOUND = {"id", "nodes"}
GOT = {"id", "nodes", "token"}
PEERS = {"id", "nodes", "token", "values"}


@pytest.fixture
def node() -> Node:
    """Return a node with a contact of each family and one peer under a hash."""
    node = make(POLICY, Family.IPV4, Family.IPV6)
    for number in range(9):
        for family, host in ((Family.IPV4, f"203.0.{number}.1"), (Family.IPV6, f"2001:db8:{number}::1")):
            contact = Contact(KEYSPACE.digest(b"%d" % number), Endpoint.of(host, 6881))
            node.overlays[family].state.answered(contact, 0.1, 0.0)
    announce(node, PEER)
    return node


def asked(node: Node, data: bytes) -> Answer:
    """Return the answer to a datagram."""
    answer = node.handle_datagram(data, PROBE, 0.0)
    if answer is None:
        return None
    fields: Fields = bdecode(answer)
    assert bencode(fields) == answer
    assert fields[b"t"] == bdecode(data)[b"t"]
    assert len(fields[b"ip"]) == 6
    if fields[b"y"] == b"e":
        return int(fields[b"e"][0])
    assert fields[b"y"] == b"r"
    return {name.decode() for name in fields[b"r"]}


def ping(**changes: Any) -> bytes:
    fields = {**PING, **{name.encode(): value for name, value in changes.items()}}
    return bencode({name: value for name, value in fields.items() if value is not None})


def query(method: str, args: Fields, **top: Any) -> bytes:
    return bencode({**PING, b"q": method.encode(), b"a": {b"id": ASKER, **args}, **top})


DATAGRAMS: dict[str, tuple[bytes, Answer]] = {
    "ping": (PLAIN, PONG),
    "ping tid 0": (ping(t=b""), None),
    "ping tid 1": (ping(t=b"a"), PONG),
    "ping tid 3": (ping(t=b"abc"), PONG),
    "ping tid 4": (ping(t=b"abcd"), PONG),
    "ping tid 8": (ping(t=b"abcdefgh"), PONG),
    "ping tid 20": (ping(t=b"x" * 20), PONG),
    "ping tid 33": (ping(t=b"y" * 33), PONG),
    "ping tid 100": (ping(t=b"z" * 100), None),
    "ping no t": (ping(t=None), None),
    "ping no a": (ping(a=None), None),
    "ping no id": (ping(a={}), None),
    "ping id 19": (ping(a={b"id": b"x" * 19}), None),
    "ping id 21": (ping(a={b"id": b"x" * 21}), None),
    "ping t integer": (ping(t=5), None),
    "ping unsorted keys": (b"d1:t2:aa1:y1:q1:q4:ping1:ad2:id20:" + ASKER + b"ee", None),
    "ping duplicate t": (PLAIN.replace(b"1:t2:aa", b"1:t2:aa1:t2:bb"), None),
    "ping trailing byte": (PLAIN + b"x", None),
    "ping trailing 2nd dict": (PLAIN + b"de", None),
    "ping truncated": (PLAIN[:-1], None),
    "ping leading-zero length": (PLAIN.replace(b"2:id20:", b"2:id020:"), None),
    "ping i03e": (PLAIN.replace(b"1:q4", b"1:pi03e1:q4"), None),
    "ping i-0e": (PLAIN.replace(b"1:q4", b"1:pi-0e1:q4"), None),
    "ping huge int": (PLAIN.replace(b"1:q4", b"1:pi" + b"9" * 40 + b"e1:q4"), PONG),
    "ping nested 100": (PLAIN.replace(b"1:q4", b"1:p" + b"l" * 100 + b"e" * 100 + b"1:q4"), None),
    "ping extra keys": (ping(a={b"id": ASKER, b"zz": [1, {}]}, v=b"XX01", zz=b"more"), PONG),
    "ping ro=1": (ping(ro=1), PONG),
    "y=x": (ping(y=b"x"), None),
    "stray reply": (bencode({b"t": b"aa", b"y": b"r", b"r": {b"id": ASKER}}), None),
    "empty dict": (b"de", None),
    "not bencode": (b"hello", None),
    "find_node": (query("find_node", {b"target": TARGET}), FOUND),
    "find_node no target": (query("find_node", {}), 203),
    "find_node target 19": (query("find_node", {b"target": b"x" * 19}), 203),
    "find_node target 32": (query("find_node", {b"target": b"x" * 32}), 203),
    "find_node want n4": (query("find_node", {b"target": TARGET, b"want": [b"n4"]}), FOUND),
    "find_node want n6": (query("find_node", {b"target": TARGET, b"want": [b"n6"]}), {"id", "nodes6"}),
    "find_node want n4 n6": (query("find_node", {b"target": TARGET, b"want": [b"n4", b"n6"]}), FOUND | {"nodes6"}),
    "find_node want other": (query("find_node", {b"target": TARGET, b"want": [b"n8"]}), FOUND),
    "find_node want str": (query("find_node", {b"target": TARGET, b"want": b"n6"}), FOUND),
    "get_peers unknown": (query("get_peers", {b"info_hash": OTHER}), GOT),
    "get_peers known": (query("get_peers", key()), PEERS),
    "get_peers known want n4 n6": (query("get_peers", {**key(), b"want": [b"n4", b"n6"]}), PEERS | {"nodes6"}),
    "get_peers scrape": (query("get_peers", {**key(), b"scrape": 1}), GOT | {"BFpe", "BFsd"}),
    "get_peers noseed": (query("get_peers", {**key(), b"noseed": 1}), PEERS),
    "get_peers zero hash": (query("get_peers", {b"info_hash": bytes(20)}), GOT),
    "get_peers ih 32": (query("get_peers", {b"info_hash": b"x" * 32}), 203),
    "unknown method": (query("frobnicate", {}), 204),
    "unknown method target": (query("frobnicate", {b"target": TARGET}), FOUND),
    "unknown method info_hash": (query("frobnicate", key()), FOUND),
    "vote": (query("vote", {b"target": TARGET, b"token": b"x", b"vote": 1}), FOUND),
    "sample_infohashes": (query("sample_infohashes", {b"target": TARGET}), FOUND | {"interval", "num", "samples"}),
    "get unknown": (query("get", {b"target": TARGET}), GOT),
}


@pytest.mark.parametrize("case", DATAGRAMS)
def test_an_odd_query_has_its_answer(case: str, node: Node) -> None:
    data, answer = DATAGRAMS[case]
    assert asked(node, data) == answer


def token_of(node: Node, method: str = "get_peers", args: Fields | None = None) -> bytes:
    """Return the token of an answer, which is good for one key."""
    answer = node.handle_datagram(query(method, key() if args is None else args), PROBE, 0.0)
    assert answer is not None
    token: bytes = bdecode(answer)[b"r"][b"token"]
    return token


TOKEN = object()  # the one of this key
ANNOUNCES: dict[str, tuple[Fields, Answer]] = {
    "announce bad token": ({b"token": b"wrong", b"port": 1}, 203),
    "announce no token": ({b"port": 1}, 203),
    "announce port 0": ({b"token": TOKEN, b"port": 0}, 203),
    "announce port 70000": ({b"token": TOKEN, b"port": 70_000}, 203),
    "announce port -1": ({b"token": TOKEN, b"port": -1}, 203),
    "announce no port": ({b"token": TOKEN}, 203),
    "announce no port implied": ({b"token": TOKEN, b"implied_port": 1}, PONG),
    "announce ok": ({b"token": TOKEN, b"port": 80}, PONG),
    "announce implied+port": ({b"token": TOKEN, b"port": 80, b"implied_port": 1}, PONG),
    "announce seed": ({b"token": TOKEN, b"port": 80, b"seed": 1}, PONG),
    "announce token of other hash": ({b"token": TOKEN, b"port": 80, b"info_hash": OTHER}, 203),
}


@pytest.mark.parametrize("case", ANNOUNCES)
def test_an_odd_announce_has_its_answer(case: str, node: Node) -> None:
    args, answer = ANNOUNCES[case]
    token = token_of(node)
    filled = {name: token if value is TOKEN else value for name, value in {**key(), **args}.items()}
    assert asked(node, query("announce_peer", filled)) == answer
    values = bdecode(node.handle_datagram(query("get_peers", key()), PROBE, 0.0) or b"")[b"r"][b"values"]
    port = PROBE.port if b"implied_port" in args else 80
    assert sorted(values) == sorted([PEER, PROBE.with_port(port)] if answer == PONG else [PEER])


def immutable(value: object) -> Fields:
    return {b"v": value}


def mutable(seq: int, value: bytes = b"five", salt: bytes | None = None, **more: Any) -> Fields:
    """Return the arguments of a put that is signed well, unless a part of it is changed."""
    salted = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    signature = SIGNER.sign(salted + b"3:seqi%de1:v" % seq + bencode(value)).signature
    own = {b"k": bytes(SIGNER.verify_key), b"seq": seq, b"sig": signature, b"v": value}
    own |= {} if salt is None else {b"salt": salt}
    return own | {name.encode(): value for name, value in more.items()}


def key_of(args: Fields) -> bytes:
    """Return the target that a put is for: see BEP 44."""
    of = args[b"k"] + args.get(b"salt", b"") if b"k" in args else bencode(args[b"v"])
    return KEYSPACE.to_bytes(KEYSPACE.digest(of))


def put(node: Node, args: Fields) -> Answer:
    token = token_of(node, "get", {b"target": key_of(args)})
    return asked(node, query("put", {b"token": token, **args}))


FIVE = mutable(5)
PUTS: dict[str, tuple[list[Fields], Answer]] = {  # the last one is the one that is asked about
    "put immutable": ([immutable(b"Hello World!")], PONG),
    "put immutable bad token": ([{**immutable(b"Hello World!"), b"token": b"wrong"}], 203),
    "put immutable int": ([immutable(5)], PONG),
    "put immutable 1000 encoded": ([immutable(b"x" * 996)], PONG),
    "put immutable 1001 encoded": ([immutable(b"x" * 997)], 205),
    "put immutable 1100": ([immutable(b"x" * 1_096)], 205),
    "put mutable seq 5": ([FIVE], PONG),
    "put mutable seq 5 same again": ([FIVE, FIVE], PONG),
    "put mutable seq 5 other value": ([FIVE, mutable(5, b"other")], 302),
    "put mutable seq 4": ([FIVE, mutable(4)], 302),
    "put mutable cas 3 mismatch": ([FIVE, mutable(6, cas=3)], 301),
    "put mutable cas 5": ([FIVE, mutable(6, cas=5)], PONG),
    "put mutable bad sig": ([mutable(5, sig=bytes(64))], 206),
    "put mutable seq -1": ([mutable(-1)], 203),
    "put mutable seq 2^63-1": ([mutable(SEQ_MAX)], PONG),
    "put mutable salt": ([mutable(5, salt=b"salt")], PONG),
    "put mutable empty salt key": ([mutable(5, salt=b"")], PONG),
    "put mutable salt 64": ([mutable(5, salt=b"s" * 64)], PONG),
    "put mutable salt 65": ([mutable(5, salt=b"s" * 65)], 207),
    "put no k": ([{b"v": b"five", b"sig": bytes(64), b"seq": 5, b"k": b""}], 203),
    # Of two faults, the one that is cheaper to find is told: size, salt, token, cas, seq, signature.
    "a long value with a long salt": ([mutable(5, b"x" * 997, b"s" * 65)], 205),
    "a long salt with a bad token": ([{**mutable(5, salt=b"s" * 65), b"token": b"wrong"}], 207),
    "a bad token with a bad signature": ([{**mutable(5, sig=bytes(64)), b"token": b"wrong"}], 203),
    "a bad cas with an old seq": ([FIVE, mutable(4, cas=3)], 301),
    "an old seq with a bad signature": ([FIVE, mutable(4, sig=bytes(64))], 302),
}


@pytest.mark.parametrize("case", PUTS)
def test_an_odd_put_has_its_answer(case: str, node: Node) -> None:
    (*before, last), answer = PUTS[case]
    assert [put(node, args) for args in before] == [PONG] * len(before)
    assert put(node, last) == answer
    got = asked(node, query("get", {b"target": key_of(last)}))
    held = {"v"} if b"k" not in last else {"k", "seq", "sig", "v"}
    assert got == GOT | (held if answer == PONG or before else set())


@pytest.mark.parametrize(("seq", "more"), [(4, {"k", "seq", "sig", "v"}), (5, {"seq"}), (6, {"seq"})])
def test_a_known_seq_brings_no_value(seq: int, more: set[str], node: Node) -> None:
    assert put(node, FIVE) == PONG
    assert asked(node, query("get", {b"target": key_of(FIVE), b"seq": seq})) == GOT | more


def test_a_seq_beyond_63_bits_is_bad(node: Node) -> None:
    assert put(node, mutable(SEQ_MAX + 1)) == 203


def test_too_many_get_no_answer(node: Node) -> None:
    answers = [asked(node, PLAIN) for _ in range(100)]
    assert answers[0] == PONG
    assert None in answers
    assert answers[-1] is None

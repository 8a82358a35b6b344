"""A node of the Mainline network, by programs as in `node`: what that says holds here as well.

Its machines have addresses of the Internet, so the ID of the node follows what they say of its address, and queries to
one address keep their pace. Nothing is sent that BitTorrent's clients do not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any, Final

from bencode2 import BencodeDecodeError, bdecode, bencode

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.ids import Id
from dhtd.core.messages import Acknowledged, Contact, FindNode, FindValue, Found, Get, Put, Query, Reply, Store
from dhtd.core.policy import MAINLINE
from dhtd.core.records import DATA_MAX, SALT_MAX, SEQ_MAX, Immutable, Mutable, Value
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec
from tests.fuzz import node
from tests.fuzz.node import World
from tests.fuzz.target import Target
from tests.values import by_owner, forged

FIRST: Final = KEYSPACE.digest(b"us")
HERE: Final = Endpoint.parse("198.51.100.1:6881")
METHODS: Final = (b"ping", b"find_node", b"get_peers", b"announce_peer", b"get", b"put")

_ASKED: Final = (*METHODS, b"sample_infohashes", b"vote")
_WANTS: Final = ([b"n4"], [b"n6"], [b"n4", b"n6"], b"n4", 5)
_NUMBERS: Final = (0, 1, 2, 80, 65_535, 65_536, -1, SEQ_MAX, SEQ_MAX + 1)


def _bencoded(value: Mutable, text: bytes) -> Mutable:
    """Return a signed value as this wire has it. The signature is the same."""
    return value._replace(data=bencode(text))


VALUES: Final[tuple[Value, ...]] = (
    *(_bencoded(by_owner(seq), b"data") for seq in (1, 2, SEQ_MAX)),
    _bencoded(by_owner(2, b"a conflict"), b"a conflict"),
    _bencoded(by_owner(3, b""), b""),
    _bencoded(forged(3), b"forged"),
    _bencoded(by_owner(1, salt=b"salt"), b"data"),
    _bencoded(by_owner(2, bytes(DATA_MAX - 4), bytes(SALT_MAX)), bytes(DATA_MAX - 4)),
    *(Immutable(bencode(value)) for value in (b"", b"data", 5, [b"a", {b"b": 1}], bytes(DATA_MAX - 4))),
)
KEYS: Final = tuple(dict.fromkeys(map(Bep5Codec().key_of, VALUES)))


@cache
def endpoint(number: int) -> Endpoint:
    """Return where the machine with this number is; the last ones are behind one address, at different ports."""
    if number == 239:
        return HERE
    return Endpoint.of(f"{16 + number // 2}.{number}.0.1", 6881) if number < 240 else Endpoint.of("9.9.0.1", number)


@cache
def id_of(number: int) -> Id:
    """Return the ID of a machine, or of a key: half of them are near the node as it begins; some suit their address."""
    if number >= 128:
        return Id(FIRST ^ (1 << (287 - number)))
    return bep42.id_at(endpoint(number).ip, Random(number)) if number % 2 else KEYSPACE.digest(b"%d" % number)


@cache
def number_at(place: Endpoint) -> int:
    """Return the number of the machine at an endpoint; 0 if there is none."""
    return next((number for number in range(256) if endpoint(number) == place), 0)


class MainlineWorld(World):
    """A node of the Mainline network, and the knowledge from its input and output."""

    codec = Bep5Codec()
    policy = MAINLINE
    here = HERE
    values = VALUES
    value_keys = KEYS
    first_id = FIRST
    endpoint_of, id_of, number_at = staticmethod(endpoint), staticmethod(id_of), staticmethod(number_at)
    ends_within = 300.0  # a query has 5 s, and waits for its turn before

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.owns = {FIRST}

    def check_sent(self, query: Query, data: bytes) -> None:
        self.owns.add(self.own)
        assert query.sender in self.owns
        fields = bdecode(data)
        assert fields[b"q"] in METHODS
        assert bencode(fields) == data
        assert len(fields[b"t"]) == len(fields[b"v"]) == 4
        policy = self.policy
        assert len(data) <= (policy.datagram_value_max if isinstance(query.request, Put) else policy.datagram_sent_max)

    # Operations

    def ask(self) -> None:
        """Send it a query, with arguments of any method and oddities among them."""
        key, method = self.key(), self.read.one_of(_ASKED)
        value = self.read.one_of(VALUES)
        if method == b"put":
            key = self.codec.key_of(value)
        sender, source = self.machine()
        args: dict[bytes, Any] = {b"id": KEYSPACE.to_bytes(sender)}
        args[b"info_hash" if method in {b"get_peers", b"announce_peer"} else b"target"] = KEYSPACE.to_bytes(key)
        if method in {b"announce_peer", b"put"}:
            args |= {b"token": self.token(key), b"port": self.read.one_of((80, 443))}
        if method == b"put":
            args |= fields_of(value)
        for _ in range(self.read.number() % 4):
            name = self.read.one_of((b"port", b"implied_port", b"seed", b"noseed", b"scrape", b"want", b"seq", b"cas"))
            args[name] = self.read.one_of(_WANTS if name == b"want" else _NUMBERS)
        top = {b"ro": 1} if self.read.number() % 5 == 4 else {}
        self.deliver(bencode({b"t": self.read.take(4), b"y": b"q", b"q": method, b"a": args, **top}), source)

    def answer(self) -> None:
        """Answer a query of the node's, in the form of its request."""
        if not self.sent:
            return
        query, to = self.sent[-1 - self.read.number() % len(self.sent)]
        body: dict[bytes, Any] = {}
        if isinstance(query.request, FindNode | FindValue | Get):
            near = [Contact(*self.machine()) for _ in range(self.read.number() % 9)]
            body[b"nodes"] = b"".join(KEYSPACE.to_bytes(each.id) + each.endpoint for each in near)
            if not isinstance(query.request, FindNode):
                body[b"token"] = self.read.take(4)
            if isinstance(query.request, FindValue):
                body[b"values"] = [bytes(self.source()) for _ in range(self.read.number() % 9)]
            if isinstance(query.request, Get):
                body |= self.read.one_of(({}, {b"seq": 2}, *map(fields_of, VALUES)))
                body.pop(b"salt", None)  # it is in the question alone
        self.reply(query, to, body)

    def answer_wrongly(self) -> None:
        """Answer a query with some object, or from elsewhere."""
        if not self.sent:
            return
        query, to = self.sent[-1 - self.read.number() % len(self.sent)]
        try:
            body = bdecode(self.read.some(255))
        except BencodeDecodeError:
            body = {}
        self.reply(query, to if self.read.number() % 4 else self.source(), body if isinstance(body, dict) else {})

    def refuse(self) -> None:
        """Answer a query with an error, now and then with one that has no ID."""
        if not self.sent:
            return
        query, to = self.sent[-1 - self.read.number() % len(self.sent)]
        code = self.read.one_of((201, 202, 203, 204, 0, -1, 206, 301, 302))
        if self.read.number() % 2:
            self.deliver(bencode({b"t": query.tid, b"y": b"e", b"e": [code, b"no"]}), to)
        else:
            self.deliver(self.codec.encode_error(query.tid, self.sender_at(to), code, "no"), to)

    # Their parts

    def reply(self, query: Query, source: Endpoint, body: Any) -> None:
        observed = HERE if self.read.number() < 200 else self.source()
        result = {**body, b"id": KEYSPACE.to_bytes(self.sender_at(source))}
        self.deliver(bencode({b"t": query.tid, b"y": b"r", b"r": result, b"ip": bytes(observed)}), source)

    def deliver(self, data: bytes, source: Endpoint) -> None:
        self.owns.add(self.own)
        super().deliver(data, source)
        self.owns.add(self.own)

    def learn(self, query: Query, said: Reply, source: Endpoint) -> None:
        assert said.observed == source
        result = self.codec.decode_result(query.request, said.body)
        match query.request:
            case FindNode():
                pass
            case FindValue(key) | Get(key):
                assert isinstance(result, Found)
                self.tokens.add((source.ip, key, result.token or b""))
            case Store(key, port, token):
                assert isinstance(result, Acknowledged)
                assert (source.ip, key, token) in self.tokens, "a token is taken that was never given"
                self.stored.add((key, source.with_port(port or source.port)))
            case Put(key, token, value):
                assert isinstance(result, Acknowledged)
                assert (source.ip, key, token) in self.tokens, "a token is taken that was never given"
                held = self.node.values.held.get(key, self.now)
                assert held is not None
                assert held[0] == value, "it is acknowledged, and not held"
            case _:
                pass


def fields_of(value: Value) -> dict[bytes, Any]:
    """Return the arguments of a put of this value."""
    if isinstance(value, Immutable):
        return {b"v": bdecode(value.data)}
    salt = {b"salt": value.salt} if value.salt else {}
    own = {b"k": value.public_key, b"seq": value.seq, b"sig": value.signature}
    return {b"v": bdecode(value.data), **own, **salt}


def check(data: bytes) -> None:
    MainlineWorld(data).run()


def _seeds() -> Iterator[bytes]:
    """Yield programs: joined by eight machines that say where the node is, each operation, and random ones."""
    rng = Random(6)
    operations = node.OPERATIONS
    begin, ask, wait, answer = (operations.index(each) for each in (World.begin, World.ask, World.wait, World.answer))
    for operation in range(len(operations)):
        yield bytes([operation]) + rng.randbytes(24)
    joined = bytes([begin, 8]) + b"".join(bytes([number, 0]) for number in range(1, 9)) + bytes(5) + bytes([wait, 2])
    # Eight machines agree on where it is, so it takes another ID, and looks for that.
    told = b"".join(bytes([answer, number, 0, 0, 0]) for number in range(8))
    yield joined + 4 * (told + bytes([wait, 1])) + bytes([wait, 9])
    yield joined + b"".join(_query(ask, method, 1, 5, 9, rng) for method in range(len(_ASKED)))
    # A token for each key, an announcement and a put with it, and what is there then.
    valued = joined
    for number, value in enumerate(VALUES):
        key = 96 + KEYS.index(Bep5Codec().key_of(value))
        for method in (b"get_peers", b"announce_peer", b"get_peers", b"get", b"put", b"get"):
            valued += _query(ask, _ASKED.index(method), key, number, 9 + number, rng)
    yield valued
    for size in (60, 120, 240, 480, 960):
        yield rng.randbytes(size)
        yield joined + rng.randbytes(size)


def _query(ask: int, method: int, key: int, value: int, machine: int, rng: Random) -> bytes:
    """Return the operation that sends such a query, with the first token for its key and without oddities."""
    token = bytes([0]) if _ASKED[method] in {b"announce_peer", b"put"} else b""
    port = token and bytes([0])
    return bytes([ask, key, method, value, machine, 0]) + token + port + bytes([0, 0]) + rng.randbytes(4)


TARGET: Final = Target(
    "mainline-node",
    "a node of the Mainline network, by such programs",
    check,
    _seeds,
    1_024,
)

"""Sealed datagrams at a daemon with a network key: a sealed datagram opens, and any other leaves no trace.

The bytes choose the daemon's keys, the key of a datagram (or none, with or without the magic of sealed ones), its
recipient and time, changes on its way, and its content. So the test knows without cryptography whether it may open.
Then this holds:

- a datagram sealed with one of the daemon's keys, for it, in time and unchanged is answered as its content would be by
  a
  node without seals; the answer opens with the first key, fits into a datagram, and is at most three times as long,
  inside;
- any other datagram is counted under its reason: it gets no answer, and does not reach the node, which counts whatever
  does;
- nothing is answered when it comes a second time, and only answers reach the node again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Final, cast

from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, Found, Get, Put, Query, Reply
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.storage.held_values import HeldValue
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.channel import UdpCounters
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.unsealing import Unsealing
from dhtd.daemon.sockets.zones import Zones
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_values import key_of
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from dhtd.wire.sealed import MAGIC, OVERHEAD, Seal
from tests.fuzz.reader import Reader
from tests.fuzz.target import Target
from tests.fuzz.values import VALUES
from tests.records import hold_peer
from tests.wire.mutator import Mutator
from tests.wire.vectors import VECTORS

KEYS: Final = tuple(NetworkKey(bytes([number]) * KEY_SIZE) for number in (1, 2))
FOREIGN: Final = NetworkKey(bytes([3]) * KEY_SIZE)
POLICY: Final = replace(DEFAULT, datagram_sent_max=DEFAULT.datagram_sent_max - OVERHEAD)
HEADER: Final = 10  # bytes before the content of a datagram
NOW: Final = 1_000.0
WALL: Final = 1_767_225_600.0
OWN: Final = Id(1 << 255)
OWN_BYTES: Final = b"\x80" + bytes(7)


def check(data: bytes) -> None:
    """Make a datagram from the bytes, and hold the daemon to the laws."""
    reader = Reader(data)
    keys = KEYS[: 1 + reader.number() % 2]
    how = reader.number()
    source = Endpoint.of(f"10.0.0.{1 + how % 4}", 1729)
    sealed_by = (*keys, FOREIGN, None)[reader.number() % (len(keys) + 2)]
    changes = Reader(reader.take(HEADER - 3))
    inside = reader.rest()
    plain = inside if sealed_by is None or how >= 240 else inside + _tail(how)
    sent = plain if sealed_by is None else Seal([sealed_by], OWN, Random(1), WALL).seal_answer(plain)
    came = _changed(sent, changes)
    if sealed_by not in keys or came != sent:
        _check_refused(keys, came, source, "unopened")
        return
    expected = _inside(plain)
    if isinstance(expected, str):
        _check_refused(keys, came, source, expected)
    else:
        _check_opened(keys, came, expected, source)


def _tail(how: int) -> bytes:
    """Return the tail of a query: for us, anybody or somebody else; now, early, late, or from before our start."""
    recipient = (OWN_BYTES, bytes(8), b"somebody")[how // 4 % 3]
    time = WALL + (0, -300, 300, -299, 301)[how // 12 % 5]
    return recipient + int(1000 * time).to_bytes(8, "big")


def _inside(plain: bytes) -> bytes | str:
    """Return the content that the daemon should accept, or the name of the counter of its refusal."""
    if plain[4:5] and plain[4] >> 4 == 9 and plain[4] & 15 >= 5 and plain[5:6] in (b"\1", b"\2"):
        return plain
    recipient, time = plain[-16:-8], int.from_bytes(plain[-8:], "big") / 1000
    if len(plain) < 16:
        return "unopened"
    if recipient not in (OWN_BYTES, bytes(8)):
        return "misdirected"
    if abs(time - WALL) > 300:
        return "out_of_time"
    return "replayed" if time < WALL - 299 else plain[:-16]


def _changed(data: bytes, reader: Reader) -> bytes:
    """Return a datagram as it arrives: untouched, with the magic in front, with another byte or two, cut, or longer."""
    kind, at, new, other, newer = (reader.number(size) for size in (1, 2, 1, 2, 1))
    changed = bytearray(data)
    match kind % 5:
        case 1:
            return MAGIC + data
        case 2 if data:
            changed[at % len(data)] = new
            changed[other % len(data)] = newer
        case 3 if data:
            del changed[at % len(data) :]
        case 4:
            changed += bytes([new]) * (1 + at % 64)
        case _:
            pass
    return bytes(changed)


def _check_opened(keys: tuple[NetworkKey, ...], came: bytes, inside: bytes, source: Endpoint) -> None:
    driver = _daemon(keys)
    answers = driver._handle_sealed_batch([(came, source)], {source: source})
    assert driver.udp.counters == UdpCounters(), "it is sealed with a key that the daemon has"
    twin = _node()
    expected = twin.handle_datagram(inside, source, NOW)
    if expected is None:
        assert answers == []
    else:
        [(answer, to)] = answers
        assert to == source
        opened = Seal(keys[:1], OWN, Random(1), WALL).open(answer, WALL)
        assert opened == expected, "it is answered as another query"
        query = NativeCodec().decode(inside)
        is_proved = isinstance(query, Query) and twin.responder.is_proved(query.request, source, NOW)
        if is_proved and len(answer) > DEFAULT.datagram_sent_max:
            assert isinstance(query, Query)
            assert isinstance(query.request, Get), "only a value may need more"
            assert len(answer) <= DEFAULT.datagram_value_max + OVERHEAD
        assert is_proved or len(answer) <= DEFAULT.datagram_sent_max
        assert is_proved or len(expected) <= DEFAULT.amplification * len(inside)
    again = driver._handle_sealed_batch([(came, source)], {source: source})
    assert again == [], "what came before is answered"
    assert expected is None or driver.udp.counters == UdpCounters(replayed=1)


def _check_refused(keys: tuple[NetworkKey, ...], came: bytes, source: Endpoint, why: str) -> None:
    driver = _deaf(keys)
    node, driver.udp.counters = driver.node, UdpCounters()
    driver.unsealing = Unsealing(driver.udp.counters, lambda: NOW, driver.defects)
    assert driver._handle_sealed_batch([(came, source)], {source: source}) == [], "a stranger is answered"
    assert driver.udp.counters == UdpCounters(**{why: 1}), "a stranger is let in"
    assert node.counters == Counters(), "a stranger is heard"
    assert node.poll_transmit() is None


def _node() -> Node:
    """Return a node with a contact and an entry; the same each time."""
    node = Node(OWN, NativeCodec(remembered=2), rng=Random(7), now=NOW, policy=POLICY)
    for number in range(3):
        contact = Contact(NATIVE.digest(b"%d" % number), Endpoint.of(f"10.0.0.{3 + number}", 1729))
        node.state.answered(contact, 0.1, NOW)
    hold_peer(node.store, NATIVE.digest(b"printer"), Endpoint.of("10.0.0.1", 631), NOW)
    for value in VALUES[:1] + VALUES[8:]:
        node.values.held.restore(HeldValue(NativeCodec().key_of(value), value, bytes(4), NOW + 3_600), NOW)
    return node


def _daemon(keys: tuple[NetworkKey, ...]) -> Driver:
    udp = cast("UdpSockets", SimpleNamespace(counters=UdpCounters(), zones=Zones()))
    return Driver(_node(), udp, lambda: NOW, Seal(keys, OWN, Random(2), WALL - 299), wall=lambda: WALL)


@cache
def _deaf(keys: tuple[NetworkKey, ...]) -> Driver:
    """Return a daemon out of everybody's reach, so one serves all runs."""
    return _daemon(keys)


def _seeds() -> Iterator[bytes]:
    yield b""
    datagrams = [vector.data for vector in VECTORS.values()]
    for number, data in enumerate(datagrams):
        by = number % 3
        for how in (number % 60, 240):
            yield bytes([number % 2, how, by]) + bytes(HEADER - 3) + data
    for value in VALUES:
        key = key_of(value)
        for request in (Get(key), Get(key, _token(key)), Put(key, _token(key), value, None, 60)):
            yield bytes([0, 0, 0]) + bytes(HEADER - 3) + NativeCodec().encode_query(bytes(8), Id(1), request)
    for kind in range(5):
        for by in range(4):
            yield bytes([1, 0, by, kind, 0, 9, 0xFF, 0, kind, 0]) + datagrams[0]
    yield bytes([0, 0, 2]) + bytes(HEADER - 3) + MAGIC + bytes(OVERHEAD)


def _token(key: Id) -> bytes:
    """Return the token that each daemon here gives the first source for this key."""
    codec, request = NativeCodec(), Get(key)
    answer = _node().handle_datagram(codec.encode_query(bytes(8), Id(1), request), Endpoint.of("10.0.0.1", 1729), NOW)
    assert answer is not None
    reply = codec.decode(answer)
    assert isinstance(reply, Reply)
    found = codec.decode_result(request, reply.body)
    assert isinstance(found, Found)
    assert found.token
    return found.token


def _mutate(data: bytes, seed: int) -> bytes:
    """Change the content of the datagram, as msgpack, and leave changes of the whole to others."""
    [inside] = Mutator(seed, [vector.data for vector in VECTORS.values()]).mutants(data[HEADER:], 1)
    return data[:HEADER].ljust(HEADER, b"\0") + inside


TARGET: Final = Target(
    "sealed", "sealed datagrams, as a daemon with a network key takes them", check, _seeds, 2_048, _mutate
)

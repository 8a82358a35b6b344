"""Rubbish: it is charged to its source, which is soon not decoded; rubbish with a forged source silences nobody."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NoReturn

import pytest

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Message, Ping, Request
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.serving.malformed import PART, PAUSE, SOURCES, Malformed
from dhtd.sim.json_codec import JsonCodec
from dhtd.wire.native import NativeCodec
from tests.core.bench import Bench
from tests.core.small import contact, endpoint
from tests.records import to_store

STRANGER, FRIEND = contact(100), contact(101)
RUBBISH = b"DHT\x01" + b"\xdc\x07\xf8" * 600
BURST = int(DEFAULT.rate_limit * PART * DEFAULT.rate_burst)


class Counting(NativeCodec):
    """Counts the datagrams that it should decode."""

    decoded = 0

    def decode(self, data: bytes) -> Message:
        self.decoded += 1
        return super().decode(data)


def under_fire(source: Endpoint) -> tuple[Bench, Counting]:
    """Return a node that got much rubbish from this source, forged or real."""
    codec = Counting()
    bench = Bench(codec=codec)
    bench.know(FRIEND)
    codec.decoded = 0
    for _ in range(10 * BURST):
        assert bench.deliver(RUBBISH, source) is None
    return bench, codec


def test_a_source_of_rubbish_is_soon_not_decoded() -> None:
    bench, codec = under_fire(STRANGER.endpoint)
    assert codec.decoded <= BURST + 2
    assert bench.node.counters.malformed == 10 * BURST
    before, seconds = codec.decoded, 20
    for step in range(100 * seconds):
        bench.now = step / 100
        bench.deliver(RUBBISH, STRANGER.endpoint.with_port(1 + step))  # from any port
    assert codec.decoded - before <= seconds * (DEFAULT.rate_limit * PART + 2)
    bench.now += PAUSE
    bench.deliver(RUBBISH, STRANGER.endpoint)
    assert len(bench.node.gate.malformed.unread) <= 1


def test_one_sources_rubbish_is_charged_to_it() -> None:
    bench, codec = under_fire(STRANGER.endpoint)
    before = codec.decoded
    bench.deliver(RUBBISH, endpoint(77))
    assert codec.decoded == before + 1


@pytest.mark.parametrize("source", [STRANGER, FRIEND], ids=["stranger", "contact"])
@pytest.mark.parametrize("request_", [Ping(), FindNode(Id(5)), FindValue(Id(5)), to_store(Id(5), 80, b"12345678")])
def test_forged_rubbish_does_not_silence_queries(source: Contact, request_: Request) -> None:
    bench, _ = under_fire(source.endpoint)
    assert bench.query(request_, source) is not None


@pytest.mark.parametrize("source", [STRANGER, FRIEND], ids=["stranger", "contact"])
def test_forged_rubbish_does_not_silence_answers(source: Contact) -> None:
    bench, _ = under_fire(source.endpoint)
    bench.node.commands.ping(source.endpoint, bench.now)
    query = bench.sent_one().query
    bench.deliver(bench.codec.encode_acknowledged(query.tid, source.id, endpoint(1)), source.endpoint)
    assert bench.node.counters.replies_received >= 1
    assert bench.events()


def test_a_contacts_unusual_datagrams_are_read() -> None:
    odd = b"DHT\x01\x96\x00\xc4\x0812345678\xc4\x20" + bytes(31) + b"\x09\xa4ping\x90\xc0"
    assert not NativeCodec().is_plain(odd)
    assert under_fire(FRIEND.endpoint)[0].deliver(odd, FRIEND.endpoint) is not None
    assert under_fire(STRANGER.endpoint)[0].deliver(odd, STRANGER.endpoint) is None


def test_without_a_limit_rubbish_is_read_for_ever() -> None:
    codec = Counting()
    bench = Bench(codec=codec, policy=Policy(rate_limit=0))
    for _ in range(5 * BURST):
        bench.deliver(RUBBISH, STRANGER.endpoint)
    assert codec.decoded == 5 * BURST


def test_few_sources_of_rubbish_are_remembered() -> None:
    malformed = Malformed(DEFAULT, Random(1), lambda _: False, 16.0)
    for number in range(2 * SOURCES):
        for _ in range(6):
            malformed.count(endpoint(number), 0.0)
    assert len(malformed.unread) == SOURCES
    assert malformed.refuses(endpoint(0), 0.0)
    for _ in range(6):
        malformed.count(endpoint(9 * SOURCES), 2 * PAUSE)
    assert len(malformed.unread) == 1
    assert not malformed.refuses(endpoint(0), 2 * PAUSE)
    assert malformed.refuses(endpoint(9 * SOURCES), 2 * PAUSE)
    assert not malformed.refuses(endpoint(9 * SOURCES), 4 * PAUSE)
    assert not malformed.unread


def test_remembering_a_source_takes_few_steps() -> None:
    malformed = Malformed(DEFAULT, Random(1), lambda _: False, 16.0)
    for number in range(SOURCES):
        for _ in range(6):
            malformed.count(endpoint(number), 0.0)
    looked_at = 0

    class Watched(dict[bytes, float]):
        def items(self) -> NoReturn:
            raise AssertionError("all are looked through")

        def __getitem__(self, group: bytes) -> float:
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(group)

    malformed.unread = Watched(malformed.unread)
    for number in range(SOURCES, SOURCES + 100):
        for _ in range(6):
            malformed.count(endpoint(number), PAUSE / 2)
    assert not malformed.refuses(endpoint(SOURCES), PAUSE / 2)
    assert 0 < looked_at <= 600
    for _ in range(6):
        malformed.count(endpoint(0), PAUSE / 2)  # which stays for longer than it would have
    for _ in range(6):
        malformed.count(endpoint(SOURCES), PAUSE)
    assert malformed.refuses(endpoint(SOURCES), PAUSE)
    assert malformed.refuses(endpoint(0), PAUSE)
    assert len(malformed.unread) == 2


def test_checks_ease_once_rubbish_stops() -> None:
    malformed = Malformed(DEFAULT, Random(1), lambda _: False, 16.0)
    for number in range(100):
        for _ in range(6):
            malformed.count(endpoint(number), 0.0)
    assert len(malformed.unread) == 100
    for _ in range(100):
        assert not malformed.refuses(STRANGER.endpoint, PAUSE)
    assert not malformed.unread


@pytest.mark.parametrize("make", [NativeCodec, lambda: NativeCodec(dual_stack=True), lambda: JsonCodec(NATIVE)])
def test_all_that_this_program_sends_is_plain(make: Callable[[], Codec]) -> None:
    codec, key, token = make(), Id(2**255), b"12345678"
    for request in (Ping(), FindNode(key), FindValue(key), FindNode(key, token), FindValue(key, token)):
        assert codec.is_plain(codec.encode_query(bytes(codec.traits.tid_size), key, request))
    assert codec.is_plain(codec.encode_query(bytes(codec.traits.tid_size), key, to_store(key, 65_535, token)))
    assert codec.is_plain(codec.encode_acknowledged(bytes(codec.traits.tid_size), key, endpoint(1)))
    assert codec.is_plain(codec.encode_error(bytes(codec.traits.tid_size), key, 203, "no"))
    assert not codec.is_plain(RUBBISH)

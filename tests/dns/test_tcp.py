"""DNS by TCP: several questions on a connection, and clients that are slow."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import dns.message
import dns.rcode
import pytest
import trio
from trio.testing import MockClock

from dhtd.dns import tcp
from dhtd.dns.tcp import Places
from tests.dns.doors import WIKI, World, opened, send_tcp, take_tcp, texts

NAME = "wiki.dht.alt"


def query(name: str, kind: str = "A", id: int = 0) -> bytes:
    return dns.message.make_query(name, kind, id=id).to_wire()


async def answer(stream: trio.SocketStream) -> dns.message.Message:
    data = await take_tcp(stream)
    assert data is not None
    return dns.message.from_wire(data)


async def test_a_large_answer_is_whole(tmp_path: Path) -> None:
    world = World({"wiki": [f"10.1.2.{number}:8080" for number in range(1, 129)]})
    async with opened(tmp_path, world) as door, await door.stream() as stream:
        for kind in ("TXT", "SRV", "A", "TXT"):
            await send_tcp(stream, query(NAME, kind))
            assert len(texts(await answer(stream))) == 128


async def test_a_quick_answer_does_not_wait_for_a_slow_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World({"wiki": [WIKI]}, takes=1.0)
    async with opened(tmp_path, world) as door, await door.stream() as stream:
        await send_tcp(stream, query(NAME, id=1), query("dht.alt", "SOA", id=2), query(NAME, "TXT", id=3))
        ids = [(await answer(stream)).id for _ in range(3)]
    assert ids[0] == 2
    assert sorted(ids[1:]) == [1, 3]


async def test_a_question_may_come_byte_by_byte(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, World({"wiki": [WIKI]})) as door, await door.stream() as stream:
        wire = query(NAME)
        for byte in len(wire).to_bytes(2, "big") + wire:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.01)
        assert texts(await answer(stream)) == ["10.1.2.3"]


@pytest.mark.parametrize("begun", [b"", b"\0", b"\0\x20", b"\xff\xff" + bytes(1_000)])
async def test_a_slow_client_is_cut_off(tmp_path: Path, autojump_clock: MockClock, begun: bytes) -> None:
    async with opened(tmp_path, World()) as door, await door.stream() as stream:
        began = trio.current_time()
        await stream.send_all(begun)
        assert await take_tcp(stream) is None
        assert trio.current_time() - began == pytest.approx(tcp.IDLE_FOR)


async def test_a_drip_of_bytes_does_not_keep_a_connection(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, World()) as door, await door.stream() as stream:
        began = trio.current_time()
        with suppress(trio.BrokenResourceError):
            for _ in range(60):
                await stream.send_all(b"\1")
                await trio.sleep(1)
        assert trio.current_time() - began < tcp.IDLE_FOR + 3


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World({"wiki": [f"10.1.2.{number}:8080" for number in range(1, 129)]})
    async with opened(tmp_path, world) as door, await door.stream() as stream:
        with suppress(trio.BrokenResourceError):
            for _ in range(1_000):
                await send_tcp(stream, *[query(NAME, "TXT")] * 100)
            pytest.fail("it is not cut off")
    assert door.notes == []


async def test_a_client_that_hangs_up_disturbs_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World({"wiki": [WIKI]}, takes=1.0)
    async with opened(tmp_path, world) as door:
        async with await door.stream() as stream:
            await send_tcp(stream, query(NAME))
        await trio.sleep(3)
        assert texts(await door.ask(NAME)) == ["10.1.2.3"]
    assert door.notes == []


@pytest.mark.parametrize("data", [b"", b"\0" * 11, query(NAME)[:2] + b"\x80" + query(NAME)[3:]])
async def test_what_is_no_question_ends_a_connection(tmp_path: Path, data: bytes) -> None:
    async with opened(tmp_path, World()) as door, await door.stream() as stream:
        await send_tcp(stream, data)
        assert await take_tcp(stream) is None


async def test_garbage_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, World()) as door, await door.stream() as stream:
        await send_tcp(stream, query(NAME) + b"\0", query("example.org"))
        data = await take_tcp(stream)
        assert data is not None
        assert data[3] & 15 == dns.rcode.FORMERR
        assert (await answer(stream)).rcode() == dns.rcode.REFUSED


async def test_the_quietest_client_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.dns.door.Places", lambda: Places(2))
    world = World({"wiki": [WIKI]})
    async with opened(tmp_path, world) as door, await door.stream() as first, await door.stream() as second:
        for stream in (first, second, first):
            await send_tcp(stream, query(NAME))
            await answer(stream)
        async with await door.stream() as third:
            await send_tcp(third, query(NAME))
            assert texts(await answer(third)) == ["10.1.2.3"]
            assert await take_tcp(second) is None
            await send_tcp(first, query(NAME))
            assert texts(await answer(first)) == ["10.1.2.3"]


def test_a_network_of_strangers_has_few_places() -> None:
    places = Places(most=9, of_source=2)
    scopes = [trio.CancelScope() for _ in range(4)]
    assert [places.take(scope, b"abc") for scope in scopes[:3]] == [True, True, False]
    assert places.take(scopes[3], None)
    places.leave(scopes[0], b"abc")
    assert places.take(scopes[2], b"abc")
    for scope in scopes:
        places.leave(scope, b"abc")
    assert len(places) == 0


async def test_questions_in_flight_are_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(takes=1.0)
    async with opened(tmp_path, world) as door, await door.stream() as stream:
        many = tcp.IN_FLIGHT_MAX + 8
        await send_tcp(stream, *[query(f"a{number}.dht.alt", id=number) for number in range(many)])
        ids = {(await answer(stream)).id for _ in range(many)}
    assert ids == set(range(many))

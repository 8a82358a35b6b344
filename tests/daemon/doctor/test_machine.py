"""What is seen of this machine and of endpoints, with real sockets on loopback."""

from __future__ import annotations

import socket

import pytest
import trio

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.doctor.machine import Echo, Machine, Tried, text_of

HOSTS = ["127.0.0.1", "::1"]


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    found = str(request.param)
    try:
        with bound(found, socket.SOCK_DGRAM):
            pass
    except OSError as error:
        pytest.skip(f"no {found} here: {error}")
    return found


def bound(host: str, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    made.bind((host, 0))
    return made


def at(made: socket.socket) -> Endpoint:
    return Endpoint.of(*made.getsockname()[:2])


async def test_a_closed_port_is_told_from_an_open_one(host: str) -> None:
    with bound(host, socket.SOCK_DGRAM) as open_one:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_one, open_one)
            assert await Machine().probe(at(open_one), b"ping") is Echo.ANSWER
        closed = at(open_one)
    assert await Machine().probe(closed, b"ping") is Echo.CLOSED


async def answer_one(ours: socket.socket) -> None:
    await trio.lowlevel.wait_readable(ours)
    data, source = ours.recvfrom(100)
    assert data == b"ping"
    ours.sendto(b"pong", source)


async def test_connecting_tells_why_not(host: str) -> None:
    with bound(host, socket.SOCK_STREAM) as listening:
        assert await Machine().try_connecting(at(listening)) == Tried(False, "Connection refused")
        listening.listen()
        assert await Machine().try_connecting(at(listening)) == Tried(True, "")


async def test_a_listener_is_found_with_its_address(host: str) -> None:
    with bound(host, socket.SOCK_STREAM) as listening:
        listening.listen()
        found = await Machine().bound_on(at(listening).port)
        assert found is None or {(each.protocol, text_of(each.ip)) for each in found} == {("tcp", host)}


def test_loopback_is_of_this_machine_and_others_are_not(host: str) -> None:
    assert Machine().has(Endpoint.of(host, 1))
    assert not Machine().has(Endpoint.of("192.0.2.1", 1))

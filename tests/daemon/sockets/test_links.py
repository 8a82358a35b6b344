"""Addresses and links from the kernel: from prepared bytes, and from the kernel of this machine."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable

import pytest
import trio
from trio.testing import MockClock

from dhtd.daemon.sockets import links
from dhtd.daemon.sockets.links import LOOK_AGAIN, LOOK_AGAIN_UNTOLD, SETTLED, Links, local_addresses

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink(7) is Linux's")

FOUR, SIX = bytes((203, 0, 113, 7)), bytes.fromhex("20010db8000000000000000000000007")


def message(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 9) + body + bytes(-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def address(family: int, *attributes: bytes, flags: int = 0x80, scope: int = 0) -> bytes:
    return message(20, struct.pack("=BBBBI", family, 24, flags, scope, 2) + b"".join(attributes))


DONE = message(3, bytes(4))


class FakeNetlink(socket.socket):
    """A socket that receives these datagrams."""

    said: Iterable[bytes] = ()

    def __init__(self, *arguments: int) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._left = list(type(self).said)

    def sendto(self, *arguments: object) -> int:
        return 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self._left.pop(0)


def told(*datagrams: bytes) -> frozenset[bytes] | None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(FakeNetlink, "said", datagrams)
        patched.setattr(socket, "socket", FakeNetlink)
        return local_addresses()


@pytest.mark.parametrize(
    ("datagram", "addresses"),
    [
        (address(socket.AF_INET, attribute(1, FOUR), attribute(2, FOUR), attribute(3, b"eth0\0")), {FOUR}),
        (address(socket.AF_INET, attribute(1, bytes(4)), attribute(2, FOUR)), {FOUR}),  # of a link between two
        (address(socket.AF_INET, attribute(2, FOUR), flags=0x01), {FOUR}),  # a second one of a network
        (address(socket.AF_INET6, attribute(1, SIX)), {SIX}),
        (address(socket.AF_INET6, attribute(1, SIX), attribute(8, struct.pack("=I", 0x200)), flags=0x40), {SIX}),
        (address(socket.AF_INET6, attribute(1, SIX), flags=0x40), set()),  # not in use yet
        (address(socket.AF_INET6, attribute(1, SIX), flags=0x08), set()),  # a duplicate address
        (address(socket.AF_INET6, attribute(1, SIX), flags=0x01), set()),  # it changes, to hide the machine
        (address(socket.AF_INET6, attribute(1, SIX), scope=253), set()),  # of a link
        (address(socket.AF_INET, attribute(2, FOUR), scope=254), set()),  # of this machine
        (address(socket.AF_INET), set()),
        (address(socket.AF_INET, b"\0\0\0\0" + attribute(2, FOUR)), set()),
        (message(16, bytes(16)), set()),
        (bytes(16), set()),
    ],
)
def test_useful_addresses_are_listed(datagram: bytes, addresses: set[bytes]) -> None:
    assert told(datagram + DONE if datagram[:4] != bytes(4) else datagram, DONE) == frozenset(addresses)


def test_a_list_may_take_several_datagrams() -> None:
    four, six = address(socket.AF_INET, attribute(2, FOUR)), address(socket.AF_INET6, attribute(1, SIX))
    assert told(four, six + DONE) == frozenset({FOUR, SIX})


def test_a_refusing_kernel_lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(message(2, struct.pack("=i", -1) + bytes(16))) is None

    def forbid(*arguments: object) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", forbid)
    assert local_addresses() is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert local_addresses() is None


def test_this_kernel_lists_no_loopback_address() -> None:
    listed = local_addresses()
    assert listed is None or not listed & {bytes((127, 0, 0, 1)), bytes(15) + b"\x01"}


async def test_without_news_addresses_are_polled(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*arguments: object) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", forbid)
        untold = Links()
    await untold.changed()
    assert trio.current_time() == LOOK_AGAIN_UNTOLD
    untold.close()


async def test_news_settle_within_a_minute(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    with kernel:
        monkeypatch.setattr(links, "_subscribe", lambda: ours)
        told = Links()
        await told.changed()
        assert trio.current_time() == LOOK_AGAIN
        for _ in range(3):
            kernel.send(b"news")
        await told.changed()
        assert trio.current_time() == LOOK_AGAIN + SETTLED
        await told.changed()  # there is nothing left of them
        assert trio.current_time() == 2 * LOOK_AGAIN + SETTLED
        told.close()
    assert ours.fileno() == -1

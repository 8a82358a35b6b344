"""Both channels, on loopback: input, output, and failures."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.sockets.channel import BATCH, Channel, Datagram, OneByOne, UdpCounters
from dhtd.daemon.sockets.udp import open_channel

if sys.platform == "linux":
    from dhtd.daemon.sockets import mmsg

SIZE = 100
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="recvmmsg(2) is Linux's")
KINDS = (pytest.param("one by one", id="one-by-one"), pytest.param("mmsg", marks=ON_LINUX))
HOSTS = ("127.0.0.1", "::1")


def make(kind: str, bound: socket.socket, counters: UdpCounters) -> Channel:
    if kind == "one by one":
        return OneByOne(bound, SIZE, counters)
    return mmsg.Mmsg(bound, SIZE, counters)


class End:
    """A socket with its channel, and another socket that speaks to it."""

    def __init__(self, kind: str, host: str) -> None:
        self.kind = kind
        self.counters = UdpCounters()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.bound, self.other = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            for made in (self.bound, self.other):
                made.bind((host, 0))
                made.setblocking(False)
        except OSError:
            pytest.skip(f"{host} is not there")
        self.channel = make(kind, self.bound, self.counters)

    def close(self) -> None:
        self.bound.close()
        self.other.close()

    def comes(self, *datagrams: bytes) -> None:
        """Have these arrive: on loopback they arrive at once."""
        for data in datagrams:
            self.other.sendto(data, self.bound.getsockname())

    def receive(self) -> list[Datagram]:
        """Return the datagrams that are there; None differs from an empty list."""
        received = self.channel.receive()
        assert received is not None
        return received

    def peer(self) -> Any:
        """Return the other's address in the form of the channel."""
        self.comes(b"hello")
        [(_, address)] = self.receive()
        return address


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> str:
    return cast("str", request.param)


@pytest.fixture(params=KINDS)
def end(request: pytest.FixtureRequest, host: str) -> Iterator[End]:
    made = End(request.param, host)
    yield made
    made.close()


def test_datagrams_come_in_order(end: End) -> None:
    end.comes(b"one", b"", b"three" * 20)
    received = end.receive()
    assert [data for data, _ in received] == [b"one", b"", b"three" * 20]
    sender = Endpoint.of(*end.other.getsockname()[:2])
    assert [end.channel.endpoint(address) for _, address in received] == [sender] * 3
    assert len({address for _, address in received}) == 1
    assert end.channel.receive() is None
    assert end.counters == UdpCounters(datagrams_received=3, bytes_received=103)


@pytest.mark.parametrize("kind", KINDS)
def test_the_kernel_tells_the_link_of_an_address(kind: str) -> None:
    end = End(kind, "::1")
    address = end.peer()
    assert end.channel.zone(address) == 0, "loopback addresses are of no link"
    on_link = (*address[:3], 5) if kind == "one by one" else address[:24] + (5).to_bytes(4, sys.byteorder)
    assert end.channel.zone(on_link) == 5
    assert end.channel.endpoint(on_link) == end.channel.endpoint(address)
    end.close()


def test_datagrams_of_two_senders_are_told_apart(end: End) -> None:
    with socket.socket(end.bound.family, socket.SOCK_DGRAM) as third:
        third.bind((end.bound.getsockname()[0], 0))
        end.comes(b"a")
        third.sendto(b"b", end.bound.getsockname())
        end.comes(b"c")
        received = end.receive()
        assert [data for data, _ in received] == [b"a", b"b", b"c"]
        assert received[0][1] == received[2][1] != received[1][1]
        assert end.channel.endpoint(received[1][1]) == Endpoint.of(*third.getsockname()[:2])


def test_one_batch_is_received_at_a_time(end: End) -> None:
    numbers = [number.to_bytes(2, "big") for number in range(BATCH + 3)]
    end.comes(*numbers)
    assert [data for data, _ in end.receive()] == numbers[:BATCH]
    assert [data for data, _ in end.receive()] == numbers[BATCH:]


def test_an_oversized_datagram_is_dropped(end: End) -> None:
    end.comes(b"x" * SIZE, b"y" * (SIZE + 1), b"z" * 5_000, b"after")
    received = end.receive()
    assert [data for data, _ in received] == [b"x" * SIZE, b"after"]
    assert len({address for _, address in received}) == 1
    assert end.counters == UdpCounters(datagrams_received=2, bytes_received=SIZE + 5, oversized=2)
    end.comes(b"y" * (SIZE + 1))
    assert end.receive() == []
    assert end.channel.receive() is None


def test_answers_are_sent_each_to_its_address(end: End) -> None:
    with socket.socket(end.bound.family, socket.SOCK_DGRAM) as third:
        third.bind((end.bound.getsockname()[0], 0))
        third.setblocking(False)
        first = end.peer()
        third.sendto(b"hello", end.bound.getsockname())
        [(_, second)] = end.receive()
        end.channel.send([(b"for one", first), (b"for two" * 9, second), (b"", first), (b"more for one", first)])
        assert [end.other.recv(SIZE) for _ in range(3)] == [b"for one", b"", b"more for one"]
        assert third.recvfrom(SIZE) == (b"for two" * 9, end.bound.getsockname())
    assert end.counters == UdpCounters(2, len(b"hello") * 2, datagrams_sent=4, bytes_sent=82)


def test_a_batch_of_the_largest_answers_is_sent(end: End) -> None:
    address = end.peer()
    end.other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    answers = [bytes([number]) * SIZE for number in range(BATCH)]
    end.channel.send([(answer, address) for answer in answers])
    assert [end.other.recv(SIZE + 1) for _ in answers] == answers


def test_nothing_to_send_is_nothing_to_do(end: End) -> None:
    end.channel.send([])
    assert end.counters == UdpCounters()


def test_answers_beyond_the_batch_size_are_sent(end: End) -> None:
    address = end.peer()
    answers = [bytes([number]) * 1_200 for number in range(20)]
    end.channel.send([(answer, address) for answer in answers])
    assert [end.other.recv(2_000) for _ in answers] == answers


def test_an_unsendable_answer_spares_the_others(end: End) -> None:
    address = end.peer()
    end.channel.send([(b"first", address), (b"x" * 70_000, address), (b"last", address)])
    assert [end.other.recv(SIZE) for _ in range(2)] == [b"first", b"last"]
    assert end.counters == UdpCounters(1, len(b"hello"), datagrams_sent=2, bytes_sent=9, send_errors=1)


@pytest.mark.parametrize("kind", KINDS)
def test_unreachable_addresses_cost_one_answer(kind: str) -> None:
    end = End(kind, "127.0.0.1")
    good = end.peer()
    bad = ("127.0.0.1", 0) if kind == "one by one" else good[:2] + b"\0\0" + good[4:]
    end.channel.send([(b"0", bad), (b"1", good), (b"2", bad), (b"3", bad), (b"4", good), (b"5", bad)])
    assert [end.other.recv(SIZE) for _ in range(2)] == [b"1", b"4"]
    assert end.counters == UdpCounters(1, len(b"hello"), datagrams_sent=2, bytes_sent=2, send_errors=4)
    end.close()


def test_a_full_buffer_is_no_error(end: End) -> None:
    for number in (errno.EAGAIN, errno.ENOBUFS):
        end.counters.not_sent(OSError(number, os.strerror(number)), "there")
    assert end.counters == UdpCounters(send_buffer_full=2)


def test_a_recvmsg_error_is_counted() -> None:
    class Failing:
        failures = 3

        def getsockname(self) -> tuple[str, int]:
            return "127.0.0.1", 1

        def recvmsg(self, size: int, control: int) -> tuple[bytes, list[Any], int, tuple[str, int]]:
            self.failures -= 1
            if self.failures < 0:
                raise BlockingIOError
            if self.failures == 1:
                return b"x", [], 0, ("127.0.0.1", 9)
            raise OSError(errno.ECONNREFUSED, "refused")

    counters = UdpCounters()
    channel = OneByOne(cast("socket.socket", Failing()), SIZE, counters)
    assert channel.receive() == [(b"x", ("127.0.0.1", 9))]
    assert counters == UdpCounters(datagrams_received=1, bytes_received=1, receive_errors=2)


@ON_LINUX
def test_a_recvmmsg_error_is_counted() -> None:
    end = End("mmsg", "127.0.0.1")
    end.bound.close()
    assert end.channel.receive() is None
    assert end.counters == UdpCounters(receive_errors=1)
    end.close()


@ON_LINUX
@pytest.mark.parametrize("full_at", [0, 2, 4])
def test_a_full_buffer_costs_one_answer(full_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """Sends the datagrams before one place, and fails there, once."""

        def __init__(self) -> None:
            self.sent = 0

        def sendmmsg(self, number: int, first: int, count: int, flags: int) -> int:
            if self.sent == full_at:
                self.sent += 1
                return -1
            stop = count if self.sent > full_at else full_at - self.sent
            done: int = real.sendmmsg(number, first, stop, flags)
            self.sent += done
            return done

    end = End("mmsg", "127.0.0.1")
    address, real = end.peer(), mmsg._libc
    monkeypatch.setattr(mmsg, "_libc", Full())
    monkeypatch.setattr(mmsg, "_last_error", lambda: OSError(errno.EAGAIN, "full"))
    answers = [bytes([place]) for place in range(5)]
    end.channel.send([(answer, address) for answer in answers])
    assert [end.other.recv(SIZE) for _ in range(4)] == [answer for answer in answers if answer[0] != full_at]
    assert end.counters == UdpCounters(1, len(b"hello"), datagrams_sent=4, bytes_sent=4, send_buffer_full=1)
    end.close()


def opened() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        return type(open_channel(bound, SIZE, UdpCounters())).__name__


@ON_LINUX
def test_linux_uses_the_batch_channel_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        recvmmsg = sendmmsg = staticmethod(lambda *arguments: -1)

    assert opened() == "Mmsg"
    monkeypatch.setattr(mmsg, "_libc", Forbidden())
    assert opened() == "OneByOne"


@ON_LINUX
@pytest.mark.parametrize("error", [ImportError("no ctypes"), OSError("no libc"), AttributeError("no recvmmsg")])
def test_a_poor_python_or_libc_uses_the_plain_one(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lacking:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "dhtd.daemon.sockets.mmsg":
                raise error

    monkeypatch.delitem(sys.modules, "dhtd.daemon.sockets.mmsg")
    monkeypatch.setattr(sys, "meta_path", [Lacking(), *sys.meta_path])
    assert opened() == "OneByOne"


def test_other_systems_use_the_portable_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert opened() == "OneByOne"


# Of a socket that is bound to all addresses


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_an_answer_leaves_from_where_it_was_asked(kind: str, count: int) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        bound.bind(("0.0.0.0", 0))
        bound.setblocking(False)
        other.bind(("127.0.0.1", 0))
        other.settimeout(60)  # only a hang reaches it
        counters = UdpCounters()
        channel = make(kind, bound, counters)
        port = bound.getsockname()[1]
        asked = [(f"127.0.0.{number}", port) for number in range(2, 2 + count)]
        for to in asked:
            other.sendto(to[0].encode(), to)
        received = channel.receive()
        assert received is not None
        assert {channel.endpoint(address) for _, address in received} == {Endpoint.of(*other.getsockname())}
        channel.send(received)
        assert [other.recvfrom(100) for _ in asked] == [(to[0].encode(), to) for to in asked]
        assert (counters.datagrams_sent, counters.send_errors) == (count, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_an_ipv6_answer_leaves_from_its_address(kind: str) -> None:
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
    ):
        try:
            bound.bind(("::", 0))
            other.bind(("::1", 0))
        except OSError:
            pytest.skip("::1 is not there")
        bound.setblocking(False)
        other.settimeout(60)
        channel = make(kind, bound, UdpCounters())
        to = ("::1", bound.getsockname()[1])
        other.sendto(b"one", to)
        other.sendto(b"two", to)
        received = channel.receive()
        assert received is not None
        assert {channel.endpoint(address) for _, address in received} == {Endpoint.of(*other.getsockname()[:2])}
        assert {channel.zone(address) for _, address in received} == {0}
        channel.send(received)
        assert [other.recvfrom(100)[0] for _ in range(2)] == [b"one", b"two"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_packet_info_the_kernel_chooses(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(socket.socket):
        def setsockopt(self, *arguments: Any) -> None:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    with Old(socket.AF_INET, socket.SOCK_DGRAM) as bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        bound.bind(("0.0.0.0", 0))
        bound.setblocking(False)
        other.bind(("127.0.0.1", 0))
        other.settimeout(60)
        channel = make(kind, bound, UdpCounters())
        other.sendto(b"x", ("127.0.0.5", bound.getsockname()[1]))
        received = channel.receive()
        assert received is not None
        channel.send(received)
        assert other.recvfrom(100) == (b"x", ("127.0.0.1", bound.getsockname()[1]))

"""Real UDP sockets on loopback: binding, reading, counting."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
import trio

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.policy import DEFAULT
from dhtd.daemon.sockets import udp as udp_module
from dhtd.daemon.sockets.channel import BATCH, Channel, Datagram
from dhtd.daemon.sockets.udp import BATCHES, Sources, UdpSockets, open_sockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.errors import AddressUnavailable, PortTaken

POLICY = replace(DEFAULT, datagram_received_max=100)
HANG = 60.0  # seconds; only a hang takes longer


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def client() -> socket.socket:
    """Return a socket on loopback that gives up if nothing comes."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(HANG)
    return made


def endpoint(of: socket.socket) -> Endpoint:
    return Endpoint.of(*of.getsockname()[:2])


# Binding


def bind(*addresses: str, port: int) -> None:
    with open_sockets(addresses, port):
        pass


def test_sockets_live_as_long_as_the_context() -> None:
    with open_sockets(["127.0.0.1", "127.0.0.2"], 0) as sockets:
        udp = UdpSockets(sockets, DEFAULT)
        assert [listening.host for listening in udp.listening()] == ["127.0.0.1", "127.0.0.2"]
        assert all(not bound.getblocking() for bound in sockets)
    assert all(bound.fileno() == -1 for bound in sockets)


def test_a_port_that_is_taken_is_said_to_be() -> None:
    with client() as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"{port} of 127\.0\.0\.1 is taken.*--port") as caught:
            bind("127.0.0.2", "127.0.0.1", port=port)
    assert caught.value.exit_status == 1


def test_a_foreign_address_is_reported() -> None:
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.1:0: Cannot assign.*--bind"):
        bind("192.0.2.1", port=0)


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EACCES, "ports below 1024 need privileges"), (errno.ENETDOWN, "Network is down.*--bind")],
)
def test_other_reasons_are_named(number: int, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "socket", Refusing)
    with pytest.raises(AddressUnavailable, match=text), open_sockets(["127.0.0.1"], 80):
        pass


def test_a_descriptor_shortage_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(family: int, kind: int) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", refuse)
    with pytest.raises(AddressUnavailable, match="Too many open files"), open_sockets(["127.0.0.1"], 80):
        pass


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_an_ipv6_socket_is_for_ipv6_alone() -> None:
    with open_sockets(["::1"], 0) as [six], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        four.bind(("0.0.0.0", six.getsockname()[1]))
        assert UdpSockets([six], DEFAULT).listening() == [Endpoint.of("::1", six.getsockname()[1])]


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_by_default_both_families_are_bound() -> None:
    with open_sockets([], 0) as sockets:
        assert [bound.getsockname()[0] for bound in sockets] == ["0.0.0.0", "::"]


@pytest.mark.parametrize("missing", [socket.AF_INET6, socket.AF_INET])
@pytest.mark.parametrize("fails", ["socket", "bind"])
def test_by_default_a_missing_family_is_skipped(missing: int, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with lacking(monkeypatch, fails, missing), open_sockets([], 0) as sockets:
        assert [bound.getsockname()[0] for bound in sockets] == ["0.0.0.0" if missing == socket.AF_INET6 else "::"]
    with (
        lacking(monkeypatch, fails, missing),
        pytest.raises(AddressUnavailable),
        open_sockets(["::" if missing == socket.AF_INET6 else "0.0.0.0"], 0),
    ):
        pass


def test_without_any_family_the_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        lacking(monkeypatch, "socket", socket.AF_INET, socket.AF_INET6),
        pytest.raises(AddressUnavailable, match="Address family not supported"),
        open_sockets([], 0),
    ):
        pass


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_by_default_a_taken_port_is_reported() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 0))
        with pytest.raises(PortTaken, match="of :: is taken"):
            bind(port=other.getsockname()[1])


@contextmanager
def lacking(monkeypatch: pytest.MonkeyPatch, fails: str, *families: int) -> Iterator[None]:
    """Do without these families, like a kernel built without them, or without any of their addresses."""

    class Lacking(socket.socket):
        def __init__(self, family: int, *rest: int) -> None:
            if fails == "socket" and family in families:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
            super().__init__(family, *rest)

        def bind(self, address: Any) -> None:
            if self.family in families:
                raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
            super().bind(("127.0.0.1" if address[0] == "0.0.0.0" else address[0], *address[1:]))

        def getsockname(self) -> Any:
            host, *rest = super().getsockname()
            return ("0.0.0.0" if host == "127.0.0.1" else host, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", Lacking)
        yield


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("fe80::1%nowhere", r"\[fe80::1%nowhere\]:0: .*is on a link that is not here"),
        ("::1%lo", "is no link-local address"),
    ],
)
def test_an_address_on_no_link_is_reported(address: str, complaint: str) -> None:
    with pytest.raises(AddressUnavailable, match=complaint):
        bind(address, port=0)


# Sending


class Socket:
    """A bound socket that only notes the datagrams to be sent."""

    def __init__(self, host: str, error: int | None = None) -> None:
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sent: list[tuple[bytes, object]] = []
        self._host = host
        self._error = error

    def getsockname(self) -> tuple[Any, ...]:
        host, _, zone = self._host.partition("%")
        name = self._host if zone else host
        return (name, 1729, 0, int(zone or 0)) if ":" in host else (host, 1729)

    def sendto(self, data: bytes, address: object) -> int:
        if self._error is not None:
            raise OSError(self._error, os.strerror(self._error))
        self.sent.append((data, address))
        return len(data)


def left_by(hosts: list[str], to: str, source: str | None = None) -> list[str]:
    """Return the hosts of the sockets by which a datagram to an address leaves."""
    sockets = [Socket(host) for host in hosts]
    udp = UdpSockets(cast("list[socket.socket]", sockets), DEFAULT, lambda endpoint: source)
    udp.send(b"x", Endpoint.of(to, 9))
    assert udp.counters.send_errors == (0 if any(made.sent for made in sockets) else 1)
    return [made.getsockname()[0] for made in sockets if made.sent == [(b"x", (to, 9))]]


@pytest.mark.parametrize(
    ("hosts", "to", "by"),
    [
        (["0.0.0.0"], "192.0.2.9", ["0.0.0.0"]),
        (["0.0.0.0"], "127.0.0.1", ["0.0.0.0"]),
        (["127.0.0.1"], "127.0.0.9", ["127.0.0.1"]),
        (["127.0.0.1"], "192.0.2.9", []),
        (["127.0.0.1", "192.0.2.1"], "192.0.2.9", ["192.0.2.1"]),
        (["192.0.2.1", "127.0.0.1"], "192.0.2.9", ["192.0.2.1"]),
        (["127.0.0.1", "192.0.2.1"], "127.0.0.1", ["127.0.0.1"]),
        (["192.0.2.1", "127.0.0.1"], "127.0.0.1", ["127.0.0.1"]),
        (["192.0.2.1", "198.51.100.1"], "198.51.100.9", ["198.51.100.1"]),
        (["192.0.2.1", "198.51.100.1"], "203.0.113.9", ["192.0.2.1"]),
        (["192.0.2.1", "0.0.0.0"], "203.0.113.9", ["0.0.0.0"]),
        (["127.0.0.1", "127.0.0.2"], "127.0.0.9", ["127.0.0.1"]),
        (["2001:db8::1", "2001:db8:0:1::1"], "2001:db8:0:1::9", ["2001:db8:0:1::1"]),
        (["0.0.0.0"], "2001:db8::1", []),
        (["::"], "192.0.2.9", []),
        (["0.0.0.0", "::"], "2001:db8::1", ["::"]),
        (["0.0.0.0", "::"], "192.0.2.9", ["0.0.0.0"]),
        (["::1", "::"], "2001:db8::1", ["::"]),
        (["::", "::1"], "::1", ["::1"]),
        (["::1"], "2001:db8::1", []),
        (["fe80::1%7"], "2001:db8::1", []),
        (["fe80::1%7"], "::1", []),
        (["fe80::1%7", "2001:db8::9"], "2001:db8::1", ["2001:db8::9"]),
        ([], "192.0.2.9", []),
    ],
)
def test_a_datagram_leaves_by_a_suitable_socket(hosts: list[str], to: str, by: list[str]) -> None:
    assert left_by(hosts, to) == by


@pytest.mark.parametrize(
    ("source", "by"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("198.51.100.7", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.1"),
        (None, "192.0.2.1"),
    ],
)
def test_the_route_decides_between_sockets(source: str | None, by: str) -> None:
    assert left_by(["192.0.2.1", "198.51.100.1"], "203.0.113.9", source) == [by]


def test_routes_are_cached_until_addresses_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "ROUTES_REMEMBERED", 3)
    asked: list[str] = []
    now = 0.0

    def route(endpoint: Endpoint) -> str:
        asked.append(endpoint.host)
        return "198.51.100.1"

    sockets = [Socket("192.0.2.1"), Socket("198.51.100.1")]
    udp = UdpSockets(cast("list[socket.socket]", sockets), DEFAULT, route, lambda: now)

    def send(*numbers: int) -> list[str]:
        asked.clear()
        for number in numbers:
            udp.send(b"x", Endpoint.of(f"203.0.113.{number}", 9))
        return asked

    assert send(1, 2, 1, 2) == ["203.0.113.1", "203.0.113.2"]
    udp.links_changed()
    assert send(1, 1) == ["203.0.113.1"]
    now = udp_module.ROUTES_LAST
    assert send(1, 1) == ["203.0.113.1"]
    assert send(2, 3, 4, 4) == ["203.0.113.2", "203.0.113.3", "203.0.113.4"]
    assert send(1) == ["203.0.113.1"]
    assert not sockets[0].sent


def to_link(hosts: list[str]) -> list[object]:
    """Return the sockets that send to fe80::9, by address."""
    sockets = [Socket(host) for host in hosts]
    udp = UdpSockets(cast("list[socket.socket]", sockets), DEFAULT)
    udp.zones.heard(LINK_LOCAL, 7)
    udp.send(b"x", LINK_LOCAL)
    assert udp.counters.send_errors == (0 if any(made.sent for made in sockets) else 1)
    return [(made.getsockname()[0], address) for made in sockets for _, address in made.sent]


LINK_LOCAL = Endpoint.of("fe80::9", 1729)


@pytest.mark.parametrize(
    ("hosts", "by"),
    [
        (["::"], "::"),
        (["0.0.0.0", "::"], "::"),
        (["fe80::1%7"], "fe80::1%7"),
        (["fe80::1%8", "fe80::1%7"], "fe80::1%7"),
        (["::1", "fe80::1%8", "fe80::1%7", "2001:db8::1"], "fe80::1%7"),
        (["fe80::1%8"], None),
        (["2001:db8::1", "::1", "0.0.0.0"], None),
    ],
)
def test_a_link_local_address_goes_by_its_link(hosts: list[str], by: str | None) -> None:
    assert to_link(hosts) == ([] if by is None else [(by, ("fe80::9", 1729, 0, 7))])


def test_an_unknown_link_gets_no_datagram() -> None:
    sockets = [Socket("::")]
    udp = UdpSockets(cast("list[socket.socket]", sockets), DEFAULT)
    udp.send(b"x", LINK_LOCAL)
    assert not sockets[0].sent
    assert udp.counters.send_errors == 1


def test_a_socket_bound_to_a_link_shows_it() -> None:
    udp = UdpSockets(cast("list[socket.socket]", [Socket("fe80::1%1"), Socket("0.0.0.0")]), DEFAULT)
    assert [udp.zones.text(endpoint) for endpoint in udp.listening()] == ["[fe80::1%lo]:1729", "0.0.0.0:1729"]
    assert udp.families == [Family.IPV4, Family.IPV6]


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENETUNREACH, errno.EINVAL, errno.EPERM, errno.EMSGSIZE])
def test_a_sendto_error_costs_one_datagram(number: int) -> None:
    udp = UdpSockets(cast("list[socket.socket]", [Socket("0.0.0.0", number)]), DEFAULT)
    udp.send(b"x", Endpoint.of("192.0.2.9", 9))
    assert udp.counters.send_errors == 1


def test_a_full_send_buffer_is_counted() -> None:
    udp = UdpSockets(cast("list[socket.socket]", [Socket("0.0.0.0", errno.EAGAIN)]), DEFAULT)
    udp.send(b"x", Endpoint.of("192.0.2.9", 9))
    assert (udp.counters.send_buffer_full, udp.counters.send_errors) == (1, 0)


@pytest.mark.parametrize("to", [("255.255.255.255", 1), ("127.0.0.1", 0), ("240.0.0.1", 1), ("0.0.0.0", 0)])
def test_hostile_addresses_raise_nothing(to: tuple[str, int]) -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets:
        udp = UdpSockets(sockets, DEFAULT)
        udp.send(b"x", Endpoint(socket.inet_aton(to[0]) + to[1].to_bytes(2, "big")))
        udp.send(b"x" * 100_000, endpoint(sockets[0]))
        assert udp.counters.send_errors == 2


# Receiving


async def receive(
    udp: UdpSockets, many: int, send: Callable[[], object], answer: bytes | None = None
) -> tuple[list[tuple[bytes, Endpoint]], list[int]]:
    """Return the handled datagrams, and how many there were after each batch, until there were `many`."""
    got: list[tuple[bytes, Endpoint]] = []
    batches: list[int] = []

    def handle(batch: Sequence[Datagram], sources: Mapping[Hashable, Endpoint]) -> list[Datagram]:
        got.extend((data, sources[address]) for data, address in batch)
        return [] if answer is None else [(answer, address) for _, address in batch]

    def after() -> None:
        batches.append(len(got))
        if len(got) >= many:
            nursery.cancel_scope.cancel()

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(udp.receive, udp.sockets[0], handle, after)
            send()
    return got, batches


async def test_a_datagram_is_handled_and_answered() -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets, client() as other:
        udp = UdpSockets(sockets, POLICY)
        got, _ = await receive(udp, 1, lambda: other.sendto(b"query", sockets[0].getsockname()), b"reply")
        assert got == [(b"query", endpoint(other))]
        assert other.recvfrom(100) == (b"reply", sockets[0].getsockname())


def test_remembered_sources_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "SOURCES_REMEMBERED", 2)

    class Parsing:
        parsed = 0

        def endpoint(self, address: Endpoint) -> bytes:
            self.parsed += 1
            return address

    channel = Parsing()
    sources = Sources(cast("Channel", channel), Zones())
    ends = [Endpoint.of("192.0.2.1", port) for port in range(1, 6)]
    for end in (*ends, *ends):
        assert sources[end] == sources[end] == end
        assert len(sources) <= 2
    assert channel.parsed == 10


class Tied:
    """A socket on loopback that pretends to be bound to a link-local address of a link, which may be made again."""

    def __init__(self, link: int) -> None:
        self.link = link
        self.real = client()
        self.real.setblocking(False)
        self.family = socket.AF_INET6

    def getsockname(self) -> tuple[str, int, int, int]:
        return f"fe80::1%{self.link}", 1729, 0, self.link

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()


async def test_a_socket_on_a_remade_link_is_rebound(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, links = Tied(7), Tied(8), {"lan0": 7}
    made: list[str] = []

    def index(name: str) -> int:
        if name not in links:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return links[name]

    def bind_again(address: str, port: int) -> Tied:
        made.append(f"{address}:{port}")
        if len(made) == 1:
            raise AddressUnavailable("its address is not there yet")
        return after

    class Echo:
        def __init__(self, bound: Tied, size: int, counters: object) -> None:
            self.bound = bound

        def receive(self) -> list[Datagram] | None:
            return [(self.bound.real.recv(100), None)]

        def send(self, datagrams: Sequence[Datagram]) -> None:
            pass

    monkeypatch.setattr(socket, "if_nametoindex", index)
    monkeypatch.setattr(socket, "if_indextoname", lambda number: "lan0")
    monkeypatch.setattr(udp_module, "_bind", bind_again)
    monkeypatch.setattr(udp_module, "open_channel", Echo)
    sockets = cast("list[socket.socket]", [before])
    udp = UdpSockets(sockets, DEFAULT)
    udp.open_channels()
    got: list[bytes] = []

    def handle(batch: Sequence[Datagram], sources: object) -> list[Datagram]:
        got.extend(data for data, _ in batch)
        return []

    def arrives(bound: Tied, data: bytes) -> None:
        with client() as other:
            other.sendto(data, bound.real.getsockname())

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(udp.receive, sockets[0], handle, lambda: None)
            arrives(before, b"one")
            while not got:
                await trio.lowlevel.checkpoint()
            del links["lan0"]
            udp.links_changed()  # it is gone
            links["lan0"] = 8
            udp.links_changed()  # it is there again, and has no address yet
            assert sockets[0] is cast("socket.socket", before)
            udp.links_changed()
            udp.links_changed()
            assert sockets[0] is cast("socket.socket", after)
            assert before.fileno() == -1
            arrives(after, b"two")
            while len(got) < 2:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert made == ["fe80::1%lan0:1729"] * 2
    assert udp.zones.of(Endpoint.of("fe80::1", 1729)) == 8
    after.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
async def test_an_ipv6_datagram_is_handled_and_answered() -> None:
    with open_sockets(["::1"], 0) as sockets, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
        other.bind(("::1", 0))
        other.settimeout(HANG)
        udp = UdpSockets(sockets, POLICY)
        got, _ = await receive(udp, 1, lambda: other.sendto(b"query", sockets[0].getsockname()), b"reply")
        assert got == [(b"query", endpoint(other))]
        assert other.recv(100) == b"reply"


async def test_an_oversized_datagram_is_counted() -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets, client() as other:
        udp = UdpSockets(sockets, POLICY)

        def send() -> None:
            for size in (101, 1_000, 100, 0):
                other.sendto(b"x" * size, sockets[0].getsockname())

        got, _ = await receive(udp, 2, send)
        assert [len(data) for data, _ in got] == [100, 0]
        assert udp.counters.oversized == 2


async def test_a_burst_is_read_in_batches() -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets, client() as other:
        udp = UdpSockets(sockets, POLICY)

        def send() -> None:
            for _ in range(BATCH + 10):
                other.sendto(b"x", sockets[0].getsockname())

        _, batches = await receive(udp, BATCH + 10, send)
        assert batches == [BATCH, BATCH + 10]


async def test_in_a_flood_others_have_their_turn() -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets, client() as other:
        udp = UdpSockets(sockets, POLICY)
        got = 0
        turns: list[int] = []

        def handle(batch: Sequence[Datagram], sources: object) -> list[Datagram]:
            nonlocal got
            got += len(batch)
            assert got < 10_000, "nobody else has had a turn"
            for _ in batch:  # it never ends
                other.sendto(b"x", sockets[0].getsockname())
            return []

        other.sendto(b"x", sockets[0].getsockname())
        with trio.fail_after(HANG):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(udp.receive, sockets[0], handle, lambda: None)
                while len(turns) < 5:
                    await trio.lowlevel.checkpoint()
                    turns.append(got)
                nursery.cancel_scope.cancel()
        assert turns[-1] <= len(turns) * BATCHES


async def test_an_answer_that_cannot_be_sent_is_counted() -> None:
    with open_sockets(["127.0.0.1"], 0) as sockets, client() as other:
        udp = UdpSockets(sockets, POLICY)
        await receive(udp, 1, lambda: other.sendto(b"x", sockets[0].getsockname()), b"x" * 100_000)
        assert udp.counters.send_errors == 1


def test_a_small_kernel_buffer_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_module, "RECEIVE_BUFFER", -1)
    with open_sockets(["127.0.0.1"], 0) as [bound]:
        assert bound.getsockname()[0] == "127.0.0.1"

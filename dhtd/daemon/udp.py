"""UDP sockets: bound, drained, and never the reason for a crash.

Reading drains: wait until the socket is readable, take up to `BATCH` datagrams in a row, then answer them in a row.
One awaited call a datagram would cost three times as much. `sendto` raises for hostile and unreachable addresses; that
concerns one datagram, and is counted.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.errors import AddressUnavailable, PortTaken

BATCH = 64  # datagrams read in a row before other tasks have their turn
SOURCES_REMEMBERED = 4_096  # addresses whose endpoint is kept: of 300 bytes each
RECEIVE_BUFFER = 1 << 20  # bytes asked of the kernel, so that a burst is not lost while Python is busy

log = logging.getLogger("dhtd.udp")

Handle = Callable[[bytes, Endpoint], bytes | None]


@dataclass(slots=True)
class UdpCounters:
    """What the sockets did with datagrams that never reached the node, or never left."""

    oversized: int = 0  # received, larger than `datagram_received_max`, dropped unread
    receive_errors: int = 0
    send_errors: int = 0  # unreachable, forbidden or nonsensical addresses
    send_buffer_full: int = 0
    defects: int = 0  # received, and dhtd itself failed on it; the log has the traceback


@contextmanager
def open_sockets(addresses: Iterable[str], port: int) -> Iterator[list[socket.socket]]:
    """Bind a socket to `port` on each address; raise `PortTaken` or `AddressUnavailable`."""
    with ExitStack() as stack:
        yield [stack.enter_context(_bind(address, port)) for address in addresses]


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        raise AddressUnavailable(f"cannot make a UDP socket for {address}: {error.strerror}") from None
    bound.setblocking(False)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    with suppress(OSError):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        bound.bind((address, port))
    except OSError as error:
        bound.close()
        shown = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        if error.errno == errno.EADDRINUSE:
            message = f"UDP port {port} of {address} is taken, perhaps by another dhtd. Use --port for another"
            raise PortTaken(message) from None
        if error.errno == errno.EACCES:
            message = f"binding {shown} is not allowed: ports below 1024 need privileges. Use --port for another"
            raise AddressUnavailable(message) from None
        message = f"cannot bind {shown}: {error.strerror}. Use --bind with an address of this machine"
        raise AddressUnavailable(message) from None
    return bound


class UdpSockets:
    """Every socket of a daemon, and which of them a datagram leaves by."""

    def __init__(self, sockets: list[socket.socket], policy: Policy) -> None:
        self.sockets = sockets
        self.counters = UdpCounters()
        self._sources: dict[tuple[str, int], Endpoint] = {}  # the latest ones; an IPv6 address has two more parts
        self._receive_max = policy.datagram_received_max
        both = (True, False)
        self._ways = {(ipv4, loopback): _way(sockets, ipv4, loopback) for ipv4 in both for loopback in both}

    def listening(self) -> list[Endpoint]:
        """Return the endpoints that are bound."""
        return [Endpoint.of(*bound.getsockname()[:2]) for bound in self.sockets]

    def local(self) -> list[Endpoint]:
        """Return the endpoints at which this machine reaches itself: a wildcard address is reached by loopback."""
        return [
            bound if any(bound.ip) else Endpoint.of("127.0.0.1" if bound.is_ipv4 else "::1", bound.port)
            for bound in self.listening()
        ]

    async def receive(self, bound: socket.socket, handle: Handle, after: Callable[[], None]) -> None:
        """Hand every datagram to `handle`, send what it returns, and call `after` behind each batch. Never returns."""
        while True:
            await trio.lowlevel.wait_readable(bound)
            self._drain(bound, handle)
            after()

    def send(self, data: bytes, endpoint: Endpoint) -> None:
        """Send a datagram, or count why it could not be sent."""
        bound = self._ways[endpoint.is_ipv4, endpoint.is_loopback]
        if bound is None:
            self.counters.send_errors += 1
        else:
            self._send_from(bound, data, (endpoint.host, endpoint.port))

    def _drain(self, bound: socket.socket, handle: Handle) -> None:
        """Receive a batch, then handle it, then send the answers: each in one go, while its code is in the caches."""
        received = self._receive_batch(bound)
        sources, answers = self._sources, []
        for data, address in received:
            answer = handle(data, sources.get(address) or self._new_source(bound, address))
            if answer is not None:
                answers.append((answer, address))
        for answer, address in answers:
            self._send_from(bound, answer, address)

    def _receive_batch(self, bound: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
        receive, size_max = bound.recvfrom, self._receive_max
        batch = []
        for _ in range(BATCH):
            try:
                data, address = receive(size_max + 1)
            except BlockingIOError:
                break
            except OSError as error:
                log.debug("receiving failed: %s", error)
                self.counters.receive_errors += 1
                continue
            if len(data) > size_max:
                self.counters.oversized += 1
            else:
                batch.append((data, address))
        return batch

    def _new_source(self, bound: socket.socket, address: tuple[str, int]) -> Endpoint:
        """Return whom the kernel names, and remember it: who sends one datagram often sends more."""
        if len(self._sources) >= SOURCES_REMEMBERED:
            self._sources.clear()
        host, port = address[:2]
        packed = socket.inet_pton(bound.family, host.partition("%")[0])
        source = self._sources[address] = Endpoint(packed + port.to_bytes(2, "big"))
        return source

    def _send_from(self, bound: socket.socket, data: bytes, address: tuple[str, int]) -> None:
        try:
            bound.sendto(data, address)
        except BlockingIOError:
            self.counters.send_buffer_full += 1
        except OSError as error:
            log.debug("sending to %s failed: %s", address, error)
            self.counters.send_errors += 1


def _way(sockets: Iterable[socket.socket], ipv4: bool, loopback: bool) -> socket.socket | None:
    """Return the socket that datagrams to such an address leave by.

    One that is bound to a loopback address reaches loopback addresses only, and is best for those.
    """
    family = socket.AF_INET if ipv4 else socket.AF_INET6
    suiting = [bound for bound in sockets if bound.family == family and (loopback or not _is_loopback(bound))]
    return max(suiting, key=_is_loopback, default=None)


def _is_loopback(bound: socket.socket) -> bool:
    host: str = bound.getsockname()[0]
    return host == "::1" or host.startswith("127.")

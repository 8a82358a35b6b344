"""UDP sockets: bound, drained, and never the reason for a crash.

Reading drains: wait until the socket is readable, then receive a batch, handle it, and send the answers, each in one go
while its code is in the processor's caches. One awaited call a datagram would cost three times as much. Sending to
hostile and unreachable addresses fails; that concerns one datagram, and is counted.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import Policy
from dhtd.daemon.channel import Channel, Datagram, OneByOne, UdpCounters
from dhtd.errors import AddressUnavailable, PortTaken

if sys.platform == "linux":
    from dhtd.daemon.mmsg import Mmsg

FEW = 8  # then it is not worth looking at once whether more have come
BATCHES = 4  # handled in a row before other tasks have their turn
SOURCES_REMEMBERED = 4_096  # addresses whose endpoint is kept: of 300 bytes each
RECEIVE_BUFFER = 1 << 20  # bytes asked of the kernel, so that a burst is not lost while Python is busy

Handle = Callable[[Sequence[Datagram], Mapping[Hashable, Endpoint]], list[Datagram]]


class Sources(dict[Hashable, Endpoint]):
    """The endpoints at a channel's addresses. The latest are remembered: who sends one datagram often sends more."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def __missing__(self, address: Hashable) -> Endpoint:
        """Return whom the kernel names."""
        if len(self) >= SOURCES_REMEMBERED:
            self.clear()
        source = self[address] = Endpoint(self._channel.endpoint(address))
        return source


def open_channel(bound: socket.socket, size: int, counters: UdpCounters) -> Channel:
    """Return the best channel that there is here for datagrams of up to `size` bytes: in a burst, `Mmsg` is faster."""
    if sys.platform == "linux" and Mmsg.works():
        return Mmsg(bound, size, counters)
    return OneByOne(bound, size, counters)


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
        """Hand what comes to `handle`, with the endpoints at its addresses, and send what it returns. Never returns.

        `after` is called behind each batch.
        """
        channel = open_channel(bound, self._receive_max, self.counters)
        sources = Sources(channel)
        while True:
            await trio.lowlevel.wait_readable(bound)
            for _ in range(BATCHES):
                received = channel.receive()
                if received is None:
                    break
                channel.send(handle(received, sources))
                after()
                if len(received) < FEW:
                    break

    def send(self, data: bytes, endpoint: Endpoint) -> None:
        """Send a datagram, or count why it could not be sent."""
        bound = self._ways[endpoint.is_ipv4, endpoint.is_loopback]
        if bound is None:
            self.counters.send_errors += 1
        else:
            self._send_from(bound, data, (endpoint.host, endpoint.port))

    def _send_from(self, bound: socket.socket, data: bytes, address: tuple[str, int]) -> None:
        try:
            bound.sendto(data, address)
        except OSError as error:
            self.counters.not_sent(error, address)


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

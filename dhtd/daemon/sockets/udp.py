"""UDP sockets: bound, drained, and never the reason for a crash.

Reading drains a socket: wait until it is readable, receive a batch, handle it, and send the answers. Each step runs
over the whole batch while its code is in the processor's caches; one awaited call for each datagram would cost three
times as much. Sending to hostile and unreachable addresses fails; that costs one datagram, and is counted.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

import trio

from dhtd.core.address_groups import network_of
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.policy import Policy
from dhtd.daemon.sockets.channel import Channel, Datagram, OneByOne, UdpCounters
from dhtd.daemon.sockets.own_networks import is_ours, source_towards
from dhtd.daemon.sockets.zones import Zones, is_there, split_zone
from dhtd.errors import AddressUnavailable, InvalidEndpoint, PortTaken

FEW = 8  # datagrams: after so small a batch, another look at once is not worth it
BATCHES = 4  # handled in a row before other tasks have their turn
SOURCES_REMEMBERED = 4_096  # addresses with their endpoints, of 300 bytes each
RECEIVE_BUFFER = 1 << 20  # bytes asked of the kernel, so that a burst is not lost while Python is busy
ALL = ("0.0.0.0", "::")  # noqa: S104 - a node is there to be reached

# From linux/in6.h: prefer the lasting address of an interface to its temporary ones, which hide the machine. Otherwise
# an answer could leave from another address than its query came to, and the asker would not believe it.
_ADDRESS_PREFERENCES, _PREFER_PUBLIC = 72, 2

ROUTES_REMEMBERED = 4_096  # addresses with the socket that suits them
ROUTES_LAST = 60.0  # seconds, or until our addresses change

Handle = Callable[[Sequence[Datagram], Mapping[Hashable, Endpoint]], list[Datagram]]


log = logging.getLogger("dhtd.udp")


class Sources(dict[Hashable, Endpoint]):
    """The endpoints of a channel's addresses. The latest are cached, since one datagram is often followed by more."""

    def __init__(self, channel: Channel, zones: Zones) -> None:
        super().__init__()
        self._channel = channel
        self._zones = zones

    def __missing__(self, address: Hashable) -> Endpoint:
        if len(self) >= SOURCES_REMEMBERED:
            self.clear()
        source = self[address] = Endpoint(self._channel.endpoint(address))
        if source.is_link_local:
            self._zones.heard(source, self._channel.zone(address))
        return source


def open_channel(bound: socket.socket, size: int, counters: UdpCounters) -> Channel:
    """Return the best channel on this machine for datagrams of up to `size` bytes: `Mmsg` is faster in a burst.

    It is not everywhere: a Python may lack ctypes, a libc the calls, and a sandbox may forbid them.
    """
    if sys.platform == "linux":
        try:
            from dhtd.daemon.sockets.mmsg import Mmsg  # noqa: PLC0415 - it may not be there
        except (ImportError, OSError, AttributeError) as error:
            log.debug("datagrams are received one by one: %s", error)
        else:
            if Mmsg.works(bound):
                return Mmsg(bound, size, counters)
            log.debug("datagrams are received one by one: recvmmsg and sendmmsg are not allowed here")
    return OneByOne(bound, size, counters)


class _NoSuchFamily(AddressUnavailable):
    """The machine does not speak the address family at all."""


@contextmanager
def open_sockets(addresses: Sequence[str], port: int) -> Iterator[list[socket.socket]]:
    """Bind a socket to `port` on each address; raise `PortTaken` or `AddressUnavailable`.

    Without addresses, bind all addresses of the families that this machine has.
    """
    bound: list[socket.socket] = []  # the user may replace them
    missing = []
    try:
        for address in addresses or ALL:
            try:
                bound.append(_bind(address, port))
            except _NoSuchFamily as error:
                if addresses:
                    raise
                missing.append(error)
        if not bound:
            raise missing[0]
        yield bound
    finally:
        for each in bound:
            each.close()


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    shown = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
    try:
        host, zone = split_zone(address)
    except InvalidEndpoint as error:
        raise AddressUnavailable(f"cannot bind {shown}: {error}") from None
    try:
        bound = socket.socket(family, socket.SOCK_DGRAM)
    except OSError as error:
        kind = _NoSuchFamily if error.errno == errno.EAFNOSUPPORT else AddressUnavailable
        raise kind(f"cannot make a UDP socket for {address}: {error.strerror}") from None
    bound.setblocking(False)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "linux":
            with suppress(OSError):
                bound.setsockopt(socket.IPPROTO_IPV6, _ADDRESS_PREFERENCES, _PREFER_PUBLIC)
    with suppress(OSError):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    try:
        bound.bind((host, port) if zone is None else (host, port, 0, zone))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            message = f"UDP port {port} of {address} is taken, perhaps by another dhtd. Use --port for another"
            raise PortTaken(message) from None
        if error.errno == errno.EACCES:
            message = f"binding {shown} is not allowed: ports below 1024 need privileges. Use --port for another"
            raise AddressUnavailable(message) from None
        message = f"cannot bind {shown}: {error.strerror}. Use --bind with an address of this machine"
        is_missing = error.errno == errno.EADDRNOTAVAIL and address in ALL
        raise (_NoSuchFamily if is_missing else AddressUnavailable)(message) from None
    return bound


class UdpSockets:
    """Every socket of a daemon; chooses the socket by which a datagram leaves."""

    def __init__(
        self,
        sockets: list[socket.socket],
        policy: Policy,
        source_towards: Callable[[Endpoint], str | None] = source_towards,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sockets = sockets
        self.counters = UdpCounters()
        self._receive_max = policy.datagram_received_max
        self._source_towards = source_towards
        self._clock = clock
        both = (True, False)
        self._ways = {(ipv4, loopback): _ways(sockets, ipv4, loopback) for ipv4 in both for loopback in both}
        self._routes: dict[bytes, socket.socket] = {}  # by address, if several sockets might suit
        self._routes_end = float("-inf")  # when the cache expires
        self._channels: dict[socket.socket, Channel] = {}
        self._places = {bound: place for place, bound in enumerate(sockets)}  # of the first sockets
        self._link_names = {bound: socket.if_indextoname(_zone(bound)) for bound in sockets if _has_link(bound)}
        self.zones = Zones(filter(None, map(_zone, sockets)))
        for bound in sockets:
            if _zone(bound):
                self.zones.named(_endpoint(bound), _zone(bound))

    @property
    def families(self) -> list[Family]:
        return sorted({endpoint.family for endpoint in self.listening()})

    def listening(self) -> list[Endpoint]:
        return [_endpoint(bound) for bound in self.sockets]

    def local(self) -> list[Endpoint]:
        """Return the endpoints at which this machine reaches itself: loopback stands for a wildcard."""
        return [
            bound if any(bound.ip) else Endpoint.of("127.0.0.1" if bound.is_ipv4 else "::1", bound.port)
            for bound in self.listening()
        ]

    def is_ours(self, endpoint: Endpoint) -> bool:
        """Whether a datagram to this endpoint comes back to us."""
        return is_ours(endpoint, self.listening(), self.zones.of(endpoint) if endpoint.is_link_local else None)

    def open_channels(self) -> None:
        """Make ready to receive, so the system's refusals show before the daemon announces itself."""
        for bound in self.sockets:
            self._channels[bound] = open_channel(bound, self._receive_max, self.counters)

    def links_changed(self) -> None:
        """Forget routes and links, since ours may have changed.

        A socket on a link that was made again hears nothing any more; a new one takes its place.
        """
        self._routes.clear()
        self.zones.forget_gone()
        for bound, name in list(self._link_names.items()):
            try:
                if socket.if_nametoindex(name) == _zone(bound):
                    continue
                again = _bind(f"{_endpoint(bound).host}%{name}", _endpoint(bound).port)
            except (OSError, AddressUnavailable, PortTaken):
                continue  # the link has not come back, or not with its address
            self._replace(bound, again)

    def _replace(self, bound: socket.socket, again: socket.socket) -> None:
        self.sockets[self.sockets.index(bound)] = again
        self._link_names[again] = self._link_names.pop(bound)
        self._channels[again] = open_channel(again, self._receive_max, self.counters)
        self._channels.pop(bound, None)
        self.zones.named(_endpoint(again), _zone(again))
        trio.lowlevel.notify_closing(bound)
        bound.close()

    async def receive(self, bound: socket.socket, handle: Handle, after: Callable[[], None]) -> None:
        """Hand each batch to `handle`, with its sources, send the answers, and call `after`. Never returns.

        If `links_changed` replaces the socket, this goes on with the new one.
        """
        place = self._places[bound]
        while True:
            with suppress(trio.ClosedResourceError):
                await self._receive(self.sockets[place], handle, after)

    async def _receive(self, bound: socket.socket, handle: Handle, after: Callable[[], None]) -> None:
        channel = self._channels.get(bound) or open_channel(bound, self._receive_max, self.counters)
        sources = Sources(channel, self.zones)
        while True:
            # 1. Sleep until the kernel has a datagram.
            await trio.lowlevel.wait_readable(bound)
            # 2. Drain the socket, a few batches at most, so that other tasks have their turn in a flood.
            for _ in range(BATCHES):
                received = channel.receive()
                if received is None:
                    break
                # 3. Answers leave at once, and the node's other output after them.
                channel.send(handle(received, sources))
                after()
                # 4. A small batch means that the socket is nearly empty: go back to sleep without another look.
                if len(received) < FEW:
                    break

    def send(self, data: bytes, endpoint: Endpoint) -> None:
        """Send a datagram, or count the failure."""
        if endpoint.is_link_local:
            self._send_to_link(data, endpoint)
            return
        ways = self._ways[endpoint.is_ipv4, endpoint.is_loopback]
        if not ways:
            self.counters.send_errors += 1
        else:
            bound = ways[0] if len(ways) == 1 else self._by_route(endpoint, ways)
            self._send_from(bound, data, (endpoint.host, endpoint.port))

    def _send_to_link(self, data: bytes, endpoint: Endpoint) -> None:
        zone = self.zones.of(endpoint)
        bound = None if zone is None else _way_to_link(self.sockets, zone)
        if bound is None:
            self.counters.send_errors += 1
        else:
            self._send_from(bound, data, (endpoint.host, endpoint.port, 0, zone))

    def _send_from(self, bound: socket.socket, data: bytes, address: tuple[object, ...]) -> None:
        try:
            self.counters.sent(1, bound.sendto(data, address))
        except OSError as error:
            self.counters.not_sent(error, address)

    def _by_route(self, endpoint: Endpoint, ways: Sequence[socket.socket]) -> socket.socket:
        """Return the one of several sockets that suits the route, so the source is in the destination's network."""
        now = self._clock()
        if now >= self._routes_end or len(self._routes) >= ROUTES_REMEMBERED:
            self._routes.clear()
            self._routes_end = now + ROUTES_LAST
        bound = self._routes.get(endpoint.ip)
        if bound is None:
            bound = self._routes[endpoint.ip] = _nearest(ways, endpoint, self._source_towards(endpoint))
        return bound


def _ways(sockets: Iterable[socket.socket], ipv4: bool, loopback: bool) -> list[socket.socket]:
    """Return the sockets by which datagrams to an address of this kind may leave.

    A socket on a loopback address reaches only loopback addresses, and is best for them. A socket on a link-local
    address serves only its link.
    """
    family = socket.AF_INET if ipv4 else socket.AF_INET6
    suiting = [bound for bound in sockets if bound.family == family and not _zone(bound)]
    if loopback and any(map(_is_loopback, suiting)):
        return list(filter(_is_loopback, suiting))
    return [bound for bound in suiting if loopback or not _is_loopback(bound)]


def _nearest(ways: Sequence[socket.socket], endpoint: Endpoint, source: str | None) -> socket.socket:
    """Return the best of several sockets for `endpoint`, if the kernel would send there from `source`."""
    own = {bound: _endpoint(bound) for bound in ways}
    towards = None if source is None else Endpoint.of(source, endpoint.port)
    # 1. The socket at the very address where the route begins.
    for bound, at in own.items():
        if towards is not None and at.ip == towards.ip:
            return bound
    # 2. A wildcard, which lets the kernel choose.
    for bound, at in own.items():
        if not any(at.ip):
            return bound
    # 3. A socket in the network of the route, or else in that of the destination.
    for near in (towards, endpoint):
        for bound, at in own.items():
            if near is not None and network_of(at) == network_of(near):
                return bound
    return ways[0]


def _way_to_link(sockets: Iterable[socket.socket], zone: int) -> socket.socket | None:
    """Return the socket for datagrams to a link: one bound to the link, or else a wildcard.

    Any other would send from an address that nobody on the link can answer.
    """
    suiting = [bound for bound in sockets if _zone(bound) == zone or bound.getsockname()[0] == "::"]
    return max(suiting, key=_zone, default=None)


def _endpoint(bound: socket.socket) -> Endpoint:
    host, port = bound.getsockname()[:2]
    return Endpoint.of(host.partition("%")[0], port)


def _zone(bound: socket.socket) -> int:
    """Return the link of a socket on a link-local address, and 0 of any other."""
    zone: int = bound.getsockname()[3] if bound.family == socket.AF_INET6 else 0
    return zone


def _has_link(bound: socket.socket) -> bool:
    return _zone(bound) != 0 and is_there(_zone(bound))


def _is_loopback(bound: socket.socket) -> bool:
    host: str = bound.getsockname()[0]
    return host == "::1" or host.startswith("127.")

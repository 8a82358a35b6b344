"""The DNS door: its addresses, from their opening to their closing. Each is one of UDP and one of TCP."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import ExitStack
from typing import Final

import trio

from dhtd.config.addresses import is_local
from dhtd.config.settings import Settings
from dhtd.dns.finding import Finder
from dhtd.dns.limits import Limits
from dhtd.dns.records import Records
from dhtd.dns.responder import Responder
from dhtd.dns.tcp import Places, TcpService
from dhtd.dns.udp import UdpService
from dhtd.dns.zone import Zone
from dhtd.errors import AddressUnavailable, PortTaken
from dhtd.service.door import House

BACKLOG: Final = 64
RECEIVE_BUFFER: Final = 1 << 20  # bytes of questions that wait, as far as the system allows


class DnsDoor:
    """The addresses of the setting `dns`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets: list[tuple[str, socket.socket, socket.socket]] = []  # text, UDP, TCP
        self._opened = ExitStack()

    def open(self) -> list[str]:
        with ExitStack() as opened:
            where = []
            for text in self._settings.dns:
                tcp = opened.enter_context(_bind(text, socket.SOCK_STREAM))
                place = f"{text.rpartition(':')[0]}:{tcp.getsockname()[1]}"
                udp = opened.enter_context(_bind(place, socket.SOCK_DGRAM))
                self._sockets.append((place, udp, tcp))
                where.append(f"dns://{place}/{self._settings.dns_domain}")
            self._opened = opened.pop_all()
        return where

    async def serve(self, house: House) -> None:
        addresses = [ipaddress.ip_address(text.rpartition(":")[0].strip("[]")) for text, _, _ in self._sockets]
        zone = Zone(self._settings.dns_domain, house.keyspace)
        limits, places = Limits(), Places()
        async with trio.open_nursery() as nursery:
            responder = Responder(zone, Records(zone.domain, addresses), Finder(house, nursery))
            for text, udp, tcp in self._sockets:
                of_strangers = None if is_local(text) else limits
                nursery.start_soon(UdpService(udp, responder, of_strangers, house.note).serve)
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(tcp))
                nursery.start_soon(TcpService(listener, responder, places, house.note).serve)

    def close(self) -> None:
        self._opened.close()


def _bind(text: str, kind: socket.SocketKind) -> socket.socket:
    """Return a bound socket; raise `PortTaken` or `AddressUnavailable`."""
    address, _, port = text.rpartition(":")
    host = address.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, kind)
    is_tcp = kind == socket.SOCK_STREAM
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if is_tcp:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        bound.bind((host, int(port)))
        if is_tcp:
            bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        what = "TCP" if is_tcp else "UDP"
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"another program has {what} port {port} at {host}: choose another with --dns") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise AddressUnavailable(f"{host} is no address of this machine: choose another with --dns") from None
        if error.errno == errno.EACCES:
            raise AddressUnavailable(f"only root may listen on port {port}: choose one above 1023 with --dns") from None
        raise AddressUnavailable(f"cannot listen at {text}: {error.strerror}") from None
    return bound

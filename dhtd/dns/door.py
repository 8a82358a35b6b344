"""The DNS door: its addresses, from their opening to their closing. Each is one of UDP and one of TCP."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from typing import Final

import trio

from dhtd.config.addresses import is_local
from dhtd.config.settings import Settings
from dhtd.control.bound_socket import bind
from dhtd.dns.finding import Finder
from dhtd.dns.limits import Limits
from dhtd.dns.records import Records
from dhtd.dns.responder import Responder
from dhtd.dns.tcp import Places, TcpService
from dhtd.dns.udp import UdpService
from dhtd.dns.zone import Zone
from dhtd.service.door import House

OPTION: Final = "--dns"
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
                tcp = opened.enter_context(bind(text, OPTION))
                place = f"{text.rpartition(':')[0]}:{tcp.getsockname()[1]}"
                udp = opened.enter_context(bind(place, OPTION, socket.SOCK_DGRAM))
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
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

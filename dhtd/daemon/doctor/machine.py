"""What can be seen of this machine and of single endpoints, besides through the node: ports, addresses, probes.

Nothing is sent to an endpoint that a stranger has named. Connections go to addresses of this machine, and to the one
at which most other nodes see it. Probes go to the endpoints by which the owner wants to join, and to contacts.
"""

from __future__ import annotations

import errno
import socket
import sys
from enum import Enum
from functools import partial
from ipaddress import ip_address
from typing import Final, NamedTuple

import trio

from dhtd.control.threads import in_thread
from dhtd.core.endpoint import Endpoint
from dhtd.daemon.guards.listening import Bound, bound_on
from dhtd.daemon.guards.places import connect, reason
from dhtd.daemon.sockets.links import local_addresses
from dhtd.daemon.sockets.own_networks import source_towards
from dhtd.errors import NoThread

CONNECT_WITHIN: Final = 2.0  # seconds
PROBE_WITHIN: Final = 3.5  # seconds until a probe counts as silent: Linux looks for a machine on the link for 3 s
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h
_ANSWER_MAX: Final = 2048  # bytes
_NO_ROUTE: Final = {errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_NOBODY: Final = {errno.EHOSTUNREACH, errno.EHOSTDOWN}


class Echo(Enum):
    """What comes back from a probe."""

    ANSWER = "answer"
    CLOSED = "closed"  # the machine says that nothing listens there
    NO_ROUTE = "no route"  # this machine, or a router, knows no way there
    NO_MACHINE = "no machine"  # no machine with that address is on its link
    SILENCE = "silence"


class Tried(NamedTuple):
    """An attempt to connect."""

    is_open: bool
    why: str  # it is not


class Machine:
    """This machine, as it is."""

    async def bound_on(self, port: int) -> frozenset[Bound] | None:
        """Return where sockets listen on the port; None where the system does not tell."""
        try:
            return await in_thread(partial(bound_on, port))
        except NoThread:
            return None

    def addresses(self) -> frozenset[bytes] | None:
        """Return the addresses of this machine, without those of loopback; None where the system does not tell."""
        return local_addresses()

    def has(self, endpoint: Endpoint, zone: int | None = None) -> bool:
        """Whether this machine has the address; a link-local one has a `zone`."""
        if endpoint.is_loopback:
            return True
        addresses = self.addresses()
        if addresses is None or endpoint.is_link_local:  # the list has no link-local ones
            return source_towards(endpoint, zone) == endpoint.host
        return endpoint.ip in addresses

    async def try_connecting(self, endpoint: Endpoint, zone: int | None = None) -> Tried:
        """Connect by TCP, and hang up."""
        host = endpoint.host if zone is None else f"{endpoint.host}%{zone}"
        with trio.move_on_after(CONNECT_WITHIN):
            try:
                stream = await connect(host, endpoint.port)
            except OSError as error:
                return Tried(False, reason(error))
            await trio.aclose_forcefully(stream)
            return Tried(True, "")
        return Tried(False, f"no answer within {CONNECT_WITHIN:g} s")

    async def probe(self, endpoint: Endpoint, ping: bytes, zone: int | None = None) -> Echo:
        """Send a ping from a socket of its own, which hears of the errors that the network tells of it."""
        family = trio.socket.AF_INET if endpoint.is_ipv4 else trio.socket.AF_INET6
        with trio.socket.socket(family, trio.socket.SOCK_DGRAM) as probing, trio.move_on_after(PROBE_WITHIN):
            try:
                _hear_of_errors(probing, family)
                await probing.connect((endpoint.host, endpoint.port, 0, zone or 0)[: 2 if endpoint.is_ipv4 else 4])
                await probing.send(ping)
                await probing.recv(_ANSWER_MAX)
            except ConnectionRefusedError:
                return Echo.CLOSED
            except OSError as error:
                if error.errno in _NOBODY:
                    return Echo.NO_MACHINE
                return Echo.NO_ROUTE if error.errno in _NO_ROUTE else Echo.SILENCE
            return Echo.ANSWER
        return Echo.SILENCE


def _hear_of_errors(probing: trio.socket.SocketType, family: int) -> None:
    """Have Linux tell the socket that a router, or the link, knows no machine at the address: see ip(7)."""
    if sys.platform == "linux":
        ipv4, ipv6 = (socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)
        probing.setsockopt(*(ipv4 if family == socket.AF_INET else ipv6), 1)


def text_of(ip: bytes) -> str:
    """Return an address as people write it."""
    return str(ip_address(ip))

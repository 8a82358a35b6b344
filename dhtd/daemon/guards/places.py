"""Where services of this machine are reached: checks go nowhere else."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.sockets.links import local_addresses
from dhtd.daemon.sockets.own_networks import source_towards
from dhtd.service.checks import LOCALHOST

_LOOPBACK = ("127.0.0.1", "::1")
_DISCARD = 9  # any port will do


def is_here(host: str) -> bool:
    """Whether `localhost` or an IP address is this machine."""
    if host == LOCALHOST:
        return True
    ip = ipaddress.ip_address(host)
    if ip.is_loopback:
        return True
    if ip.is_unspecified or ip.is_multicast:
        return False
    return ip.packed in (local_addresses() or ()) or source_towards(Endpoint.of(host, _DISCARD)) == str(ip)


def hosts(host: str) -> tuple[str, ...]:
    """Return the addresses of `localhost`, or of one address."""
    return _LOOPBACK if host == LOCALHOST else (host,)


def own_hosts() -> Iterator[str]:
    """Yield the addresses of this machine: the loopback ones first, which nearly every service has."""
    yield from _LOOPBACK
    yield from sorted(str(ipaddress.ip_address(ip)) for ip in local_addresses() or ())


def reason(error: OSError) -> str:
    """Return why a connection was not made; trio's own text also names the endpoint, in Python's form."""
    return os.strerror(error.errno) if error.errno is not None else str(error)


async def connect(host: str, port: int) -> trio.SocketStream:
    """Connect by TCP; raise `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await connection.connect((host, port))
        # A socket without a listener may come to connect to itself, if the kernel gives it the very port.
        if connection.getsockname() == connection.getpeername():
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    except BaseException:
        connection.close()
        raise
    return trio.SocketStream(connection)

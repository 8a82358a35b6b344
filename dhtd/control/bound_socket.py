"""A socket at an IP address and a port, for a door."""

from __future__ import annotations

import errno
import socket
from typing import Final

from dhtd.errors import AddressUnavailable, PortTaken

BACKLOG: Final = 64


def bind(text: str, option: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket at ADDR:PORT, which listens if it is of TCP; raise `PortTaken` or `AddressUnavailable`.

    `option` is that which names another place, for messages. `text` was checked: see `dhtd.config.addresses`.
    """
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
        bound.bind((host, int(port)))
        if is_tcp:
            bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            what = "TCP" if is_tcp else "UDP"
            raise PortTaken(f"another program has {what} port {port} at {host}: choose another with {option}") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise AddressUnavailable(f"{host} is no address of this machine: choose another with {option}") from None
        if error.errno == errno.EACCES:
            why = f"only root may listen on port {port}: choose one above 1023 with {option}"
            raise AddressUnavailable(why) from None
        raise AddressUnavailable(f"cannot listen at {text}: {error.strerror}") from None
    return bound

"""Finds to which of our addresses a datagram came: an answer must leave from there, or its asker does not believe it.

A socket bound to one address needs none of this. A wildcard socket, on a machine with two addresses on a link, would
answer from the one that the kernel prefers, and a firewall or a container in between would drop the answer. So the
kernel is asked to tell the destination with each datagram (IP_PKTINFO of ip(7), RFC 3542 section 6.1), and the answer
repeats it. The answer names no interface: the routes decide by which one it leaves.
"""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

_IP_PKTINFO: Final = getattr(socket, "IP_PKTINFO", 8 if sys.platform == "linux" else None)


@dataclass(frozen=True, slots=True)
class Destination:
    """The control message of recvmsg(2) with the destination, which may go back with sendmsg(2)."""

    level: int
    kind: int
    size: int  # of its data, in bytes
    interface_at: int  # offset of the interface's number in the data

    def without_interface(self, data: bytes) -> bytes:
        """Return the data for an answer."""
        return data[: self.interface_at] + bytes(_INTERFACE_SIZE) + data[self.interface_at + _INTERFACE_SIZE :]


_INTERFACE_SIZE: Final = struct.calcsize("I")
_IN_PKTINFO: Final = struct.calcsize("i4s4s")  # struct in_pktinfo of ip(7): interface, local address, destination
_IN6_PKTINFO: Final = struct.calcsize("16sI")  # struct in6_pktinfo of ipv6(7): destination, interface


def ask_for_destination(bound: socket.socket) -> Destination | None:
    """Have the kernel tell the destination of each datagram; return its form, or None if there is none."""
    host = bound.getsockname()[0]
    try:
        if host == "0.0.0.0" and _IP_PKTINFO is not None:  # noqa: S104 - a question, not a bind
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            return Destination(socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO, 0)
        if host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            return Destination(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO, 16)
    except OSError:  # a kernel without this: answers leave from the address that it prefers
        pass
    return None

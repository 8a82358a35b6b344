"""To which of our addresses a datagram has come: an answer must leave from there, or its asker does not believe it.

Of a socket that is bound to one address there is nothing to ask. One that is bound to all of them, on a machine with
two addresses on a link, would answer from the one that the kernel prefers: a firewall or a container in between drops
that. So the kernel is asked to tell with each datagram (IP_PKTINFO of ip(7), RFC 3542 section 6.1), and told the same
with the answer. Of the interface nothing is told: by which one an answer leaves is for the routes to say.
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
    """A control message of recvmsg(2) that tells it, and may go back with sendmsg(2)."""

    level: int
    kind: int
    size: int  # of its data, in bytes
    interface_at: int  # where in it the number of the interface is

    def without_interface(self, data: bytes) -> bytes:
        """Return its data as an answer has it."""
        return data[: self.interface_at] + bytes(_INTERFACE_SIZE) + data[self.interface_at + _INTERFACE_SIZE :]


_INTERFACE_SIZE: Final = struct.calcsize("I")
_IN_PKTINFO: Final = struct.calcsize("i4s4s")  # struct in_pktinfo of ip(7): interface, local address, destination
_IN6_PKTINFO: Final = struct.calcsize("16sI")  # struct in6_pktinfo of ipv6(7): destination, interface


def ask_for_destination(bound: socket.socket) -> Destination | None:
    """Have the kernel tell it with each datagram; return how, or None where it does not, or need not."""
    host = bound.getsockname()[0]
    try:
        if host == "0.0.0.0" and _IP_PKTINFO is not None:  # noqa: S104 - asked for, not bound
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            return Destination(socket.IPPROTO_IP, _IP_PKTINFO, _IN_PKTINFO, 0)
        if host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            return Destination(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO, 16)
    except OSError:  # a kernel without it: answers leave from the address that it prefers
        pass
    return None

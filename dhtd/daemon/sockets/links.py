"""What the kernel tells of this machine's addresses and links: rtnetlink(7), on Linux.

Where there is none, or whatever confines this process does not let it open a netlink socket, nothing is told, and
whoever asks must look for itself, again and again.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import trio

LOOK_AGAIN: Final = 60.0  # seconds until addresses are looked at without being told to
LOOK_AGAIN_UNTOLD: Final = 15.0  # and where nobody tells
SETTLED: Final = 1.0  # seconds after news: what is changed is seldom changed in one step

# From linux/netlink.h, linux/rtnetlink.h and linux/if_addr.h.
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index of the interface
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_GROUPS: Final = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_ERROR, _DONE, _NEW_ADDRESS, _GET_ADDRESS = 2, 3, 20, 22
_REQUEST, _DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_TEMPORARY, _TENTATIVE = 0x01, 0x40 | 0x08  # for a while, to hide the machine; and not, or never, in use
_SCOPE_GLOBAL: Final = 0
_DATAGRAM: Final = 1 << 16
_DEADLINE: Final = 1.0  # seconds; the kernel answers at once


def local_addresses() -> frozenset[bytes] | None:
    """Return the addresses of this machine that others can have a use for; None where the kernel does not list them."""
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_DEADLINE)
            request = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            header = _HEADER.pack(_HEADER.size + len(request), _GET_ADDRESS, _REQUEST | _DUMP, 1, 0)
            netlink.sendto(header + request, (0, 0))
            found: set[bytes] = set()
            while True:
                for kind, body in _messages(netlink.recv(_DATAGRAM)):
                    if kind == _DONE:
                        return frozenset(found)
                    if kind == _ERROR:
                        return None
                    if kind == _NEW_ADDRESS:
                        found.update(_address(body))
    except OSError:
        return None


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the body of each message."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _address(body: bytes) -> Iterator[bytes]:
    """Yield the address that a message tells of, if it is one for others and in use."""
    family, _, flags, scope, _ = _ADDRESS.unpack_from(body)
    found: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    if _IFA_FLAGS in found:
        [flags] = struct.unpack("=I", found[_IFA_FLAGS])
    is_temporary = family == socket.AF_INET6 and flags & _TEMPORARY
    ip = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
    if scope == _SCOPE_GLOBAL and not is_temporary and not flags & _TENTATIVE and len(ip) in (4, 16):
        yield ip


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class Links:
    """Tells when an address or a link has come or gone. Use it as a context manager."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        if sys.platform == "linux":
            with suppress(OSError):
                self._netlink = _subscribe()

    def close(self) -> None:
        """Hear no more."""
        if self._netlink is not None:
            self._netlink.close()

    async def changed(self) -> None:
        """Wait until there may be something new to see: because the kernel says so, or because it is time to look."""
        netlink = self._netlink
        if netlink is None:
            await trio.sleep(LOOK_AGAIN_UNTOLD)
            return
        with trio.move_on_after(LOOK_AGAIN):
            await trio.lowlevel.wait_readable(netlink)
            await trio.sleep(SETTLED)
        _drain(netlink)


def _subscribe() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    try:
        netlink.setblocking(False)
        netlink.bind((0, _GROUPS))
    except OSError:
        netlink.close()
        raise
    return netlink


def _drain(netlink: socket.socket) -> None:
    """Read what was told: that there was something is all that matters."""
    while True:
        try:
            netlink.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: more than it keeps, which says the same
            continue

"""Reads this machine's addresses and links from the kernel: rtnetlink(7), on Linux.

On other systems, or in a sandbox without netlink sockets, the kernel tells nothing, and callers have to look at the
addresses now and then.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import trio

LOOK_AGAIN: Final = 60.0  # seconds between looks at the addresses without news
LOOK_AGAIN_UNTOLD: Final = 15.0  # the same if the kernel tells no news
SETTLED: Final = 1.0  # seconds after news, since a change seldom comes in one step

# From linux/netlink.h, linux/rtnetlink.h and linux/if_addr.h.
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ADDRESS: Final = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index of the interface
_ATTRIBUTE: Final = struct.Struct("=HH")  # length, type
_GROUPS: Final = 0x1 | 0x10 | 0x100  # links, IPv4 addresses, IPv6 addresses
_ERROR, _DONE, _NEW_ADDRESS, _GET_ADDRESS = 2, 3, 20, 22
_REQUEST, _DUMP = 0x1, 0x300
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_TEMPORARY, _TENTATIVE = 0x01, 0x40 | 0x08  # changed often to hide the machine; not yet, or never, in use
_SCOPE_GLOBAL: Final = 0
_DATAGRAM: Final = 1 << 16
_DEADLINE: Final = 1.0  # seconds; the kernel answers at once


def local_addresses() -> frozenset[bytes] | None:
    """Return the addresses of this machine that are useful to others; None if the kernel does not list them."""
    if sys.platform != "linux":
        return None
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.settimeout(_DEADLINE)
            # 1. Ask for all addresses.
            request = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
            header = _HEADER.pack(_HEADER.size + len(request), _GET_ADDRESS, _REQUEST | _DUMP, 1, 0)
            netlink.sendto(header + request, (0, 0))
            # 2. Collect them from any number of datagrams, until one says that it is done.
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
    """Yield the type and the body of each message in a datagram."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size:
            return
        yield kind, data[at + _HEADER.size : at + length]
        at += _aligned(length)


def _address(body: bytes) -> Iterator[bytes]:
    """Yield the address in a message, if it is in use and useful to others."""
    # 1. The fixed part, then attributes, each aligned to four bytes.
    family, _, flags, scope, _ = _ADDRESS.unpack_from(body)
    found: dict[int, bytes] = {}
    at = _ADDRESS.size
    while at + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size:
            return
        found[kind] = body[at + _ATTRIBUTE.size : at + length]
        at += _aligned(length)
    # 2. Newer kernels have more flags than the fixed part has room for.
    if _IFA_FLAGS in found:
        [flags] = struct.unpack("=I", found[_IFA_FLAGS])
    is_temporary = family == socket.AF_INET6 and flags & _TEMPORARY
    ip = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS, b""))
    if scope == _SCOPE_GLOBAL and not is_temporary and not flags & _TENTATIVE and len(ip) in (4, 16):
        yield ip


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class Links:
    """Reports that an address or a link has come or gone."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        if sys.platform == "linux":
            with suppress(OSError):
                self._netlink = _subscribe()

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()

    async def changed(self) -> None:
        """Wait until another look is worth it: after news from the kernel, or after a while."""
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
    """Discard the news: their arrival is all that matters."""
    while True:
        try:
            netlink.recv(_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:  # ENOBUFS: more news than the kernel keeps
            continue

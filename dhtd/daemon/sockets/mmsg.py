"""A channel of recvmmsg(2) and sendmmsg(2): one system call for a batch of datagrams. Linux only.

Python's `recvfrom` turns each sender's address into text, and `sendto` parses it again. Here addresses stay bytes, as
the kernel wrote them. ctypes makes the calls, on buffers that are laid out once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.sockets.channel import BATCH, Datagram, UdpCounters
from dhtd.daemon.sockets.destination import ask_for_destination


class _Vector(ctypes.Structure):
    """struct iovec, of readv(2)."""

    _fields_ = (("base", ctypes.c_void_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr, of recvmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_size", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_size", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr, of recvmmsg(2)."""

    _fields_ = (("header", _Header), ("size", ctypes.c_uint))


_WORD: Final = "L"  # a pointer or a size: as long as a long on Linux
_VECTOR_SIZE, _MESSAGE_SIZE = ctypes.sizeof(_Vector), ctypes.sizeof(_Message)
_SIZE_AT, _SIZE_STEP = _Message.size.offset // 4, _MESSAGE_SIZE // 4  # in an array of messages seen as integers
_ALIGNMENT: Final = ctypes.sizeof(ctypes.c_size_t)  # of control messages
_NO_INTERFACES: Final = memoryview(bytes(4 * BATCH)).cast("I")
_SOCKADDR_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 28}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.recvmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_libc.sendmmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)


class _Layout:
    """The bytes of an address: a sockaddr, behind a control message if the kernel tells the destination."""

    def __init__(self, bound: socket.socket) -> None:
        self.destination = ask_for_destination(bound)
        self.control_size = 0 if self.destination is None else socket.CMSG_SPACE(self.destination.size)
        self.sockaddr_size = _SOCKADDR_SIZES[bound.family]
        self.size = -(-(self.control_size + self.sockaddr_size) // _ALIGNMENT) * _ALIGNMENT


class _Buffers:
    """The memory of a batch for the kernel: messages, each with one vector and one address, and their data."""

    def __init__(self, slot: int, layout: _Layout) -> None:
        data = ctypes.create_string_buffer(BATCH * slot)
        addresses = ctypes.create_string_buffer(BATCH * layout.size)
        vectors = (_Vector * BATCH)()
        messages = (_Message * BATCH)()
        self.data_at = ctypes.addressof(data)
        self.messages_at = ctypes.addressof(messages)
        for place in range(BATCH):
            vectors[place].base = self.data_at + place * slot
            vectors[place].size = slot
            header = messages[place].header
            address = ctypes.addressof(addresses) + place * layout.size
            header.name = address + layout.control_size
            header.name_size = layout.sockaddr_size  # the kernel writes it anew, and always the same
            if layout.control_size:
                header.control = address
                header.control_size = layout.control_size  # likewise
            header.vectors = ctypes.addressof(vectors) + place * _VECTOR_SIZE
            header.vector_count = 1
        self.sizes = memoryview(messages).cast("B").cast("I")[_SIZE_AT::_SIZE_STEP]
        self.data = memoryview(data).cast("B")
        self.addresses = memoryview(addresses).cast("B")
        self.interfaces = self.addresses[:0].cast("I")  # in the control messages
        if layout.destination is not None:
            first = (socket.CMSG_LEN(0) + layout.destination.interface_at) // 4
            self.interfaces = self.addresses.cast("I")[first :: layout.size // 4]
        words = memoryview(vectors).cast("B").cast(_WORD)  # base and size by turns
        self.vector_bases, self.vector_sizes = words[::2], words[1::2]


class Mmsg:
    """A `Channel`. An address is a struct sockaddr_in or sockaddr_in6, perhaps behind a control message."""

    def __init__(self, bound: socket.socket, size: int, counters: UdpCounters) -> None:
        self._bound = bound
        self._counters = counters
        self._slot = size + 1
        layout = _Layout(bound)
        self._address_size = layout.size
        self._sockaddr_at = layout.control_size
        self._in = _Buffers(self._slot, layout)
        self._out = _Buffers(self._slot, layout)

    @staticmethod
    def works(bound: socket.socket) -> bool:
        """Whether the kernel has these calls, and allows them to this process."""
        number = bound.fileno()
        return (_libc.recvmmsg(number, None, 0, 0, None), _libc.sendmmsg(number, None, 0, 0)) == (0, 0)

    def receive(self) -> list[Datagram] | None:
        slot, address_size = self._slot, self._address_size
        # 1. One call fills the buffers.
        count = _libc.recvmmsg(self._bound.fileno(), self._in.messages_at, BATCH, 0, None)
        if count < 0:
            if ctypes.get_errno() != errno.EAGAIN:
                self._counters.not_received(_last_error())
            return None
        # 2. The interface that a datagram came by must not bind its answer: clear it in the control messages.
        data, interfaces = self._in.data, self._in.interfaces
        if interfaces:
            interfaces[:count] = _NO_INTERFACES[:count]
        # 3. Copy each datagram and its address. A slot has one byte more than a datagram may have: a full one is too
        #    long.
        addresses = self._in.addresses[: count * address_size].tobytes()
        datagrams = []
        start = at = 0
        sizes = self._in.sizes[:count].tolist()
        whole = sum(sizes)
        for size in sizes:
            if size < slot:
                datagrams.append((data[start : start + size].tobytes(), addresses[at : at + address_size]))
            else:
                self._counters.oversized += 1
                whole -= size
            start += slot
            at += address_size
        self._counters.received(len(datagrams), whole)
        return datagrams

    def send(self, datagrams: Sequence[Datagram]) -> None:
        out, count = self._out, len(datagrams)
        if not count:
            return
        # 1. Lay out the data back to back, and the vectors over it.
        each, addresses = zip(*datagrams, strict=True)
        whole = b"".join(each)
        if len(whole) > len(out.data):
            self._send_apart(datagrams)
            return
        out.data[: len(whole)] = whole
        out.addresses[: count * self._address_size] = b"".join(addresses)
        sizes = array(_WORD, map(len, each))
        out.vector_sizes[:count] = sizes
        out.vector_bases[:count] = array(_WORD, accumulate(sizes[:-1], initial=out.data_at))
        # 2. Send. A call ends at the first datagram that fails: count that one, and go on behind it.
        sent = 0
        while sent < count:
            first = self._out.messages_at + sent * _MESSAGE_SIZE
            done = _libc.sendmmsg(self._bound.fileno(), first, count - sent, 0)
            if done < 0:
                self._counters.not_sent(_last_error(), Endpoint(self.endpoint(addresses[sent])))
                self._counters.sent(-1, -sizes[sent])
                done = 1
            sent += done
        self._counters.sent(count, len(whole))

    def endpoint(self, address: Any) -> bytes:
        sockaddr: bytes = address[self._sockaddr_at :]
        ip = sockaddr[4:8] if self._bound.family == socket.AF_INET else sockaddr[8:24]
        return ip + sockaddr[2:4]

    def zone(self, address: Any) -> int:
        sockaddr: bytes = address[self._sockaddr_at :]
        # sin6_scope_id is the last field, in this machine's own byte order.
        return int.from_bytes(sockaddr[24:28], sys.byteorder)

    def _send_apart(self, datagrams: Sequence[Datagram]) -> None:
        """Send more data than the buffer holds, in halves."""
        if len(datagrams) == 1:
            too_large = OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
            self._counters.not_sent(too_large, Endpoint(self.endpoint(datagrams[0][1])))
            return
        half = len(datagrams) // 2
        self.send(datagrams[:half])
        self.send(datagrams[half:])


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))

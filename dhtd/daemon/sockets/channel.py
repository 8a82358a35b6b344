"""Batches of datagrams in and out of one UDP socket: the protocol, and the channel that works everywhere.

`dhtd.daemon.sockets.mmsg` has a faster channel, for Linux.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dhtd.daemon.sockets.destination import ask_for_destination

BATCH = 64  # datagrams received, and answered, in a row

log = logging.getLogger("dhtd.udp")


@dataclass(slots=True)
class UdpCounters:
    """The traffic of the sockets, and the datagrams that never reached the node or never left."""

    datagrams_received: int = 0  # with those that no key opens, without oversized ones
    bytes_received: int = 0
    datagrams_sent: int = 0
    bytes_sent: int = 0
    oversized: int = 0  # received, larger than `datagram_received_max`, dropped unread
    unopened: int = 0  # received by a node with a network key, and not sealed with it; dropped in silence
    out_of_time: int = 0  # sealed queries, more than five minutes older or newer than our clock; dropped
    misdirected: int = 0  # sealed queries for another node; dropped
    replayed: int = 0  # sealed queries that came before, or were sealed before this node started; dropped
    receive_errors: int = 0
    send_errors: int = 0  # unreachable, forbidden or nonsensical addresses
    send_buffer_full: int = 0
    defects: int = 0  # failures of dhtd itself, on a datagram or on anything else; the log has the traceback

    def received(self, datagrams: int, size: int) -> None:
        """Count received datagrams, with their total size."""
        self.datagrams_received += datagrams
        self.bytes_received += size

    def sent(self, datagrams: int, size: int) -> None:
        """Count sent datagrams, with their total size."""
        self.datagrams_sent += datagrams
        self.bytes_sent += size

    def not_received(self, error: OSError) -> None:
        """Count a failure to receive one datagram."""
        log.debug("receiving failed: %s", error)
        self.receive_errors += 1

    def not_sent(self, error: OSError, address: object) -> None:
        """Count a datagram that could not be sent."""
        if error.errno in (errno.EAGAIN, errno.ENOBUFS):
            self.send_buffer_full += 1
        else:
            log.debug("sending to %s failed: %s", address, error)
            self.send_errors += 1


Datagram = tuple[bytes, Any]  # the data, and the other end's address in the form of its channel


class Channel(Protocol):
    """One bound, non-blocking UDP socket. A failure is counted, and costs one datagram."""

    def receive(self) -> list[Datagram] | None:
        """Return up to `BATCH` datagrams that have come, without oversized ones; None if none has."""

    def send(self, datagrams: Sequence[Datagram]) -> None:
        """Send up to `BATCH` datagrams."""

    def endpoint(self, address: Any) -> bytes:
        """Return an address as the bytes of an `Endpoint`."""

    def zone(self, address: Any) -> int:
        """Return the link of an IPv6 address; it has a meaning only for a link-local one."""


class OneByOne:
    """recvmsg(2) and sendmsg(2) of Python. An address is a tuple that begins with text and a port.

    If the kernel tells to which of our addresses a datagram came, the last element makes the answer leave from there.
    """

    def __init__(self, bound: socket.socket, size: int, counters: UdpCounters) -> None:
        self._bound = bound
        self._size = size
        self._counters = counters
        self._destination = ask_for_destination(bound)
        self._control_size = 0 if self._destination is None else socket.CMSG_SPACE(self._destination.size)

    def receive(self) -> list[Datagram] | None:
        datagrams: list[Datagram] | None = None
        for _ in range(BATCH):
            try:
                data, control, _, address = self._bound.recvmsg(self._size + 1, self._control_size)
            except BlockingIOError:
                break
            except OSError as error:
                self._counters.not_received(error)
                continue
            datagrams = datagrams or []
            if len(data) > self._size:
                self._counters.oversized += 1
            else:
                self._counters.received(1, len(data))
                datagrams.append((data, self._with_destination(address, control)))
        return datagrams

    def send(self, datagrams: Sequence[Datagram]) -> None:
        for data, address in datagrams:
            try:
                self._counters.sent(1, self._send(data, address))
            except OSError as error:
                self._counters.not_sent(error, address)

    def endpoint(self, address: Any) -> bytes:
        host, port = address[:2]
        packed = socket.inet_pton(self._bound.family, host.partition("%")[0])
        return packed + int(port).to_bytes(2, "big")

    def zone(self, address: Any) -> int:
        return int(address[3])

    def _with_destination(self, address: tuple[Any, ...], control: list[tuple[int, int, bytes]]) -> tuple[Any, ...]:
        """Add the destination of the datagram to an address, if the kernel tells it."""
        destination = self._destination
        if destination is None:
            return address
        told = [
            (level, kind, destination.without_interface(data))
            for level, kind, data in control
            if (level, kind, len(data)) == (destination.level, destination.kind, destination.size)
        ]
        return (*address, tuple(told))

    def _send(self, data: bytes, address: tuple[Any, ...]) -> int:
        if self._destination is None:
            return self._bound.sendto(data, address)
        *there, control = address
        return self._bound.sendmsg([data], control, 0, tuple(there))

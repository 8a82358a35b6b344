"""A closed loop of queries from many addresses at once, and the CPU time of whom they are put to."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

WINDOW = 64  # queries in flight
PATIENCE = 0.5  # seconds until a datagram counts as lost

# Makes the query of the source with this number, under this transaction.
Make = Callable[[int, bytes], bytes]


class TooShortError(Exception):
    """The load was too small to be measured."""


class Measured(NamedTuple):
    """What one load has cost."""

    answered: int
    lost: int
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Answers per CPU-second."""
        return self.answered / self.cpu_seconds


class Sources:
    """Sockets, each at an address of its own in 127/8, that query one server; so none of them meets a rate limit."""

    def __init__(self, server: tuple[str, int], addresses: Sequence[str], tid_size: int, rng: Random) -> None:
        self._tid_size = tid_size
        self._rng = rng
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in addresses]
        patience = struct.pack("ll", int(PATIENCE), int(PATIENCE % 1 * 1e6))
        for bound, address in zip(self.sockets, addresses, strict=True):
            bound.bind((address, 0))
            bound.connect(server)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)  # one call, where settimeout makes two

    def __enter__(self) -> Self:
        """Return them."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        for bound in self.sockets:
            bound.close()

    def ask(self, number: int, make: Make) -> bytes | None:
        """Send one query from a source; return its answer, if there is one."""
        tid = self._rng.randbytes(self._tid_size)
        self.sockets[number].send(make(number, tid))
        return self._answer(number, tid)

    def flood(self, pid: int, make: Make, queries: int) -> Measured:
        """Put so many queries, WINDOW at a time, each from the next source; more when these are answered or lost."""
        turn = [number % len(self.sockets) for number in range(queries)]
        made = []
        for number in turn:
            tid = self._rng.randbytes(self._tid_size)
            made.append((self.sockets[number], make(number, tid), number, tid))
        lost = 0
        before = cpu_seconds(pid)
        for first in range(0, queries, WINDOW):
            window = made[first : first + WINDOW]
            for bound, datagram, _, _ in window:
                bound.send(datagram)
            for _, _, number, tid in window:
                lost += self._answer(number, tid) is None
        spent = cpu_seconds(pid) - before
        if not spent:
            raise TooShortError(f"{queries} queries take less CPU time than the kernel tells: give more --queries")
        return Measured(queries - lost, lost, spent)

    def _answer(self, number: int, tid: bytes) -> bytes | None:
        """Return the datagram that answers, passing over what the server asks of its own."""
        try:
            while tid not in (data := self.sockets[number].recv(65_536)):
                pass
        except BlockingIOError:
            return None
        return data


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process by the scheduler's clock: nanoseconds, all threads that are there."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_bytes().split()[0]) for thread in threads) / 1e9


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

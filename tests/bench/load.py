"""A closed loop of queries from many addresses at once, and the CPU time of the process that serves them."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from types import TracebackType
from typing import NamedTuple, Self

WINDOW = 64  # queries sent in a row, before their answers are awaited
PATIENCE = 0.5  # seconds until a datagram counts as lost

# Makes the query of the source with this number, under this transaction.
Make = Callable[[int, bytes], bytes]
Open = Callable[[bytes], bytes]


class TooShortError(Exception):
    """The load was too small to be measured."""


class Measured(NamedTuple):
    """The cost of one load."""

    answered: int
    lost: int
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Answers per CPU-second."""
        return self.answered / self.cpu_seconds


class Sources:
    """Sockets that query one server, each at its own address in 127/8, so none meets a rate limit."""

    def __init__(
        self, server: tuple[str, int], addresses: Sequence[str], tid_size: int, rng: Random, unseal: Open = bytes
    ) -> None:
        self._tid_size = tid_size
        self._rng = rng
        self._unseal = unseal
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in addresses]
        patience = struct.pack("ll", int(PATIENCE), int(PATIENCE % 1 * 1e6))
        for bound, address in zip(self.sockets, addresses, strict=True):
            bound.bind((address, 0))
            bound.connect(server)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)  # one call, where settimeout makes two

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bound in self.sockets:
            bound.close()

    def ask(self, number: int, make: Make) -> bytes | None:
        """Send one query from a source; return its answer, if one comes."""
        tid = self._rng.randbytes(self._tid_size)
        self.sockets[number].send(make(number, tid))
        return self._answer(number, tid)

    def drain(self, number: int) -> None:
        """Discard other datagrams that came to a source."""
        with suppress(BlockingIOError):
            while True:
                self.sockets[number].recv(65_536, socket.MSG_DONTWAIT)

    def flood(
        self, pid: int, make: Make, queries: int, window: int = WINDOW, check: Callable[[bytes], None] = lambda _: None
    ) -> Measured:
        """Put so many queries, each from the next source: a window's worth at once, more when all are answered or lost.

        Each answer is passed to `check`, when nothing is measured any more.
        """
        made = []
        for turn in range(queries):
            number, tid = turn % len(self.sockets), self._rng.randbytes(self._tid_size)
            made.append((self.sockets[number], make(number, tid), number, tid))
        answers = []
        before = cpu_seconds(pid)
        for first in range(0, queries, window):
            asked = made[first : first + window]
            for bound, datagram, _, _ in asked:
                bound.send(datagram)
            answers += [self._answer(number, tid) for _, _, number, tid in asked]
        spent = cpu_seconds(pid) - before
        if not spent:
            raise TooShortError(f"{queries} queries take less CPU time than the kernel tells: give more --queries")
        for answer in filter(None, answers):
            check(answer)
        return Measured(queries - answers.count(None), answers.count(None), spent)

    def _answer(self, number: int, tid: bytes) -> bytes | None:
        """Return the datagram that answers, and ignore the server's own queries."""
        try:
            while tid not in (data := self._unseal(self.sockets[number].recv(65_536))):
                pass
        except BlockingIOError:
            return None
        return data


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, with threads that have ended, by the scheduler's clock: nanoseconds."""
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), as Linux makes it


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

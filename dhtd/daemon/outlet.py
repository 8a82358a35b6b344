"""Where the lines of the log leave: nobody who logs waits for whoever reads the log.

A reader can stop reading: a pipe is full, a terminal is stopped by Ctrl-S, journald hangs. So lines go into a bounded
queue, and a thread writes them. Beyond the bound a line is dropped and counted; the next line that can be written says
how many were.

Where no thread can be started, a line is written at once if the system says that there is room for it (`poll`), and
dropped otherwise. The descriptor itself is never made non-blocking: others may share it, such as the shell.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

BOUND: Final = 4096  # lines that wait for their reader
CHUNK: Final = select.PIPE_BUF  # bytes that a pipe takes whole where `poll` says that it is writable

_READY: Final = select.POLLOUT | select.POLLERR | select.POLLHUP | select.POLLNVAL


class Outlet:
    """Lines to one file descriptor. `put` may be called from any thread, one at a time."""

    def __init__(self, descriptor: int, dropped_line: Callable[[int], bytes], bound: int = BOUND) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped_line  # what is written when lines flow again, of how many were dropped
        self._bound = bound
        # Of all queues, this one may be used by a finalizer that runs while the same thread uses it.
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._has_thread = False
        self._overflowed = 0  # lines for which the queue had no room
        self._failed = 0  # lines that could not be written
        self._said = 0  # dropped lines that were told of

    @property
    def dropped(self) -> int:
        """How many lines were lost."""
        return self._overflowed + self._failed

    def start(self) -> None:
        """Have a thread write from now on, if one can be started."""
        if not self._has_thread:
            try:
                threading.Thread(target=self._run, name="log", daemon=True).start()
            except RuntimeError:  # no further thread
                return
            self._has_thread = True

    def put(self, line: bytes) -> None:
        """Have a line written; never wait."""
        if not self._has_thread:
            self.put_at_once(line)
        elif self._waiting.qsize() < self._bound:
            self._waiting.put(line)
        else:
            self._overflowed += 1

    def put_at_once(self, line: bytes) -> None:
        """Write a line ahead of those that wait, as far as there is room now."""
        self._write(line, wait=False)

    def drop(self) -> None:
        """Count a line that could not even be made."""
        self._overflowed += 1

    def flush(self, patience: float) -> bool:
        """Wait until what was put is written, at most so many seconds; return whether it is."""
        if not self._has_thread:
            return True
        written = threading.Event()
        self._waiting.put(written)
        return written.wait(patience)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        while True:
            line = self._waiting.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                try:
                    self._write(line, wait=True)
                except Exception:  # noqa: BLE001 - too little memory, say: it costs a line, and not the log
                    self._failed += 1

    def _write(self, line: bytes, *, wait: bool) -> None:
        if not self._write_all(line, wait=wait):
            self._failed += 1
            return
        dropped = self.dropped
        if dropped != self._said and self._write_all(self._dropped_line(dropped - self._said), wait=wait):
            self._said = dropped

    def _write_all(self, line: bytes, *, wait: bool) -> bool:
        rest = memoryview(line)
        try:
            while rest:
                if not wait and not self._is_ready():
                    return False
                try:
                    rest = rest[os.write(self._descriptor, rest if wait else rest[:CHUNK]) :]
                except BlockingIOError:  # whoever shares the descriptor has made it non-blocking
                    if not wait:
                        return False
                    self._is_ready(None)
        except OSError:  # a terminal or a reader that is gone, a full disk
            return False
        return True

    def _is_ready(self, timeout: int | None = 0) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(events & _READY for _, events in poll.poll(timeout))

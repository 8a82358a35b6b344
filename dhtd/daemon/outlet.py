"""Writes the lines of the log, so that logging never waits for the reader.

A reader can stop reading: a pipe is full, a terminal is stopped by Ctrl-S, journald hangs. So lines go into a bounded
queue, and a thread writes them. Lines beyond the bound are dropped and counted, and the next line that is written is
followed by their number.

If no thread can be started, a line is written at once if `poll` reports room for it, and dropped otherwise. The
descriptor itself is never made non-blocking, since others may share it, for example the shell.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

BOUND: Final = 4096  # lines that wait for the reader
CHUNK: Final = select.PIPE_BUF  # bytes that a pipe takes whole once `poll` calls it writable

_READY: Final = select.POLLOUT | select.POLLERR | select.POLLHUP | select.POLLNVAL


class Outlet:
    """Lines to one file descriptor. `put` may be called from any thread, one at a time."""

    def __init__(self, descriptor: int, dropped_line: Callable[[int], bytes], bound: int = BOUND) -> None:
        self._descriptor = descriptor
        self._dropped_line = dropped_line  # makes the line that reports a number of dropped ones
        self._bound = bound
        # The one queue that a finalizer may use while its own thread is using it.
        self._waiting: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._has_thread = False
        self._overflowed = 0  # lines that found the queue full
        self._failed = 0  # lines that could not be written
        self._said = 0  # dropped lines already reported

    @property
    def dropped(self) -> int:
        return self._overflowed + self._failed

    def start(self) -> None:
        """Have a thread write, if one can be started."""
        if not self._has_thread:
            try:
                threading.Thread(target=self._run, name="log", daemon=True).start()
            except RuntimeError:  # no further thread
                return
            self._has_thread = True

    def put(self, line: bytes) -> None:
        """Write a line, sooner or later; never wait."""
        if not self._has_thread:
            self.put_at_once(line)
        elif self._waiting.qsize() < self._bound:
            self._waiting.put(line)
        else:
            self._overflowed += 1

    def put_at_once(self, line: bytes) -> None:
        """Write a line ahead of waiting ones, if there is room now."""
        self._write(line, wait=False)

    def drop(self) -> None:
        """Count a line that could not even be made."""
        self._overflowed += 1

    def flush(self, patience: float) -> bool:
        """Wait `patience` seconds at most until all lines so far are written; return whether they are."""
        if not self._has_thread:
            return True
        written = threading.Event()
        self._waiting.put(written)
        return written.wait(patience)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
        while True:
            line = self._waiting.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                try:
                    self._write(line, wait=True)
                except Exception:  # noqa: BLE001 - too little memory, for example: it costs a line, and not the log
                    self._failed += 1

    def _write(self, line: bytes, *, wait: bool) -> None:
        if not self._write_all(line, wait=wait):
            self._failed += 1
            return
        # Lines flow again: report those dropped since the last report.
        dropped = self.dropped
        if dropped != self._said and self._write_all(self._dropped_line(dropped - self._said), wait=wait):
            self._said = dropped

    def _write_all(self, line: bytes, *, wait: bool) -> bool:
        rest = memoryview(line)
        try:
            while rest:
                # 1. The thread may block in `write`. Others may not, and write only what is sure to fit.
                if not wait and not self._is_ready():
                    return False
                try:
                    rest = rest[os.write(self._descriptor, rest if wait else rest[:CHUNK]) :]
                except BlockingIOError:
                    # 2. Another program that shares the descriptor has made it non-blocking: wait in `poll` instead.
                    if not wait:
                        return False
                    self._is_ready(None)
        except OSError:  # the terminal or the reader is gone, or the disk is full
            return False
        return True

    def _is_ready(self, timeout: int | None = 0) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(events & _READY for _, events in poll.poll(timeout))

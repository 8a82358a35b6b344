"""Logging never waits for the reader; lost lines are counted and reported."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import pytest

from dhtd.daemon.outlet import CHUNK, Outlet
from tests.e2e.daemons import DEADLINE

BOUND = 10
FILLING = b"x" * CHUNK


def dropped_line(count: int) -> bytes:
    return b"dropped %d\n" % count


class Pipe(NamedTuple):
    """A pipe with an outlet at its beginning."""

    outlet: Outlet
    reading: int
    writing: int

    def fill(self) -> None:
        """Fill the pipe."""
        os.set_blocking(self.writing, False)
        try:
            while True:
                os.write(self.writing, FILLING)
        except BlockingIOError:
            os.set_blocking(self.writing, True)

    def read(self, end: bytes) -> list[bytes]:
        """Return the lines up to one that begins so, without the filling of the pipe."""
        data = b""
        while True:
            data += os.read(self.reading, 65_536)
            lines = data.replace(FILLING, b"").splitlines(keepends=True)
            if lines and lines[-1].startswith(end) and lines[-1].endswith(b"\n"):
                return [line.rstrip(b"\n") for line in lines]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    yield Pipe(Outlet(writing, dropped_line, BOUND), reading, writing)
    os.set_blocking(writing, False)  # for the thread that may wait there
    os.close(reading)


def cannot_start(self: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_lines_come_out_in_their_order(pipe: Pipe) -> None:
    pipe.outlet.start()
    for number in range(5):
        pipe.outlet.put(b"line %d\n" % number)
    assert pipe.read(b"line 4") == [b"line %d" % number for number in range(5)]
    assert pipe.outlet.flush(DEADLINE)
    assert pipe.outlet.dropped == 0


def test_a_full_pipe_drops_lines_and_says_so(pipe: Pipe) -> None:
    pipe.fill()
    pipe.outlet.start()
    pipe.outlet.put(b"first\n")
    assert not pipe.outlet.flush(0.0)  # by now, or soon, the thread waits with the first line
    for number in range(10 * BOUND):
        pipe.outlet.put(b"line %d\n" % number)
    dropped = pipe.outlet.dropped
    assert 10 * BOUND - BOUND - 1 <= dropped < 10 * BOUND
    lines = pipe.read(b"line")
    assert lines[:2] == [b"first", b"dropped %d" % dropped]
    assert pipe.outlet.flush(DEADLINE)
    pipe.outlet.put(b"last\n")
    assert pipe.read(b"last")[-1] == b"last"


def test_without_a_thread_lines_are_written(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", cannot_start)
    pipe.outlet.start()
    pipe.outlet.put(b"before\n")
    assert pipe.read(b"before") == [b"before"]
    pipe.fill()
    for _ in range(3):
        pipe.outlet.put(b"lost\n")
    assert pipe.outlet.dropped == 3
    assert pipe.outlet.flush(DEADLINE)
    os.read(pipe.reading, 4 * CHUNK)
    pipe.outlet.put(b"behind\n")
    assert pipe.read(b"dropped") == [b"behind", b"dropped 3"]


def test_a_long_line_is_cut_at_a_full_pipe(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    size = fcntl.fcntl(pipe.writing, fcntl.F_GETPIPE_SZ)
    pipe.outlet.put(b"x" * 2 * size + b"\n")
    assert pipe.outlet.dropped == 1


def test_a_gone_reader_costs_lines_only() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outlet = Outlet(writing, dropped_line)
    outlet.put(b"lost\n")
    outlet.start()
    outlet.put(b"lost, too\n")
    assert outlet.flush(DEADLINE)
    assert outlet.dropped == 2
    os.close(writing)


def test_a_memory_shortage_costs_one_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(*_: object) -> NoReturn:
        raise MemoryError

    pipe.outlet.start()
    with monkeypatch.context() as poor:
        poor.setattr(Outlet, "_write", lack)
        pipe.outlet.put(b"lost\n")
        assert pipe.outlet.flush(DEADLINE)
    pipe.outlet.put(b"next\n")
    assert pipe.read(b"dropped") == [b"next", b"dropped 1"]


def test_a_non_blocking_descriptor_is_waited_for(pipe: Pipe) -> None:
    pipe.fill()
    os.set_blocking(pipe.writing, False)
    pipe.outlet.start()
    pipe.outlet.put(b"patient\n")
    assert pipe.read(b"patient") == [b"patient"]
    assert pipe.outlet.dropped == 0


def test_urgent_lines_overtake_waiting_ones(pipe: Pipe) -> None:
    pipe.fill()
    pipe.outlet.start()
    pipe.outlet.put(b"waits\n")
    pipe.outlet.put_at_once(b"lost\n")  # there is no room
    assert pipe.outlet.dropped == 1

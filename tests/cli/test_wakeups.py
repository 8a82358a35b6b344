"""The end of a child wakes `poll`, once."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

import pytest

from dhtd.cli import wakeups as module
from dhtd.cli.wakeups import Wakeups
from tests.e2e.daemons import DEADLINE


def is_readable(wakeups: Wakeups) -> bool:
    poll = select.poll()
    poll.register(wakeups, select.POLLIN)
    return bool(poll.poll(0))


def wake() -> None:
    signal.raise_signal(signal.SIGCHLD)


def test_a_signal_wakes_once() -> None:
    with Wakeups() as wakeups:
        assert not is_readable(wakeups)
        wake()
        assert is_readable(wakeups)
        wakeups.wait(DEADLINE)
        assert not is_readable(wakeups)


def test_signals_meanwhile_are_taken_together() -> None:
    with Wakeups() as wakeups:
        for _ in range(3):
            wake()
        wakeups.take()
        assert not is_readable(wakeups)
        wakeups.take()  # there is nothing, and that is no reason to wait


def test_a_wait_ends_without_a_signal() -> None:
    with Wakeups() as wakeups:
        wakeups.wait(0.001)
        assert not is_readable(wakeups)


def test_a_wait_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    class Poll:
        POLLIN = select.POLLIN

        def poll(self, milliseconds: float | None = None) -> list[tuple[int, int]] | Poll:
            if milliseconds is None:
                return self
            waits.append(milliseconds)
            return []

        def register(self, descriptor: int, events: int) -> None:
            assert (descriptor, events) == (wakeups.fileno(), select.POLLIN)

    monkeypatch.setattr(module, "select", Poll())
    with Wakeups() as wakeups:
        wakeups.wait(2.5)
    assert waits == [2_500.0]


def test_signals_without_end_stop_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    """The pipe is full sooner or later, and says no more than before."""
    with Wakeups() as wakeups:
        with suppress(BlockingIOError):
            while True:
                os.write(wakeups._writing, bytes(4096))
        wake()
        wakeups.wait(DEADLINE)
    assert capfd.readouterr() == ("", "")


def test_what_was_there_before_comes_back() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGCHLD, lambda number, _: handled.append(number))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    other = signal.set_wakeup_fd(writing)
    try:
        with Wakeups() as wakeups:
            descriptors = wakeups.fileno(), wakeups._writing
            wake()
        assert handled == []
        for descriptor in descriptors:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
        wake()
        assert handled == [signal.SIGCHLD]
        assert os.read(reading, 8) == bytes([signal.SIGCHLD])
    finally:
        signal.set_wakeup_fd(other)
        signal.signal(signal.SIGCHLD, before)
        os.close(reading)
        os.close(writing)

"""The first signal to end is received, the second ends the process, and none is lost before anybody receives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import trio
import trio.testing

from dhtd.daemon.signals import FATAL, SIGNALS, Signals, in_another_thread
from tests.e2e.daemons import DEADLINE


@pytest.fixture(autouse=True)
def restore() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def say_nothing() -> None:
    pass


async def test_early_signals_are_received_in_order() -> None:
    signals = Signals(say_nothing)
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGTERM)
    assert [await signals.receive() for _ in range(3)] == [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]
    assert signals.stopping == signal.SIGTERM


async def test_a_signal_wakes_the_waiter() -> None:
    signals = Signals(say_nothing)
    received = []
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                received.append(await signals.receive())

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)
    assert received == [signal.SIGINT]


def test_a_cancelled_waiter_is_not_woken() -> None:
    signals = Signals(say_nothing)

    async def receive() -> None:
        with trio.move_on_after(0):
            await signals.receive()

    trio.run(receive)
    signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_what_was_ignored_stays_ignored(number: int) -> None:
    signal.signal(number, signal.SIG_IGN)
    Signals(say_nothing)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_sigterm_is_never_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signals = Signals(say_nothing)
    signal.raise_signal(signal.SIGTERM)
    assert signals.stopping == signal.SIGTERM


STUCK = """
import os, signal
from dhtd.daemon.signals import Signals
def last_words():
    os.write(1, b"last words")
    {0}
signals = Signals(last_words)
signals.final_status = {1}
reading, writing = os.pipe()
signal.raise_signal(signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
os.read(reading, 1)  # for ever
"""


@pytest.mark.parametrize(
    ("last_words", "final_status", "status"),
    [("", None, 128 + signal.SIGINT), ("raise ValueError", None, 128 + signal.SIGINT), ("", 0, 0), ("", 1, 1)],
)
def test_a_second_signal_ends_a_stuck_process(last_words: str, final_status: int | None, status: int) -> None:
    script = STUCK.format(last_words, final_status)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (status, b"last words")


FATAL_ONE = """
import os, signal
from dhtd.daemon.signals import Signals
signals = Signals(lambda: None)
for _ in range(2):
    signal.raise_signal({0})
assert signals.stopping == {0}
signals.die()
"""


@pytest.mark.parametrize("number", FATAL)
def test_a_fatal_signal_is_visible_to_the_parent(number: int) -> None:
    script = FATAL_ONE.format(int(number))
    done = subprocess.run([sys.executable, "-c", script], timeout=DEADLINE, check=False)
    assert done.returncode == -number


def test_a_request_to_end_is_nothing_to_die_of() -> None:
    signals = Signals(say_nothing)
    signal.raise_signal(signal.SIGQUIT)
    signals.die()
    assert signals.stopping == signal.SIGQUIT


LATE = """
import os, signal, threading, trio
from dhtd.daemon.signals import Signals
signals = Signals(lambda: None)

async def wake_later():
    token = trio.lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(print)

signals._wake = trio.run(wake_later)  # read by the thread just before the loop ends
signals.watch()
os.kill(os.getpid(), signal.SIGTERM)
while not signals._unread:
    pass
os.kill(os.getpid(), signal.SIGTERM)
threading.Event().wait()
"""


def test_a_second_signal_works_after_the_loop() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], timeout=DEADLINE, check=False, capture_output=True)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"")


BLOCKED = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
import dhtd.cli.entry
os.kill(os.getpid(), {0})
print("goes on")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_blocked_by_the_parent_are_obeyed(number: int) -> None:
    script = BLOCKED.format(int(number))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (-number, b"")


async def test_each_signal_comes_once_and_trio_runs() -> None:
    signals = Signals(say_nothing)
    with signals.watched(), trio.fail_after(DEADLINE):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
            assert await signals.receive() == signal.SIGHUP
    signals.unwatch()  # does nothing
    os.kill(os.getpid(), signal.SIGTERM)
    assert await signals.receive() == signal.SIGTERM
    assert not signals._unread


def test_without_a_thread_the_handlers_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_start(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", cannot_start)
    signals = Signals(say_nothing)
    with signals.watched():
        signal.raise_signal(signal.SIGTERM)
        assert signals.stopping == signal.SIGTERM


DEAF_MAIN_THREAD = """
import os, signal, threading
from dhtd.daemon.signals import FATAL, SIGNALS, Signals
signals = Signals(lambda: None)
signals.watch()
threading.Thread(target=threading.Event().wait, daemon=True).start()  # to which the kernel gives them
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
os.kill(os.getpid(), signal.SIGTERM)
while signals.stopping is None:
    pass
os.kill(os.getpid(), signal.SIGINT)
threading.Event().wait()
"""


def test_a_second_signal_ends_a_busy_main_thread() -> None:
    done = subprocess.run([sys.executable, "-c", DEAF_MAIN_THREAD], timeout=DEADLINE, check=False)
    assert done.returncode == 128 + signal.SIGINT


def test_thread_work_is_awaited_and_fails_alike() -> None:
    threads = []

    def work() -> None:
        threads.append(threading.current_thread())
        raise KeyError

    with pytest.raises(KeyError):
        in_another_thread(work)
    assert threads != [threading.current_thread()]


def test_without_a_thread_the_work_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot_start(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", cannot_start)
    threads = []
    in_another_thread(lambda: threads.append(threading.current_thread()))
    assert threads == [threading.current_thread()]


# As process 1 of a container, where the kernel drops signals without a handler


def can_be_process_1() -> bool:
    done = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    return done.returncode == 0


PROCESS_1 = """
import os, signal, sys
sys.argv = {0}
import dhtd.cli.entry
os.kill(os.getpid(), {1})
print("goes on")
"""


@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="unshare is not installed")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_process_1_obeys_signals_at_once(number: int) -> None:
    if not can_be_process_1():
        pytest.skip("only root can be process 1")
    script = PROCESS_1.format(["dhtd", "simulate"], int(number))
    done = subprocess.run(
        ["unshare", "--pid", "--fork", sys.executable, "-c", script], capture_output=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stdout) == (128 + number, b"")

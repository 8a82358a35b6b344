"""Receives signals. A second request to end always ends the process.

The event loop cannot obey the second SIGTERM, since it may be stuck. Python's handlers are not good enough either: they
run in the main thread, only after its C code returns, and a signal that the kernel gives to another thread does not
wake it. So the C part of a handler writes the number of the signal into a pipe (`signal.set_wakeup_fd`), and a thread
of ours reads it and obeys.

trio takes that descriptor for itself when it starts, and complains if it finds one. So it is ours only from `watch` to
`unwatch`. Without it, or without a further thread, Python's handlers obey.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import trio

# Signals that end a program without a handler: a limit of processor time, a timer, or a tool that meant another
# program.
FATAL: Final = tuple(
    getattr(signal, name)
    for name in ("SIGXCPU", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if hasattr(signal, name)
)
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, *FATAL)
LOOK_INTERVAL: Final = 0.1  # seconds between looks for signals while another thread works


class Signals:
    """Keeps all signals from its creation to the end of the process, so none of the start is lost.

    A signal that the parent ignores stays ignored, except SIGTERM: shells do that in the background, and nohup(1).

    A second SIGTERM, SIGINT or SIGQUIT calls `last_words`, which must not wait, and ends the process. The exit status
    is 128 plus the signal, or `final_status` once all work is done. A fatal signal asks to end, too, but not at once,
    since the kernel repeats SIGXCPU each second; `die` then ends the process by that signal.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self.stopping: int | None = None  # the first signal to end
        self.last_words = last_words
        self.final_status: int | None = None
        self._unread: deque[int] = deque()
        self._wake: Callable[[], None] = _nobody
        self._watching: int | None = None  # the descriptor of the pipe, once a thread reads from it
        self._is_watched = False
        self._others = -1  # the descriptor before ours
        for number in SIGNALS:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def die(self) -> None:
        """End the process by the fatal signal that it received, if any, so the parent sees that signal."""
        number = self.stopping
        if number is not None and number in FATAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            sys.exit(128 + number)  # process 1 of a container survives its own signal

    def watch(self) -> None:
        """Have a thread obey signals, if one can be started."""
        if self._watching is None:
            self._start()
        if self._watching is not None and not self._is_watched:
            with _none_between():
                self._is_watched = True
                self._others = signal.set_wakeup_fd(self._watching, warn_on_full_buffer=False)

    def unwatch(self) -> None:
        """Give the descriptor back; Python's handlers obey from now on."""
        if self._is_watched:
            with _none_between():
                signal.set_wakeup_fd(self._others, warn_on_full_buffer=False)
                self._is_watched = False

    async def receive(self) -> int:
        """Return the next signal: each SIGHUP, and the first request to end."""
        token = trio.lowlevel.current_trio_token()
        came = trio.Event()
        self._wake = lambda: token.run_sync_soon(came.set)
        try:
            if self._unread:  # looked at only after `_wake` is set: a signal may come between any two steps
                await trio.lowlevel.checkpoint()
            else:
                await came.wait()
        finally:
            self._wake = _nobody
        return self._unread.popleft()

    @contextmanager
    def watched(self) -> Iterator[None]:
        self.watch()
        try:
            yield
        finally:
            self.unwatch()

    def _start(self) -> None:
        """Start the thread that reads the numbers of signals from a pipe."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        try:
            threading.Thread(target=self._obey, args=(reading,), name="signals", daemon=True).start()
        except RuntimeError:  # no further thread
            os.close(reading)
            os.close(writing)
        else:
            self._watching = writing

    def _obey(self, reading: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        while True:
            for number in os.read(reading, 64):
                if number in SIGNALS:
                    with suppress(trio.RunFinishedError):  # the loop to be woken has just ended
                        self._note(number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._is_watched:
            self._note(number)

    def _note(self, number: int) -> None:
        """Act on a signal, in whichever thread obeys."""
        if number != signal.SIGHUP:
            # 1. A fatal signal during the end is no hurry.
            if self.stopping is not None and number in FATAL:
                return
            # 2. A second request to end ends the process here and now.
            if self.stopping is not None:
                self._end(number)
            # 3. The first one is remembered, and goes to `receive` like SIGHUP.
            self.stopping = number
        self._unread.append(number)
        self._wake()

    def _end(self, number: int) -> None:
        try:
            self.last_words()
        finally:
            os._exit(128 + number if self.final_status is None else self.final_status)


@contextmanager
def _none_between() -> Iterator[None]:
    """Delay signals in between, so none is obeyed twice. Our own threads always block them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nobody() -> None:
    pass  # nobody receives, so nobody is woken


def in_another_thread(work: Callable[[], None]) -> None:
    """Do work that may hang, for example on a disk, in a thread, so that a second signal can still end the process.

    Without a further thread, the work is done here.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            if threading.current_thread() is not threading.main_thread():
                signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        run()
    else:
        while thread.is_alive():  # a signal to another thread does not wake this one
            thread.join(LOOK_INTERVAL)
    if failures:
        raise failures[0]


class Terminal:
    """The controlling terminal, if the process was started on one; daemons have none."""

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    @property
    def is_gone(self) -> bool:
        """Whether there was a terminal, and it has been closed."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True

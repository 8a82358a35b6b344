"""What the process is told by signals, and that a second request to end always ends it.

No task of the event loop obeys the second SIGTERM: the loop may be stuck. Python's handlers do not either, if that can
be helped. They run in the main thread, which is not woken by a signal that the kernel gives to another thread, and
not before C code there returns. So the part of a handler that is in C writes the number of the signal into a pipe
(`signal.set_wakeup_fd`), and a thread obeys it.

trio takes that descriptor for itself when it starts, and complains if it finds one. So it is ours from `watch` to
`unwatch`, and where there is none, or no further thread, Python's handlers obey.
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

# What ends a program that does not know of it: a limit of processor time, a timer or a tool that was meant for another.
FATAL: Final = tuple(
    getattr(signal, name)
    for name in ("SIGXCPU", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGPWR")
    if hasattr(signal, name)
)
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, *FATAL)
LOOK_INTERVAL: Final = 0.1  # seconds between looks for signals while another thread works


class Signals:
    """The signals that we know, from when this is made until the process ends: those of the start are kept.

    All but SIGTERM stay ignored where whoever started us ignores them: a shell in the background, nohup(1).

    `last_words` is called before a second SIGTERM, SIGINT or SIGQUIT ends the process; it must not wait for anything.
    The exit status is then 128 and the signal, or `final_status` where everything that counts is done. A fatal signal
    is a request to end as well, but none to hurry: the kernel repeats SIGXCPU each second. `die` is the end of it.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self.stopping: int | None = None  # the first signal to end
        self.last_words = last_words
        self.final_status: int | None = None
        self._unread: deque[int] = deque()
        self._wake: Callable[[], None] = _nobody
        self._watching: int | None = None  # the descriptor of the pipe, once a thread reads from it
        self._is_watched = False
        self._others = -1  # the descriptor that was there before
        for number in SIGNALS:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)

    def die(self) -> None:
        """End the process by the fatal signal that was received, if one was: whoever started us is to see that."""
        number = self.stopping
        if number is not None and number in FATAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            sys.exit(128 + number)  # process 1 of a container outlives it

    def watch(self) -> None:
        """Have a thread obey signals from now on, if one can be started."""
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
        """Return the next signal: SIGHUP any number of times, and the first to end."""
        token = trio.lowlevel.current_trio_token()
        came = trio.Event()
        self._wake = lambda: token.run_sync_soon(came.set)
        try:
            if self._unread:  # asked once `_wake` is there: a signal may come between any two steps
                await trio.lowlevel.checkpoint()
            else:
                await came.wait()
        finally:
            self._wake = _nobody
        return self._unread.popleft()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch within the context."""
        self.watch()
        try:
            yield
        finally:
            self.unwatch()

    def _start(self) -> None:
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
                    with suppress(trio.RunFinishedError):  # the loop that was to be woken has just ended
                        self._note(number)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._is_watched:
            self._note(number)

    def _note(self, number: int) -> None:
        if number != signal.SIGHUP:
            if self.stopping is not None and number in FATAL:
                return
            if self.stopping is not None:
                self._end(number)
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
    """Have signals wait meanwhile: none is to be obeyed twice. Our own threads block them always."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nobody() -> None:
    """Wake nobody: nobody receives."""


def in_another_thread(work: Callable[[], None]) -> None:
    """Do work that may hang where no signal is noticed, such as in the disk, so that a second signal ends it all.

    Where no further thread can be started, it is done here all the same.
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
        while thread.is_alive():  # a signal that another thread takes does not wake this one
            thread.join(LOOK_INTERVAL)
    if failures:
        raise failures[0]


class Terminal:
    """The terminal that controls this process, if it was started on one; nohup(1) and daemons have none."""

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    @property
    def is_gone(self) -> bool:
        """Whether there was one, and it was closed since."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True

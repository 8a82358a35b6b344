"""A terminal is left as it was found, however a program ends that draws on it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # Ctrl-C is an exception already


class Ended(BaseException):
    """A signal ends the program."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def tidying() -> Iterator[None]:
    """Have a signal that ends the process leave the block by an exception first, which has temporary files removed."""
    with drawing(_nothing, _nothing):
        yield


def _nothing() -> None:
    pass


@contextmanager
def drawing(take_away: Callable[[], None], draw_again: Callable[[], None]) -> Iterator[None]:
    """Have what is drawn taken away before a signal ends the process, or Ctrl-Z stops it.

    What is drawn must be taken away when the block is left by an exception, too: a signal becomes one. A signal that
    is ignored, as SIGHUP under nohup(1), or has a handler already, is left alone.
    """
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)
        raise Ended(number)

    def stop(number: int, _frame: FrameType | None) -> None:
        take_away()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # comes back when the process is to go on
        signal.signal(number, stop)
        draw_again()

    handlers = {signal.SIGTSTP: stop, **dict.fromkeys(ENDING, end)}
    ours = [number for number in handlers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, handlers[number])
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        if ended:
            with suppress(OSError):  # a terminal that has hung up
                take_away()
            signal.raise_signal(ended[0])
            sys.exit(128 + ended[0])  # process 1 of a container outlives it

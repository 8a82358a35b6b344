"""Where both programs begin: before anything is imported that takes long enough to be interrupted in.

Until the program is loaded, Ctrl-C ends it as it would end any other, and not with Python's account of an import.

As process 1 of a container, a program is spared every signal that it has no handler for, and `docker stop` would have
to wait and kill. So there it has handlers from here on, which do what the kernel does elsewhere.

A program inherits which signals are blocked. Whoever blocks some for its own threads may start us without a thought of
that, and then nothing but SIGKILL would end us.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

_interruptible = (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
)  # else whoever started us wants it ignored


def _end(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)


_default = _end if os.getpid() == 1 else signal.SIG_DFL
for _number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_DFL:
        signal.signal(_number, _default)
if _interruptible:
    signal.signal(signal.SIGINT, _default)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT))


def dht() -> NoReturn:
    """Run the client."""
    from dhtd.cli.dht import main

    _loaded()
    main()


def dhtd() -> NoReturn:
    """Run the daemon."""
    from dhtd.cli.dhtd import main

    _loaded()
    main()


def _loaded() -> None:
    """From here on the program has an answer to Ctrl-C."""
    if _interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)

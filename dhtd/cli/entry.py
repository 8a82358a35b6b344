"""Where both programs begin, before the slow imports: a signal may arrive during those.

While the program loads, Ctrl-C ends it silently, without Python's traceback of an import.

The kernel delivers no signal to process 1 of a container unless the process has a handler for it. `docker stop` would
wait, and then kill. So process 1 gets handlers here that do what the kernel does elsewhere.

A process inherits its parent's blocked signals. If the parent blocked SIGTERM for its own threads, only SIGKILL could
end us. So we unblock them here.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

_interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else our parent wants it ignored


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
    """End the handling of Ctrl-C here: the program is loaded, and handles it itself."""
    if _interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)

"""Where both programs begin: before anything is imported that takes long enough to be interrupted in.

Until the program is loaded, Ctrl-C ends it as it would end any other, and not with Python's account of an import.
"""

from __future__ import annotations

import signal
from typing import NoReturn

_interruptible = (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
)  # else whoever started us wants it ignored
if _interruptible:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def dht() -> NoReturn:
    """Run the client."""
    from dhtd.cli.client import main

    _loaded()
    main()


def dhtd() -> NoReturn:
    """Run the daemon."""
    from dhtd.cli.daemon import main

    _loaded()
    main()


def _loaded() -> None:
    """From here on the program has an answer to Ctrl-C."""
    if _interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)

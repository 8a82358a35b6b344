"""The watchdog of the service manager (sd_watchdog_enabled(3)): it is told that this node is alive while it is healthy.

A manager that is not told for `WatchdogSec=` restarts the service. So a node that is cut off starts anew. A node whose
canary was never found is let be: it may be the first of its network, and a restart brings no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import trio

from dhtd.daemon.canary import Canary


def interval(environ: Mapping[str, str]) -> float | None:
    """Return the seconds between two signs of life, half of what the manager allows; None if it wants none."""
    text, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text)) or pid not in {"", str(os.getpid())}:
        return None
    return int(text) / 2_000_000


async def watch(canary: Canary, every: float, notify: Callable[[str], None]) -> None:
    """Tell the manager that this node is alive, as long as it is healthy, until cancelled."""
    while True:
        canary.want(2 * every + 60.0)
        if canary.is_healthy or canary.found_at is None:
            notify("WATCHDOG=1")
        await trio.sleep(every)

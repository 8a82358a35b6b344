"""The watchdog of the service manager (sd_watchdog_enabled(3)): it is told that this node is alive while it is healthy.

A manager that is not told for `WatchdogSec=` restarts the service. So a node that is cut off starts anew. Others are
let be: a node whose canary was never found may be the first of its network, and a restart brings no other. A node that
takes no further operation cannot look. A machine that was suspended has only an old look, so it looks again first.
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
        next_at = trio.current_time() + every
        canary.want(2 * every + 60.0)
        if not canary.is_busy:
            await canary.look_within(every / 2)
        if canary.is_healthy or canary.is_busy or canary.found_at is None:
            notify("WATCHDOG=1")
        await trio.sleep(max(0.0, next_at - trio.current_time()))

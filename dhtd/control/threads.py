"""Runs work that blocks in a thread of its own, if the system still starts one.

`ulimit -u`, a `pids` cgroup and a lack of memory all end in the same `RuntimeError` of Python. Here it is an error of
its own, distinct from a defect in the work, so the caller can go on without a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import trio

from dhtd.errors import NoThread

T = TypeVar("T")


async def in_thread(
    work: Callable[[], T], limiter: trio.CapacityLimiter | None = None, *, may_be_left: bool = False
) -> T:
    """Return the result of `work`; raise `NoThread`, with nothing done, if no thread starts.

    If the caller is cancelled, work that `may_be_left` goes on alone. Other work is waited for.
    """
    has_begun = False

    def begin() -> T:
        nonlocal has_begun
        has_begun = True
        return work()

    try:
        return await trio.to_thread.run_sync(begin, limiter=limiter, abandon_on_cancel=may_be_left)
    except RuntimeError as error:
        if has_begun:
            raise
        raise NoThread(
            f"the system starts no further thread ({error}; this process has {threading.active_count()}): raise"
            " `ulimit -u`, or TasksMax= of the service, or the pids limit of the container"
        ) from error

"""A network namespace for the thread that enters it, and for all that this thread starts meanwhile.

It has a loopback interface and nothing else: no client reaches a router of its maker, or asks for its name. All of
10.77/16 is this machine there, because transmission ignores what comes from 127/8.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.netns.lab import LabError, run

SUBNET: Final = "10.77.1"  # addresses of daemons; clients have those of `address`

_CLONE_NEWNET: Final = 0x4000_0000  # linux/sched.h


@contextmanager
def island() -> Iterator[None]:
    """Enter a new namespace, and leave it at the end; raise `LabError` where that cannot be."""
    if os.geteuid() != 0:
        raise LabError("it needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(_CLONE_NEWNET), "unshare")
        try:
            run("ip", "link", "set", "lo", "up")
            run("ip", "address", "add", "10.77.0.1/16", "dev", "lo")
            yield
        finally:
            _check(libc.setns(home, _CLONE_NEWNET), "setns")
    finally:
        os.close(home)


def address(number: int) -> str:
    """Return an address for a client on the island."""
    return f"10.77.0.{number}"


def _check(status: int, call: str) -> None:
    if status:
        raise LabError(f"{call}: {os.strerror(ctypes.get_errno())}")

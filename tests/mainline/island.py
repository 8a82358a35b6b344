"""A network namespace for the thread that enters it, and for all that this thread starts meanwhile.

It has a loopback interface and nothing else: no client reaches a router of its maker, or asks for its name. All of
10.77/16 is this machine there, because transmission ignores what comes from 127/8.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.netns.lab import LabError, Machine, run

SUBNET: Final = "10.77.1"  # addresses of daemons; clients have those of `address`

_CLONE_NEWNET: Final = 0x4000_0000  # linux/sched.h


@contextmanager
def island() -> Iterator[None]:
    """Enter a new namespace, and leave it at the end; raise `LabError` where that cannot be."""
    with _away(lambda: _call("unshare", _CLONE_NEWNET)):
        run("ip", "link", "set", "lo", "up")
        run("ip", "address", "add", "10.77.0.1/16", "dev", "lo")
        yield


@contextmanager
def inside(machine: Machine) -> Iterator[None]:
    """Enter the namespace of a machine of the lab, and leave it at the end."""
    with Path("/run/netns", machine.name).open("rb") as there, _away(lambda: _enter(there.fileno())):
        yield


def address(number: int) -> str:
    """Return an address for a client on the island."""
    return f"10.77.0.{number}"


@contextmanager
def _away(go: Callable[[], None]) -> Iterator[None]:
    """Go to another namespace, and come back at the end."""
    if os.geteuid() != 0:
        raise LabError("it needs root")
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        go()
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    _call("setns", namespace, _CLONE_NEWNET)


def _call(name: str, *arguments: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise LabError(f"{name}: {os.strerror(ctypes.get_errno())}")

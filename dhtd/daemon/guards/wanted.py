"""Reads the guard that a client asks for, and refuses those that cannot be."""

from __future__ import annotations

from typing import NamedTuple

from dhtd.daemon.guards import checks, processes
from dhtd.daemon.guards.guard import Connected, Holder
from dhtd.errors import BadRequest, NotPermitted
from dhtd.service.checks import EVERY, Check, ExecCheck
from dhtd.service.entries import EnterRequest
from dhtd.service.method import Caller


class Checking(NamedTuple):
    """A check, made every so many seconds."""

    check: Check
    every: float = EVERY


WantedGuard = Checking | Holder


async def guard_of(request: EnterRequest, caller: Caller) -> WantedGuard | None:
    """Return the guard of a request, None without one. The caller of this closes a process that it does not use.

    Raises `BadRequest`, `InvalidCheck`, `InvalidPid` or `NotPermitted`.
    """
    asked = {"check": request.check is not None, "pid": request.pid is not None, "attached": request.attached}
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        raise BadRequest(f"enter: an entry has one guard, and {' and '.join(given)} are {len(given)}")
    if request.every is not None and request.check is None:
        raise BadRequest("enter: 'every' is of a 'check', and there is none")
    if request.check is not None:
        if isinstance(request.check, ExecCheck) and not caller.is_owner:
            raise NotPermitted(
                "only the daemon's own user and root may have dhtd run commands: use a check by tcp or http"
            )
        checks.verify(request.check)
        return Checking(request.check, EVERY if request.every is None else request.every)
    if request.pid is not None:
        return await processes.find(request.pid, caller.uid)
    return Connected(caller) if request.attached else None

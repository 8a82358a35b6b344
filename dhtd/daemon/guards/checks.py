"""Makes a check. The modules of the kinds are imported by the first check that needs them."""

from __future__ import annotations

from typing import Final, assert_never

import trio

from dhtd.daemon.guards.outcome import Outcome
from dhtd.errors import InvalidCheck
from dhtd.service.checks import Check, ExecCheck, HttpCheck, TcpCheck

WITHIN_MAX: Final = 10.0  # seconds for one check; never longer than until the next one


def verify(check: Check) -> None:
    """Raise `InvalidCheck` for a check that cannot be made: of another host, or by a command that is not there."""
    match check:
        case TcpCheck():
            pass
        case HttpCheck(host):
            from dhtd.daemon.guards.places import is_here  # noqa: PLC0415

            if not is_here(host):
                raise InvalidCheck(f"{host} is no address of this machine: a check asks services of this machine only")
        case ExecCheck():
            from dhtd.daemon.guards import command  # noqa: PLC0415

            command.find(check)
        case _:
            assert_never(check)


async def make(check: Check, id: str, port: int, every: float) -> Outcome:
    """Make a check of an entry; it fails if it takes too long."""
    within = min(every, WITHIN_MAX)
    with trio.move_on_after(within):
        return await _make(check, id, port)
    return Outcome(False, f"no answer within {within:g} s")


async def _make(check: Check, id: str, port: int) -> Outcome:
    match check:
        case TcpCheck():
            from dhtd.daemon.guards import tcp  # noqa: PLC0415

            return await tcp.check(port)
        case HttpCheck():
            from dhtd.daemon.guards import http  # noqa: PLC0415 - h11 takes 1 MB, and 30 ms to import

            return await http.check(check)
        case ExecCheck():
            from dhtd.daemon.guards import command  # noqa: PLC0415

            return await command.check(check, id, port)
        case _:
            assert_never(check)

"""Checks that a port accepts connections by TCP, on any address of this machine."""

from __future__ import annotations

import trio

from dhtd.daemon.guards.outcome import Outcome
from dhtd.daemon.guards.places import connect, own_hosts, reason


async def check(port: int) -> Outcome:
    """Try the addresses one after the other: a refusal comes at once."""
    refusals: dict[str, None] = {}
    for host in own_hosts():
        try:
            stream = await connect(host, port)
        except OSError as error:
            refusals[reason(error)] = None
        else:
            await trio.aclose_forcefully(stream)
            return Outcome(True, f"port {port} accepts connections")
    return Outcome(False, f"port {port} accepts no connection: {next(iter(refusals), 'there is no address')}")

"""The goodbye of a node that stops: the holders of its entries are told for how long to keep them."""

from __future__ import annotations

from typing import Final

import trio

from dhtd.daemon.driver import Driver

WITHIN: Final = 2.0  # seconds


async def say_goodbye(driver: Driver, on_stop: str) -> None:
    """Tell each holder, as `on_stop` says; return when all have answered, or after two seconds. Watches end.

    - `grace`: they keep the entries for half a minute, so that a restart leaves no gap.
    - `leave`: they drop the entries at once.
    - `stay`: they are told nothing, and keep the entries until the lease ends.
    """
    node = driver.node
    node.watching.own.end_all(driver.clock())
    if on_stop == "stay":
        driver.flush()
        return
    heartbeats = node.publisher.heartbeats
    heartbeats.say_goodbye(node.policy.farewell if on_stop == "grace" else 0, driver.clock())
    driver.farewell = trio.Event()
    driver.flush()
    with trio.move_on_after(WITHIN):
        await driver.farewell.wait()

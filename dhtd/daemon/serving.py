"""Which requesters this node serves in the Mainline network, as `--read-only` says.

A node that nobody can reach is of no use as a contact, and its entry in others' tables costs them a timeout each. So by
default it says that it is read-only once no stranger has reached it for an hour. It goes on to answer its contacts, and
to look out for strangers: the first one that reaches it ends that.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from dhtd.core.address.reachability import Reach
from dhtd.core.serving.gate import Serves
from dhtd.daemon.driver import Driver

log = logging.getLogger("dhtd")

LOOK: Final = 60.0  # seconds between two looks


class Serving:
    """Keeps to the setting."""

    def __init__(self, driver: Driver, read_only: str) -> None:
        self._driver = driver
        self._read_only = read_only
        self._since = driver.clock()

    def begin(self) -> None:
        """Serve nobody, if that is what the setting says; else all, at first."""
        if self._read_only == "yes":
            self._driver.node.machine.serve(Serves.NOBODY)

    async def run(self) -> None:
        """Look now and then whether strangers reach this node, until cancelled."""
        while self._read_only == "auto":
            await trio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """Serve all if strangers reach this node, or if it is too early to know."""
        node, now = self._driver.node, self._driver.clock()
        is_new = now - self._since < node.policy.outside_lasts
        wanted = Serves.ALL if is_new or node.outside.reach(now) is not Reach.UNKNOWN else Serves.CONTACTS
        if wanted is node.gate.serves:
            return
        node.machine.serve(wanted)
        if wanted is Serves.ALL:
            log.info("a stranger has reached this node: it serves all again")
        else:
            log.info(
                "no stranger has reached this node for an hour: it serves its contacts, and says that it is read-only"
            )

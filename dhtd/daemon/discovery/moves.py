"""Tells the node when this machine's addresses change: a laptop moves, or a network comes up late."""

from __future__ import annotations

import logging

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.links import Links
from dhtd.daemon.sockets.own_networks import networks_of, own_addresses

log = logging.getLogger("dhtd.moves")


class Moves:
    """Looks at this machine's addresses when the kernel reports a change, and now and then."""

    def __init__(self, driver: Driver, links: Links, addresses: frozenset[Endpoint]) -> None:
        self._driver = driver
        self._links = links
        self._addresses = addresses  # at first those that the node was made with

    async def run(self) -> None:
        while True:
            await self._links.changed()
            self.look()

    def look(self) -> None:
        """Tell the sockets that links may have changed, and the node if its addresses have."""
        driver = self._driver
        driver.udp.links_changed()
        addresses = own_addresses(driver.udp.listening())
        if addresses == self._addresses:
            return
        before, self._addresses = self._addresses, addresses
        where = ", ".join(sorted(str(address) for address in addresses)) or "none"
        log.info("this machine has other addresses now: %s", where)
        now = driver.clock()
        if networks_of(addresses) != networks_of(before):
            driver.node.machine.live_in(networks_of(addresses), now)
        driver.node.machine.moved(now)
        driver.flush()

"""Names to endpoints. IPv4 only for now: a name with no IPv4 address is said to have none."""

from __future__ import annotations

import logging
import socket

import trio

from dhtd.core.endpoint import Endpoint, split_host_port
from dhtd.daemon.driver import Driver
from dhtd.errors import InvalidEndpoint, UnresolvableHost

RETRY_FIRST = 5.0  # seconds until names that did not resolve are tried again; doubles up to RETRY_MAX
RETRY_MAX = 300.0

log = logging.getLogger("dhtd.resolver")


async def resolve(host_port: tuple[str, int]) -> Endpoint:
    """Return the endpoint of a host, which may be a name; raise `UnresolvableHost` or `InvalidEndpoint`."""
    host, port = host_port
    try:
        endpoint = Endpoint.of(host, port)
    except InvalidEndpoint:
        endpoint = await _look_up(host, port)
    if not endpoint.is_ipv4:
        raise InvalidEndpoint(f"{endpoint} is IPv6, which dhtd does not speak yet: give an IPv4 address")
    return endpoint


async def _look_up(host: str, port: int) -> Endpoint:
    try:
        found = await trio.socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except OSError as error:  # the resolver's own, and what it may come to: no file descriptor, no memory
        raise UnresolvableHost(
            f"cannot resolve {host!r}: {error.strerror}. Give a name that resolves, or an IP"
        ) from None
    except (UnicodeError, ValueError):
        raise UnresolvableHost(f"{host!r} is not a host name") from None
    address = found[0][4]
    return Endpoint.of(str(address[0]), port)


class BootstrapHosts:
    """The configured hosts to join by, and their endpoints, which the node is told.

    They are resolved at start, again while one fails or nobody answers, and at once when the network is lost: a
    resolver that is down at boot is common, and so is a bootstrap node that has moved. A name that does not resolve any
    more keeps the endpoint that it had, since an outage takes the resolver with it.
    """

    def __init__(self, driver: Driver, hosts: tuple[str, ...]) -> None:
        self._driver = driver
        self._hosts = hosts
        self._changed = trio.Event()
        self._known: dict[str, Endpoint] = {}
        self._told: list[Endpoint] = []

    def change(self, hosts: tuple[str, ...]) -> None:
        """Use other hosts from now on."""
        self._hosts = hosts
        self._changed.set()

    async def run(self) -> None:
        """Keep the node told, until cancelled."""
        pause, news = RETRY_FIRST, True
        while True:
            self._changed, isolated = trio.Event(), self._driver.isolated
            hosts = self._hosts
            failures = await self._resolve(hosts)
            for failure in failures:
                log.warning("bootstrap: %s; trying again in %.0f s", failure, pause)
            self._tell([self._known[host] for host in hosts if host in self._known], news=news)
            again = failures or (hosts and not self._driver.node.join.connected)
            news = False
            with trio.move_on_after(pause if again else float("inf")):
                await _any(self._changed, isolated)
                news = True
            pause = RETRY_FIRST if news or not again else min(2 * pause, RETRY_MAX)

    async def _resolve(self, hosts: tuple[str, ...]) -> list[str]:
        failures = []
        for host in hosts:
            try:
                self._known[host] = await resolve(split_host_port(host))
            except (UnresolvableHost, InvalidEndpoint) as error:
                failures.append(str(error))
        return failures

    def _tell(self, endpoints: list[Endpoint], *, news: bool) -> None:
        """Have the node join by these endpoints, at once; where nothing is new, it has its own pauses."""
        if news or endpoints != self._told:
            self._told = endpoints
            self._driver.node.start(endpoints, self._driver.clock())
            self._driver.flush()


async def _any(*events: trio.Event) -> None:
    """Wait for one of them."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait, event)

"""Names to endpoints, of the address families that the daemon speaks."""

from __future__ import annotations

import logging
import socket

import trio

from dhtd.core.endpoint import Endpoint, Family, split_host_port
from dhtd.daemon.driver import Driver
from dhtd.daemon.udp import UdpSockets
from dhtd.daemon.zones import split_zone
from dhtd.errors import InvalidEndpoint, UnresolvableHost

RETRY_FIRST = 5.0  # seconds until names that did not resolve are tried again; doubles up to RETRY_MAX
RETRY_MAX = 300.0

log = logging.getLogger("dhtd.resolver")


async def resolve(host_port: tuple[str, int], udp: UdpSockets) -> Endpoint:
    """Return the endpoint of a host, which may be a name; raise `UnresolvableHost` or `InvalidEndpoint`.

    Of several addresses, that which the system would use first of those that `udp` can send to.
    """
    return (await resolve_all(host_port, udp))[0]


async def resolve_all(host_port: tuple[str, int], udp: UdpSockets) -> list[Endpoint]:
    """Return one endpoint of a host for each family that it has and `udp` speaks; raise as `resolve` does.

    On which link a link-local one is, `udp` is told, where the zone says so.
    """
    host, port = host_port
    address, zone = split_zone(host)
    try:
        endpoint = Endpoint.of(address, port)
    except InvalidEndpoint:
        return await _look_up(host, port, udp)
    if endpoint.family not in udp.families:
        raise InvalidEndpoint(
            f"{endpoint} is {endpoint.family}, and this daemon speaks {_spoken(udp)} only: see --bind"
        )
    if zone is not None:
        udp.zones.named(endpoint, zone)
    if endpoint.is_link_local and udp.zones.of(endpoint) is None:
        raise InvalidEndpoint(f"{endpoint} is on each link another: name the interface, such as {address}%eth0")
    return [endpoint]


async def _look_up(host: str, port: int, udp: UdpSockets) -> list[Endpoint]:
    family = socket.AF_UNSPEC
    if len(udp.families) == 1:
        family = socket.AF_INET if udp.families[0] is Family.IPV4 else socket.AF_INET6
    try:
        found = await trio.socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:  # the resolver's own, and what it may come to: no file descriptor, no memory
        raise UnresolvableHost(
            f"cannot resolve {host!r}: {error.strerror}. Give a name that resolves, or an IP"
        ) from None
    except (UnicodeError, ValueError):
        raise UnresolvableHost(f"{host!r} is not a host name") from None
    first: dict[Family, Endpoint] = {}
    for *_, address in found:
        endpoint = Endpoint.of(str(address[0]).partition("%")[0], port)
        if endpoint.is_link_local and len(address) > 3 and address[3]:
            udp.zones.named(endpoint, int(address[3]))
        first.setdefault(endpoint.family, endpoint)
    return list(first.values())


def _spoken(udp: UdpSockets) -> str:
    return " and ".join(map(str, udp.families))


class BootstrapHosts:
    """The configured hosts to join by, and their endpoints, which the node is told: of each family that a host has.

    They are resolved at start, again while one fails or nobody answers, and at once when the network is lost: a
    resolver that is down at boot is common, and so is a bootstrap node that has moved. A name that does not resolve any
    more keeps the endpoint that it had, since an outage takes the resolver with it.
    """

    def __init__(self, driver: Driver, hosts: tuple[str, ...]) -> None:
        self._driver = driver
        self._hosts = hosts
        self._changed = trio.Event()
        self._known: dict[str, list[Endpoint]] = {}
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
            self._tell([endpoint for host in hosts for endpoint in self._known.get(host, ())], news=news)
            again = failures or (hosts and not self._driver.node.is_connected)
            news = False
            with trio.move_on_after(pause if again else float("inf")):
                await _any(self._changed, isolated)
                news = True
            pause = RETRY_FIRST if news or not again else min(2 * pause, RETRY_MAX)

    async def _resolve(self, hosts: tuple[str, ...]) -> list[str]:
        failures = []
        for host in hosts:
            try:
                self._known[host] = await resolve_all(split_host_port(host), self._driver.udp)
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

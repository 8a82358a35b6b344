"""Resolves names to endpoints of the address families that the daemon speaks.

The system's resolver blocks a thread, for half a minute if no name server answers. So each resolution has its own
deadline, and at most `THREADS` threads stay behind; they are not taken from the threads of the disk.
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from typing import Any, Final

import trio

from dhtd.core.endpoint import Endpoint, Family, split_host_port
from dhtd.core.policy import DEFAULT
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.zones import split_zone
from dhtd.errors import DhtdError, InvalidEndpoint, UnresolvableHost

WITHIN: Final = 5.0  # seconds that a name may take: a client waits longer
THREADS: Final = 8  # in the system's resolver at once, abandoned ones included
ADDRESSES: Final = 8  # tried for one name
RETRY_FIRST: Final = 5.0  # seconds until names that did not resolve are tried again; doubles up to RETRY_MAX
RETRY_MAX: Final = 300.0
AGAIN: Final = DEFAULT.probe_interval  # seconds until names are resolved again while all is well: as often as we probe

log = logging.getLogger("dhtd.resolver")


class SystemResolver(trio.abc.HostnameResolver):
    """The system's resolver, in a pool of threads of its own."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(THREADS)

    async def getaddrinfo(self, *arguments: Any) -> Any:
        return await self._run(partial(socket.getaddrinfo, *arguments))

    async def getnameinfo(self, *arguments: Any) -> Any:
        return await self._run(partial(socket.getnameinfo, *arguments))

    async def _run(self, call: partial[Any]) -> Any:
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)


async def resolve(host_port: tuple[str, int], udp: UdpSockets) -> list[Endpoint]:
    """Return the endpoints of a name or address that `udp` can send to, in the system's order.

    Raises `UnresolvableHost` or `InvalidEndpoint`.
    """
    return numeric(host_port, udp) or await _look_up(*host_port, udp)


def numeric(host_port: tuple[str, int], udp: UdpSockets) -> list[Endpoint]:
    """Return the endpoint of an address, and nothing for a name; raise `InvalidEndpoint`.

    A wildcard means this machine, as in the kernel. The zone of a link-local address is noted in `udp`.
    """
    host, port = host_port
    address, zone = split_zone(host)
    try:
        endpoint = Endpoint.of(address, port)
    except InvalidEndpoint:
        return []
    if not any(endpoint.ip):
        endpoint = Endpoint.of("127.0.0.1" if endpoint.is_ipv4 else "::1", port)
    if not _is_of_a_machine(endpoint):
        raise InvalidEndpoint(f"{endpoint} is not the address of a machine")
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
    # 1. Ask the system, for our family alone if we speak one only, and for `WITHIN` seconds at most.
    family = socket.AF_UNSPEC
    if len(udp.families) == 1:
        family = socket.AF_INET if udp.families[0] is Family.IPV4 else socket.AF_INET6
    found = None
    try:
        with trio.move_on_after(WITHIN):
            found = await trio.socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:  # of the resolver, or a lack of file descriptors or memory
        raise UnresolvableHost(
            f"cannot resolve {host!r}: {error.strerror}. Give a name that resolves, or an IP"
        ) from None
    except RuntimeError as error:  # no thread
        raise UnresolvableHost(f"cannot resolve {host!r}: {error}. Give an IP") from None
    except (UnicodeError, ValueError):
        raise UnresolvableHost(f"{host!r} is not a host name") from None
    if found is None:
        raise UnresolvableHost(f"cannot resolve {host!r}: no name server has answered within {WITHIN:g} s. Give an IP")
    # 2. Keep the first addresses that we can send to, each once, and note the links of link-local ones.
    endpoints: dict[Endpoint, None] = {}
    for *_, address in found:
        endpoint = Endpoint.of(str(address[0]).partition("%")[0], port)
        if endpoint.is_link_local and len(address) > 3 and address[3]:
            udp.zones.named(endpoint, int(address[3]))
        if endpoint.family in udp.families and len(endpoints) < ADDRESSES and _is_of_a_machine(endpoint):
            endpoints[endpoint] = None
    if not endpoints:
        raise UnresolvableHost(f"{host!r} has no address of {_spoken(udp)}: see --bind")
    return list(endpoints)


def _is_of_a_machine(endpoint: Endpoint) -> bool:
    """Whether one machine can have the address: no wildcard, no multicast or broadcast, and nothing reserved."""
    return any(endpoint.ip) and (0 < endpoint[0] < 224 if endpoint.is_ipv4 else endpoint[0] != 0xFF)


def _spoken(udp: UdpSockets) -> str:
    return " and ".join(map(str, udp.families))


class BootstrapHosts:
    """Resolves the configured bootstrap hosts, and tells the node each endpoint as soon as it is known.

    All names are resolved at once, at four times: at the start, again while one fails or nobody answers, as often as
    the node probes for lost parts of the network, and when the network is lost. Resolvers are often down at boot, and
    bootstrap nodes move. A name that stops resolving keeps its endpoints, since an outage hits the resolver too.
    """

    def __init__(self, driver: Driver, hosts: tuple[str, ...], routers: tuple[str, ...] = ()) -> None:
        """`routers` are hosts that show the way alone: see `Node.start`."""
        self._driver = driver
        self._routers = routers
        self._hosts = hosts
        self._changed = trio.Event()
        self._known: dict[str, list[Endpoint]] = {}
        self._told: tuple[list[Endpoint], list[Endpoint]] | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts through which the node is to join, as they were given."""
        return (*self._hosts, *self._routers)

    def change(self, hosts: tuple[str, ...]) -> None:
        self._hosts = hosts
        self._changed.set()

    async def run(self) -> None:
        """Resolve, until cancelled."""
        pause, news = RETRY_FIRST, True
        while True:
            # 1. Take these before resolving: a change meanwhile must not be missed.
            self._changed, isolated = trio.Event(), self._driver.isolated
            hosts = (*self._hosts, *self._routers)
            # 2. Resolve, and log each name that failed.
            failures = await self._resolve(hosts, news=news)
            for failure in failures:
                if isinstance(failure, UnresolvableHost):
                    log.warning("bootstrap: %s; trying again in %.0f s", failure, pause)
                elif news:  # an address stays unusable: one message is enough
                    log.warning("bootstrap: %s", failure)
            # 3. Wait: briefly after a failure or while nobody answers, else as long as between probes. News end the
            #    wait: other hosts, or the loss of the network.
            again = failures or (hosts and not self._driver.node.overlays.is_connected)
            news = False
            calm = AGAIN if hosts else float("inf")
            with trio.move_on_after(pause if again else calm):
                await _any(self._changed, isolated)
                news = True
            # 4. Without news, repeated trouble doubles the pause.
            pause = RETRY_FIRST if news or not again else min(2 * pause, RETRY_MAX)

    async def _resolve(self, hosts: tuple[str, ...], *, news: bool) -> list[DhtdError]:
        """Tell the node each host's endpoints as soon as they are known; return the failures.

        All machines may share one list, so our own endpoints are left out: nobody else answers there. With `news`, the
        node tries the first endpoints at once, and its commands wait for the names.
        """
        failures: list[DhtdError] = []
        pending: set[str] = set()  # names
        udp = self._driver.udp

        def tell(*, at_once: bool = False) -> None:
            known = [
                [endpoint for host in some for endpoint in self._known.get(host, ()) if not udp.is_ours(endpoint)]
                for some in (self._hosts, self._routers)
            ]
            self._tell(*known, awaits_names=news and bool(pending), at_once=at_once)

        async def look_up(host: str) -> None:
            try:
                self._known[host] = await resolve(split_host_port(host), self._driver.udp)
            except (UnresolvableHost, InvalidEndpoint) as error:
                failures.append(error)
            pending.remove(host)
            tell()

        # 1. Addresses need no resolver: the node learns of them before any name.
        for host in dict.fromkeys(hosts):
            try:
                if endpoints := numeric(split_host_port(host), self._driver.udp):
                    self._known[host] = endpoints
                else:
                    pending.add(host)
            except InvalidEndpoint as error:
                failures.append(error)
        tell(at_once=news)
        # 2. Names are resolved side by side, so a slow one delays no other.
        async with trio.open_nursery() as nursery:
            for host in sorted(pending):
                nursery.start_soon(look_up, host)
        return failures

    def _tell(self, endpoints: list[Endpoint], routers: list[Endpoint], *, awaits_names: bool, at_once: bool) -> None:
        """Have the node join through these endpoints. Without news, leave the node to its own pauses."""
        node = self._driver.node
        if at_once or (endpoints, routers) != self._told or awaits_names != node.memberships.awaits_names:
            self._told = endpoints, routers
            now = self._driver.clock()
            node.start(endpoints, now, routers=routers, awaits_names=awaits_names, at_once=at_once)
            self._driver.flush()


async def _any(*events: trio.Event) -> None:
    """Wait for one of them."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait, event)

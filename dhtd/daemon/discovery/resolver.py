"""Names to endpoints, of the address families that the daemon speaks.

The system's resolver blocks a thread, for half a minute where no name server answers. So each resolution has a deadline
of its own, and the threads that are left behind by it are no more than `THREADS`: none of them is taken from the disk.
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
THREADS: Final = 8  # that wait for the system's resolver, whether or not anybody waits for them
ADDRESSES: Final = 8  # of a name that are tried
RETRY_FIRST: Final = 5.0  # seconds until names that did not resolve are tried again; doubles up to RETRY_MAX
RETRY_MAX: Final = 300.0
AGAIN: Final = DEFAULT.probe_interval  # seconds until names are resolved again while all is well: as often as we probe

log = logging.getLogger("dhtd.resolver")


class SystemResolver(trio.abc.HostnameResolver):
    """The system's resolver, in threads that take no place from others."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(THREADS)

    async def getaddrinfo(self, *arguments: Any) -> Any:
        """Do as `socket.getaddrinfo` does."""
        return await self._run(partial(socket.getaddrinfo, *arguments))

    async def getnameinfo(self, *arguments: Any) -> Any:
        """Do as `socket.getnameinfo` does."""
        return await self._run(partial(socket.getnameinfo, *arguments))

    async def _run(self, call: partial[Any]) -> Any:
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._limiter)


async def resolve(host_port: tuple[str, int], udp: UdpSockets) -> list[Endpoint]:
    """Return the endpoints of a host, which may be a name, that `udp` can send to, in the system's order.

    Raises `UnresolvableHost` or `InvalidEndpoint`.
    """
    return numeric(host_port, udp) or await _look_up(*host_port, udp)


def numeric(host_port: tuple[str, int], udp: UdpSockets) -> list[Endpoint]:
    """Return the endpoint of a host that is an address, and none of a name; raise `InvalidEndpoint`.

    A wildcard means this machine, as it does to the kernel. On which link a link-local address is, `udp` is told,
    where the zone says so.
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
    family = socket.AF_UNSPEC
    if len(udp.families) == 1:
        family = socket.AF_INET if udp.families[0] is Family.IPV4 else socket.AF_INET6
    found = None
    try:
        with trio.move_on_after(WITHIN):
            found = await trio.socket.getaddrinfo(host, port, family=family, type=socket.SOCK_DGRAM)
    except OSError as error:  # the resolver's own, and what it may come to: no file descriptor, no memory
        raise UnresolvableHost(
            f"cannot resolve {host!r}: {error.strerror}. Give a name that resolves, or an IP"
        ) from None
    except RuntimeError as error:  # no thread
        raise UnresolvableHost(f"cannot resolve {host!r}: {error}. Give an IP") from None
    except (UnicodeError, ValueError):
        raise UnresolvableHost(f"{host!r} is not a host name") from None
    if found is None:
        raise UnresolvableHost(f"cannot resolve {host!r}: no name server has answered within {WITHIN:g} s. Give an IP")
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
    """The configured hosts to join by, and their endpoints, which the node is told: each as soon as it is known.

    Names are resolved side by side at the start, again while one fails or nobody answers, as often as the node probes
    for lost parts of the network, and at once when the network is lost: a resolver that is down at boot is common, and
    so is a bootstrap node that moves. A name that does not resolve any more keeps the endpoints that it had, since an
    outage takes the resolver with it.
    """

    def __init__(self, driver: Driver, hosts: tuple[str, ...]) -> None:
        self._driver = driver
        self._hosts = hosts
        self._changed = trio.Event()
        self._known: dict[str, list[Endpoint]] = {}
        self._told: list[Endpoint] | None = None

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
            failures = await self._resolve(hosts, news=news)
            for failure in failures:
                if isinstance(failure, UnresolvableHost):
                    log.warning("bootstrap: %s; trying again in %.0f s", failure, pause)
                elif news:  # it will hardly be another one
                    log.warning("bootstrap: %s", failure)
            again = failures or (hosts and not self._driver.node.is_connected)
            news = False
            calm = AGAIN if hosts else float("inf")
            with trio.move_on_after(pause if again else calm):
                await _any(self._changed, isolated)
                news = True
            pause = RETRY_FIRST if news or not again else min(2 * pause, RETRY_MAX)

    async def _resolve(self, hosts: tuple[str, ...], *, news: bool) -> list[DhtdError]:
        """Tell the node of each host's endpoints once they are known; return what has failed.

        One list may do for all machines, so our own endpoints are left out: nobody else answers there.
        With `news`, the node is to try at once all that it is told first, and has its commands wait for the names.
        """
        failures: list[DhtdError] = []
        pending: set[str] = set()  # names
        udp = self._driver.udp

        def tell(*, at_once: bool = False) -> None:
            found = [endpoint for host in hosts for endpoint in self._known.get(host, ())]
            known = [endpoint for endpoint in found if not udp.is_ours(endpoint)]
            self._tell(known, awaits_names=news and bool(pending), at_once=at_once)

        async def look_up(host: str) -> None:
            try:
                self._known[host] = await resolve(split_host_port(host), self._driver.udp)
            except (UnresolvableHost, InvalidEndpoint) as error:
                failures.append(error)
            pending.remove(host)
            tell()

        for host in dict.fromkeys(hosts):
            try:
                if endpoints := numeric(split_host_port(host), self._driver.udp):
                    self._known[host] = endpoints
                else:
                    pending.add(host)
            except InvalidEndpoint as error:
                failures.append(error)
        tell(at_once=news)
        async with trio.open_nursery() as nursery:
            for host in sorted(pending):
                nursery.start_soon(look_up, host)
        return failures

    def _tell(self, endpoints: list[Endpoint], *, awaits_names: bool, at_once: bool) -> None:
        """Have the node join by these endpoints; where nothing is new, it has its own pauses."""
        node = self._driver.node
        if at_once or endpoints != self._told or awaits_names != node.awaits_names:
            self._told = endpoints
            node.start(endpoints, self._driver.clock(), awaits_names=awaits_names, at_once=at_once)
            self._driver.flush()


async def _any(*events: trio.Event) -> None:
    """Wait for one of them."""

    async def wait(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(wait, event)

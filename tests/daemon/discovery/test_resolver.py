"""Names that resolve, or do not, or not yet. Time and the resolver are virtual."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.node import Node
from dhtd.daemon.discovery.resolver import (
    AGAIN,
    RETRY_FIRST,
    RETRY_MAX,
    THREADS,
    WITHIN,
    BootstrapHosts,
    SystemResolver,
    resolve,
)
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.own_networks import is_ours
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.errors import InvalidEndpoint, UnresolvableHost

ONE, TWO = Endpoint.parse("192.0.2.1:1729"), Endpoint.parse("192.0.2.2:1729")


class Names:
    """The tests' resolver: trio's interface, and names that may change."""

    def __init__(self) -> None:
        self.asking = trio.Event()
        self.slow: dict[str, float] = {}  # seconds until it answers
        self.known: dict[str, str] = {}  # several addresses have spaces between them
        self.asked: list[tuple[float, str]] = []
        self.error: Exception | None = None

    async def getaddrinfo(self, encoded: bytes, port: int, family: int, kind: int, *rest: int) -> list[Any]:
        host = encoded.decode()
        self.asking.set()
        self.asked.append((trio.current_time(), host))
        await trio.sleep(self.slow.get(host, 0.0))
        if self.error is not None:
            raise self.error
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        families = {socket.AF_INET, socket.AF_INET6} if family == socket.AF_UNSPEC else {family}
        found: list[Any] = []
        for address in self.known[host].split():
            ip, _, zone = address.partition("%")
            of = socket.AF_INET6 if ":" in ip else socket.AF_INET
            rest = (0, int(zone or 0)) if of == socket.AF_INET6 else ()
            found += [(of, kind, 17, "", (ip, port, *rest))] if of in families else []
        if not found:
            raise socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")
        return found

    async def getnameinfo(self, address: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@pytest.fixture
def names(autojump_clock: MockClock) -> Names:
    """Return the resolver; `use` must be called inside of trio."""
    return Names()


def use(names: Names) -> None:
    trio.socket.set_custom_hostname_resolver(cast("trio.abc.HostnameResolver", names))


async def test_an_ip_needs_no_resolver(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    assert await resolve(("192.0.2.1", 1729), IPV4) == [ONE]
    assert not names.asked


async def test_a_name_is_resolved(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.known["one"] = "192.0.2.1"
    assert await resolve(("one", 1729), IPV4) == [ONE]


async def test_an_unresolved_name_is_reported(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    with pytest.raises(UnresolvableHost, match="cannot resolve 'nobody': Name or service not known"):
        await resolve(("nobody", 1729), IPV4)


@pytest.mark.parametrize("host", ["", " ", ".", "a..b", "x" * 64, "x." * 200, "\ud800", "a\0b", "é" * 100, "a b", "-"])
async def test_what_is_no_name_is_said_to_be_so(host: str) -> None:
    # The real resolver: these fail before it asks anybody.
    with pytest.raises(UnresolvableHost):
        await resolve((host, 1729), IPV4)


class Udp:
    """The sockets as far as a resolver knows them."""

    def __init__(self, *families: Family) -> None:
        self.families = list(families)
        self.zones = Zones()
        self.bound: list[Endpoint] = []

    def listening(self) -> list[Endpoint]:
        return self.bound

    def is_ours(self, endpoint: Endpoint) -> bool:
        return is_ours(endpoint, self.bound)


def speaking(*families: Family) -> UdpSockets:
    return cast("UdpSockets", Udp(*families))


IPV4 = speaking(Family.IPV4)


@pytest.mark.parametrize(
    ("host", "families", "complaint"),
    [
        ("2001:db8::1", [Family.IPV4], r"\[2001:db8::1\]:1729 is IPv6, and this daemon speaks IPv4 only: see --bind"),
        ("192.0.2.1", [Family.IPV6], "192.0.2.1:1729 is IPv4, and this daemon speaks IPv6 only: see --bind"),
        ("::ffff:192.0.2.1", [Family.IPV6], "192.0.2.1:1729 is IPv4, and this daemon speaks IPv6 only"),
        ("fe80::1", Family, r"\[fe80::1\]:1729 is on each link another: name the interface, such as fe80::1%eth0"),
        ("fe80::1%nowhere", Family, "is on a link that is not here"),
        ("224.0.0.1", Family, "224.0.0.1:1729 is not the address of a machine"),
        ("255.255.255.255", Family, "255.255.255.255:1729 is not the address of a machine"),
        ("0.1.2.3", Family, "0.1.2.3:1729 is not the address of a machine"),
        ("ff02::1", Family, r"\[ff02::1\]:1729 is not the address of a machine"),
    ],
)
async def test_an_unsendable_address_is_reported(host: str, families: list[Family], complaint: str) -> None:
    with pytest.raises(InvalidEndpoint, match=complaint):
        await resolve((host, 1729), speaking(*families))


@pytest.mark.parametrize(
    ("wildcard", "loopback"), [("0.0.0.0", "127.0.0.1:1"), ("::", "[::1]:1"), ("0:0::0", "[::1]:1")]
)
async def test_a_wildcard_means_this_machine(wildcard: str, loopback: str) -> None:
    assert await resolve((wildcard, 1), speaking(*Family)) == [Endpoint.parse(loopback)]


async def test_only_unicast_addresses_of_a_name_count(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.known["one"] = "0.0.0.0 :: 224.0.0.1 ff02::1 192.0.2.1"
    assert await resolve(("one", 1729), speaking(*Family)) == [ONE]
    names.known["one"] = "0.0.0.0"
    with pytest.raises(UnresolvableHost, match="'one' has no address of IPv4 and IPv6"):
        await resolve(("one", 1729), speaking(*Family))


async def test_a_mapped_ipv4_address_becomes_ipv4() -> None:
    assert await resolve(("::ffff:192.0.2.1", 1729), IPV4) == [ONE]


async def test_the_link_of_a_link_local_name_is_kept() -> None:
    udp = speaking(*Family)
    lo = socket.if_nametoindex("lo")
    [endpoint] = await resolve(("fe80::1%lo", 1729), udp)
    assert endpoint == Endpoint.parse("[fe80::1]:1729")
    assert udp.zones.of(endpoint) == lo
    assert await resolve(("fe80::1", 1729), udp) == [endpoint], "it is the only link"


@pytest.mark.parametrize(
    ("known", "families", "hosts"),
    [
        ("192.0.2.1 2001:db8::1", Family, ["192.0.2.1", "2001:db8::1"]),
        ("2001:db8::1 192.0.2.1 192.0.2.2", Family, ["2001:db8::1", "192.0.2.1", "192.0.2.2"]),
        ("2001:db8::1 192.0.2.1", [Family.IPV4], ["192.0.2.1"]),
        ("192.0.2.1 2001:db8::1 2001:db8::2", [Family.IPV6], ["2001:db8::1", "2001:db8::2"]),
        ("::ffff:192.0.2.1 2001:db8::2", [Family.IPV6], ["2001:db8::2"]),
        ("192.0.2.1 192.0.2.1", Family, ["192.0.2.1"]),
        ("fe80::1%7", Family, ["fe80::1"]),
        (" ".join(f"192.0.2.{number}" for number in range(1, 30)), Family, [f"192.0.2.{n}" for n in range(1, 9)]),
    ],
)
async def test_a_name_resolves_to_the_spoken_families(
    autojump_clock: MockClock, names: Names, known: str, families: list[Family], hosts: list[str]
) -> None:
    use(names)
    names.known["one"] = known
    udp = speaking(*families)
    endpoints = [Endpoint.of(host, 1729) for host in hosts]
    assert await resolve(("one", 1729), udp) == endpoints
    assert [udp.zones.of(endpoint) for endpoint in endpoints if endpoint.is_link_local] == ([7] if "%" in known else [])


async def test_a_name_without_usable_address_fails(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.known["one"] = "192.0.2.1"
    with pytest.raises(UnresolvableHost, match="No address associated"):
        await resolve(("one", 1729), speaking(Family.IPV6))
    names.known["one"] = "::ffff:192.0.2.1"
    with pytest.raises(UnresolvableHost, match="'one' has no address of IPv6: see --bind"):
        await resolve(("one", 1729), speaking(Family.IPV6))


async def test_silent_name_servers_have_a_deadline(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.slow["far"] = 1e6
    with pytest.raises(UnresolvableHost, match="cannot resolve 'far': no name server has answered within 5 s"):
        await resolve(("far", 1729), IPV4)
    assert trio.current_time() == WITHIN


async def test_a_thread_shortage_is_reported(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.error = RuntimeError("can't start new thread")
    with pytest.raises(UnresolvableHost, match=r"cannot resolve 'far': can't start new thread\. Give an IP"):
        await resolve(("far", 1729), IPV4)


async def test_hung_resolver_threads_are_limited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging = threading.Semaphore(0)
    asked: list[object] = []

    def hang(*arguments: object) -> list[object]:
        asked.append(arguments)
        hanging.acquire()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = SystemResolver()
    try:
        for _ in range(3 * THREADS):
            with trio.move_on_after(0.01):
                await resolver.getaddrinfo(b"far", 1729)
        assert len(asked) <= THREADS
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    finally:
        for _ in range(3 * THREADS):
            hanging.release()


async def test_the_system_is_asked_by_that_name() -> None:
    trio.socket.set_custom_hostname_resolver(SystemResolver())
    assert Endpoint.of("127.0.0.1", 1729) in await resolve(("localhost", 1729), speaking(*Family))
    assert await trio.socket.getnameinfo(("127.0.0.1", 9), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == (
        "127.0.0.1",
        "9",
    )


class FakeNode:
    """Notes its calls."""

    def __init__(self) -> None:
        self.told: list[tuple[float, list[Endpoint]]] = []
        self.at_once: list[float] = []  # times at which it had to try its endpoints at once
        self.overlays = SimpleNamespace(is_connected=False)
        self.memberships = SimpleNamespace(awaits_names=False)
        self.routers: list[Endpoint] = []

    def start(
        self, endpoints: list[Endpoint], now: float, *, routers: list[Endpoint], awaits_names: bool, at_once: bool
    ) -> None:
        self.routers = routers
        if not self.told or endpoints != self.told[-1][1] or at_once:
            self.told.append((now, list(endpoints)))
        self.at_once += [now] if at_once else []
        self.memberships.awaits_names = awaits_names


class FakeDriver:
    """A driver as far as `BootstrapHosts` knows one."""

    def __init__(self) -> None:
        self.fake_node = FakeNode()
        self.node = cast("Node", self.fake_node)
        self.udp = speaking(*Family)
        self.isolated = trio.Event()
        self.clock = trio.current_time
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1

    def isolate(self) -> None:
        self.fake_node.overlays.is_connected = False
        self.isolated.set()
        self.isolated = trio.Event()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "dhtd")


@asynccontextmanager
async def running(names: Names, *hosts: str) -> AsyncIterator[tuple[FakeNode, FakeDriver, BootstrapHosts]]:
    use(names)
    driver = FakeDriver()
    bootstrap = BootstrapHosts(cast("Driver", driver), hosts)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bootstrap.run)
        await trio.sleep(0.5)  # so that nothing that a test does falls on a moment when something is due
        yield driver.fake_node, driver, bootstrap
        nursery.cancel_scope.cancel()


async def test_without_hosts_the_node_is_told_so_once(autojump_clock: MockClock, names: Names) -> None:
    async with running(names) as (node, driver, _):
        await trio.sleep(80_000)
        assert [endpoints for _, endpoints in node.told] == [[]]
        assert driver.flushed == 1


async def test_failed_names_are_retried(
    autojump_clock: MockClock, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(names, "192.0.2.1:1729", "late:1729") as (node, _, _):
        assert [endpoints for _, endpoints in node.told] == [[ONE]]
        await trio.sleep(2_000)
        times = [when for when, _ in names.asked]
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]
        assert (pauses[0], pauses[-1]) == (RETRY_FIRST, RETRY_MAX)
        assert len(node.told) == 1
        assert caplog.messages[0] == (
            "bootstrap: cannot resolve 'late': Name or service not known. Give a name that resolves, or an IP;"
            " trying again in 5 s"
        )
        names.known["late"] = "192.0.2.2"
        node.overlays.is_connected = True
        await trio.sleep(300)
        assert node.told[-1][1] == [ONE, TWO]
        asked = len(names.asked)
        await trio.sleep(10 * AGAIN)
        assert len(names.asked) == asked + 10  # it may move
        assert len(node.told) == 2
        assert node.at_once == [0.0]


async def test_routers_are_told_apart(autojump_clock: MockClock, names: Names) -> None:
    names.known |= {"router": "192.0.2.2"}
    use(names)
    driver = FakeDriver()
    hosts = BootstrapHosts(cast("Driver", driver), ("192.0.2.1:1729",), ("router:1729",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hosts.run)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert (driver.fake_node.told[-1][1], driver.fake_node.routers) == ([ONE], [TWO])


async def test_known_hosts_serve_while_names_resolve(autojump_clock: MockClock, names: Names) -> None:
    names.known |= {"slow": "192.0.2.2", "dead": "192.0.2.3"}
    names.slow |= {"slow": 3.0, "dead": 1e6}
    async with running(names, "dead:1729", "slow:1729", "192.0.2.1:1729") as (node, _, _):
        assert (node.told, node.memberships.awaits_names) == ([(0.0, [ONE])], True)
        await trio.sleep(3)
        assert (node.told[1:], node.memberships.awaits_names) == ([(3.0, [TWO, ONE])], True)
        await trio.sleep(WITHIN)
        assert (len(node.told), node.memberships.awaits_names) == (2, False)
        await trio.sleep(WITHIN + RETRY_FIRST)
        assert (len(node.told), node.memberships.awaits_names) == (2, False), "once is enough to have commands wait"


async def test_one_list_serves_all_machines(autojump_clock: MockClock, names: Names) -> None:
    names.known |= {"one": "192.0.2.1", "two": "192.0.2.2"}
    use(names)
    driver = FakeDriver()
    cast("Udp", driver.udp).bound = [ONE]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(BootstrapHosts(cast("Driver", driver), ("one:1729", "two:1729", "192.0.2.1:1729")).run)
        await trio.sleep(1)
        assert driver.fake_node.told[-1][1] == [TWO]
        nursery.cancel_scope.cancel()


async def test_a_moved_name_is_noticed_in_peace(autojump_clock: MockClock, names: Names) -> None:
    names.known["one"] = "192.0.2.1"
    async with running(names, "one:1729") as (node, _, _):
        node.overlays.is_connected = True
        names.known["one"] = "192.0.2.2"
        await trio.sleep(AGAIN + 1)
        assert [endpoints for _, endpoints in node.told] == [[], [ONE], [TWO]]
        assert node.at_once == [0.0]


async def test_losing_the_network_resolves_names_again(autojump_clock: MockClock, names: Names) -> None:
    names.known["one"] = "192.0.2.1"
    async with running(names, "one:1729") as (node, driver, _):
        node.overlays.is_connected = True
        await trio.sleep(10_000)
        names.known["one"] = "192.0.2.2"
        driver.isolate()
        await trio.lowlevel.checkpoint()
        await trio.sleep(0.1)
        assert [endpoints for _, endpoints in node.told] == [[], [ONE], [ONE], [TWO]]


async def test_silence_resolves_names_again(autojump_clock: MockClock, names: Names) -> None:
    names.known["one"] = "192.0.2.1"
    async with running(names, "one:1729") as (node, _, _):
        await trio.sleep(1_000)
        assert len(node.told) == 2  # the node has pauses of its own
        names.known["one"] = "192.0.2.2"
        await trio.sleep(RETRY_MAX)
        assert node.told[-1][1] == [TWO]


async def test_an_outage_of_dns_loses_no_endpoint(autojump_clock: MockClock, names: Names) -> None:
    names.known["one"] = "192.0.2.1"
    async with running(names, "one:1729") as (node, driver, _):
        names.known.clear()
        driver.isolate()
        await trio.sleep(100)
        assert [endpoints for _, endpoints in node.told] == [[], [ONE], [ONE]]


async def test_an_outage_during_resolution_is_noticed(autojump_clock: MockClock, names: Names) -> None:
    use(names)
    names.known["one"] = "192.0.2.1"
    driver = FakeDriver()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(BootstrapHosts(cast("Driver", driver), ("one:1729",)).run)
        await names.asking.wait()
        driver.isolate()
        await trio.sleep(1)
        assert [endpoints for _, endpoints in driver.fake_node.told] == [[], [ONE], [ONE]]
        nursery.cancel_scope.cancel()


async def test_an_unusable_address_is_reported_once(
    autojump_clock: MockClock, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(names, "224.0.0.1:1729", "192.0.2.1:1729") as (node, _, hosts):
        await trio.sleep(1_000)
        assert caplog.messages == ["bootstrap: 224.0.0.1:1729 is not the address of a machine"]
        assert node.told[-1][1] == [ONE]
        hosts.change(("224.0.0.1:1729",))
        await trio.sleep(1_000)
        assert len(caplog.messages) == 2


async def test_new_hosts_are_used_at_once(autojump_clock: MockClock, names: Names) -> None:
    async with running(names, "nobody:1729") as (node, _, hosts):
        await trio.sleep(1_000)
        hosts.change(("192.0.2.2:1729", "nothing:1729"))
        changed_at = trio.current_time()
        await trio.sleep(0.1)
        assert node.told[-1][1] == [TWO]
        await trio.sleep(50)
        assert [when - changed_at for when, host in names.asked if host == "nothing"] == [0, 5, 15, 35]
        hosts.change(())
        await trio.sleep(100)
        assert node.told[-1][1] == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UnicodeError("label too long"), "is not a host name"),
        (OSError(errno.EMFILE, "Too many open files"), "cannot resolve 'odd': Too many open files"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "cannot resolve 'odd': Temporary failure"),
    ],
)
async def test_no_failure_of_a_resolver_ends_the_daemon(
    autojump_clock: MockClock, names: Names, caplog: pytest.LogCaptureFixture, error: Exception, text: str
) -> None:
    names.error = error
    async with running(names, "odd:1729") as (node, _, _):
        assert node.told[-1][1] == []
        assert text in caplog.text

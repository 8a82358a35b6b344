"""Whether the node is in its network, and if not, why: steps network, bootstrap, key and clock."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final

import trio

from dhtd.core.endpoint import Endpoint, split_host_port
from dhtd.core.events import Bootstrapped
from dhtd.core.messages import Ping
from dhtd.daemon.discovery.resolver import resolve
from dhtd.daemon.doctor.finding import Finding, bad, good, note
from dhtd.daemon.doctor.machine import Echo, Machine
from dhtd.daemon.driver import Driver
from dhtd.daemon.report_families import FamiliesReport, largest, total
from dhtd.daemon.sockets.unsealing import difference
from dhtd.errors import DhtdError, InvalidEndpoint, UnresolvableHost
from dhtd.service.info import FamilyInfo
from dhtd.words import about, count, duration

RESOLVE_WITHIN: Final = 4.0  # seconds for the names of hosts; a client waits for 15 s for the next step
ASK_WITHIN: Final = 5.0  # seconds for an attempt to join
PROBE_AFTER: Final = 1.0  # seconds without an answer
SETTLE_WITHIN: Final = 3.0  # seconds for the rest, once a node has answered
_LOOK_AGAIN: Final = 0.1
PLACES_MAX: Final = 8  # endpoints that are tried; the node itself tries the rest
PROBES_MAX: Final = 4
RECENT: Final = 600.0  # seconds
USUAL_PORT: Final = 1729  # of the native network
_STATES: Final = {"ipv4": "IPv4", "ipv6": "IPv6"}


class NetworkSteps:
    """Looks at one node in its network."""

    def __init__(self, driver: Driver, machine: Machine, hosts: Callable[[], Sequence[str]]) -> None:
        self._driver = driver
        self._node = driver.node
        self._machine = machine
        self._hosts = hosts
        self._families = FamiliesReport(driver)

    @property
    def is_joined(self) -> bool:
        """Whether the node is in the network of one of its families."""
        return any(overlay.is_joined for overlay in self._node.overlays)

    async def steps(self) -> AsyncIterator[Finding]:
        """Yield what is found. A node that is not in its network tries once more to join."""
        for finding in await self._look():
            yield finding
        yield self._key()
        if self._driver.seal is not None:
            yield self._clock()

    # In the network?

    async def _look(self) -> list[Finding]:
        if self.is_joined:
            await self._settle_doubts()
        if self._is_still_joined():
            return [self._joined(), note("bootstrap", "not tried: this node is in its network without it")]
        before = self._why_not()
        bootstrap = await self._bootstrap()
        return [self._joined() if self._is_still_joined() else note("network", before), bootstrap]

    def _is_still_joined(self) -> bool:
        return self.is_joined

    async def _settle_doubts(self) -> None:
        """If nobody has answered for a while, ask a contact, and wait for a moment."""
        now = self._driver.clock()
        self._node.ask_around(now - SETTLE_WITHIN, now)
        self._driver.flush()
        await self._wait_until(lambda: not self._node.memberships.is_asking_around)

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        with trio.move_on_after(SETTLE_WITHIN):
            while not holds():  # noqa: ASYNC110 - nothing tells
                await trio.sleep(_LOOK_AGAIN)

    def _joined(self) -> Finding:
        families = self._families.all(self._driver.clock())
        contacts, size = total(families), largest(families)
        of = "" if size is None else f" of {about(size)} {'node' if size == 1 else 'nodes'}"
        answering = f"{contacts['good']} of {sum(contacts.values())} contacts answer"
        return good("network", f"this node is in its network{of}: {answering}{self._by(families)}")

    def _by(self, families: Sequence[FamilyInfo]) -> str:
        """Name the families that are joined, where not all are. A machine with one of them needs no other."""
        joined = [_STATES[each["family"]] for each in families if each["state"] in ("joined", "doubtful")]
        return "" if len(joined) in (0, len(families)) else f", by {', '.join(joined)} only"

    def _why_not(self) -> str:
        families = self._families.all(self._driver.clock())
        if self._node.overlays.contacts():
            since = max(each["since_s"] for each in families)
            known = count(len(self._node.overlays.contacts()), "node")
            return f"this node is not in its network: of the {known} that it knows none answers, for {duration(since)}"
        return "this node is not in its network: it knows no other node"

    # Bootstrap

    async def _bootstrap(self) -> Finding:
        # 1. Where does the owner want to join, and by which nodes could we?
        hosts = self._hosts()
        found, failures = await self._resolve(hosts)
        others = [endpoint for endpoint in found if not self._is_ours(endpoint)]
        joins = list(dict.fromkeys([*self._node.memberships.endpoints_to_join_by(), *others]))
        known = [contact.endpoint for contact in self._node.overlays.contacts()]
        places = [each for each in (joins or known) if not self._is_ours(each)][:PLACES_MAX]
        if not places:
            return self._nobody_to_ask(found, failures)
        # 2. A socket that is bound to loopback reaches nothing else.
        bound = self._driver.udp.listening()
        if all(each.is_loopback for each in bound) and not any(each.is_loopback for each in places):
            return bad(
                "bootstrap",
                "bound-to-loopback",
                f"this node listens on {bound[0].host} only, so it reaches no other machine: it is to join through"
                f" {self._texts(places)}",
                f"dht stop; dhtd start --bootstrap {self._text(places[0])}",
            )
        # 3. Ask them, as the node does itself, and see what comes back from the network meanwhile.
        silent, echoes = await self._ask(places, is_sealed=not joins)
        if len(silent) < len(places):
            await self._wait_until(self._is_still_joined)
            answering = self._texts(each for each in places if each not in silent)
            if self.is_joined:
                return good("bootstrap", f"{answering} answers")
            message = f"{answering} answers, but this node is not in its network yet: look again in a moment"
            return bad("bootstrap", "bootstrap-silent", message, "dht doctor")
        why = await self._why_silent(
            {each: echoes.get(each, Echo.SILENCE) for each in silent}, is_bootstrap=bool(joins)
        )
        return why._replace(message=f"this node is cut off: {why.message}") if why.fault == "cut-off" else why

    async def _resolve(self, hosts: Iterable[str]) -> tuple[list[Endpoint], list[DhtdError]]:
        found: dict[Endpoint, None] = {}
        failures: list[DhtdError] = []

        async def look_up(host: str) -> None:
            try:
                found.update(dict.fromkeys(await resolve(split_host_port(host), self._driver.udp)))
            except (UnresolvableHost, InvalidEndpoint) as error:
                failures.append(error)

        with trio.move_on_after(RESOLVE_WITHIN) as scope:
            async with trio.open_nursery() as nursery:
                for host in hosts:
                    nursery.start_soon(look_up, host)
        if scope.cancelled_caught:
            failures.append(UnresolvableHost(f"no name server has answered within {RESOLVE_WITHIN:g} s"))
        return list(found), failures

    def _nobody_to_ask(self, found: Sequence[Endpoint], failures: Sequence[DhtdError]) -> Finding:
        is_public = self._node.codec.traits.is_public
        join = "dht stop; dhtd start --public-bootstrap" if is_public else "dht bootstrap HOST:PORT"
        if failures:
            why = "; ".join(dict.fromkeys(map(str, failures)))
            return bad("bootstrap", "bootstrap-unresolvable", f"this node finds nobody to join through: {why}", join)
        if found:
            where = self._texts(found)
            message = f"this node is alone: {where}, through which it is to join, is this node itself"
            return bad("bootstrap", "alone", message, join)
        first = "If it is the first of its network, nothing is wrong: let the others join through it"
        message = f"this node is alone: it is told no node to join through, and none has joined through it. {first}"
        place = self._place_for_others()
        return bad("bootstrap", "alone", message if place is None else f"{message}, by --bootstrap {place}", join)

    def _place_for_others(self) -> str | None:
        """Return where nodes on other machines reach this one, as far as it knows itself; None if they do not."""
        for bound in self._driver.udp.listening():
            if any(bound.ip):
                return None if bound.is_loopback else self._text(bound)
        found = sorted(ip for ip in self._machine.addresses() or () if len(ip) + 2 == bound.family)
        return self._text(Endpoint(found[0] + bound[-2:])) if found else None

    async def _ask(self, places: Sequence[Endpoint], *, is_sealed: bool) -> tuple[list[Endpoint], dict[Endpoint, Echo]]:
        """Try to join through these; return those at which nobody answers, and what came back from probes."""
        silent: Sequence[Endpoint] | None = None
        echoes: dict[Endpoint, Echo] = {}

        async def probe() -> None:
            await trio.sleep(PROBE_AFTER)
            await self._probe(places[:PROBES_MAX], echoes, is_sealed=is_sealed)

        with self._driver.begin(lambda now: self._node.commands.bootstrap(places, now)) as operation:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(probe)
                with trio.move_on_after(ASK_WITHIN):
                    event = await operation.event()
                    assert isinstance(event, Bootstrapped)
                    silent = event.silent
                    if event.contacted:
                        nursery.cancel_scope.cancel()
        if silent is None:  # the attempt goes on: a node has answered, and others may be silent
            silent = () if self._node.overlays.is_connected else places
        return list(silent), echoes

    async def _why_silent(self, echoes: Mapping[Endpoint, Echo], *, is_bootstrap: bool) -> Finding:
        """Return why nobody answers, by what came back from probes."""
        places = list(echoes)[:PROBES_MAX]
        where, several = self._texts(places), len(places) > 1
        with_echo = {echo: [each for each in places if echoes[each] is echo] for echo in Echo}
        fault = "bootstrap-silent" if is_bootstrap else "cut-off"
        if open_ones := with_echo[Echo.ANSWER]:
            return self._other_answers(open_ones, fault)
        if len(with_echo[Echo.NO_ROUTE]) == len(places):
            message = f"this machine has no way to {where}: its network is down, or has no route there"
            return bad("bootstrap", "no-route", message, f"ip route get {places[0].host}")
        if len(with_echo[Echo.NO_MACHINE]) == len(places):
            hosts = ", ".join(each.host for each in places)
            message = f"no machine is at {hosts}: it is off, the address is wrong, or the link to it is down"
            return bad("bootstrap", fault, message, f"ping -c 3 {places[0].host}")
        if len(with_echo[Echo.CLOSED]) == len(places):
            none = f"no dhtd runs at {where}: {'these ports are' if several else 'the port is'} closed there"
            at_usual = await self._usual_port(places)
            if at_usual is not None:
                text = self._text(at_usual)
                return bad("bootstrap", fault, f"{none}, but one answers at {text}", f"dht bootstrap {text}")
            return bad("bootstrap", fault, f"{none}. Start it there, or name another port", "dht bootstrap HOST:PORT")
        message = f"nobody answers at {where}: {self._why_no_echo()}"
        return bad("bootstrap", fault, message, "dht doctor" if self._driver.seal else "dht bootstrap HOST:PORT")

    def _other_answers(self, places: Sequence[Endpoint], fault: str) -> Finding:
        """A ping from another socket was answered: without a seal, if it went to a bootstrap host."""
        where = self._texts(places)
        if self._driver.seal is None or fault == "cut-off":
            bound = ", ".join(map(self._text, self._driver.udp.listening()))
            message = f"{where} answers another port of this machine, but not {bound}: a firewall drops what comes back"
            port = USUAL_PORT + 1 if self._driver.udp.listening()[0].port == USUAL_PORT else USUAL_PORT
            return bad("bootstrap", fault, message, f"dht stop; dhtd start --port {port}")
        message = f"this node has a network key, and {where} has none: they are two networks"
        return bad("bootstrap", "other-key", message, "dht stop; dhtd start --network-key FILE")

    def _why_no_echo(self) -> str:
        if self._node.codec.traits.is_public:
            return "the address is wrong, or a firewall drops UDP"
        if self._driver.seal is None:
            return "a firewall drops UDP, the address is wrong, or the node there has a network key, and this one none"
        return (
            "a firewall drops UDP, the address is wrong, or the node there has another network key or a clock that is"
            " more than five minutes off. Ask there as well"
        )

    async def _usual_port(self, closed: Sequence[Endpoint]) -> Endpoint | None:
        """Return the same machine at the usual port, if a node answers there."""
        if self._node.codec.traits.is_public or closed[0].port == USUAL_PORT:
            return None
        usual = Endpoint.of(closed[0].host, USUAL_PORT)
        if self._is_ours(usual):
            return None
        echoes: dict[Endpoint, Echo] = {}
        await self._probe([usual], echoes, is_sealed=False)
        return usual if echoes[usual] is Echo.ANSWER else None

    async def _probe(self, places: Sequence[Endpoint], echoes: dict[Endpoint, Echo], *, is_sealed: bool) -> None:
        """Put what comes back from probes into `echoes`.

        A bootstrap host may have no key, and answers only a ping without a seal. Contacts have ours.
        """
        codec, zones = self._node.codec, self._driver.udp.zones
        stranger = codec.traits.keyspace.random(secrets.SystemRandom())

        async def probe(endpoint: Endpoint) -> None:
            ping = codec.encode_query(secrets.token_bytes(codec.traits.tid_size), stranger, Ping())
            if is_sealed and self._driver.seal is not None:
                ping = self._driver.seal.seal_query(ping, None, self._driver.wall())
            echoes[endpoint] = await self._machine.probe(endpoint, ping, zones.of(endpoint))

        async with trio.open_nursery() as nursery:
            for endpoint in places:
                nursery.start_soon(probe, endpoint)

    # Key and clock

    def _key(self) -> Finding:
        seal = self._driver.seal
        if seal is None:
            return note("key", "this node has no network key, so it is in an open network")
        own = ", ".join(key.fingerprint for key in seal.keys)
        strangers = self._strangers()
        if strangers:
            message = f"{self._texts(strangers)} writes to this node without its network key {own}, or with another one"
            return bad("key", "other-key", message, "dht stop; dhtd start --network-key FILE")
        return good("key", f"this node has the network key {own}")

    def _strangers(self) -> list[Endpoint]:
        """Return who has sent what no key opens, if that tells why this node is not in its network.

        A node on the internet hears noise from anybody. So it counts only of the nodes by which this one is to join. A
        node that is alone has none, and counts all.
        """
        if self.is_joined:
            return []
        since = self._driver.clock() - RECENT
        found = [source for source, at in self._driver.unsealing.strangers.items() if at >= since]
        known = {contact.endpoint.ip for contact in self._node.overlays.contacts()}
        known |= {endpoint.ip for endpoint in self._node.memberships.endpoints_to_join_by()}
        return [source for source in found if not known or source.ip in known][:PROBES_MAX]

    def _clock(self) -> Finding:
        late, ahead = self._driver.udp.counters.out_of_time, self._driver.unsealing.ahead
        if not late:
            return good("clock", "no sealed query has come with a time more than five minutes away from this clock")
        when = "more than five minutes away from" if ahead is None else f"{difference(ahead)} by"
        message = f"sealed queries of another node come with a time {when} this clock: one of the two clocks is wrong"
        if self.is_joined:
            return note("clock", message)
        return bad("clock", "clock", message, "timedatectl set-ntp true")

    # Words

    def _is_ours(self, endpoint: Endpoint) -> bool:
        return endpoint in self._node.external.endpoints() or self._driver.udp.is_ours(endpoint)

    def _text(self, endpoint: Endpoint) -> str:
        return self._driver.udp.zones.text(endpoint)

    def _texts(self, endpoints: Iterable[Endpoint]) -> str:
        return ", ".join(map(self._text, endpoints))

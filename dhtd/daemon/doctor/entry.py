"""What is wrong with the entries of an ID on this machine: its guard, its port, its holders, its address."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import trio

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.doctor.finding import Finding, bad, good, note
from dhtd.daemon.doctor.holders import Heard, ask_holders
from dhtd.daemon.doctor.machine import Machine, Tried, text_of
from dhtd.daemon.doctor.spelling import Spelling
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.guards.judge import FIRST_CHECK
from dhtd.daemon.guards.listening import Bound
from dhtd.words import count

PATIENCE: Final = 2.0  # seconds after which holders are asked again: the entry may be on its way to them
SCAN: Final = 1024  # entries that are looked at in a row
STEP: Final = "entry"


class EntrySteps:
    """Looks at the entries of one ID after the other."""

    def __init__(self, driver: Driver, guards: Guards, machine: Machine) -> None:
        self._driver = driver
        self._node = driver.node
        self._guards = guards
        self._machine = machine

    async def own_keys(self) -> list[Id]:
        """Return the IDs that this machine has entered, those first that are in a bad state."""
        found = dict.fromkeys(packed(record_key.key) for record_key in self._guards.withheld())
        held: dict[bytes, None] = {}
        for number, entry in enumerate(list(self._node.own_records)):
            (held if entry.replicas else found)[packed(entry.key)] = None
            if number % SCAN == SCAN - 1:
                await trio.lowlevel.checkpoint()  # there may be many
        return [unpacked(key) for key in {**found, **held}]

    def own_ports(self, key: Id) -> list[int]:
        """Return the ports with which this machine has entered an ID."""
        return sorted({*self._node.own_records.ports(key), *self._guards.ports(key)})

    async def steps(self, key: Id, spelling: Spelling, *, is_joined: bool) -> AsyncIterator[Finding]:
        """Yield what is found of each entry. Without a network, holders are not asked."""
        ports = self.own_ports(key)
        published = [port for port in ports if _record_key(key, port) in self._node.own_records]
        heard = await self._hear(key, published) if is_joined and published else None
        for port in ports:
            yield await self._entry(key, port, spelling, heard)

    async def _hear(self, key: Id, ports: Sequence[int]) -> Heard:
        """Ask the holders, and once more if they do not give all entries yet."""
        heard = await ask_holders(self._driver, key)
        if all(self._ours(heard, port) for port in ports) or not heard.answered:
            return heard
        await trio.sleep(PATIENCE)
        return await ask_holders(self._driver, key)

    async def _entry(self, key: Id, port: int, spelling: Spelling, heard: Heard | None) -> Finding:
        record_key = _record_key(key, port)
        if record_key not in self._node.own_records:
            return self._withheld(record_key, spelling)
        bound = await self._machine.bound_on(port)
        ours = set() if heard is None else self._ours(heard, port)
        tried = await self._try(ours, port, everywhere=not bound)
        # 1. Is the service there?
        if bound is not None and not bound and not any(each.is_open for each in tried.values()):
            where = f"nothing listens on port {port} of this machine, with which {spelling} is entered"
            file = self._driver.labels.declared.get(record_key)
            if file is not None:  # it would be entered again
                message = f"{where}: start its service, or take the entry out of {file}"
                return bad(STEP, "not-listening", message, f"${{EDITOR:-vi}} {shlex.quote(file)}")
            command = f"dht delete {spelling.argument()} {port}"
            return bad(STEP, "not-listening", f"{where}: start its service, or take the entry back", command)
        if heard is None:
            return note(STEP, f"{spelling} is entered on port {port}; nobody was there to ask who holds it")
        # 2. Do other nodes hold it?
        if not ours:
            return self._unheld(record_key, spelling, heard)
        # 3. Is the service where they say?
        reached = [each for each in ours if tried.get(each, Tried(False, "")).is_open]
        nodes = count(heard.holders(ours), "node")
        holds = f"{nodes} {'holds' if heard.holders(ours) == 1 else 'hold'} {spelling}"
        if reached:
            return good(STEP, f"{holds}, and {self._texts(reached)} answers")
        return self._unreached(holds, spelling, port, bound, {each: tried[each] for each in ours if each in tried})

    def _ours(self, heard: Heard, port: int) -> set[Endpoint]:
        """Return the endpoints with this port at an address of this machine, or at one where others see it."""
        seen = {each.endpoint.ip for each in self._node.external.seen()}
        same_port = [endpoint for endpoint in heard.named if endpoint.port == port]
        return {each for each in same_port if each.ip in seen or self._is_here(each)}

    def _is_here(self, endpoint: Endpoint) -> bool:
        """Whether this machine has the address: the list of the kernel may be without one that is bound."""
        is_bound = any(bound.ip == endpoint.ip for bound in self._driver.udp.listening())
        return is_bound or self._machine.has(endpoint, self._driver.udp.zones.of(endpoint))

    async def _try(self, ours: Iterable[Endpoint], port: int, *, everywhere: bool) -> dict[Endpoint, Tried]:
        """Try to connect: to the endpoints that holders give, and to all addresses of this machine, if that is wanted.

        An address that is only said to be ours is not tried.
        """
        believed = {endpoint.ip for endpoint in self._node.external.endpoints()}
        safe = {each for each in ours if each.ip in believed or self._is_here(each)}
        if everywhere:
            bound = [each.host for each in self._driver.udp.listening() if any(each.ip)]
            hosts = ["127.0.0.1", "::1", *bound, *map(text_of, self._machine.addresses() or ())]
            safe |= {Endpoint.of(host, port) for host in hosts}
        tried: dict[Endpoint, Tried] = {}

        async def attempt(endpoint: Endpoint) -> None:
            tried[endpoint] = await self._machine.try_connecting(endpoint, self._driver.udp.zones.of(endpoint))

        async with trio.open_nursery() as nursery:
            for endpoint in safe:
                nursery.start_soon(attempt, endpoint)
        return tried

    # What is wrong

    def _withheld(self, record_key: RecordKey, spelling: Spelling) -> Finding:
        info, saved = self._guards.info(record_key), self._guards.saved(record_key)
        message = info["message"] or ""
        where = f"{spelling} on port {record_key.port}"
        if saved is None:
            return note(STEP, f"{where} is gone meanwhile")
        if info["state"] == "passing" or message == FIRST_CHECK:
            return note(STEP, f"{where} is about to be entered: {message}")
        command = _command_of_check(saved.what, record_key.port)
        why = f"because of its check ({saved.what}): {message}"
        return bad(STEP, "check-fails", f"{where} is not published, {why}", command)

    def _unheld(self, record_key: RecordKey, spelling: Spelling, heard: Heard) -> Finding:
        again = self._enter_again(record_key, spelling)
        entry = self._node.own_records.get(record_key)
        port = record_key.port
        if entry is None:
            return note(STEP, f"{spelling} on port {port} was deleted meanwhile")
        if not heard.answered:
            message = f"the nodes near {spelling} do not answer, so who holds it is not known"
            return bad(STEP, "unanswered", message, "dht status")
        answered = count(len(heard.answered), "node")
        if self._node.own_records.untaken.is_refused(entry):
            why = f"{answered} answered, and they are full, or refuse entries of this address"
            return bad(STEP, "refused", f"no node takes {spelling} on port {port}: {why}", again)
        if entry.replicas and self._node.codec.traits.is_public:
            taken = count(len({replica.id for replica in entry.replicas}), "node")
            return note(STEP, f"{taken} took {spelling} on port {port}, and the answers now name others that serve it")
        others = [endpoint for endpoint in heard.named if endpoint.port == port]
        if others and entry.published_at is not None:
            message = (
                f"no node gives {spelling} at an address of this machine: they give {self._texts(others)}, the old"
                " address of this machine, or that of another one"
            )
            return bad(STEP, "old-address", message, again)
        return bad(STEP, "unheld", f"no node holds {spelling} on port {port}: {answered} near it answered", again)

    def _enter_again(self, record_key: RecordKey, spelling: Spelling) -> str:
        """Return the command that publishes an entry at once, and leaves its guard as it is."""
        enter = f"dht enter {spelling.argument()} {record_key.port}"
        saved, guard = self._guards.saved(record_key), self._guards.info(record_key)["guard"]
        if saved is not None and guard in ("tcp", "http", "exec"):
            return f"{enter} --check {shlex.quote(saved.what)} --every {saved.every:g}"
        if guard is not None or self._driver.labels.file(record_key) is not None:
            return f"dht trace {spelling.argument()}"
        return enter

    def _unreached(
        self,
        holds: str,
        spelling: Spelling,
        port: int,
        bound: frozenset[Bound] | None,
        tried: dict[Endpoint, Tried],
    ) -> Finding:
        """Nothing accepts a connection at the endpoints that others give: is that a fault?"""
        if not tried:
            return note(STEP, f"{holds}; too few nodes have told at which address they see this machine to try it")
        given = self._texts(tried)
        away = [endpoint for endpoint in tried if not self._is_here(endpoint)]
        if away:
            inside = ", ".join(sorted(text_of(ip) for ip in self._machine.addresses() or ())) or "this machine"
            message = (
                f"{holds} at {self._texts(away)}, the address of a router, and nothing answers there from here"
                f" ({tried[away[0]].why}): others reach {spelling} only if the router forwards port {port} to {inside}"
            )
            return bad(STEP, "behind-nat", message, f"curl -v telnet://{self._text(away[0])}")
        if bound is None:
            return note(STEP, f"{holds} at {given}; no TCP connection is accepted there, and UDP was not tried")
        at = {each for each in bound if each.is_wildcard or any(each.ip == endpoint.ip for endpoint in tried)}
        if any(each.protocol == "udp" for each in at):
            return good(STEP, f"{holds} at {given}, where a program waits for UDP")
        hosts = ", ".join(sorted({text_of(each.ip) for each in bound}))
        why = next(iter(tried.values())).why
        if not at:
            message = f"{holds} at {given}, but its service listens on {hosts} only: have it listen on 0.0.0.0, or ::"
            return bad(STEP, "bound-elsewhere", message, f"ss -lntup 'sport = :{port}'")
        message = f"{holds} at {given}, where its service does not accept connections ({why})"
        return bad(STEP, "not-listening", message, f"ss -lntup 'sport = :{port}'")

    def _text(self, endpoint: Endpoint) -> str:
        return self._driver.udp.zones.text(endpoint)

    def _texts(self, endpoints: Iterable[Endpoint]) -> str:
        return ", ".join(sorted(map(self._text, endpoints)))


def _record_key(key: Id, port: int) -> RecordKey:
    return RecordKey.of(key, Peer.on(port))


def _command_of_check(what: str, port: int) -> str:
    """Return what makes a check by hand."""
    if what.startswith("exec "):
        return what.removeprefix("exec ")
    if what.startswith("http:"):
        return f"curl -v {shlex.quote(what)}"
    return f"ss -lntp 'sport = :{port}'"

"""One daemon in memory, or two that know each other: what the tests of the handlers ask."""

from __future__ import annotations

import socket
import typing
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import trio

from dhtd.config.sources import load_settings
from dhtd.control.limits import ControlCounters
from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.records import Peer, RecordKey
from dhtd.daemon.doctor.machine import Echo, Machine, Tried
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.guards.listening import Bound
from dhtd.daemon.guards.outcome import Outcome
from dhtd.daemon.handler import Handler
from dhtd.daemon.handlers.calls import ITSELF
from dhtd.daemon.labels import Label
from dhtd.daemon.report import NodeReport
from dhtd.daemon.state.file import AddOwn
from dhtd.daemon.state.saved import HELD, SavedGuard, SavedOwnValue
from dhtd.daemon.state.saver import Saver
from dhtd.errors import DhtdError, StateError
from dhtd.service.checks import Check
from dhtd.service.info import InfoRequest
from dhtd.service.method import Caller, Event, Leave, Request
from dhtd.service.methods import COMMON, method_of
from tests.daemon.wire import POLICY, Sealing, Wire, joined
from tests.records import hold_peer

Entry = tuple[Id, int]
KEY = Id(7)
KEY_TEXT = NATIVE.format(KEY)
NOWHERE = Endpoint.of("10.9.9.8", 1729)
SILENT_PORT = 9  # nothing listens there
NOBODY = ("10.9.9.9", 1729)


class Disk:
    """Stands in for the saver: own entries, the time of the disk, and whether it has room."""

    def __init__(self) -> None:
        self.entries: set[Entry] = set()
        self.labels: dict[RecordKey, Label] = {}
        self.writes = 0
        self.steps = 0  # checkpoints before a change is on disk, and again before the call returns
        self.failing = False
        self.saved = b""  # the content of a copy
        self.node_had: list[set[Entry]] = []  # the node's entries at the moment when a change was on disk
        self.driver: Driver | None = None
        self.own_entries = trio.Lock()
        self.guards: dict[RecordKey, SavedGuard] = {}
        self.values: dict[Id, SavedOwnValue] = {}
        self.node_had_values: list[set[Id]] = []  # the keys of the node's own values, at that moment

    def give_back(self) -> None:
        """Restore, as the saver does it."""
        assert self.driver is not None
        for key, port in sorted(self.entries):
            record_key = RecordKey.of(key, Peer.on(port))
            guard = self.guards.get(record_key)
            if guard == HELD:
                self.entries.remove((key, port))
                del self.guards[record_key]
            elif guard is None or guard.passed:
                self.driver.node.publisher.restore_own(record_key, self.driver.clock())

    async def bring(self, keys: Iterable[Id]) -> None:
        await trio.lowlevel.checkpoint()

    async def add_own(self, entries: Sequence[AddOwn]) -> None:
        await self._wait()
        self.entries |= {(each.record_key.key, each.record_key.port) for each in entries}
        self.labels |= {each.record_key: each.label for each in entries}
        for each in entries:
            self.guards.pop(each.record_key, None)
            if each.guard is not None:
                self.guards[each.record_key] = each.guard
        self.writes += 1
        self._note()
        await self._wait()

    async def remove_own(self, node: Node, record_keys: Sequence[RecordKey]) -> None:
        await self._wait()
        self.entries -= {(each.key, each.port) for each in record_keys}
        for record_key in record_keys:
            self.guards.pop(record_key, None)
        self._note()
        await self._wait()

    async def set_guards(self, node: Node, guards: Mapping[RecordKey, SavedGuard]) -> None:
        await self._wait()
        self.guards.update(guards)
        self._note()
        await self._wait()

    async def keep_value(self, own: SavedOwnValue) -> None:
        await self._wait()
        self.values[own.key] = own
        self._note_values()
        await self._wait()

    async def drop_value(self, key: Id) -> None:
        await self._wait()
        self.values.pop(key, None)
        self._note_values()
        await self._wait()

    async def copy(self, node: Node) -> BinaryIO:
        await self._wait()
        return BytesIO(self.saved)

    async def read(self, copy: BinaryIO, size: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return copy.read(size)

    async def _wait(self) -> None:
        for _ in range(self.steps):
            await trio.lowlevel.checkpoint()
        if self.failing:
            raise StateError("no space left")

    def _note(self) -> None:
        assert self.driver is not None
        self.node_had.append(tracked(self.driver))

    def _note_values(self) -> None:
        assert self.driver is not None
        self.node_had_values.append({own.key for own in self.driver.node.values.own})


class Service:
    """Stands in for the checks: whether a service is up."""

    def __init__(self) -> None:
        self.is_up = True
        self.checked: list[tuple[str, float]] = []  # checks, and when

    async def check(self, check: Check, id: str, port: int, every: float) -> Outcome:
        self.checked.append((str(check), trio.current_time()))
        await trio.lowlevel.checkpoint()
        return Outcome(self.is_up, "up" if self.is_up else "down")


class Client:
    """Stands in for a connection: a user, and what to do when it ends."""

    def __init__(self, uid: int = 0, *, is_owner: bool = True) -> None:
        self.uid = uid
        self.is_owner = is_owner
        self.is_watching = False
        self._leaves: list[Leave] = []

    def attach(self, leave: Leave) -> None:
        self._leaves.append(leave)

    def watch(self) -> None:
        self.is_watching = True

    async def end(self) -> None:
        for leave in self._leaves:
            await leave()


def tracked(driver: Driver) -> set[Entry]:
    return {(entry.key, entry.port) for entry in driver.node.own_records}


@dataclass
class Daemon:
    """One node with its handler."""

    driver: Driver
    handler: Handler
    disk: Disk
    report: NodeReport
    guards: Guards
    events: list[Event]
    service: Service
    machine: Surroundings
    hosts: list[str]  # through which it is to join

    @property
    def at(self) -> tuple[str, int]:
        """Its endpoint for others."""
        [endpoint] = self.driver.udp.listening()
        return endpoint.host, endpoint.port

    @property
    def endpoint(self) -> str:
        return str(self.driver.udp.listening()[0])

    @property
    def id(self) -> str:
        return NATIVE.format(self.driver.node.own_id)

    async def ask(self, request: Request, caller: Caller = ITSELF) -> Any:
        """Ask, and check the result against the table of methods."""
        method = method_of(request)
        try:
            result = await self.handler(request, self._emit, caller)
        except DhtdError as error:
            if type(error) not in {*method.errors, *COMMON}:
                raise AssertionError(f"the table does not say that {method.name} may fail so") from error
            raise
        assert isinstance(request, InfoRequest) or matches(result, method.result)
        return result

    async def _emit(self, event: Event) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)


class Surroundings(Machine):
    """Stands in for the machine: its addresses, what listens there, and what comes back from probes.

    `open` are the endpoints that accept connections; `tried` are those that were tried.
    """

    def __init__(self, *addresses: str) -> None:
        self.own = frozenset(Endpoint.of(address, 1).ip for address in addresses)
        self.bound: dict[int, frozenset[Bound] | None] = {}
        self.open: set[Endpoint] = set()
        self.tried: set[Endpoint] = set()
        self.probed: list[tuple[Endpoint, bytes]] = []  # and with which datagrams
        self.echoes: dict[Endpoint, Echo] = {}

    def serves(self, port: int, *at: str, on: str = "0.0.0.0", protocol: str = "tcp") -> None:
        """Have a service listen on a port, and accept connections at these addresses."""
        self.bound[port] = frozenset({Bound(protocol, Endpoint.of(on, port).ip)})
        self.open |= {Endpoint.of(address, port) for address in at}

    async def bound_on(self, port: int) -> frozenset[Bound] | None:
        await trio.lowlevel.checkpoint()
        return self.bound.get(port, frozenset())

    def addresses(self) -> frozenset[bytes] | None:
        return self.own

    async def try_connecting(self, endpoint: Endpoint, zone: int | None = None) -> Tried:
        await trio.lowlevel.checkpoint()
        self.tried.add(endpoint)
        return Tried(True, "") if endpoint in self.open else Tried(False, "Connection refused")

    async def probe(self, endpoint: Endpoint, ping: bytes, zone: int | None = None) -> Echo:
        await trio.lowlevel.checkpoint()
        self.probed.append((endpoint, ping))
        return self.echoes.get(endpoint, Echo.SILENCE)


async def listens(port: int) -> bool:
    return port != SILENT_PORT


@asynccontextmanager
async def daemon(
    wire: Wire, directory: Path, policy: Policy = POLICY, disk: Disk | None = None, seal: Sealing | None = None
) -> AsyncIterator[Daemon]:
    options = {"state": str(directory / "state.db"), "socket": "/tmp/sock", "config": str(directory / "dhtd.toml")}
    (directory / "dhtd.toml").write_text("")
    async with wire.driver(policy, seal) as driver:
        disk = disk or Disk()
        disk.driver = driver
        disk.give_back()
        service = Service()
        guards = Guards(driver, cast("Saver", disk), service.check, lambda: 0.5)
        report = NodeReport(driver, load_settings(options, {}), ControlCounters(), guards)
        [endpoint] = driver.udp.listening()
        machine, hosts = Surroundings(endpoint.host), list[str]()
        handler = Handler(driver, cast("Saver", disk), guards, report, listens, hosts=lambda: hosts, machine=machine)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guards.run)
            yield Daemon(driver, handler, disk, report, guards, [], service, machine, hosts)
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def two(directory: Path, codec: Codec | None = None) -> AsyncIterator[tuple[Daemon, Daemon]]:
    wire = Wire(codec)
    async with daemon(wire, directory) as one, daemon(wire, directory) as other:
        await joined(one.driver, other.driver)
        yield one, other


def matches(value: object, kind: Any) -> bool:
    """Whether a value agrees with a `TypedDict` of the protocol, to its last key."""
    if typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        return (
            isinstance(value, dict)
            and value.keys() == hints.keys()
            and all(matches(value[key], hint) for key, hint in hints.items())
        )
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return isinstance(value, list) and all(matches(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            matches(key, arguments[0]) and matches(item, arguments[1]) for key, item in value.items()
        )
    if arguments:  # a union
        return any(matches(value, argument) for argument in arguments)
    return kind is Any or type(value) is kind


class Names:
    """A resolver with these names."""

    def __init__(self, **known: list[str]) -> None:
        self.known = known

    async def getaddrinfo(self, host: bytes, port: int, *rest: object) -> list[Any]:
        await trio.lowlevel.checkpoint()
        if host.decode() not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, 0, 0, "", (address, port)) for address in self.known[host.decode()]]

    async def getnameinfo(self, *rest: object) -> tuple[str, str]:
        raise NotImplementedError


def resolving(**known: list[str]) -> None:
    trio.socket.set_custom_hostname_resolver(cast("trio.abc.HostnameResolver", Names(**known)))


def hold(driver: Driver, many: int) -> list[Id]:
    """Have a node hold as many entries; return their keys."""
    now = driver.clock()
    keys = [Id(number << 240) for number in range(1, many + 1)]
    for number, key in enumerate(keys):
        hold_peer(driver.node.store, key, Endpoint.of(f"10.7.{number // 250}.{1 + number % 250}", 80), now)
    return keys

"""The effect of each request, between two nodes in memory; a client that leaves does not split it."""

from __future__ import annotations

import socket
import typing
from base64 import b64decode
from collections.abc import AsyncIterator, Generator, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.config.sources import load_settings
from dhtd.control.limits import ControlCounters
from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, LeftBehind, Withdrawn
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.records import RecordKey
from dhtd.daemon.driver import Driver
from dhtd.daemon.handler import Handler
from dhtd.daemon.handlers.info import WORDS_MAX
from dhtd.daemon.handlers.owner import PIECE
from dhtd.daemon.handlers.queries import HEAD_START
from dhtd.daemon.report import SLICE, NodeReport
from dhtd.daemon.state.saver import Saver
from dhtd.errors import (
    Busy,
    DhtdError,
    InvalidEndpoint,
    NoPeers,
    NoPong,
    NotTracked,
    PeerRefused,
    StateError,
    TooManyEntries,
    UnresolvableHost,
)
from dhtd.service.entries import (
    DeleteRequest,
    DeleteResult,
    EnterRequest,
    EnterResult,
    LookupEvent,
    LookupRequest,
    LookupResult,
)
from dhtd.service.info import (
    SECTIONS,
    CompleteRequest,
    CompleteResult,
    HeldInfo,
    InfoRequest,
    InfoResult,
    RoutingTableInfo,
    WithdrawalInfo,
)
from dhtd.service.method import Event, Request
from dhtd.service.methods import COMMON, METHODS, method_of
from dhtd.service.node import BootstrapRequest, BootstrapResult, NodeIdRequest, NodeIdResult
from dhtd.service.owner import STOP, BackupEvent, BackupRequest, BackupResult
from dhtd.service.queries import (
    FindNodeRequest,
    FindNodeResult,
    FindValueRequest,
    FindValueResult,
    PingRequest,
    PingResult,
    StoreRequest,
)
from dhtd.wire.network_key import NetworkKey
from dhtd.wire.sealed import Seal
from tests.daemon.wire import POLICY, Wire, end_of, joined
from tests.records import own_key

Entry = tuple[Id, int]

KEY = Id(7)
KEY_TEXT = NATIVE.format(KEY)
NOWHERE = Endpoint.of("10.9.9.8", 1729)
NOBODY = ("10.9.9.9", 1729)


class Disk:
    """Stands in for the saver: own entries, the time of the disk, and whether it has room."""

    def __init__(self) -> None:
        self.entries: set[Entry] = set()
        self.steps = 0  # checkpoints before a change is on disk, and again before the call returns
        self.failing = False
        self.saved = b""  # the content of a copy
        self.node_had: list[set[Entry]] = []  # the node's entries at the moment when a change was on disk
        self.driver: Driver | None = None
        self.own_entries = trio.Lock()

    async def bring(self, keys: Iterable[Id]) -> None:
        await trio.lowlevel.checkpoint()

    async def add_own(self, record_key: RecordKey) -> None:
        await self._wait()
        self.entries.add((record_key.key, record_key.port))
        self._note()
        await self._wait()

    async def remove_own(self, node: Node, record_keys: Sequence[RecordKey]) -> None:
        await self._wait()
        self.entries -= {(each.key, each.port) for each in record_keys}
        self._note()
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


def tracked(driver: Driver) -> set[Entry]:
    return {(entry.key, entry.port) for entry in driver.node.tracker}


@dataclass
class Daemon:
    """One node with its handler."""

    driver: Driver
    handler: Handler
    disk: Disk
    report: NodeReport
    events: list[Event]

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

    async def ask(self, request: Request) -> Any:
        """Ask, and check the result against the table of methods."""
        method = method_of(request)
        try:
            result = await self.handler(request, self._emit)
        except DhtdError as error:
            if type(error) not in {*method.errors, *COMMON}:
                raise AssertionError(f"the table does not say that {method.name} may fail so") from error
            raise
        assert isinstance(request, InfoRequest) or matches(result, method.result)
        return result

    async def _emit(self, event: Event) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)


@asynccontextmanager
async def daemon(wire: Wire, directory: Path, policy: Policy = POLICY) -> AsyncIterator[Daemon]:
    options = {"state": str(directory / "state.db"), "socket": "/tmp/sock", "config": str(directory / "dhtd.toml")}
    (directory / "dhtd.toml").write_text("")
    async with wire.driver(policy) as driver:
        disk = Disk()
        disk.driver = driver
        report = NodeReport(driver, load_settings(options, {}), ControlCounters())
        yield Daemon(driver, Handler(driver, cast("Saver", disk), report), disk, report, [])


@asynccontextmanager
async def two(directory: Path) -> AsyncIterator[tuple[Daemon, Daemon]]:
    wire = Wire()
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


async def test_every_method_but_stop_is_served(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        assert one.handler._serving.keys() == {method.request for method in METHODS.values() if method is not STOP}


async def test_ping_tells_the_answering_node(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(PingRequest(other.at))
        assert matches(result, PingResult)
        assert result == {"node_id": other.id, "endpoint": other.endpoint, "rtt_ms": 0.0}


async def test_nobody_answers_where_nobody_is(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        for request in (
            PingRequest(NOBODY),
            FindNodeRequest(NOBODY, KEY),
            FindValueRequest(NOBODY, KEY),
            StoreRequest(NOBODY, KEY, 80, b"token"),
        ):
            with pytest.raises(NoPong, match=r"no answer from 10\.9\.9\.9:1729: no dhtd runs there, or one with a net"):
                await one.ask(request)


async def test_pinging_ourselves_says_so(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (one, _):
        with pytest.raises(NoPong, match=rf"no answer from {one.endpoint}: this node is there, and a node does not"):
            await one.ask(PingRequest(one.at))
        monkeypatch.setattr(ExternalAddress, "endpoints", lambda self: [NOWHERE])  # as others see it
        with pytest.raises(NoPong, match=r"this node is there"):
            await one.ask(PingRequest((NOWHERE.host, NOWHERE.port)))


async def test_an_unanswered_node_names_its_key(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.driver.seal = Seal([NetworkKey(bytes(32))], one.driver.node.own_id, Random(1), 0.0)
        with pytest.raises(
            NoPong, match=r"no dhtd runs there, or one without our network key, or with another time, or"
        ):
            await one.ask(PingRequest(other.at))


async def test_ipv6_is_refused_wherever_unspoken(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        at = ("2001:db8::1", 1729)
        for request in (
            PingRequest(at),
            FindNodeRequest(at, KEY),
            FindValueRequest(at, KEY),
            StoreRequest(at, KEY, 80, b"token"),
            BootstrapRequest((at,)),
        ):
            with pytest.raises(InvalidEndpoint):
                await one.ask(request)


async def test_find_node_gives_a_token_and_nodes(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(FindNodeRequest(other.at, KEY))
        assert matches(result, FindNodeResult)
        assert result["node_id"] == other.id
        assert result["nodes"] == [] or result["nodes"] == [{"id": one.id, "endpoint": one.endpoint}]
        assert len(bytes.fromhex(result["token"])) == POLICY.token_size


async def test_store_with_find_values_token_is_found(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        before = await one.ask(FindValueRequest(other.at, KEY))
        assert matches(before, FindValueResult)
        assert before["peers"] == []
        stored = await one.ask(StoreRequest(other.at, KEY, 80, bytes.fromhex(before["token"])))
        assert stored == {"node_id": other.id}
        after = await one.ask(FindValueRequest(other.at, KEY))
        assert after["peers"] == [f"{one.at[0]}:80"]


async def test_a_wrong_token_is_refused_with_a_hint(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        with pytest.raises(PeerRefused, match=r"203 .*get another with find-value"):
            await one.ask(StoreRequest(other.at, KEY, 80, b"12345678"))


async def test_bootstrap_counts_the_answers(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        result = await one.ask(BootstrapRequest((other.at, NOBODY)))
        assert matches(result, BootstrapResult)
        assert {key: result[key] for key in ("contacted", "failed", "table_size")} == {
            "contacted": 1,
            "failed": 1,
            "table_size": 1,
        }
        [unreached] = result["unreached"]
        assert (unreached["endpoint"], unreached["code"]) == ("10.9.9.9:1729", "no-peers")
        assert unreached["message"].startswith("nobody answers at 10.9.9.9:1729")
        with pytest.raises(NoPeers, match=r"nobody answers at 10\.9\.9\.9:1729"):
            await one.ask(BootstrapRequest((NOBODY,)))


async def test_an_outsider_is_told_its_endpoints(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NoPeers, match="this node knows no other node: name one"):
            await one.ask(LookupRequest(KEY))
        one.driver.node.start([NOWHERE], one.driver.clock())
        with pytest.raises(NoPeers, match=f"this node is still alone: nobody has answered at {NOWHERE}"):
            await one.ask(LookupRequest(KEY))


async def test_a_joining_node_is_told_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        with pytest.raises(NoPeers, match=f"^{one.endpoint} is this node itself: name another one$"):
            await one.ask(BootstrapRequest((one.at, one.at)))
        with pytest.raises(NoPeers, match=f"^nobody answers at .*; {one.endpoint} is this node itself"):
            await one.ask(BootstrapRequest((NOBODY, one.at)))
        result = await one.ask(BootstrapRequest((one.at, other.at)))
        assert (result["contacted"], result["failed"]) == (1, 1)
        assert "this node itself" in result["unreached"][0]["message"]


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


async def test_bootstrap_reports_good_and_bad(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, daemon(wire, tmp_path) as other:
        resolving(moved=[NOBODY[0], other.at[0]])
        result = await one.ask(BootstrapRequest((("bad", 1729), ("moved", 1729), ("::1", 9), NOBODY)))
        assert matches(result, BootstrapResult)
        assert (result["contacted"], result["failed"]) == (1, 3)
        found = {host["endpoint"]: host["code"] for host in result["unreached"]}
        assert found == {"bad:1729": "unresolvable-host", "[::1]:9": "invalid-endpoint", "10.9.9.9:1729": "no-peers"}
        with pytest.raises(UnresolvableHost, match="cannot resolve 'bad'"):
            await one.ask(BootstrapRequest((("bad", 1729),)))


async def test_a_names_addresses_are_asked_in_turn(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        resolving(seed=["10.9.9.8", NOBODY[0], other.at[0]], dead=["10.9.9.8", NOBODY[0]])
        at = ("seed", 1729)
        began = trio.current_time()
        result = await one.ask(PingRequest(at))
        assert (result["node_id"], result["endpoint"]) == (other.id, other.endpoint)
        assert trio.current_time() - began == 2 * HEAD_START
        assert (await one.ask(FindNodeRequest(at, KEY)))["node_id"] == other.id
        found = await one.ask(FindValueRequest(at, KEY))
        stored = await one.ask(StoreRequest(at, KEY, 80, bytes.fromhex(found["token"])))
        assert stored == {"node_id": other.id}
        with pytest.raises(PeerRefused, match=rf"{other.endpoint} refused: 203"):
            await one.ask(StoreRequest(at, KEY, 80, b"12345678"))
        with pytest.raises(NoPong, match=r"no answer from 10\.9\.9\.8:1729, 10\.9\.9\.9:1729: no dhtd runs there"):
            await one.ask(PingRequest(("dead", 1729)))


async def test_a_busy_node_says_so_for_any_address(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, operations=1)) as one:
        resolving(dead=["10.9.9.8", NOBODY[0]])
        with pytest.raises(Busy):
            await one.ask(PingRequest(("dead", 1729)))


async def test_a_lookup_tells_progress_and_then_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await other.ask(EnterRequest(KEY, 80, wait=True))
        result = await one.ask(LookupRequest(KEY))
        assert matches(result, LookupResult)
        assert (result["id"], result["peers"]) == (KEY_TEXT, [f"{other.at[0]}:80"])
        assert result["stats"]["responses"] == 1
        assert one.events
        assert all(matches(event, LookupEvent) for event in one.events)
        found = [peer for event in cast("list[LookupEvent]", one.events) for peer in event["peers"]]
        assert found == result["peers"]
        missing = await one.ask(LookupRequest(Id(99)))
        assert missing["peers"] == []


async def test_a_lookup_without_any_contact_says_so(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        with pytest.raises(NoPeers, match="dht bootstrap"):
            await one.ask(LookupRequest(KEY))


async def test_enter_names_the_holders(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(EnterRequest(KEY, 80, wait=True))
        assert matches(result, EnterResult)
        assert result["replicas"] == [{"node_id": other.id, "endpoint": other.endpoint}]
        assert (result["id"], result["port"]) == (KEY_TEXT, 80)
        assert result["expires_in_s"] == POLICY.store_expiry
        assert 0.8 * POLICY.republish_first < result["refresh_in_s"] < 1.2 * POLICY.republish_first
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_enter_is_durable_before_the_node_knows(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        assert one.disk.node_had == [set()]


async def test_enter_without_waiting_returns_early(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        result = await one.ask(EnterRequest(KEY, 80, wait=False))
        assert matches(result, EnterResult)
        assert result["replicas"] == []
        await wait_all_tasks_blocked()
        assert [held.key for held in other.driver.node.store] == [KEY]


async def test_enter_alone_reports_no_holder(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        result = await one.ask(EnterRequest(KEY, 80, wait=True))
        assert result["replicas"] == []
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_enter_with_replicas_waits_for_a_node(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one, trio.open_nursery() as nursery:
        results: list[Any] = []

        async def enter() -> None:
            results.append(await one.ask(EnterRequest(KEY, 80, wait=True, min_replicas=1, within_s=1_000.0)))

        nursery.start_soon(enter)
        await trio.sleep(500)
        assert not results
        async with wire.driver() as other:
            await joined(other, one.driver)
            await trio.sleep(5)
            assert len(results[0]["replicas"]) == 1


@pytest.mark.parametrize("wanted", [0, 1])
async def test_enter_returns_in_time_with_what_it_has(autojump_clock: MockClock, tmp_path: Path, wanted: int) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.driver.node.start([Endpoint.of(*NOBODY)], one.driver.clock())
        one.driver.flush()
        began = trio.current_time()
        result = await one.ask(EnterRequest(KEY, 80, wait=True, min_replicas=wanted, within_s=13.5))
        assert result["replicas"] == []
        assert trio.current_time() == began + 13.5
        assert one.disk.entries == tracked(one.driver) == {(KEY, 80)}


async def test_what_the_disk_refuses_is_not_entered(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        one.disk.failing = True
        with pytest.raises(StateError, match="no space left"):
            await one.ask(EnterRequest(KEY, 80, wait=True))
        assert not tracked(one.driver)
        await trio.sleep(POLICY.republish)
        assert not len(other.driver.node.store)
        one.disk.failing = False
        await one.ask(EnterRequest(KEY, 80, wait=True))
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(DeleteRequest(KEY, None))
        assert tracked(one.driver) == one.disk.entries == {(KEY, 80)}


async def test_a_cap_refuses_without_a_trace(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path, replace(POLICY, operations=1, own_ports=1)) as one:
        await one.ask(EnterRequest(KEY, 80, wait=True))
        with pytest.raises(TooManyEntries, match=r"this ID on as many ports as it takes \(1\)"):
            await one.ask(EnterRequest(KEY, 81, wait=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.ask, PingRequest(NOBODY))
            await trio.testing.wait_all_tasks_blocked()
            for request in (
                EnterRequest(Id(8), 80, wait=True),
                DeleteRequest(KEY, None),
                LookupRequest(KEY),
            ):
                with pytest.raises(Busy):
                    await one.ask(request)
            assert tracked(one.driver) == one.disk.entries == {(KEY, 80)}
            nursery.cancel_scope.cancel()  # nobody waits for the ping any more, and that makes room
        await one.ask(DeleteRequest(KEY, None))
        assert not tracked(one.driver) | one.disk.entries


async def test_delete_withdraws_one_port_or_all(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        for port in (80, 81, 82):
            await one.ask(EnterRequest(KEY, port, wait=True))
        result = await one.ask(DeleteRequest(KEY, 81))
        assert matches(result, DeleteResult)
        assert result == {"id": KEY_TEXT, "removed": [81], "withdrawn": 1, "pending": 0, "left_behind": []}
        assert tracked(one.driver) == one.disk.entries == {(KEY, 80), (KEY, 82)}
        result = await one.ask(DeleteRequest(KEY, None))
        assert result == {"id": KEY_TEXT, "removed": [80, 82], "withdrawn": 1, "pending": 0, "left_behind": []}
        assert not tracked(one.driver) | one.disk.entries
        assert not len(other.driver.node.store)


async def test_left_copies_expire_by_the_nodes_clock(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not trio's clock, which begins anywhere."""

    class Deleted(AbstractContextManager["Deleted"]):
        def __exit__(self, *_error: object) -> None:
            pass

        async def event(self) -> Withdrawn:
            await trio.lowlevel.checkpoint()
            return Withdrawn(Handle(1), KEY, (80,), 1, 0, (LeftBehind(NOWHERE, 9_000.0),))

    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        monkeypatch.setattr(one.driver, "clock", lambda: 8_000.0)
        monkeypatch.setattr(one.driver, "begin", lambda start: Deleted())
        result = await one.ask(DeleteRequest(KEY, None))
    assert result["left_behind"] == [{"endpoint": str(NOWHERE), "expires_in_s": 1_000.0}]


async def test_what_is_not_tracked_cannot_be_deleted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        with pytest.raises(NotTracked, match="on port 81"):
            await one.ask(DeleteRequest(KEY, 81))
        with pytest.raises(NotTracked, match="this ID;"):
            await one.ask(DeleteRequest(Id(8), None))
        assert one.disk.entries == {(KEY, 80)}


async def test_entering_during_a_delete_is_reported(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True  # so that publishing takes its time
        outcomes: list[str] = []

        async def enter() -> None:
            with pytest.raises(NotTracked, match="deleted while"):
                await one.ask(EnterRequest(KEY, 80, wait=True))
            outcomes.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter)
            await wait_all_tasks_blocked()
            await one.ask(DeleteRequest(KEY, None))
        assert outcomes == ["told"]
        assert not tracked(one.driver) | one.disk.entries


REQUESTS = {
    "enter": EnterRequest(KEY, 81, wait=True),
    "enter, not waiting": EnterRequest(KEY, 81, wait=False),
    "enter again": EnterRequest(KEY, 80, wait=True),
    "delete": DeleteRequest(KEY, None),
    "delete one": DeleteRequest(KEY, 80),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
async def test_a_leaving_client_splits_no_change(autojump_clock: MockClock, tmp_path: Path, request_: Request) -> None:
    for moment in range(40):  # the longest of them takes fewer steps
        async with two(tmp_path) as (one, _):
            one.disk.steps = 2
            await one.ask(EnterRequest(KEY, 80, wait=True))

            async def ask(scope: trio.CancelScope, one: Daemon = one) -> None:
                with scope:
                    await one.ask(request_)

            scope = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, scope)
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
            assert tracked(one.driver) == one.disk.entries, f"after {moment} steps"
            assert not one.driver._operations
            await one.ask(EnterRequest(Id(9), 1, wait=True))  # nothing is locked for good


async def test_many_clients_split_no_change(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        one.disk.steps = 3

        async def ask(request: Request, patience: int) -> None:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(give_up, scope, patience)
                    with suppress(NotTracked):
                        await one.ask(request)
                    nursery.cancel_scope.cancel()

        async def give_up(scope: trio.CancelScope, patience: int) -> None:
            for _ in range(patience):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for number in range(60):
                port = 80 + number % 3
                request = DeleteRequest(KEY, port) if number % 4 == 3 else EnterRequest(KEY, port, wait=number % 2 == 0)
                nursery.start_soon(ask, request, number * 2)
        assert tracked(one.driver) == one.disk.entries
        assert not one.driver._operations


@pytest.mark.parametrize("first", [DeleteRequest(KEY, None), EnterRequest(KEY, 80, wait=False)])
async def test_enter_and_delete_do_not_interleave(autojump_clock: MockClock, tmp_path: Path, first: Request) -> None:
    second = EnterRequest(KEY, 80, wait=False) if isinstance(first, DeleteRequest) else DeleteRequest(KEY, None)
    async with two(tmp_path) as (one, _), trio.open_nursery() as nursery:
        await one.ask(EnterRequest(KEY, 80, wait=True))
        changes = len(one.disk.node_had)
        one.disk.steps = 20
        nursery.start_soon(one.ask, first)
        while len(one.disk.node_had) == changes:
            await trio.lowlevel.checkpoint()
        one.disk.steps = 0  # the first change is on disk and the node has not heard of it; the second would overtake it
        await one.ask(second)
        await wait_all_tasks_blocked()
        assert one.disk.entries == tracked(one.driver)
        assert bool(one.disk.entries) == isinstance(second, EnterRequest)


@pytest.mark.parametrize(
    "request_",
    [
        LookupRequest(KEY),
        PingRequest(NOBODY),
        BootstrapRequest((NOBODY,)),
        DeleteRequest(KEY, None),
    ],
)
async def test_a_cancelled_request_ends_its_operation(
    autojump_clock: MockClock, tmp_path: Path, request_: Request
) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        end_of(other.driver)._wire.cut = True
        with trio.move_on_after(0.01) as scope:
            await one.ask(request_)
        assert scope.cancelled_caught
        assert not one.driver._operations


async def test_a_failing_emit_ends_only_the_lookup(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):

        async def gone(event: Event) -> None:
            raise trio.BrokenResourceError

        with pytest.raises(trio.BrokenResourceError):
            await one.handler(LookupRequest(KEY), gone)
        assert not one.driver._operations
        assert await one.ask(NodeIdRequest())


# Reports


async def test_node_id_tells_id_and_endpoints(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as alone:
        result = await alone.ask(NodeIdRequest())
        assert matches(result, NodeIdResult)
        assert result == {"node_id": alone.id, "endpoints": [alone.endpoint]}
        seen = Endpoint.parse("10.9.9.1:4321")
        alone.driver.node.external.vote(Endpoint.parse("10.9.9.9:1729"), seen, 0.0)
        assert await alone.ask(NodeIdRequest()) == {"node_id": alone.id, "endpoints": [str(seen)]}


async def test_info_has_exactly_the_promised_keys(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await other.ask(EnterRequest(KEY, 81, wait=True))
        await trio.sleep(10)
        whole = await one.ask(InfoRequest(None))
        assert matches(whole, InfoResult)
        assert list(whole) == list(SECTIONS)
        for section in SECTIONS:
            alone = await one.ask(InfoRequest(section))
            assert list(alone) == [section]
            assert matches(alone[section], typing.get_type_hints(InfoResult)[section])


async def test_info_shows_what_is_inside(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await other.ask(EnterRequest(KEY, 81, wait=True))
        await trio.sleep(10)
        info = await one.ask(InfoRequest(None))
        node = info["node"]
        assert node["node_id"] == one.id
        assert node["endpoints"] == node["listening"] == [one.endpoint]
        assert node["observed"] == {one.endpoint: 1}
        assert {node["reachable"], (await other.ask(InfoRequest("node")))["node"]["reachable"]} == {
            "private",
            "unknown",
        }
        assert node["connected"] is True
        assert node["contacts"] == {"good": 1, "questionable": 0, "bad": 0}
        assert node["uptime_s"] == pytest.approx(10, abs=1)
        assert (node["state"], node["socket"]) == (str(tmp_path / "state.db"), "/tmp/sock")
        [bucket] = info["routing_table"]["buckets"]
        assert (bucket["low"], bucket["high"]) == ("0" * 64, "f" * 64)
        [member] = bucket["members"]
        assert member["id"] == other.id
        assert (member["state"], member["reachable"], member["timeouts"]) == ("good", True, 0)
        [held] = info["store"]
        assert (held["id"], held["endpoint"]) == (KEY_TEXT, f"{other.at[0]}:81")
        assert held["age_s"] == pytest.approx(10, abs=1)
        assert held["age_s"] + held["expires_in_s"] == pytest.approx(POLICY.store_expiry)
        [own] = info["tracking"]
        assert (own["id"], own["port"], own["replicas"]) == (KEY_TEXT, 80, 1)
        assert info["network"]["datagrams_sent"] > 0
        assert info["network"]["oversized"] == info["network"]["defects"] == 0


async def test_info_shows_holders_left_after_a_delete(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        await one.ask(EnterRequest(KEY, 81, wait=True))
        await one.ask(DeleteRequest(KEY, 81))
        end_of(other.driver)._wire.cut = True
        result = await one.ask(DeleteRequest(KEY, 80))
        assert result == {"id": KEY_TEXT, "removed": [80], "withdrawn": 0, "pending": 1, "left_behind": []}
        info = await one.ask(InfoRequest("withdrawals"))
        first, second = info["withdrawals"]
        assert matches(first, WithdrawalInfo)
        assert {each["node_id"] for each in (first, second)} == {other.id}
        assert {each["endpoint"] for each in (first, second)} == {other.endpoint}
        assert [(each["port"], each["acknowledged"], each["attempts"]) for each in (first, second)] == [
            (81, True, 1),
            (80, False, 1),
        ]
        assert 13 <= first["retry_in_s"] <= 17
        assert first["expires_in_s"] == pytest.approx(POLICY.store_expiry, abs=10)
        end_of(other.driver)._wire.cut = False
        await trio.sleep(120)
        assert (await one.ask(InfoRequest(None)))["withdrawals"] == []


async def test_a_silent_contact_has_no_last_activity(autojump_clock: MockClock, tmp_path: Path) -> None:
    wire = Wire()
    async with daemon(wire, tmp_path) as one:
        other = wire.make()
        contact = Contact(other.node.own_id, other.udp.listening()[0])
        assert one.driver.node.overlays.restore(contact)
        info = await one.ask(InfoRequest("routing_table"))
        assert matches(info["routing_table"], RoutingTableInfo)
        [member] = info["routing_table"]["buckets"][0]["members"]
        assert (member["last_activity_s"], member["reachable"], member["state"]) == (None, False, "questionable")


async def test_an_expired_entry_is_not_shown(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        node = one.driver.node
        node.store.put(KEY, one.driver.udp.listening()[0], trio.current_time() - POLICY.store_expiry)
        assert len(node.store) == 1
        assert await one.ask(InfoRequest("store")) == {"store": []}


# What is long comes in parts


def hold(driver: Driver, many: int) -> list[Id]:
    """Have a node hold as many entries; return their keys."""
    now = driver.clock()
    keys = [Id(number << 240) for number in range(1, many + 1)]
    for number, key in enumerate(keys):
        driver.node.store.put(key, Endpoint.of(f"10.7.{number // 250}.{1 + number % 250}", 80), now)
    return keys


def rows_of(parts: Iterable[Any], section: str) -> list[Any]:
    return [row for part in parts for row in part[section]]


async def test_a_long_list_comes_in_parts(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        keys = hold(one.driver, 1_000)
        turns = 0

        async def run_between() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_between)
            await trio.lowlevel.checkpoint()
            before = turns
            result = await one.ask(InfoRequest(None))
            assert turns - before >= 1_000 // SLICE
            nursery.cancel_scope.cancel()
        assert list(result) == list(SECTIONS)
        assert [list(part) for part in one.events] == [["store"]] * (1_000 // SLICE)
        rows = rows_of([*one.events, result], "store")
        assert [row["id"] for row in rows] == [f"{key:064x}" for key in keys]
        assert all(matches(row, HeldInfo) for row in rows)
        assert all(len(part["store"]) == SLICE for part in cast("list[InfoResult]", one.events))


@pytest.mark.parametrize("section", ["store", "tracking"])
async def test_a_list_leaves_out_what_changed_meanwhile(
    autojump_clock: MockClock, tmp_path: Path, section: str
) -> None:
    async with daemon(Wire(), tmp_path) as one:
        node = one.driver.node
        held, own = hold(one.driver, 3 * SLICE), [Id(number) for number in range(1, 3 * SLICE + 1)]
        for key in own:
            node.publisher.restore_own(own_key(key, 80), trio.current_time())
        changed = False

        async def change(event: Event) -> None:
            nonlocal changed
            await trio.lowlevel.checkpoint()
            one.events.append(event)
            if not changed:
                changed = True
                for entry in node.store.held(held[-1]):
                    node.store.remove(entry.key, entry.record.endpoint)
                node.store.put(Id(1 << 100), Endpoint.of("10.6.0.1", 80), one.driver.clock())
                node.tracker.remove(own_key(own[-1], 80))
                node.publisher.restore_own(own_key(Id(1 << 101), 80), trio.current_time())

        result = cast("Any", await one.handler(InfoRequest(section), change))
        rows = rows_of([*one.events, result], section)
        keys = held if section == "store" else own
        assert [row["id"] for row in rows] == [f"{key:064x}" for key in keys[:-1]]


async def test_steps_run_one_at_a_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        hold(one.driver, 4 * SLICE)
        steps: list[int] = []
        info = one.report.info

        def counted(section: str | None) -> Generator[InfoResult, None, InfoResult]:
            parts = info(section)
            while True:
                steps[-1] += 1
                try:
                    part = next(parts)
                except StopIteration as end:
                    return cast("InfoResult", end.value)
                yield part

        one.report.info = counted  # type: ignore[method-assign]

        async def count_turns() -> None:
            while True:
                steps.append(0)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await trio.lowlevel.checkpoint()
            async with trio.open_nursery() as asking:
                for _ in range(30):
                    asking.start_soon(one.ask, InfoRequest("store"))
            nursery.cancel_scope.cancel()
        assert sum(steps) == 30 * 5
        assert max(steps) <= 2  # in one turn of the loop, which begins anywhere


async def test_clients_share_the_list_of_keys(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        hold(one.driver, 2 * SLICE)
        report = one.report
        first, second, third = (report.info("store") for _ in range(3))
        next(first)
        shared = report._latest_keys()
        next(second)
        assert report._latest_keys() is shared
        del shared
        hold(one.driver, 2 * SLICE + 1)
        next(third)
        latest = report._latest_keys()
        assert latest is not None
        assert len(latest) == 2 * SLICE + 1
        del latest, third
        assert report._latest_keys() is None


async def test_completion_offers_matching_words(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        keys = hold(one.driver, 3_000)
        for key, port in ((keys[0], 80), (keys[0], 8080), (Id(7), 443)):
            one.driver.node.publisher.restore_own(own_key(key, port), trio.current_time())
        texts = sorted({f"{key:064x}" for key in (*keys, Id(7))})

        async def words(what: str, prefix: str, entry: Id | None = None) -> tuple[list[str], bool]:
            result = await one.ask(CompleteRequest(what, prefix, entry))
            assert matches(result, CompleteResult)
            return result["words"], result["complete"]

        few = [text for text in texts if text.startswith("00a")]
        assert 1 < len(few) < WORDS_MAX
        assert await words("id", "00a") == (few, True)
        many, complete = await words("id", "")
        assert (len(many), complete, many[0], many[-1]) == (WORDS_MAX, False, texts[0], texts[-1])
        assert many == sorted(set(many))
        assert set(many) <= set(texts)
        assert await words("own-id", "") == ([f"{7:064x}", f"{keys[0]:064x}"], True)
        assert await words("own-port", "8", keys[0]) == (["80", "8080"], True)
        assert await words("own-port", "") == (["443", "80", "8080"], True)
        assert await words("endpoint", "10.") == ([other.endpoint], True)
        assert await words("endpoint", "11.") == ([], True)


# Backup


async def test_a_backup_comes_in_pieces_with_its_length(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.saved = bytes(range(251)) * 400
        result = await one.ask(BackupRequest())
        assert matches(result, BackupResult)
        assert all(matches(event, BackupEvent) for event in one.events)
        pieces = [b64decode(cast("BackupEvent", event)["data"]) for event in one.events]
        assert [len(piece) for piece in pieces] == [PIECE, PIECE, 100_400 - 2 * PIECE]
        assert (b"".join(pieces), result) == (one.disk.saved, {"bytes": 100_400})


async def test_one_backup_is_taken_at_a_time(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.saved = bytes(10)

        async def emit(event: Event) -> None:
            await trio.sleep_forever()  # as for a client that does not read

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.handler, BackupRequest(), emit)
            await wait_all_tasks_blocked()
            with pytest.raises(Busy, match="another backup"):
                await one.ask(BackupRequest())
            nursery.cancel_scope.cancel()
        assert await one.ask(BackupRequest()) == {"bytes": 10}


async def test_a_failed_backup_permits_another(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.disk.failing = True
        with pytest.raises(StateError):
            await one.ask(BackupRequest())
        one.disk.failing = False
        assert await one.ask(BackupRequest()) == {"bytes": 0}

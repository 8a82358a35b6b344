"""Too many clients, and clients that hold places and do nothing: which connection gives way."""

from __future__ import annotations

import errno
import json
import os
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.control import server
from dhtd.control.client import Client
from dhtd.control.connection import Terms
from dhtd.control.frames import FRAME_MAX
from dhtd.control.limits import ControlCounters, Limits, Places
from dhtd.control.server import COMPLAIN_INTERVAL, LIMITS
from dhtd.core.endpoint import Endpoint
from dhtd.errors import SocketForbidden, TooManyClients
from dhtd.service import node
from dhtd.service.entries import LookupRequest
from dhtd.service.method import Caller, Emit, Request, Result
from tests.bench import silence
from tests.bench.load import resident
from tests.control.serving import DONE, NODE_ID, STATS, done, forever, serving
from tests.control.users import NOBODY, only_root, other_user
from tests.daemon.handlers.small_daemon import daemon
from tests.daemon.wire import Wire
from tests.e2e.daemons import DEADLINE, Daemon, Network

OWN, ROOT, ALICE, BOB, CAROL = 1000, 0, 1, 2, 3
FEW = Limits(clients=3, others=4)


@dataclass(eq=False)
class Connection:
    uid: int
    waiting_since: float | None
    is_lasting: bool = False


@pytest.fixture
def places() -> Places[Connection]:
    return Places(FEW, OWN)


def fill(places: Places[Connection], uid: int, *waiting: float | None) -> list[Connection]:
    made = [Connection(uid, since) for since in waiting]
    for connection in made:
        assert places.take(connection) is None
    return made


# Which connection gives way


def test_the_longest_waiting_connection_yields(places: Places[Connection]) -> None:
    _, longest, _ = fill(places, OWN, 5.0, 2.0, 7.0)
    assert places.take(Connection(OWN, 9.0)) is longest
    assert len(places) == FEW.clients


def test_a_busy_connection_is_not_cut_off(places: Places[Connection]) -> None:
    _, waiting, _ = fill(places, OWN, None, 8.0, None)
    assert places.take(Connection(OWN, None)) is waiting
    with pytest.raises(TooManyClients, match=r"user 1000 has as many connections .* socket-clients allows \(3\)"):
        places.take(Connection(OWN, 9.0))
    assert len(places) == FEW.clients


@pytest.mark.parametrize("since", [None, 1.0])
@pytest.mark.parametrize(("user", "other"), [(OWN, ALICE), (ALICE, OWN), (OWN, ROOT), (ROOT, ALICE), (ALICE, BOB)])
def test_each_user_keeps_their_own_places(
    places: Places[Connection], user: int, other: int, since: float | None
) -> None:
    fill(places, user, since, since, since)
    assert places.take(Connection(other, 9.0)) is None


def test_the_biggest_of_other_users_yields(places: Places[Connection]) -> None:
    _, longest, _ = fill(places, ALICE, 6.0, 5.0, None)
    fill(places, BOB, 1.0)
    assert places.take(Connection(CAROL, 9.0)) is longest


def test_a_busy_big_user_spares_itself(places: Places[Connection]) -> None:
    fill(places, ALICE, None, None, None)
    [waiting] = fill(places, BOB, 1.0)
    assert places.take(Connection(CAROL, None)) is waiting
    with pytest.raises(TooManyClients, match=r"members of the socket's group have .* \(4\)"):
        places.take(Connection(BOB, 2.0))
    assert places.take(Connection(OWN, 9.0)) is None
    assert places.take(Connection(ROOT, 9.0)) is None


def test_a_freed_place_may_be_freed_twice(places: Places[Connection]) -> None:
    first, *_ = fill(places, OWN, None, None, None)
    places.leave(first)
    places.leave(first)
    assert places.take(Connection(OWN, 9.0)) is None


def test_taking_back_frees_the_longest_waiter(places: Places[Connection]) -> None:
    fill(places, OWN, 3.0, None)
    [longest] = fill(places, ALICE, 2.0)
    assert places.take_back() is longest
    assert len(places) == 2
    assert places.take_back() is not None
    assert places.take_back() is None


# On a socket


async def test_idle_clients_are_cut_off_oldest_first(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path) as daemon:
        peers = []
        for _ in range(LIMITS.clients + 3):
            peers.append(await daemon.peer())
            await trio.sleep(0.001)
        for cut in peers[:3]:
            error = (await cut.line())["error"]
            assert (error["code"], "socket-clients" in error["message"]) == ("too-many-clients", True)
            assert await cut.rest() == b""
        for kept in peers[3:]:
            await kept.send(NODE_ID + b"\n")
            assert "result" in await kept.line()
        assert daemon.counters == ControlCounters(control_displaced=3)
    [record] = caplog.records  # and no line for each
    assert "socket-clients" in record.getMessage()


async def test_the_log_repeats_the_limit_after_a_while(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, limits=Limits(clients=1)) as daemon:
        for _ in range(3):
            await daemon.peer()
            await trio.sleep(COMPLAIN_INTERVAL)
    assert len(caplog.records) == 2


async def test_busy_clients_stay_and_newcomers_retry(autojump_clock: MockClock, tmp_path: Path) -> None:
    finish = trio.Event()

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await finish.wait()
        return DONE

    async with serving(tmp_path, handler) as daemon:
        busy = [await daemon.peer() for _ in range(LIMITS.clients)]
        for peer in busy:
            await peer.send(NODE_ID + b"\n")
        await wait_all_tasks_blocked()
        late = await daemon.peer()
        assert await late.code() == "too-many-clients"
        assert await late.rest() == b""
        assert daemon.counters == ControlCounters(control_refused=1)
        finish.set()
        for peer in busy:
            assert "result" in await peer.line()


async def test_a_thousand_stalled_clients_block_nobody(
    autojump_clock: MockClock, tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    served = 0
    async with serving(tmp_path) as daemon:
        for number in range(1_000):
            loris = await daemon.peer()
            await loris.send(b"{")
            if number % 100 == 99:
                honest = await daemon.peer()
                await honest.send(NODE_ID + b"\n")
                assert "result" in await honest.line()
                served += 1
                await honest.close()
        figure(
            "honest requests served, and idle clients that gave way",
            f"{served} of 10, {daemon.counters.control_displaced}",
        )
        assert served == 10


async def test_a_client_that_reads_nothing_makes_room(autojump_clock: MockClock, tmp_path: Path) -> None:
    cancelled = trio.Event()

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        try:
            if isinstance(request, LookupRequest):
                await emit({"peers": ["x" * 10_000_000], "stats": STATS})
        finally:
            cancelled.set()
        return DONE

    async with serving(tmp_path, handler, Limits(clients=1)) as daemon:
        deaf = await daemon.peer()
        await deaf.send(b'{"method":"lookup","params":{"id":"%s"}}\n' % (b"0" * 64))
        await wait_all_tasks_blocked()
        other = await daemon.peer()
        await cancelled.wait()
        await other.send(NODE_ID + b"\n")
        assert "result" in await other.line()
        assert b"too-many" not in await deaf.rest()  # in the middle of a line, nothing can be said


async def test_a_dripping_frame_has_a_deadline(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                while True:
                    await peer.send(b"x")
                    await trio.sleep(1)

            nursery.start_soon(drip)
            assert await peer.code() == "frame-too-slow"
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began == LIMITS.frame_deadline
        assert await peer.rest() == b""
        assert daemon.counters == ControlCounters(control_frames_refused=1)


async def test_no_deadline_runs_between_frames(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        for _ in range(3):
            await trio.sleep(100 * LIMITS.frame_deadline)
            await peer.send(NODE_ID)
            await trio.sleep(0.9 * LIMITS.frame_deadline)
            await peer.send(b"\n")
            assert "result" in await peer.line()


async def test_a_frames_time_starts_at_its_first_byte(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID[:5])
        for _ in range(3):
            await trio.sleep(0.9 * LIMITS.frame_deadline)
            await peer.send(NODE_ID[5:] + b"\n" + NODE_ID[:5])
            assert "result" in await peer.line()


async def test_waiting_behind_requests_is_no_delay(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await trio.sleep(10 * LIMITS.frame_deadline)
        return DONE

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n" + NODE_ID + b"\n" + NODE_ID[:5])
        for _ in range(2):
            assert "result" in await peer.line()
        await peer.send(NODE_ID[5:] + b"\n")
        assert "result" in await peer.line()


async def test_frames_that_are_too_large_are_counted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b"x" * FRAME_MAX)
        assert await peer.code() == "frame-too-large"
        assert daemon.counters == ControlCounters(control_frames_refused=1)


async def test_a_client_cut_off_hears_of_no_stop(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path, forever, Limits(clients=1)) as daemon:
        first = await daemon.peer()
        await wait_all_tasks_blocked()
        await daemon.peer()
        got = await first.rest()
        assert (got.count(b"\n"), b"too-many-clients" in got) == (1, True)


async def test_idle_clients_yield_scarce_descriptors(autojump_clock: MockClock) -> None:
    gate = server._Server(Terms(done, LIMITS, ControlCounters(), None, server._note), None)
    ours, theirs = socket.socketpair()
    idle = await gate.admit(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
    assert idle is not None
    idle_ended = idle.ended
    stream = cast("trio.SocketStream", object())

    class Listener:
        async def accept(self) -> trio.SocketStream:
            if not idle_ended.is_set():
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return stream

    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.serve, idle)
        await wait_all_tasks_blocked()
        began = trio.current_time()
        with trio.fail_after(60):
            assert await gate.accept(cast("trio.SocketListener", Listener())) is stream
        assert trio.current_time() == began
    assert b"too-many-clients" in theirs.recv(4096)
    theirs.close()


# A real daemon


def connect(path: Path) -> socket.socket:
    """Connect, as soon as the daemon's backlog has room for one more."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))  # blocks while the backlog is full
    return connection


def memory_of(daemon: Daemon) -> int:
    """Return the resident memory of a daemon in bytes; 0 if the system does not tell."""
    return resident(daemon.process.pid) if sys.platform == "linux" else 0


@pytest.mark.parametrize("descriptors", [None, 96], ids=["", "few-descriptors"])
def test_info_works_among_stalled_clients(descriptors: int | None, figure: Callable[[str, object], None]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4_096)), hard))
    try:
        with Network() as network, ExitStack() as stack:
            [daemon] = network.start(1)
            if descriptors is not None:
                resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))
            served, before = 0, memory_of(daemon)
            for number in range(1_000):
                stack.enter_context(connect(daemon.socket)).send(b"{")
                if number % 250 == 249:
                    with Client(daemon.socket, DEADLINE) as client:
                        assert client.ask(node.NODE_ID)["node_id"] == daemon.node_id
                        served += 1
            grown_by = memory_of(daemon) - before
            counters = network.dht(daemon, "info", "network")["network"]
        figure(
            "honest requests served, and idle clients that gave way", f"{served} of 4, {counters['control_displaced']}"
        )
        assert counters["control_displaced"] >= 1_000 - LIMITS.clients
        if sys.platform == "linux":
            figure("memory of the daemon grown by", f"{grown_by / 2**20:.2f} MiB")
            assert grown_by < 8 * 2**20
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_unread_answers_cost_little_memory(
    figure: Callable[[str, object], None],
) -> None:
    with Network() as network, ExitStack() as stack:
        [daemon] = network.start(1)
        daemon.stop()
        silence.fill(daemon, 10_000)
        network.launch(daemon)
        silence.await_restored(daemon, 10_000)
        with Client(daemon.socket, DEADLINE) as client:
            assert len(client.info("store")["store"]) == 10_000
        before = memory_of(daemon)
        for _ in range(60):
            stack.enter_context(connect(daemon.socket)).sendall(b'{"method":"info"}\n')
        with Client(daemon.socket, DEADLINE) as client:  # behind them, and served all the same
            assert len(client.info("tracking")["tracking"]) == 10_000
        grown_by = memory_of(daemon) - before
        figure("memory of the daemon grown by", f"{grown_by / 2**20:.2f} MiB")
        assert grown_by < 16 * 2**20  # whole answers would be 200 MiB


async def test_lookups_of_gone_clients_end_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        now = one.driver.clock()
        one.driver.node.start([Endpoint.parse("10.9.9.9:1729")], now)
        one.driver.flush()
        async with serving(tmp_path, one.handler, Limits(clients=300)) as server:
            peers = [await server.peer() for _ in range(200)]
            for number, peer in enumerate(peers):
                await peer.send(b'{"method":"lookup","params":{"id":"%064x"}}\n' % number)
            await wait_all_tasks_blocked()
            for peer in peers:
                await peer.close()
            await wait_all_tasks_blocked()
            assert one.driver.clock() == now
            assert not one.driver._operations
            assert not one.driver.node.handles.running


@only_root
def test_only_group_members_may_ask_a_daemon() -> None:
    with Network() as network:
        network.directory.chmod(0o711)
        path = network.directory / "run" / "sock"
        [daemon] = network.start(1, "--socket-group=54321", f"--socket={path}")
        with other_user(NOBODY, NOBODY, [54_321]), Client(path, DEADLINE) as client:
            assert client.ask(node.NODE_ID)["node_id"] == daemon.node_id
        with other_user(NOBODY, NOBODY, [54_322]), Client(path, DEADLINE) as client, pytest.raises(SocketForbidden):
            client.ask(node.NODE_ID)


@pytest.mark.parametrize(
    ("option", "status", "code"),
    [("--socket-group=no-such", 2, "bad-configuration"), ("--socket=%s/link/s", 1, "socket-unusable")],
)
def test_a_daemon_barred_from_its_socket_says_why(option: str, status: int, code: str) -> None:
    with Network() as network:
        (network.directory / "link").symlink_to(network.directory)
        option = option.replace("%s", str(network.directory))
        done = network.run("dhtd", "start", "--bind=127.0.0.1", "--port=21729", option, "--json")
        assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (status, code)

"""Networks for tests: ready at once, whole nodes, and nothing left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import dhtd
from dhtd.control.client import Client
from dhtd.errors import DaemonUnreachable, StateError
from dhtd.service.owner import STOP
from dhtd.testing.house import NODES_MAX
from dhtd.testing.networks import BlockingNetwork, Network, testnet, testnet_blocking
from dhtd.testing.swarm import Swarm

DEADLINE = 60.0  # seconds; only a hang reaches it

Run = Callable[[Callable[[], Awaitable[Any]]], None]


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(test: Callable[[], Awaitable[Any]]) -> None:
        async def in_time() -> None:
            with anyio.fail_after(DEADLINE):
                await test()

        anyio.run(in_time, backend=request.param)

    return run


@pytest.fixture(autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Look that no file, no thread and no descriptor is left behind."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(directory)
        assert list(Path(directory).iterdir()) == []
        assert "dhtd-testnet" not in {thread.name for thread in threading.enumerate()}


def files(net: BlockingNetwork | Network) -> list[str]:
    return sorted(path.name for path in net[0].socket.parent.iterdir())


def test_all_nodes_know_each_other(run: Run) -> None:
    async def test() -> None:
        async with testnet(4) as net:
            assert (len(net), [node.number for node in net], net[1:3]) == (4, [0, 1, 2, 3], net.nodes[1:3])
            for node in net:
                async with dhtd.connect(node.socket) as dht:
                    status = await dht.status()
                    assert (status.state, status.node_id, status.listening) == (
                        "joined",
                        node.node_id,
                        (node.endpoint,),
                    )
            assert len({node.endpoint for node in net}) == 4
            assert set(files(net)) >= {f"{number}.{kind}" for number in range(4) for kind in ("db", "sock")}

    run(test)


def test_nodes_come_and_go(run: Run) -> None:
    async def test() -> None:
        async with testnet(3) as net:
            before = net[1].node_id, net[1].endpoint
            await net.kill(1)
            assert [node.is_running for node in net] == [True, False, True]
            with pytest.raises(DaemonUnreachable, match="nobody listens"):
                async with dhtd.connect(net[1].socket):
                    pass
            await net.kill(1)  # once more
            await net.restart(1)
            assert (net[1].is_running, (net[1].node_id, net[1].endpoint)) == (True, before)
            await net.stop(0)
            with pytest.raises(DaemonUnreachable, match="there is no socket"):
                async with dhtd.connect(net[0].socket):
                    pass
            await net.restart(0)
            new = await net.add()
            assert (new, new.number, len(net)) == (net[3], 3, 4)
            async with dhtd.connect(new.socket) as dht, dhtd.connect(net[1].socket) as other, dht.serve("new", 80):
                assert [endpoint.port async for endpoint in other.lookup("new")] == [80]
            with pytest.raises(IndexError):
                await net.kill(7)

    run(test)


def test_the_same_blocking() -> None:
    with testnet_blocking(2) as net:
        net.kill(0)
        net.restart(0)
        net.stop(1)
        assert repr(net[1]).endswith(", not running>")
        net.restart(1)
        assert net.add().is_running
        assert len(net) == 3


def test_a_node_alone_is_a_network() -> None:
    with testnet_blocking(1) as net, dhtd.connect_blocking(net[0].socket) as dht:
        assert dht.status().state == "alone"


def test_an_error_of_the_block_comes_out(run: Run) -> None:
    async def test() -> None:
        with pytest.raises(KeyError, match="mine"):
            async with testnet(2):
                raise KeyError("mine")

    run(test)
    with pytest.raises(KeyError, match="mine"), testnet_blocking(2):
        raise KeyError("mine")


def test_a_start_that_is_cancelled_leaves_nothing(run: Run) -> None:
    async def test() -> None:
        for turns in (0, 1, 3):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def start() -> None:
                        async with testnet(3):
                            await anyio.sleep_forever()

                    group.start_soon(start)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()

    run(test)


def test_a_node_that_cannot_start_ends_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Swarm._start

    async def fail(self: Swarm, member: Any) -> None:
        if member.number == 1:
            raise StateError("no disk")
        await start(self, member)

    monkeypatch.setattr(Swarm, "_start", fail)
    with pytest.raises(StateError, match="no disk"), testnet_blocking(3):
        pass


def test_a_failed_order_harms_no_other() -> None:
    with testnet_blocking(2) as net:
        net.stop(1)
        state = net[1].socket.with_suffix(".db")
        state.unlink()
        state.mkdir()
        with pytest.raises(StateError):
            net.restart(1)
        state.rmdir()
        net.restart(1)
        assert net[1].is_running


def test_a_client_may_stop_a_node() -> None:
    with testnet_blocking(2) as net:
        with Client(net[1].socket, DEADLINE) as client:
            assert client.ask(STOP) == {"pid": None}
            client._link.await_end()
        net.restart(1)


def test_a_network_that_has_ended_says_so(run: Run) -> None:
    net = testnet_blocking(1)
    with pytest.raises(RuntimeError, match="has not begun"):
        net._grow()
    with net:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        net.restart(0)
    with pytest.raises(RuntimeError, match="once"), net:
        pass


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [((0,), ValueError), ((NODES_MAX + 1,), ValueError), (("8",), TypeError), ((True,), TypeError)],
)
def test_a_wrong_size_is_refused(arguments: tuple[Any, ...], kind: type[Exception]) -> None:
    for make in (testnet, testnet_blocking):
        with pytest.raises(kind):
            make(*arguments)
    with pytest.raises(ValueError, match="network='x' is none of native, mainline"):
        testnet(network="x")


def test_the_daemons_of_the_user_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHTD_PORT", "nonsense")
    monkeypatch.setenv("DHTD_CONFIG", "/nowhere/at/all")
    with testnet_blocking(2) as net:
        assert net[0].socket.parent.stat().st_mode & 0o777 == 0o700
        assert net[0].socket.stat().st_mode & 0o777 == 0o600


def test_the_process_is_left_alone() -> None:
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}, os.umask(0o22)
    os.umask(before[1])
    hooks = sys.unraisablehook, threading.excepthook
    with testnet_blocking(2):
        assert {number: signal.getsignal(number) for number in signal.valid_signals()} == before[0]
        assert (sys.unraisablehook, threading.excepthook) == hooks


EXIT = """
import sys
from dhtd.testing import testnet_blocking
net = testnet_blocking(2)
net.__enter__()
print(net[0].socket.parent, flush=True)
{0}
"""


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise KeyError", "import os; os.kill(os.getpid(), 2)"])
def test_a_program_that_just_ends_leaves_no_files(way: str) -> None:
    command = [sys.executable, "-c", EXIT.format(way)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode != 0
    assert not Path(done.stdout.strip()).exists()

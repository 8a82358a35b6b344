"""The API with real nodes, under asyncio, trio and neither."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

import dhtd
from dhtd.api.places import PLACES
from dhtd.errors import BadRequest, Busy, FrameTooLarge, InvalidId, NotFound, NotTracked, OtherValue, UsageError
from dhtd.testing.networks import BlockingNetwork, testnet, testnet_blocking
from tests.api.conftest import Run


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_serve_lookup_and_watch(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as here, dhtd.connect(net[1].socket) as there:
            watch = there.watch("live")
            assert (await anext(watch)).endpoints == ()
            async with here.serve("live", 8080) as entry:
                assert {replica.node_id for replica in entry.replicas} <= {node.node_id for node in net}
                [endpoint] = [endpoint async for endpoint in there.lookup("live")]
                assert endpoint == dhtd.Endpoint("127.0.0.1", 8080)
                change = await anext(watch)
                assert (change.added, change.removed, change.name) == ((endpoint,), (), "live")
            change = await anext(watch)
            assert (change.added, change.removed, change.endpoints) == ((), (endpoint,), ())
            assert [each async for each in there.lookup("live")] == []

    run(test)


def test_the_same_blocking(net: BlockingNetwork) -> None:
    with dhtd.connect_blocking(net[0].socket) as here, dhtd.connect_blocking(net[1].socket) as there:
        watch = there.watch("blocking")
        assert next(watch).endpoints == ()
        with here.serve("blocking", 8080) as entry:
            assert entry.guard == "connection"
            lookup = there.lookup("blocking")
            assert list(map(str, lookup)) == ["127.0.0.1:8080"]
            assert lookup.is_complete
            assert lookup.stats is not None
            assert [str(each) for each in next(watch).added] == ["127.0.0.1:8080"]
        assert next(watch).endpoints == ()
        assert list(there.lookup("blocking")) == []
        watch.close()
    assert "dhtd-serve" not in {thread.name for thread in threading.enumerate()}


def test_entries_that_stay(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            assert (await dht.enter("stays", 80)).name == "stays"
            entered = await dht.enter_many([("stays", 81), (dhtd.Id("77" * 32), 82)])
            assert [(entry.name, entry.port) for entry in entered] == [("stays", 81), (None, 82)]
            ports = sorted([endpoint.port async for endpoint in dht.lookup("stays")])
            assert ports == [80, 81]
            assert (await dht.delete("stays")).removed == (80, 81)
            assert (await dht.delete(dhtd.Id("77" * 32), 82)).removed == (82,)
            with pytest.raises(NotTracked):
                await dht.delete("stays")

    run(test)


def test_values(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as here, dhtd.connect(net[1].socket) as there:
            placed = await here.put(b"see you", name="note")
            value = await there.get(placed.id)
            assert (value.data, value.public_key, placed.kept) == (b"see you", None, True)
            assert (await there.keep(placed.id)).id == placed.id
            assert (await there.drop(placed.id)).id == placed.id
            await here.delete(placed.id)
            key = dhtd.SigningKey(os.urandom(32))
            with pytest.raises(NotFound):
                await there.get(key.public_key, salt=b"x")
            first = await here.put(b"one", key=key, salt=b"x", keep=False)
            second = await there.put(b"two", key=key, salt=b"x", keep=False)
            assert (first.seq or 0) < (second.seq or 0)
            value = await here.get(key.public_key, salt=b"x")
            assert (value.data, value.seq, value.salt, value.public_key) == (b"two", second.seq, b"x", key.public_key)
            with pytest.raises(OtherValue):
                await here.put(b"three", key=key, salt=b"x", cas=first.seq)
            third = await here.put(b"three", key=key, salt=b"x", cas=second.seq, keep=False)
            assert (await there.get(key.public_key, salt=b"x")).seq == third.seq

    run(test)


def test_other_nodes_and_this_one(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            pong = await dht.ping(net[1].endpoint)
            assert (pong.node_id, pong.endpoint) == (net[1].node_id, net[1].endpoint)
            nodes = await dht.find_node(str(net[1].endpoint), "anything")
            assert nodes.node_id == net[1].node_id
            found = await dht.find_value(net[1].endpoint, "anything")
            assert {endpoint.host for endpoint in found.peers} <= {"127.0.0.1"}
            assert (await dht.store(net[1].endpoint, "anything", 80, found.token)).node_id == net[1].node_id
            assert (await dht.node_id()).node_id == net[0].node_id
            status = await dht.status()
            assert (await dht.health()).healthy
            assert (status.state, status.network, status.contacts["good"]) == ("joined", "open", 2)
            assert (await dht.info("node"))["node"]["node_id"] == str(net[0].node_id)
            assert set(await dht.info()) >= {"node", "network", "store"}
            assert (await dht.bootstrap(net[1].endpoint)).contacted == 1
            with pytest.raises(InvalidId, match="another network"):
                await dht.delete(dhtd.Id("5a" * 20))

    run(test)


def test_a_diagnosis(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as here, dhtd.connect(net[1].socket) as there:
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with listener, here.serve("ill", port):
                found = await here.doctor("ill")
                assert (found.healthy, found.fault, found.command, found.name) == (True, None, None, "ill")
                assert found.verdict.endswith(f"127.0.0.1:{port} answers")
                assert (await there.doctor("ill")).served == (dhtd.Endpoint("127.0.0.1", port),)
                await listener.aclose()
                found = await here.doctor("ill")
            assert (found.healthy, found.fault) == (False, "not-listening")
            assert [step.step for step in found.steps if step.good is False] == ["entry"]
            assert (await there.doctor()).id is None

    run(test)


def test_hundreds_of_lookups_at_once(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht, dht.serve("many", 80):
            before, most, done = descriptors(), 0, 0

            async def look_up() -> None:
                nonlocal most, done
                async for endpoint in dht.lookup("many"):
                    assert endpoint.port == 80
                    most = max(most, descriptors())
                    done += 1

            async with anyio.create_task_group() as group:
                for _ in range(300):
                    group.start_soon(look_up)
            assert done == 300
            assert most <= before + 2 * PLACES + 8  # both ends of each are in this process
            await dht.status()

    run(test)


def test_threads_share_a_client(net: BlockingNetwork) -> None:
    with dhtd.connect_blocking(net[0].socket) as dht, dht.serve("threads", 80), ThreadPoolExecutor(40) as pool:
        found = list(pool.map(lambda _: [endpoint.port for endpoint in dht.lookup("threads")], range(200)))
        assert found == [[80]] * 200


def test_threads_nest_lookups(net: BlockingNetwork) -> None:
    """More threads than places, and each keeps one while it asks for another."""

    def nest(_: int) -> int:
        return sum(1 for _ in dht.lookup("nested") for _ in dht.lookup("nested"))

    pool = ThreadPoolExecutor(2 * PLACES)
    with dhtd.connect_blocking(net[0].socket) as dht, dht.serve("nested", 80), dht.serve("nested", 81), pool:
        assert list(pool.map(nest, range(4 * PLACES))) == [4] * (4 * PLACES)


def test_cancelled_lookups_leak_nothing(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            for turns in range(40):  # a cancellation at each step of a lookup, and behind it

                async def look_up() -> None:
                    async for _ in dht.lookup("nobody"):
                        pass

                async with anyio.create_task_group() as group:
                    group.start_soon(look_up)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    group.cancel_scope.cancel()
            assert [each for each in dht._connections if not each.is_closed] == []
            # All places are free.
            async with anyio.create_task_group() as group:
                for _ in range(2 * PLACES):
                    group.start_soon(dht.status)

    run(test)


def test_a_cancelled_block_does_not_keep_its_entry(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            with anyio.CancelScope() as scope:
                async with dht.serve("cancelled", 80):
                    scope.cancel()
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            while [each async for each in dht.lookup("cancelled")]:
                pass  # until the daemon has withdrawn it

    run(test)


def test_a_task_that_is_cancelled_natively_withdraws(net: BlockingNetwork) -> None:
    import asyncio  # noqa: PLC0415

    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            is_served = asyncio.Event()

            async def serve() -> None:
                async with dht.serve("native", 80):
                    is_served.set()
                    await asyncio.sleep(3600)

            task = asyncio.create_task(serve())
            await is_served.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while [each async for each in dht.lookup("native")]:
                pass  # until the daemon has withdrawn it

    asyncio.run(test())


def test_an_error_of_the_block_is_not_wrapped(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            with pytest.raises(KeyError, match="mine"):
                async with dht.serve("error", 80):
                    raise KeyError("mine")
            assert [each async for each in dht.lookup("error")] == []

    run(test)


def test_closing_a_client_wakes_up_its_watchers(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        failures: list[str] = []

        async def watch(dht: dhtd.Dht, began: anyio.Event) -> None:
            try:
                async for _ in dht.watch("closing"):
                    began.set()
            except RuntimeError as error:
                failures.append(str(error))

        async with anyio.create_task_group() as group, dhtd.connect(net[0].socket) as dht:
            began = anyio.Event()
            group.start_soon(watch, dht, began)
            await began.wait()
            await anyio.wait_all_tasks_blocked()
        assert failures == ["this client of dhtd was closed"]

    run(test)


def test_all_goes_on_over_a_restart(run: Run) -> None:
    async def test() -> None:
        async with testnet(3) as net, dhtd.connect(net[0].socket) as here, dhtd.connect(net[1].socket) as there:
            watch = here.watch("restart")
            await anext(watch)
            async with here.serve("restart", 80), there.serve("restart", 81):
                seen: set[int] = set()
                while len(seen) < 2:
                    seen |= {endpoint.port for endpoint in (await anext(watch)).added}
                for way in (net.stop, net.kill):
                    await way(0)
                    async with anyio.create_task_group() as group:
                        group.start_soon(net.restart, 0)
                        assert (await here.status()).version  # waits for the daemon
                    while {each.port async for each in there.lookup("restart")} != {80, 81}:
                        pass  # until the entry is made again
                # None of the endpoints was told as removed, except that of the daemon that was away itself.
                await here.enter("restart", 82)
                while True:
                    change = await anext(watch)
                    assert 81 not in {endpoint.port for endpoint in change.removed}
                    if 82 in {endpoint.port for endpoint in change.endpoints}:
                        break
            await here.delete("restart")

    run(test)


def test_a_blocking_block_enters_again_after_a_restart() -> None:
    with testnet_blocking(2) as net, dhtd.connect_blocking(net[1].socket) as there:
        with dhtd.connect_blocking(net[0].socket) as here, here.serve("again", 80):
            net.kill(0)
            net.restart(0)
            while [each["message"] for each in here.info("tracking")["tracking"]] != ["held by 1 client"]:
                pass  # until it is entered again
            assert [each.port for each in there.lookup("again")] == [80]
        assert list(there.lookup("again")) == []


def test_a_daemon_is_found_as_dht_finds_it(
    net: BlockingNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DHTD_SOCKET", str(net[0].socket))
    with dhtd.connect_blocking() as dht:
        assert dht.node_id().node_id == net[0].node_id
    with dhtd.connect_blocking(str(net[1].socket)) as dht:
        assert dht.node_id().node_id == net[1].node_id
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    client = dhtd.connect_blocking(instance="other")
    assert client.concurrent.daemon.path.name == "other.sock"
    assert client.concurrent.daemon.start_hint == "dhtd start --instance other"


@pytest.mark.parametrize(
    "arguments", [{"timeout": 0}, {"timeout": float("inf")}, {"network": "x"}, {"socket": ""}, {"instance": "a/b"}]
)
def test_a_wrong_way_to_a_daemon_is_refused(arguments: dict[str, object]) -> None:
    for connect in (dhtd.connect, dhtd.connect_blocking):
        with pytest.raises(UsageError):
            connect(**arguments)  # type: ignore[arg-type]


def test_a_client_may_be_used_in_one_loop_after_another(net: BlockingNetwork) -> None:
    dht = dhtd.connect(net[0].socket)  # where no loop runs

    async def test() -> None:
        async with dht, anyio.create_task_group() as group:
            for _ in range(2 * PLACES):
                group.start_soon(dht.status)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(test, backend=backend)


def test_a_request_beyond_a_frame_says_so(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            with pytest.raises(FrameTooLarge, match="65536 bytes"):
                await anext(dht.watch(*[f"{number}{'é' * 250}" for number in range(200)]))
            with pytest.raises(BadRequest, match="256 elements at most"):
                await anext(dht.watch(*map(str, range(257))))
            with pytest.raises(BadRequest, match="'port' is a whole number"):
                await dht.enter("wiki", "80")  # type: ignore[arg-type]

    run(test)


def test_more_watches_than_the_daemon_allows_are_refused(net: BlockingNetwork, run: Run) -> None:
    async def test() -> None:
        async with dhtd.connect(net[0].socket) as dht:
            watches = [dht.watch(str(number)) for number in range(48)]
            for watch in watches:
                await anext(watch)
            with pytest.raises(Busy, match="watch several IDs by one connection"):
                await anext(dht.watch("one more"))
            assert (await dht.status()).state == "joined"  # requests have places of their own
            await watches.pop().aclose()
            found: set[str | None] = set()
            while len(found) < 200:
                many = dht.watch(*map(str, range(200)))
                with suppress(Busy):  # until the daemon has taken note of the end of the other
                    found = {(await anext(many)).name for _ in range(200)}

    run(test)


def test_the_mainline_network_has_its_own_names(run: Run) -> None:
    async def test() -> None:
        async with (
            testnet(2, network="mainline") as net,
            dhtd.connect(net[0].socket, network="mainline") as here,
            dhtd.connect(net[1].socket) as there,  # which learns the network from the daemon
        ):
            assert there.network == "mainline"
            entry = await here.enter("wiki", 80)
            assert entry.id == dhtd.Id.of_name("wiki", "mainline")
            assert [endpoint.port async for endpoint in there.lookup("wiki")] == [80]

    run(test)

"""Guards against a plain model: whatever was asked, the node, the disk and the network end up with what it says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from dhtd.daemon.guards.judge import PAUSE_MAX
from dhtd.daemon.state.saved import HELD
from dhtd.errors import NotTracked, StateError
from dhtd.service.checks import TcpCheck
from dhtd.service.entries import DeleteRequest, EnterRequest
from tests.daemon.handlers.small_daemon import KEY, Client, Daemon, Disk, daemon, tracked
from tests.daemon.wire import Wire, joined
from tests.records import own_key

PORTS = (80, 81, 82)
LIVES, STEPS = 3, 25


@dataclass
class Model:
    """What is there, by port: entries without a guard, with a check, and with the clients that hold them."""

    plain: set[int] = field(default_factory=set)
    checked: set[int] = field(default_factory=set)
    held: dict[int, set[Client]] = field(default_factory=dict)

    def forget(self, port: int) -> None:
        self.plain.discard(port)
        self.checked.discard(port)
        self.held.pop(port, None)

    def leave(self, client: Client) -> None:
        for port, clients in list(self.held.items()):
            clients.discard(client)
            if not clients:
                del self.held[port]

    def entries(self) -> set[int]:
        return self.plain | self.checked | self.held.keys()

    def published(self, *, is_up: bool) -> set[int]:
        return self.entries() - (set() if is_up else self.checked)


QUICK = (*range(8), 20, 48, 68)  # the last ones had checks that failed while a client waited for the publication
SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(100, 200)]


@pytest.mark.parametrize("seed", [*QUICK, *SLOW])
async def test_guards_do_what_the_model_says(autojump_clock: MockClock, tmp_path: Path, seed: int) -> None:
    rng, model, disk, wire = Random(seed), Model(), Disk(), Wire()
    async with daemon(wire, tmp_path) as other:
        for _ in range(LIVES):
            clients: list[Client] = []
            async with daemon(wire, tmp_path, disk=disk) as one:
                await joined(one.driver, other.driver)
                for _ in range(STEPS):
                    await step(one, rng, model, clients)
                disk.failing = False
                one.service.is_up = rng.random() < 0.5
                await trio.sleep(2 * PAUSE_MAX)
                check(one, other, model)
            # A client goes with its connection, and so does its entry.
            model.held.clear()


async def step(one: Daemon, rng: Random, model: Model, clients: list[Client]) -> None:
    port, disk = rng.choice(PORTS), one.disk
    disk.steps = rng.choice([0, 3])
    match rng.choice(["plain", "check", "attach", "leave", "delete", "turn", "fail", "wait", "wait"]):
        case "plain":
            if await done(one, EnterRequest(KEY, port, wait=False)):
                model.forget(port)
                model.plain.add(port)
        case "check":
            every = rng.choice([1.0, 2.0])
            if await done(one, EnterRequest(KEY, port, check=TcpCheck(), every=every, wait=rng.random() < 0.5)):
                model.forget(port)
                model.checked.add(port)
        case "attach":
            client = rng.choice([Client(), *clients])
            if await done(one, EnterRequest(KEY, port, attached=True, wait=False), client):
                clients.append(client)
                holders = model.held.get(port, set())
                model.forget(port)
                model.held[port] = {*holders, client}
        case "leave" if clients:
            client = rng.choice(clients)
            disk.failing = False
            await client.end()
            model.leave(client)
        case "delete":
            if await done(one, DeleteRequest(KEY, port)):
                model.forget(port)
        case "turn":
            one.service.is_up = not one.service.is_up
        case "fail":
            disk.failing = not disk.failing
        case _:
            await trio.sleep(rng.choice([0.1, 1.0, 5.0]))


async def done(one: Daemon, request: EnterRequest | DeleteRequest, client: Client | None = None) -> bool:
    try:
        await one.ask(request, client or Client())
    except (StateError, NotTracked):
        return False
    return True


def check(one: Daemon, other: Daemon, model: Model) -> None:
    is_up = one.service.is_up
    published = model.published(is_up=is_up)
    assert {port for _, port in tracked(one.driver)} == published
    found = [held.record.endpoint for held in other.driver.node.store]  # and what earlier lives have left there
    assert {endpoint.port for endpoint in found if endpoint.host == one.at[0]} == published
    assert {port for _, port in one.disk.entries} == model.entries()
    assert {each: guard.passed for each, guard in one.disk.guards.items()} == {
        **{own_key(KEY, port): is_up for port in model.checked},
        **{own_key(KEY, port): True for port in model.held},
    }
    assert {each for each, guard in one.disk.guards.items() if guard == HELD} == {
        own_key(KEY, port) for port in model.held
    }

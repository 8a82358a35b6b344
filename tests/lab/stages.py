"""A stage on loopback, whose time passes as tests say: it stands still but for advances."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from dhtd.control.bound_socket import bind
from dhtd.lab.stage import Stage
from dhtd.lab.view import show
from dhtd.sim.plan import Plan
from tests.http.doors import Place

COMMAND = "dhtd simulate --nodes 30"
CALM = Plan(nodes=30, entries=10, lookups=50, duration=60.0, warm=True)


@dataclass
class Shown(Place):
    """A stage that is served."""

    stage: Stage

    async def passed(self, to: float) -> None:
        """Let time pass up to a moment, and wait for it."""
        self.stage.advance(to)
        with trio.fail_after(600):
            while self.stage.simulation.net.now < to and self.stage.state()["failed"] is None:
                await self.stage.news()

    async def get(self, path: str, **params: Any) -> Any:
        """Return what is at a path of the simulation."""
        async with self.client(token=None) as client:
            answer = await client.get(f"/v1/simulation{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, verb: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Return the answer to a request."""
        async with self.client(token=None) as client:
            return await client.request(verb, f"/v1/simulation{path}", json=body, **more)


@asynccontextmanager
async def shown(plan: Plan = CALM, *, to: float | None = None) -> AsyncIterator[Shown]:
    """Serve a stage at an address of the kernel's choice. Its time has passed up to `to`, or to the first lookup."""
    stage = Stage(plan, COMMAND)
    stage.set_speed(0.0)
    with bind("127.0.0.1:0", "--view") as listening:
        notes: list[str] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, stage, listening, notes.append)
            there = Shown([f"http://127.0.0.1:{listening.getsockname()[1]}"], notes, set(), stage)
            await there.passed(stage.simulation.asks_at if to is None else to)
            yield there
            nursery.cancel_scope.cancel()
    assert notes == []

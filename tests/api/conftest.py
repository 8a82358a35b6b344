"""Real nodes in this process, and both loops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import pytest

from dhtd.testing.networks import BlockingNetwork, testnet_blocking

DEADLINE = 60.0  # seconds; only a hang reaches it

Run = Callable[[Callable[[], Awaitable[Any]]], None]


@pytest.fixture(scope="module")
def net() -> Iterator[BlockingNetwork]:
    with testnet_blocking(3) as running:
        yield running


@pytest.fixture(params=["asyncio", "trio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a test under each loop."""

    def run(test: Callable[[], Awaitable[Any]]) -> None:
        async def in_time() -> None:
            with anyio.fail_after(DEADLINE):
                await test()

        anyio.run(in_time, backend=request.param)

    return run

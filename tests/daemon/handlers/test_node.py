"""Methods about the node and its network, between two nodes in memory: node-id and bootstrap."""

from __future__ import annotations

from pathlib import Path

import pytest
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint
from dhtd.errors import NoPeers, UnresolvableHost
from dhtd.service.node import BootstrapRequest, BootstrapResult, NodeIdRequest, NodeIdResult
from tests.daemon.handlers.small_daemon import NOBODY, daemon, matches, resolving
from tests.daemon.wire import Wire


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


async def test_node_id_tells_id_and_endpoints(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as alone:
        result = await alone.ask(NodeIdRequest())
        assert matches(result, NodeIdResult)
        assert result == {"node_id": alone.id, "endpoints": [alone.endpoint]}
        seen = Endpoint.parse("10.9.9.1:4321")
        alone.driver.node.external.vote(Endpoint.parse("10.9.9.9:1729"), seen, 0.0)
        assert await alone.ask(NodeIdRequest()) == {"node_id": alone.id, "endpoints": [str(seen)]}

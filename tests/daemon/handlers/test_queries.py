"""Methods that ask one other node: the answer, or why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.codec import IdRule
from dhtd.core.ids import Id
from dhtd.daemon.handlers.queries import HEAD_START
from dhtd.errors import Busy, InvalidEndpoint, NoPeers, NoPong, PeerRefused
from dhtd.service.entries import LookupRequest
from dhtd.service.node import BootstrapRequest
from dhtd.service.queries import (
    FindNodeRequest,
    FindNodeResult,
    FindValueRequest,
    FindValueResult,
    PingRequest,
    PingResult,
    StoreRequest,
)
from dhtd.wire.bep5 import TRAITS, Bep5Codec
from dhtd.wire.network_key import NetworkKey
from dhtd.wire.sealed import Seal
from tests.daemon.handlers.small_daemon import KEY, NOBODY, NOWHERE, daemon, matches, resolving, two
from tests.daemon.wire import POLICY, Wire


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


@pytest.mark.parametrize("id_rule", [TRAITS.id_rule, None])
async def test_nobody_there_is_said_for_mainline(
    id_rule: IdRule | None, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """What may be there has nothing to do with a rule for IDs."""
    codec = Bep5Codec()
    codec.traits = replace(TRAITS, id_rule=id_rule)
    async with daemon(Wire(codec), tmp_path) as one:
        with pytest.raises(NoPong, match=r"no node runs there, or a read-only one, or something between drops"):
            await one.ask(PingRequest(NOBODY))
        with pytest.raises(NoPeers, match=r", or --public-bootstrap$"):
            await one.ask(LookupRequest(Id(1)))


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

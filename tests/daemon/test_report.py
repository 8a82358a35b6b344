"""The daemon's reports about itself: whether it is in its network, and what is known while nobody answers."""

from __future__ import annotations

import socket
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.querying.branch import Branch
from dhtd.core.round_trips import RoundTrips
from dhtd.core.routing.overlay import Joining, Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.daemon.handlers.node import STATUS_AGE, STATUS_PATIENCE
from dhtd.daemon.handlers.queries import Queries
from dhtd.daemon.report import SLICE
from dhtd.errors import NoPeers, NoPong
from dhtd.service.entries import EnterRequest, LookupRequest
from dhtd.service.info import InfoRequest
from dhtd.service.node import NodeIdRequest, StatusRequest, StatusResult
from dhtd.service.queries import PingRequest
from dhtd.service.values import PutRequest
from tests.daemon.handlers.small_daemon import KEY, NOBODY, Daemon, daemon, hold, matches, two
from tests.daemon.wire import Wire, end_of
from tests.records import SESSION, hold_peer, own_key

OUTAGE = 60.0  # seconds; by then a node that has sent anything knows


async def state(of: Daemon) -> str:
    """Return the reported state of a node, after checking that all reports agree."""
    told = await of.ask(StatusRequest())
    assert matches(told, StatusResult)
    [family] = (await of.ask(InfoRequest("node")))["node"]["families"]
    assert (family["state"], family["since_s"]) == (told["state"], told["since_s"])
    assert told["families"] == {"ipv4": told["state"]}
    return str(told["state"])


async def standings(of: Daemon) -> list[str]:
    """Return the states of the contacts, after checking that all reports agree."""
    info = await of.ask(InfoRequest(None))
    members = [member["state"] for bucket in info["routing_table"]["buckets"] for member in bucket["members"]]
    counts = {each: members.count(each) for each in ("good", "questionable", "bad")}
    assert info["node"]["contacts"] == info["node"]["families"][0]["contacts"] == counts
    assert (await of.ask(StatusRequest()))["contacts"] == counts
    return members


async def test_two_nodes_tell_that_they_are_two(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await trio.sleep(60)
        for each in (one, other):
            node = (await each.ask(InfoRequest("node")))["node"]
            assert node["network_size"] == node["families"][0]["network_size"] == 2
            assert (await each.ask(StatusRequest()))["network_size"] == 2


async def quiet(of: Daemon) -> None:
    """Wait until nobody has answered a node for a while."""
    [overlay] = of.driver.node.overlays
    while overlay.state.heard_since(trio.current_time() - STATUS_AGE):  # noqa: ASYNC110 - on a virtual clock
        await trio.sleep(STATUS_AGE)


async def test_a_node_that_knows_nobody_is_alone(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as alone:
        assert await state(alone) == "alone"
        await trio.sleep(5)
        assert (await alone.ask(StatusRequest()))["since_s"] == 5.0


async def test_a_joining_node_becomes_silent(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        one.driver.node.start([Endpoint.of(*NOBODY)], trio.current_time())
        one.driver.flush()
        assert await state(one) == "joining"
        await trio.sleep(OUTAGE)
        assert await state(one) == "silent"


async def test_a_node_that_has_joined_says_since_when(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, _):
        assert await state(one) == "joined"
        await trio.sleep(7)
        told = await one.ask(StatusRequest())
        assert (told["since_s"], told["network"]) == (7.0, "open")
        assert await standings(one) == ["good"]


async def test_in_an_outage_nobody_is_said_to_be_good(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        end_of(other.driver)._wire.cut = True
        result = await one.ask(LookupRequest(KEY))
        assert (result["peers"], result["stats"]["responses"], result["complete"]) == ([], 0, False)
        assert await state(one) == "doubtful"
        assert await standings(one) == ["questionable"]
        await trio.sleep(OUTAGE)
        assert await state(one) == "silent"
        assert await standings(one) == ["questionable"]
        lost_for = (await one.ask(StatusRequest()))["since_s"]
        assert 0 < lost_for < OUTAGE
        with pytest.raises(NoPong, match="nobody answers this node at the moment, see dht status"):
            await one.ask(PingRequest(other.at))
        end_of(other.driver)._wire.cut = False
        await trio.sleep(10 * OUTAGE)
        assert await state(one) == "joined"
        assert await standings(one) == ["good"]


async def test_status_asks_after_a_silence(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await quiet(one)
        sent = one.driver.udp.counters.datagrams_sent
        assert await state(one) == "joined"
        assert await state(one) == "joined"
        assert one.driver.udp.counters.datagrams_sent == sent + 1
        await quiet(one)
        end_of(other.driver)._wire.cut = True
        began = trio.current_time()
        assert await state(one) == "doubtful"
        assert trio.current_time() - began <= 2 * STATUS_PATIENCE
        await trio.sleep(OUTAGE)
        assert await state(one) == "silent"


async def test_contacts_that_are_all_bad_are_not_nobody(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (one, _):
        monkeypatch.setattr(Branch, "_closest", lambda self, count: [])
        with pytest.raises(NoPeers, match=r"none of the nodes that this node knows \(1\) answers any more"):
            await one.ask(LookupRequest(KEY))


async def test_status_counts_entries(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(EnterRequest(KEY, 80, wait=True))
        other.driver.node.own_records.add(own_key(Id(8), 81))
        told = await one.ask(StatusRequest())
        keys = ("own_entries", "unheld_entries", "replicas", "held_entries")
        assert [told[key] for key in keys] == [1, 0, 1, 0]
        told = await other.ask(StatusRequest())
        assert [told[key] for key in keys] == [1, 1, 0, 1]
        node = (await other.ask(InfoRequest("node")))["node"]
        assert (node["own_entries"], node["unheld_entries"]) == (1, 1)


async def test_status_counts_values(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with two(tmp_path) as (one, other):
        await one.ask(PutRequest(b"hello"))
        assert (await one.ask(StatusRequest()))["values"] == {"own": 1, "unheld": 0, "held": 0, "held_bytes": 0}
        assert (await other.ask(StatusRequest()))["values"] == {"own": 0, "unheld": 0, "held": 1, "held_bytes": 128}


async def test_the_age_of_an_entry_is_that_of_its_lease(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A renewal begins it anew. A lease ends on a full second, so it begins on one too."""
    async with daemon(Wire(), tmp_path) as one:
        node, at = one.driver.node, one.driver.udp.listening()[0]
        await trio.sleep(0.3)
        hold_peer(node.store, KEY, at, trio.current_time(), lease=60)
        [held] = (await one.ask(InfoRequest("store")))["store"]
        assert (held["age_s"], held["expires_in_s"]) == (0.3, 59.7)
        await trio.sleep(30)
        [held] = (await one.ask(InfoRequest("store")))["store"]
        assert (held["age_s"], held["expires_in_s"]) == (30.3, 29.7)
        assert node.store.renew(at.ip, SESSION, 90, trio.current_time())
        [held] = (await one.ask(InfoRequest("store")))["store"]
        assert (held["age_s"], held["expires_in_s"]) == (0.3, 89.7)


async def test_unfinished_lists_are_labelled(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        assert not (await one.ask(StatusRequest()))["restoring"]
        one.report.is_restoring = lambda: True
        assert (await one.ask(StatusRequest()))["restoring"]
        assert (await one.ask(InfoRequest("node")))["node"]["restoring"]


async def test_a_wildcard_is_not_reachable(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with daemon(Wire(), tmp_path) as alone:
        bound = [Endpoint.of("0.0.0.0", 1729), Endpoint.of("::", 1729), Endpoint.of("10.0.0.1", 1730)]
        monkeypatch.setattr(alone.driver.udp, "listening", lambda: bound)
        told = await alone.ask(StatusRequest())
        assert told["listening"] == ["0.0.0.0:1729", "[::]:1729", "10.0.0.1:1730"]
        assert told["endpoints"] == ["10.0.0.1:1730"]
        assert (await alone.ask(NodeIdRequest()))["endpoints"] == ["10.0.0.1:1730"]


async def test_a_round_trip_is_told_once_measured(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (one, _):
        monkeypatch.setattr(RoundTrips, "add", lambda self, rtt: None)
        [contact] = one.driver.node.overlays.contacts()
        record = one.driver.node.overlays.first.state.meta.get(contact.id)
        for rtt, told in ((None, None), (0.0125, 12.5)):
            record.round_trips.mean = rtt
            [member] = (await one.ask(InfoRequest("routing_table")))["routing_table"]["buckets"][0]["members"]
            assert member["rtt_ms"] == told


async def test_a_link_local_address_has_its_link(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with daemon(Wire(), tmp_path) as one:
        ours = Endpoint.parse("[fe80::7]:1729")
        one.driver.udp.zones.named(ours, socket.if_nametoindex("lo"))
        one.driver.node.external.vote(Endpoint.parse("[fe80::9]:1729"), ours, trio.current_time())
        told = (await one.ask(InfoRequest("node")))["node"]
        assert told["observed"] == {"[fe80::7%lo]:1729": 1}
        assert told["endpoints"] == ["[fe80::7%lo]:1729"]


async def test_a_ping_by_a_lost_family_says_so(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (one, other):
        node = one.driver.node
        [four], six = node.overlays, Overlay(Family.IPV6, node.own_id, node.codec, Random(1), node.policy, 0.0)
        six.joining, four.joining = Joining.CONNECTED, Joining.SILENT
        monkeypatch.setattr(node, "overlays", Overlays([four, six]))
        why = Queries(one.driver)._why_silent([Endpoint.of(*other.at)])
        assert why == "nobody answers this node by IPv4 at the moment, see dht status"
        monkeypatch.undo()


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

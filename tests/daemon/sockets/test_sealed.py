"""Private networks of real drivers, in memory: members have the key, others are deaf and mute, and keys can change."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, LookupDone, Published, Unanswered, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode, FindValue, Ping, Request
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.daemon.driver import Driver
from dhtd.daemon.sockets.unsealing import COMPLAIN_INTERVAL, difference
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC, QUERY, REPLY
from dhtd.wire.network_key import KEY_SIZE, NetworkKey
from dhtd.wire.sealed import MAGIC as SEALED
from dhtd.wire.sealed import OVERHEAD, Seal
from tests.daemon.wire import POLICY, Sealing, Wire, end_of, joined
from tests.records import hold_peer, to_store
from tests.wire.vectors import VECTORS

OLD, NEW, FOREIGN = (NetworkKey(bytes([number]) * KEY_SIZE) for number in (1, 2, 3))
SEALED_POLICY = replace(POLICY, datagram_sent_max=POLICY.datagram_sent_max - OVERHEAD)
STRANGER = Endpoint.parse("10.8.8.8:1729")
KEY = Id(7)
QUIET = 610.0  # seconds after which a small network has looked itself up often enough to say nothing for a while


def seal(*keys: NetworkKey, seed: float = 0) -> Sealing:
    return lambda own: Seal(keys, own, Random(seed), trio.current_time())


@asynccontextmanager
async def swarm(wire: Wire, size: int, *keys: NetworkKey) -> AsyncIterator[list[Driver]]:
    """Run some nodes with a key, all joined."""
    async with AsyncExitStack() as stack:
        drivers = [
            await stack.enter_async_context(wire.driver(SEALED_POLICY, seal(*keys, seed=number)))
            for number in range(size)
        ]
        for driver in drivers[1:]:
            await joined(driver, drivers[0])
        await trio.sleep(QUIET)
        yield drivers


async def hears(driver: Driver, other: Driver) -> bool:
    with driver.begin(lambda now: driver.node.commands.ping(other.udp.listening()[0], now)) as ping:
        return isinstance(await ping.event(), Answered)


async def found_by(driver: Driver, key: Id) -> Sequence[Endpoint]:
    with driver.begin(lambda now: driver.node.commands.lookup(key, now)) as lookup:
        while not isinstance(event := await lookup.event(), LookupDone):
            pass
        return event.endpoints


def inside(node: Node) -> dict[str, Any]:
    """Return the node's knowledge and its counters."""
    return {
        "counters": deepcopy(asdict(node.counters)),
        "contacts": list(node.state.table),
        "waiting": dict(node.state._line._newcomers),
        "records": {
            contact.id: (record.heard_at, record.timeouts, record.reachable)
            for contact in node.state.table
            for record in [node.state.meta.get(contact.id)]
        },
        "held": list(node.store),
        "in flight": len(node.requester.transactions),
        "strangers": len(node.strangers.pings),
        "deadline": node.poll_timeout(),
        "limited": dict(node.gate.limit._due),
        "votes": node.external.endpoints(),
    }


async def test_members_find_each_other_under_seal(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with swarm(wire, 3, OLD) as (one, two, three):
        with one.begin(lambda now: one.node.commands.enter(KEY, 80, now)) as enter:
            event = await enter.event()
            assert isinstance(event, Published)
            assert len(event.replicas) == 2
        for driver in (two, three):
            assert await found_by(driver, KEY) == (one.udp.listening()[0].with_port(80),)
        sent = [data for driver in (one, two, three) for data, _ in end_of(driver).sent]
        assert len(sent) > 20
        assert all(data.startswith(SEALED) and MAGIC not in data for data in sent)
        assert sum(driver.udp.counters.unopened for driver in (one, two, three)) == 0
        assert len({data[4:28] for data in sent}) == len(sent)


@pytest.mark.parametrize("keys", [(), (FOREIGN,)], ids=["no key", "another key"])
async def test_without_the_key_a_node_is_deaf_and_mute(autojump_clock: MockClock, keys: tuple[NetworkKey, ...]) -> None:
    wire = Wire()
    async with (
        swarm(wire, 2, OLD) as (one, two),
        wire.driver(POLICY, seal(*keys) if keys else None) as outside,
    ):
        before, sent = inside(one.node), len(end_of(one).sent)
        assert not await hears(outside, one)
        await joined(outside, two)
        assert len(outside.node.state.table) == 0
        assert inside(one.node) == before
        assert len(end_of(one).sent) == sent
        assert one.udp.counters.unopened == POLICY.ping_attempts
        assert not await hears(one, outside)
        refused = outside.node.counters.malformed + outside.udp.counters.unopened
        assert refused == POLICY.ping_attempts
        assert len(end_of(outside).sent) == 2 * POLICY.ping_attempts
        assert await hears(one, two)


async def test_garbage_changes_one_counter_only(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire()
    rng = Random(1)
    async with swarm(wire, 2, OLD) as (one, two):
        caplog.set_level(logging.DEBUG, "dhtd")
        caplog.clear()
        before, sent, counted = inside(one.node), len(end_of(one).sent), asdict(one.udp.counters)
        own = one.node.own_id
        valid = seal(OLD)(own).seal_query(VECTORS["ping"].data, own, trio.current_time())
        kinds = [
            lambda: rng.randbytes(rng.randrange(1_500)),
            lambda: SEALED + rng.randbytes(rng.randrange(200)),
            lambda: rng.choice(list(VECTORS.values())).data,
            lambda: NativeCodec().encode_query(rng.randbytes(8), two.node.own_id, Ping()),
            lambda: seal(FOREIGN, seed=rng.random())(own).seal_answer(VECTORS["ping"].data),
            lambda: valid[: rng.randrange(len(valid))],
            lambda: valid + rng.randbytes(1),
        ]
        for number in range(10_000):
            source = two.udp.listening()[0] if number % 2 else STRANGER
            end_of(one).deliver(kinds[number % len(kinds)](), source)
        await wait_all_tasks_blocked()
        received = counted["datagrams_received"] + 10_000, one.udp.counters.bytes_received
        traffic = dict(zip(("datagrams_received", "bytes_received"), received, strict=True))
        assert asdict(one.udp.counters) == {**counted, **traffic, "unopened": 10_000}
        assert inside(one.node) == before
        assert len(end_of(one).sent) == sent
        assert caplog.records == []
        assert await hears(two, one)


async def caught_in(wire: Wire, drivers: Sequence[Driver]) -> list[tuple[bytes, Endpoint, Endpoint]]:
    """Have nodes send every kind of message; return each datagram with its source and its destination."""
    one, two, _ = drivers
    for driver, port in (one, 80), (two, 90):
        with driver.begin(partial(driver.node.commands.enter, KEY, port)) as enter:
            assert isinstance(await enter.event(), Published)
    with one.begin(lambda now: one.node.commands.delete(KEY, 80, now)[0]) as delete:
        assert isinstance(await delete.event(), Withdrawn)
    with two.begin(lambda now: two.node.commands.delete(KEY, 90, now)[0]) as delete:
        assert isinstance(await delete.event(), Withdrawn)
    with two.begin(partial(two.node.commands.enter, KEY, 90)) as enter:
        assert isinstance(await enter.event(), Published)
    return [(data, end_of(driver).endpoint, to) for driver in drivers for data, to in end_of(driver).sent]


def refused(driver: Driver) -> int:
    counters = driver.udp.counters
    return counters.replayed + counters.misdirected + counters.out_of_time + driver.node.counters.unmatched


async def test_any_replay_meets_silence(autojump_clock: MockClock, figure: Callable[[str, object], None]) -> None:
    """Without the key, an attacker can only repeat the datagrams of others."""
    wire = Wire()
    async with swarm(wire, 3, OLD) as drivers:
        caught = await caught_in(wire, drivers)
        before = [(len(end_of(driver).sent), inside(driver.node), refused(driver)) for driver in drivers]
        for data, source, to in caught:
            for driver in drivers:
                for forged in (source, to, STRANGER):
                    end_of(driver).deliver(data, forged)
        await wait_all_tasks_blocked()
        for driver, (sent, known, refusals) in zip(drivers, before, strict=True):
            assert len(end_of(driver).sent) == sent
            assert refused(driver) - refusals == 3 * len(caught)
            after = inside(driver.node)
            known["counters"]["unmatched"] = after["counters"]["unmatched"]
            assert after == known
            counters = driver.udp.counters
            assert min(counters.replayed, counters.misdirected, counters.out_of_time) > 0
        assert [driver.udp.counters.unopened for driver in drivers] == [0, 0, 0]
        found = [await found_by(driver, KEY) for driver in drivers]
        assert found == [(drivers[1].udp.listening()[0].with_port(90),)] * 3
        figure("datagrams that were sent again and changed nothing", 9 * len(caught))


async def test_a_restarted_node_ignores_old_datagrams(autojump_clock: MockClock) -> None:
    wire = Wire()
    async with swarm(wire, 3, OLD) as drivers:
        caught = await caught_in(wire, drivers)
        one = drivers[0]
        assert one.seal is not None
        await trio.sleep(1)
        one.seal = seal(OLD, seed=99)(one.node.own_id)  # which remembers no nonce
        sent, accepted = len(end_of(one).sent), sum(one.node.counters.queries_received.values())
        for data, source, _ in caught:
            end_of(one).deliver(data, source)
        await wait_all_tasks_blocked()
        assert len(end_of(one).sent) == sent
        assert sum(one.node.counters.queries_received.values()) == accepted


async def test_a_caught_ping_is_answered_once_a_member(
    autojump_clock: MockClock,
) -> None:
    """A limit in dht-security(7): nobody's ID is in it."""
    wire = Wire()
    async with swarm(wire, 3, OLD) as (one, two, three):
        assert await hears(one, two)
        ping = end_of(one).sent[-1][0]
        sent = len(end_of(three).sent)
        for _ in range(3):
            end_of(three).deliver(ping, STRANGER)
            end_of(two).deliver(ping, STRANGER)
        await wait_all_tasks_blocked()
        sent_there = [data for data, to in end_of(three).sent[sent:] if to == STRANGER]
        assert three.seal is not None
        kinds = [three.seal.decrypt(data)[5] for data in sent_there]  # type: ignore[index]
        assert kinds == [REPLY, QUERY]  # the answer, and whether the sender is there itself
        assert STRANGER not in [to for _, to in end_of(two).sent]
        assert (two.udp.counters.replayed, three.udp.counters.replayed) == (3, 2)


async def test_a_delayed_query_stores_nothing(
    autojump_clock: MockClock,
) -> None:
    """A limit in dht-security(7): the source is not in the seal, but it is in the token."""
    wire = Wire()
    async with swarm(wire, 2, OLD) as (one, two):
        with one.begin(partial(one.node.commands.enter, KEY, 80)) as enter:
            assert isinstance(await enter.event(), Published)
        ours = end_of(one)
        at = len(ours.sent)
        ours._wire.cut = True
        with one.begin(lambda now: one.node.commands.delete(KEY, 80, now)[0]) as delete:
            assert isinstance(await delete.event(), Withdrawn)
        ours._wire.cut = False
        kept = [data for data, _ in ours.sent[at:]]
        assert kept
        held, sent = list(two.node.store), len(end_of(two).sent)
        for data in kept:
            end_of(two).deliver(data, STRANGER)
        await wait_all_tasks_blocked()
        assert STRANGER in [to for _, to in end_of(two).sent[sent:]]
        assert list(two.node.store) == held


@pytest.mark.parametrize("ahead", [-5 * 3600.0, 5 * 3600.0])
async def test_a_wrong_clock_is_counted_and_reported(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, ahead: float
) -> None:
    wire = Wire()
    async with wire.driver(SEALED_POLICY, seal(OLD)) as one, wire.driver(SEALED_POLICY, seal(OLD, seed=1)) as two:
        await trio.sleep(6 * 3600)
        two.wall = lambda: trio.current_time() + ahead
        caplog.set_level(logging.WARNING, "dhtd")
        caplog.clear()
        for _ in range(3):
            assert not await hears(two, one)
        assert one.udp.counters.out_of_time == 3 * POLICY.ping_attempts
        [record] = caplog.records
        source, when = two.udp.listening()[0], "5 h ahead" if ahead > 0 else "5 h ago"
        assert record.getMessage().startswith(
            f"a query from {source} was sealed {when} by our clock, and is not answered"
        )
        assert "set the clock there or here" in record.getMessage()
        await trio.sleep(COMPLAIN_INTERVAL)
        assert not await hears(two, one)
        assert len(caplog.records) == 2
        two.wall = trio.current_time
        assert await hears(two, one)


async def test_an_unanswered_node_asks_about_its_key(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "dhtd")
    async with Wire().driver(SEALED_POLICY, seal(OLD)) as alone:
        alone.node.start([STRANGER], alone.clock())
        alone.flush()
        await trio.sleep(3)
    assert [message.endswith("has it our network key, do the clocks agree?") for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("ahead", "words"),
    [
        (301.0, "5 min ahead"),
        (-3_600.0, "1 h ago"),
        (-5 * 3600 - 180.0, "5 h 3 min ago"),
        (86_400.0 * 400 + 60, "400 d 1 min ahead"),
    ],
)
def test_a_difference_of_clocks_is_said_in_words(ahead: float, words: str) -> None:
    assert difference(ahead) == words


async def test_a_key_change_loses_no_contact(autojump_clock: MockClock) -> None:
    """Each step at one node after another: the new key opens, then it seals, then it is alone."""
    wire = Wire()
    async with swarm(wire, 4, OLD) as drivers:
        with drivers[0].begin(lambda now: drivers[0].node.commands.enter(KEY, 80, now)) as enter:
            await enter.event()
        entered = (drivers[0].udp.listening()[0].with_port(80),)
        for keys in [(OLD, NEW), (NEW, OLD), (NEW,)]:
            for driver in drivers:
                assert driver.seal is not None
                driver.seal.change(keys)
                for asking in drivers:
                    assert await found_by(asking, KEY) == entered
                    assert all([await hears(asking, other) for other in drivers if other is not asking])
                await trio.sleep(20 * 60)  # refreshes, publications, pings: everything that a node does by itself
        assert [driver.udp.counters.unopened for driver in drivers] == [0] * 4
        assert [driver.node.counters.timeouts for driver in drivers] == [0] * 4
        assert [len(driver.node.state.table) for driver in drivers] == [3] * 4
        outdated = await outcome_of_old_key(wire, drivers[0])
        assert isinstance(outdated, Unanswered)


async def outcome_of_old_key(wire: Wire, driver: Driver) -> object:
    async with wire.driver(SEALED_POLICY, seal(OLD)) as outside:
        with outside.begin(lambda now: outside.node.commands.ping(driver.udp.listening()[0], now)) as ping:
            return await ping.event()


async def test_a_step_skipped_does_lose_contact(autojump_clock: MockClock) -> None:
    """The effect of a wrong change of keys on the test before this one."""
    wire = Wire()
    async with swarm(wire, 2, OLD) as (one, two):
        assert one.seal is not None
        one.seal.change((NEW, OLD))  # before the other opens it
        assert not await hears(one, two)
        assert two.udp.counters.unopened == POLICY.ping_attempts


def largest_answers(policy: Policy) -> list[int]:
    """Return the sizes of answers to find queries, sealed, by a node with more to say than fits."""
    node = Node(Id(1), NativeCodec(), rng=Random(1), now=0.0, policy=policy)
    for number in range(500):
        hold_peer(node.store, KEY, Endpoint.of(f"10.1.{number // 250}.{1 + number % 250}", 80), 0.0)
    sizes = []
    requests: list[Request] = [FindValue(KEY), FindNode(KEY), Ping()]
    codec, tid = NativeCodec(), 0
    while requests:
        request = requests.pop(0)
        tid += 1
        answer = node.handle_datagram(codec.encode_query(tid.to_bytes(8, "big"), Id(2), request), STRANGER, 0.0)
        assert answer is not None
        sizes.append(len(Seal([OLD], Id(1), Random(1), 0.0).seal_answer(answer)))
        if isinstance(request, FindValue) and request.token is None:
            reply = codec.decode(answer)
            token = codec.decode_result(request, reply.body).token  # type: ignore[union-attr]
            assert token
            requests += [FindValue(KEY, token), to_store(KEY, 80, token)]
    return sizes


def test_a_sealed_datagram_fits_the_limit() -> None:
    sizes = largest_answers(SEALED_POLICY)
    assert DEFAULT.datagram_sent_max - 19 < max(sizes) <= DEFAULT.datagram_sent_max == 1_200
    assert max(largest_answers(POLICY)) > 1_200

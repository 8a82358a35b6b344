"""When the network is asked, how long that counts, and what is said while nobody answers."""

from __future__ import annotations

from math import inf
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import pytest
import trio
from trio.testing import MockClock

from dhtd.core.ids import MAINLINE
from dhtd.dns import finding, known
from dhtd.dns.finding import Finder
from dhtd.dns.known import Answers, Known, Names
from dhtd.dns.records import Place
from dhtd.dns.wire import Answer
from dhtd.errors import Busy
from dhtd.service.door import House
from tests.dns import doors
from tests.dns.doors import WIKI, World, opened, texts

NAME = "wiki.dht.alt"
OTHER = "10.9.9.9:1"


def wiki(**more: object) -> World:
    return World({"wiki": [WIKI]}, **more)  # type: ignore[arg-type]


async def test_a_second_answer_is_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        ttls = []
        for _ in range(3):
            answer = await door.ask(NAME)
            ttls.append(answer.answer[0].ttl)
            await trio.sleep(6)
    assert len(world.lookups) == 1
    assert ttls == [20, 14, 8]


async def test_all_types_share_a_lookup(tmp_path: Path) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        for kind in ("A", "AAAA", "SRV", "TXT", "MX"):
            await door.ask(NAME, kind)
        await door.ask(f"_http._tcp.{NAME}", "SRV")
    assert len(world.lookups) == 1


async def test_questions_at_once_share_a_lookup(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(takes=1.0)
    async with opened(tmp_path, world) as door, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(door.ask, NAME)
    assert len(world.lookups) == 1


async def test_what_is_kept_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await door.ask(NAME)
        await trio.sleep(known.TTL + 0.1)
        world.entries["wiki"] = [OTHER]
        assert texts(await door.ask(NAME)) == ["10.9.9.9"]
    assert len(world.lookups) == 2


async def test_a_name_is_looked_up_ahead_of_its_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await door.ask(NAME)
        await trio.sleep((1 - known.AHEAD) * known.TTL + 0.1)
        world.takes = 3.0
        world.entries["wiki"] = [OTHER]
        for _ in range(2):
            assert texts(await door.ask(NAME)) == ["10.1.2.3"], "nobody waits for it"
        await trio.sleep(4)
        answer = await door.ask(NAME)
    assert texts(answer) == ["10.9.9.9"]
    assert answer.answer[0].ttl == 19
    assert len(world.lookups) == 2


async def test_a_failure_ahead_leaves_what_is_known(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await door.ask(NAME)
        await trio.sleep((1 - known.AHEAD) * known.TTL + 0.1)
        world.is_out = True
        for _ in range(3):
            answer = await door.ask(NAME)
            assert answer.answer[0].ttl <= known.AHEAD * known.TTL
            await trio.sleep(1)
        await trio.sleep(known.AHEAD * known.TTL)
        assert (await door.ask(NAME)).rcode() == dns.rcode.SERVFAIL


# How long a question waits


@pytest.mark.parametrize(
    ("takes", "first_after", "answered_after", "rcode"),
    [
        (0.5, None, 0.5, dns.rcode.NOERROR),
        (1.7, None, 1.7, dns.rcode.NOERROR),
        (9.0, 0.1, 0.4, dns.rcode.NOERROR),
        (0.2, 0.1, 0.2, dns.rcode.NOERROR),
        (9.0, 1.7, 1.8, dns.rcode.NOERROR),
        (9.0, 3.0, 1.8, dns.rcode.SERVFAIL),
        (9.0, None, 1.8, dns.rcode.SERVFAIL),
    ],
)
async def test_the_first_answer_comes_within_two_seconds(
    tmp_path: Path,
    autojump_clock: MockClock,
    takes: float,
    first_after: float | None,
    answered_after: float,
    rcode: int,
) -> None:
    world = wiki(takes=takes, first_after=first_after)
    async with opened(tmp_path, world) as door:
        began = trio.current_time()
        answer = await door.ask(NAME)
        assert trio.current_time() - began == pytest.approx(answered_after)
        assert answer.rcode() == rcode
        if rcode == dns.rcode.NOERROR and takes > answered_after:
            assert answer.answer[0].ttl <= 1, "there may be more"
        await trio.sleep(10)
        assert (await door.ask(NAME)).answer[0].ttl > 1
    assert len(world.lookups) == 1


async def test_who_comes_late_to_a_lookup_is_answered_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(takes=9.0, first_after=0.1)
    async with opened(tmp_path, world) as door:
        await door.ask(NAME)
        await trio.sleep(1.5)
        began = trio.current_time()
        assert texts(await door.ask(NAME)) == ["10.1.2.3"]
        assert trio.current_time() - began <= finding.SETTLE + 0.001


# What is said where there is nothing


@pytest.mark.parametrize(
    ("complete", "responses", "timeouts", "rcode"),
    [
        (True, 8, 0, dns.rcode.NXDOMAIN),
        (True, 1, 0, dns.rcode.NXDOMAIN),
        (True, 8, 7, dns.rcode.NXDOMAIN),
        (True, 8, 8, dns.rcode.SERVFAIL),
        (True, 0, 0, dns.rcode.SERVFAIL),
        (False, 8, 0, dns.rcode.SERVFAIL),
    ],
)
async def test_only_a_network_that_answers_has_no_name(
    tmp_path: Path, complete: bool, responses: int, timeouts: int, rcode: int
) -> None:
    world = World(complete=complete, responses=responses, timeouts=timeouts)
    async with opened(tmp_path, world) as door:
        answer = await door.ask("nobody.dht.alt")
        assert (answer.rcode(), texts(answer)) == (rcode, [])
        assert len(answer.authority) == (rcode == dns.rcode.NXDOMAIN)


async def test_nothing_counts_for_a_moment_only(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World()
    async with opened(tmp_path, world) as door:
        for _ in range(3):
            answer = await door.ask(NAME)
            assert answer.rcode() == dns.rcode.NXDOMAIN
            assert answer.authority[0].ttl <= known.NEGATIVE_FOR
        world.entries["wiki"] = [WIKI]
        await trio.sleep(known.NEGATIVE_FOR)
        assert texts(await door.ask(NAME)) == ["10.1.2.3"]
    assert len(world.lookups) == 2


async def test_a_failure_is_told_and_soon_tried_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(is_out=True)
    async with opened(tmp_path, world) as door:
        for _ in range(5):
            answer = await door.ask(NAME)
            assert (answer.rcode(), answer.authority) == (dns.rcode.SERVFAIL, [])
        assert len(world.lookups) == 1
        world.is_out = False
        await trio.sleep(known.FAILED_FOR)
        assert texts(await door.ask(NAME)) == ["10.1.2.3"]


async def test_what_few_nodes_tell_counts_less(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(complete=False, responses=3, timeouts=5)
    async with opened(tmp_path, world) as door:
        assert (await door.ask(NAME)).answer[0].ttl == known.IN_PART_FOR
        for _ in range(3):
            await door.ask(NAME)
        assert len(world.lookups) == 1


async def test_endpoints_that_are_too_many_count_as_others_do(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, wiki(complete=False)) as door:
        assert (await door.ask(NAME)).answer[0].ttl == known.TTL


async def test_a_busy_node_and_a_defect_are_failures(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(defect=Busy("too much"))
    async with opened(tmp_path, world) as door:
        assert (await door.ask(NAME)).rcode() == dns.rcode.SERVFAIL
        assert door.notes == []
        world.defect = ZeroDivisionError()
        await trio.sleep(known.FAILED_FOR)
        assert (await door.ask(NAME)).rcode() == dns.rcode.SERVFAIL
    assert door.notes == ["a lookup for DNS failed"]


# Watches


async def heat(door: doors.Place) -> None:
    """Ask often enough that the name is watched."""
    for _ in range(finding.HOT):
        await door.ask(NAME)
    await trio.sleep((1 - known.AHEAD) * known.TTL + 0.1)
    await door.ask(NAME)
    await trio.sleep(0.1)


async def test_a_hot_name_is_watched(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await heat(door)
        assert len(world.watches) == 1
        await world.tell("wiki", [WIKI])
        for _ in range(6):
            await trio.sleep(17)
            answer = await door.ask(NAME)
            assert (texts(answer), answer.answer[0].ttl) == (["10.1.2.3"], known.TTL)
        await world.tell("wiki", [OTHER])
        assert texts(await door.ask(NAME)) == ["10.9.9.9"]
        assert len(world.lookups) == 1, "a watch needs none"


async def test_a_watch_without_endpoints_makes_a_lookup(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await heat(door)
        await world.tell("wiki", [WIKI])
        world.entries.clear()
        await world.tell("wiki", [])
        assert (await door.ask(NAME)).rcode() == dns.rcode.NXDOMAIN
        assert len(world.lookups) == 2
        await trio.sleep(0.1)
        await world.tell("wiki", [OTHER])
        assert texts(await door.ask(NAME)) == ["10.9.9.9"]


async def test_a_watch_that_nobody_vouches_for_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await heat(door)
        await world.tell("wiki", [WIKI])
        world.is_out = True
        await world.tell("wiki", [WIKI], holders=0)
        await trio.sleep(1)
        assert world.watches == {}
        assert (await door.ask(NAME)).answer[0].ttl == known.TTL - 1
        await trio.sleep(known.TTL)
        assert (await door.ask(NAME)).rcode() == dns.rcode.SERVFAIL


async def test_a_watch_ends_when_nobody_asks(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki()
    async with opened(tmp_path, world) as door:
        await heat(door)
        await world.tell("wiki", [WIKI])
        await trio.sleep(finding.IDLE + known.TTL + 1)
        assert world.watches == {}
        await trio.sleep(known.TTL)
        await door.ask(NAME)
    assert len(world.lookups) == 2


async def test_watches_are_bounded(tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "WATCHES_MAX", 0)
    world = wiki()
    async with opened(tmp_path, world) as door:
        await heat(door)
        assert world.watches == {}
    assert len(world.lookups) == 2


async def test_the_mainline_network_has_no_watches(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = wiki(keyspace=MAINLINE)
    async with opened(tmp_path, world, keyspace=MAINLINE) as door:
        await heat(door)
        assert world.watches == {}
    assert len(world.lookups) == 2


# Bounds


async def test_lookups_under_way_are_bounded(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World(takes=1.0)
    async with opened(tmp_path, world) as door, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(door.ask, f"a{number}.dht.alt")
        await trio.sleep(0.5)
        assert len(world.lookups) == finding.AT_ONCE
        await trio.sleep(60)
        assert len(world.lookups) <= 3 * finding.AT_ONCE, "nobody waits for the others any more"


async def test_lookups_have_a_rate(tmp_path: Path, autojump_clock: MockClock) -> None:
    world = World()
    async with opened(tmp_path, world) as door, trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(door.ask, f"a{number}.dht.alt")
        await trio.sleep(0.001)
        assert len(world.lookups) == pytest.approx(finding.BURST, abs=1)
        await trio.sleep(1)
        assert len(world.lookups) == pytest.approx(min(200, finding.SEARCHES_MAX), abs=1)


async def test_too_many_searches_are_failures() -> None:
    world = World(takes=1_000.0)
    async with trio.open_nursery() as nursery:
        finder = Finder(House(world, world.keyspace, lambda text: False, lambda text: None), nursery)
        finder.searches = finding.SEARCHES_MAX
        with pytest.raises(finding.UnansweredError):
            await finder.find(world.id("wiki"))
        assert finder.names.of(world.id("wiki")).search is None


def test_names_are_forgotten() -> None:
    names: Names[object, object] = Names(3)
    ids = [World().id(str(number)) for number in range(5)]
    names.of(ids[0]).watch = object()
    names.of(ids[1]).search = object()
    names.of(ids[2]).waiting = 1
    for id in ids[3:]:
        names.of(id)
    assert len(names) == 4, "three cannot be forgotten"
    assert names.of(ids[0]).watch is not None
    assert names.of(ids[1]).search is not None
    assert names.of(ids[2]).waiting == 1


def test_a_name_that_is_forgotten_leaves_no_endpoints() -> None:
    names: Names[object, object] = Names(1)
    first = names.of(World().id("1"))
    first.learn(Known(first.id, [Place.of(WIKI)], 9.0))
    known = first.known
    names.of(World().id("2"))
    assert (known.places, known.until) == ((), -inf)


def test_answers_are_bounded_by_their_size() -> None:
    answers, one = Answers(size_max=5_000), Answer(0, ())
    for number in range(100):
        answers.keep(b"%d" % number, one, Known(None, (), 0.0))
        answers.keep(b"%d" % number, one, Known(None, (), 0.0))
    assert answers.size <= 5_000
    assert answers.size == sum(len(key) + len(one) for key in answers.by_key)
    assert b"99" in answers.by_key
    assert b"0" not in answers.by_key


async def test_endpoints_of_a_name_are_bounded(tmp_path: Path) -> None:
    many = [f"10.{number >> 8}.{number & 255}.1:1" for number in range(1_000)]
    world = World({"wiki": many}, first_after=0.0)
    async with opened(tmp_path, world) as door:
        assert (await door.ask(NAME)).flags & dns.flags.TC

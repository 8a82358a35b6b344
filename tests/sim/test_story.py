"""The latest events of a network in words: every kind of message, every deadline, and the node of each."""

from __future__ import annotations

import re
from collections import deque

import pytest

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    Changed,
    Contact,
    FindNode,
    FindValue,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Request,
    Watch,
)
from dhtd.core.records import Immutable, Value
from dhtd.sim import story
from dhtd.sim.liars import Mute
from dhtd.sim.links import Nat
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.simulation import Simulation
from tests.records import SESSION, to_store, to_withdraw
from tests.values import by_owner

ASKER, OTHER, KEY = Id(0xAA << 248), Id(0xBB << 248), Id(0xCC << 248)
TID = bytes.fromhex("0102030405060708")
HERE, THERE = Endpoint.of("10.0.0.0", 1729), Endpoint.of("10.0.0.1", 1729)
TOKEN = b"12345678"
FIXED, SIGNED = Immutable(b"foo"), by_owner(8)  # their keys begin with 2c26b46b and 139e3940


def told(net: Network, data: bytes) -> str:
    """Return the story's words for a datagram."""
    net.latest.append((1, 0.5, HERE, THERE, data))
    return story.tell(net).moments[-1].message


REQUESTS: dict[str, tuple[Request, str]] = {
    "ping": (Ping(), "asks ping"),
    "find_node": (FindNode(KEY), "asks find_node cc000000"),
    "find_node with a token": (FindNode(KEY, TOKEN), "asks find_node cc000000, showing a token"),
    "find_value": (FindValue(KEY), "asks find_value cc000000"),
    "find_value with a token": (FindValue(KEY, TOKEN), "asks find_value cc000000, showing a token"),
    "store": (to_store(KEY, 80, TOKEN), "asks store cc000000 port 80"),
    "withdraw": (to_withdraw(KEY, 80, TOKEN), "asks withdraw cc000000 port 80"),
    "renew": (Renew(SESSION, 60, TOKEN), "asks renew for 60 s"),
    "watch": (Watch(KEY, TOKEN, 60, SESSION), "asks watch cc000000"),
    "get": (Get(KEY), "asks get cc000000"),
    "get with a token": (Get(KEY, TOKEN), "asks get cc000000, showing a token"),
    "get of a newer one": (Get(KEY, None, 7), "asks get cc000000, newer than 7"),
    "get of the rest": (Get(KEY, TOKEN, 7), "asks get cc000000, newer than 7, showing a token"),
    "put": (Put(KEY, TOKEN, FIXED, None, 60), "asks put 2c26b46b for 60 s: a value of 3 bytes"),
    "put of a signed value": (
        Put(KEY, TOKEN, SIGNED, None, 86_400),
        "asks put 139e3940 for 86400 s: value 8 of 4 bytes",
    ),
    "put in place of another": (
        Put(KEY, TOKEN, SIGNED, 7, 60),
        "asks put 139e3940 for 60 s: value 8 of 4 bytes, in place of 7",
    ),
    "changed": (Changed(KEY, 7, (THERE,), ()), "asks changed cc000000: 1 more, 0 gone"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_a_query_is_told_with_what_it_asks(case: str) -> None:
    request, words = REQUESTS[case]
    net = Network(1)
    assert told(net, net.codec.encode_query(TID, ASKER, request)) == f"aa000000 {words} [01020304]"


@pytest.mark.parametrize(
    ("request_", "contacts", "endpoints", "words"),
    [
        (FindNode(KEY, TOKEN), 0, 0, "0 contacts"),
        (FindNode(KEY, TOKEN), 1, 0, "1 contact"),
        (FindValue(KEY, TOKEN), 8, 1, "8 contacts and 1 endpoint"),
        (FindValue(KEY), 8, 200, "8 contacts and 63 endpoints, and there are more"),
    ],
)
def test_a_reply_is_told_with_what_it_brings(
    request_: FindNode | FindValue, contacts: int, endpoints: int, words: str
) -> None:
    net = Network(1)
    packed = net.codec.pack_contacts([Contact(Id(number), THERE) for number in range(contacts)])
    found = [HERE.with_port(1 + number) for number in range(endpoints)]
    data = net.codec.encode_found(
        Query(TID, ASKER, request_), OTHER, HERE, TOKEN, packed, Room(1_000, request_.token is not None), Named(found)
    )
    said = told(net, data)
    assert re.sub(r"\d+ endpoints", "63 endpoints", said) == f"bb000000 answers {words} [01020304]"


@pytest.mark.parametrize(
    ("held", "limit", "words"),
    [
        (None, 1_000, "2 contacts and no value"),
        (7, 1_000, "2 contacts and no value after 7"),
        (FIXED, 1_000, "2 contacts and a value of 3 bytes"),
        (SIGNED, 1_000, "2 contacts and value 8 of 4 bytes"),
        (SIGNED, 210, "0 contacts and value 8 of 4 bytes, and there are more"),
        (SIGNED, 180, "2 contacts and no value, and there are more"),
    ],
)
def test_a_value_is_told_with_its_seq(held: Value | int | None, limit: int, words: str) -> None:
    net = Network(1)
    packed = net.codec.pack_contacts([Contact(Id(number), THERE) for number in range(2)])
    query, room = Query(TID, ASKER, Get(KEY)), Room(limit)
    data = net.codec.encode_got(query, OTHER, HERE, TOKEN, packed, room, held, 60)
    assert told(net, data) == f"bb000000 answers {words} [01020304]"


def test_the_rest_of_the_arrivals_is_told() -> None:
    net = Network(1)
    codec = net.codec
    assert told(net, codec.encode_acknowledged(TID, OTHER, HERE)) == "bb000000 answers yes [01020304]"
    assert told(net, codec.encode_renewed(TID, OTHER, HERE, TOKEN, 3)) == "bb000000 answers 3 held [01020304]"
    said = told(net, codec.encode_renewed(TID, OTHER, HERE, TOKEN, None))
    assert said == "bb000000 answers no, but here is a token [01020304]"
    watch = Query(TID, ASKER, Watch(KEY, TOKEN, 60, SESSION))
    for limit, words in (
        (1_000, "version 7 with 2 endpoints"),
        (60, "version 7 with 0 endpoints, and there are more"),
    ):
        data, _ = codec.encode_watched(watch, OTHER, HERE, TOKEN, 7, Room(limit), [HERE, THERE])
        assert told(net, data) == f"bb000000 answers {words} [01020304]"
    refusal = codec.encode_error(TID, OTHER, ERROR_PROTOCOL, "bad\ntoken")
    assert told(net, refusal) == "bb000000 refuses with 203: 'bad\\ntoken' [01020304]"
    unknown = codec.encode_query(TID, ASKER, Ping()).replace(b"ping", b"pong")
    assert told(net, unknown).startswith("aa000000 asks what cannot be asked: ")
    assert told(net, b"x").startswith("1 byte that is no message: ")
    assert told(net, b"xy").startswith("2 bytes that are no message: ")


def test_a_story_runs_from_earliest_to_latest() -> None:
    net = Network(1)
    first = net.add()
    net.add(bootstrap=[first])
    net.run_for(5)
    moments = story.tell(net).moments
    assert [moment.event for moment in moments] == sorted({moment.event for moment in moments})
    assert [moment.virtual_s for moment in moments] == sorted(moment.virtual_s for moment in moments)
    assert all(re.fullmatch(r"\d+ at \d+\.\d{6} \S+ (wakes|to \S+): .+", str(moment)) for moment in moments)
    messages = [moment.message for moment in moments]
    assert "wakes: a deadline" in messages
    assert any("asks find_node" in message for message in messages)
    assert any("answers" in message for message in messages)


def test_a_storys_condition_comes_last() -> None:
    net = Network(1)
    first = net.add()
    net.add(bootstrap=[first])
    net.run_until(lambda: len(net.latest) > 5 and net.latest[-1][0] == net.schedule.events)
    told = story.tell(net)
    assert (told.event, told.virtual_s) == (net.schedule.events, round(net.now, 6))
    assert list(told) == [*map(str, told.moments), str(told.node)]
    assert list(story.tell(Network(1))) == []


def test_an_event_that_no_node_had_is_there_too() -> None:
    net = Network(1)
    net.schedule.at(0.25, net.heal)
    net.run_for(0.5)
    net.latest.append((0, 0.0, None, net.add().endpoint, "wakes: a deadline"))
    before, last, _ = story.tell(net)
    assert (before, last) == (
        "0 at 0.000000 10.0.0.0:1729 wakes: a deadline",
        "1 at 0.500000: nothing that a node heard of",
    )


def test_the_condition_is_that_of_the_latest_node() -> None:
    net = Network(1)
    first = net.add(id=OTHER)
    second = net.add(id=ASKER, bootstrap=[first], nat=Nat(), lie=Mute())
    net.run_for(5)
    net.jump(second, 7.5)
    net.note("is tired", second)
    net.kill(second)
    found = story.tell(net).node
    assert found is not None
    assert (found.id, found.endpoint) == (NATIVE.format(ASKER), "10.0.0.1:1729")
    assert (found.contacts, found.buckets, found.own_entries, found.held_entries) == (1, 1, 0, 0)
    assert str(found).startswith(
        f"10.0.0.1:1729 is node {NATIVE.format(ASKER)}: stopped, behind NAT, a liar (Mute), "
        "its clock 7.500000 s ahead, 1 contact in 1 bucket, 0 entered and 0 held, its next deadline in "
    )
    net.note("is well", first)
    assert str(story.tell(net).node).partition(": ")[2].startswith("1 contact in 1 bucket, 0 entered")


def test_a_gone_machine_has_no_condition() -> None:
    net = Network(1)
    assert story.tell(net).node is None
    host = net.add()
    net.latest = deque([(1, 0.0, None, host.endpoint, "is well")])
    net.remove(host)
    assert story.tell(net).node is None


def test_actions_of_the_plan_are_told() -> None:
    plan = Plan(nodes=3, entries=1, lookups=1, duration=30.0, partition=(10.0, 20.0), jumps=1.0)
    simulation = Simulation(plan)
    simulation.net.latest = deque()  # all of it
    simulation.run()
    told = [str(moment) for moment in story.tell(simulation.net).moments if moment.source is None]
    deeds = [re.sub(r"^\d+ at \d+\.\d{6} ", "", line) for line in told if not line.endswith("wakes: a deadline")]
    assert deeds[:2] == [
        "10.0.0.0:1729 comes up, to join by nobody",
        "10.0.0.1:1729 comes up, to join by 10.0.0.0:1729",
    ]
    assert re.fullmatch(r"10\.0\.0\.\d:1729 enters [0-9a-f]{64} on port 2", deeds[3])
    assert sum("sees its clock jump" in deed for deed in deeds) == 3
    assert sum(bool(re.search(r" looks [0-9a-f]{64} up$", deed)) for deed in deeds) == 1
    assert sum(bool(re.fullmatch(r"the network parts into [0-3] and [0-3] nodes", deed)) for deed in deeds) == 1
    assert deeds.count("the network is whole again") == 1


@pytest.mark.slow
def test_ends_of_sessions_and_restarts_are_told() -> None:
    for returning, expected in ((0.0, {"stops for good"}), (1.0, {"stops for a while", "comes back"})):
        plan = Plan(nodes=8, entries=1, lookups=1, duration=300.0, churn=60.0, returning=returning, restart=250.0)
        simulation = Simulation(plan)
        simulation.net.latest = deque()
        simulation.run()
        deeds = {moment.message for moment in story.tell(simulation.net).moments if moment.source is None}
        assert expected <= deeds
        assert "restarts, every node at once" in deeds

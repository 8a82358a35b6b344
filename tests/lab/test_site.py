"""The site of a simulation over a real socket: what it shows, and what people may do by it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dhtd.core.ids import NATIVE
from dhtd.http.exchange import Exchange
from dhtd.lab import stage as stage_module
from dhtd.sim.plan import Plan
from tests.http.doors import events, sent
from tests.lab.stages import COMMAND, Shown, shown

CHORD = Plan(nodes=30, entries=10, lookups=50, duration=60.0, warm=True, overlay="chord")
STREAM = {"Accept": "text/event-stream"}


async def happened(there: Shown, *kinds: str, begin: float = 0.0) -> list[dict[str, Any]]:
    found = await there.get("/happenings", **{"from": begin})
    assert not found["cut"]
    return [event for event in found["events"] if event["kind"] in kinds]


# What it shows


async def test_the_page_is_that_of_a_simulation(autojump_clock: MockClock) -> None:
    async with shown(to=1.0) as there, there.client(token=None) as client:
        answer = await client.get("/")
        assert answer.status_code == 200
        assert 'data-source="simulation"' in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_state_tells_how_the_run_is(autojump_clock: MockClock) -> None:
    async with shown() as there:
        await there.passed(40.0)
        state = await there.get("")
    assert state == there.stage.state()
    simulation = there.stage.simulation
    assert state["overlay"] == "kademlia"
    assert (state["bits"], state["seed"], state["planned"], state["live"]) == (256, 1, 30, 30)
    assert (state["now"], state["ends"], state["kept_from"]) == (40.0, 61.0, 0.0)
    assert (state["phase"], state["progress"]) == ("running", 1.0)
    assert (state["speed"], state["running"], state["failed"], state["touched"]) == (0.0, False, None, 0)
    assert state["command"] == COMMAND
    assert state["asked"] == len(simulation.tally.outcomes) > 10
    assert state["found"] == simulation.tally.found == sum(state["hops"].values())
    outcomes = sorted(1000 * outcome.seconds for outcome in simulation.tally.outcomes)
    assert outcomes[0] <= state["p50_ms"] <= state["p99_ms"] == pytest.approx(outcomes[-1], abs=0.001)
    assert state["queries_s"] > 0
    assert state["events"] == simulation.net.schedule.events


async def test_the_phases_have_their_progress(autojump_clock: MockClock) -> None:
    async with shown(to=0.0) as there:
        seen = [(there.stage.state()["phase"], there.stage.state()["progress"])]
        await there.passed(10.0)
        seen.append((there.stage.state()["phase"], there.stage.state()["progress"]))
    assert seen == [("building", 0.0), ("entering", 0.5)]
    async with shown(Plan(nodes=4, entries=1, lookups=1, duration=60.0), to=25.0) as there:
        assert there.stage.state()["phase"] == "joining"
        assert there.stage.state()["progress"] == 0.25


async def test_all_nodes_have_their_rows(autojump_clock: MockClock) -> None:
    async with shown() as there:
        found = await there.get("/nodes")
    net = there.stage.simulation.net
    rows = {row[0]: row[1:] for row in found["nodes"]}
    assert list(rows) == list(range(30))
    for host, row in zip(net.hosts, rows.values(), strict=True):
        assert row == [NATIVE.format(host.id), str(host.endpoint), True, len(host.node.store)]
    assert sum(row[3] for row in rows.values()) > 10
    assert found["at"] == net.now
    assert found["last"] == there.stage.log.last


async def test_a_node_shows_contacts_buckets_and_entries(autojump_clock: MockClock) -> None:
    async with shown() as there:
        nodes = [await there.get(f"/nodes/{n}") for n in range(30)]
    hosts = there.stage.simulation.net.hosts
    for n, (node, host) in enumerate(zip(nodes, hosts, strict=True)):
        assert (node["n"], node["id"], node["live"]) == (n, NATIVE.format(host.id), True)
        table = host.node.state.table
        assert [each["id"] for each in node["contacts"]] == [NATIVE.format(contact.id) for contact in table]
        assert all(hosts[each["n"]].id == int(each["id"], 16) for each in node["contacts"])
        assert sum(bucket["size"] for bucket in node["buckets"]) == len(table)
        assert len(node["held"]) == node["holds"] == len(host.node.store)
        assert all(set(each) == {"id", "endpoint"} for each in node["held"])
    assert sum(len(node["own"]) for node in nodes) == 10
    assert {contact["state"] for node in nodes for contact in node["contacts"]} <= {"good", "questionable", "bad"}


async def test_a_ring_is_shown_as_a_ring(autojump_clock: MockClock) -> None:
    async with shown(CHORD) as there:
        await there.passed(40.0)
        nodes = [await there.get(f"/nodes/{n}") for n in range(30)]
        steps = await happened(there, "lookup-step")
        state = await there.get("")
    assert (state["overlay"], state["phase"]) == ("chord", "running")
    ring = sorted(nodes, key=lambda node: node["id"])
    for place, node in enumerate(ring):
        assert node["predecessor"] == ring[place - 1]["n"]
        assert node["successors"] == [ring[(place + step) % 30]["n"] for step in range(1, 9)]
        assert set(node["fingers"]) <= {contact["n"] for contact in node["contacts"]}
    assert sum(len(node["own"]) for node in nodes) == 10
    assert sum(len(node["held"]) for node in nodes) == sum(node["holds"] for node in nodes) >= 10
    assert {step["step"] for step in steps} == {"asked", "answered"}
    assert all(nodes[step["to"]]["id"] == step["node_id"] for step in steps)
    assert any(step["peers"] for step in steps)


async def test_the_past_is_as_it_was(autojump_clock: MockClock) -> None:
    async with shown() as there:
        assert (await there.ask("DELETE", "/nodes/3")).status_code == 204
        await there.passed(30.0)
        assert (await there.ask("POST", "/nodes", {"count": 1})).json() == {"ns": [30]}
        await there.passed(100.0)
        before = (await there.get("/nodes", at=18.5))["nodes"]
        between = (await there.get("/nodes", at=29.0))["nodes"]
        after = (await there.get("/nodes", at=100.0))["nodes"]
        none = await there.get("/nodes", at=0)
    assert [row[0] for row in before if row[3]] == list(range(30))
    assert [row[0] for row in between if row[3]] == [n for n in range(30) if n != 3]
    assert [row[0] for row in between if not row[3]] == [3]
    assert [row[0] for row in after] == [n for n in range(31) if n != 3]
    assert {row[4] for row in before} == {None}
    assert len(none["nodes"]) == 30  # a warm network begins with them all


async def test_a_long_span_is_sent_in_pieces(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = Exchange.send

    async def counted(self: Exchange, body: bytes, *, is_last: bool = False) -> None:
        sent.append(len(body))
        await send(self, body, is_last=is_last)

    async with shown() as there:
        await there.passed(60.0)
        monkeypatch.setattr(Exchange, "send", counted)
        found = await there.get("/happenings")
        assert [event["serial"] for event in found["events"]] == list(range(1, there.stage.log.last + 1))
        assert len(sent) > 3
        assert max(sent) < sum(sent) / 2
        assert await there.get("/happenings", **{"from": 59.9999, "to": 59.9999}) == {"cut": False, "events": []}


async def test_figures_are_of_lookups_that_have_ended(autojump_clock: MockClock) -> None:
    async with shown() as there:
        await there.ask("POST", "/lookups", {"count": 20})
        state = await there.get("")
        assert (state["asked"], state["found"]) == (0, 0)
        await there.ask("POST", "/kill", {"share": 1.0})
        await there.passed(40.0)  # nobody holds an entry, so nobody is asked
        state = await there.get("")
        assert state["asked"] == state["found"]


async def test_a_moment_that_is_told_can_be_asked_for(autojump_clock: MockClock) -> None:
    async with shown(to=19.0000004) as there:
        await there.ask("DELETE", "/nodes/3")
        state, found = await there.get(""), await there.get("/nodes")
        assert state["now"] == found["at"] == 19.0
        past = await there.get("/nodes", at=found["at"])
        assert [row[0] for row in past["nodes"] if not row[3]] == [3]
        (down,) = await happened(there, "node-down", begin=found["at"])
        assert down["at"] == 19.0
    async with shown(to=19.0000006) as there:
        at = (await there.get("/nodes"))["at"]
        assert len((await there.get("/nodes", at=at))["nodes"]) == 30


# What people may do


async def test_a_node_that_is_killed_is_silent(autojump_clock: MockClock) -> None:
    async with shown() as there:
        now = there.stage.now
        assert (await there.ask("DELETE", "/nodes/7")).status_code == 204
        state = await there.get("")
        assert (state["touched"], state["live"]) == (1, 29)
        assert [event["n"] for event in await happened(there, "node-down")] == [7]
        await there.passed(60.0)
        dead = await there.get("/nodes/7")
        later = await happened(there, "lookup-begun", "lookup-step", begin=now)
        assert (await there.ask("DELETE", "/nodes/7")).status_code == 409
    assert (dead["live"], set(dead)) == (False, {"n", "id", "endpoint", "live"})
    assert len(later) > 100
    assert all(event["n"] != 7 for event in later)
    of_the_dead = {event["step"] for event in later if event.get("to") == 7}
    assert "asked" in of_the_dead, "somebody finds out"
    assert of_the_dead <= {"asked", "slow", "silent"}


async def test_a_share_of_the_nodes_is_killed(autojump_clock: MockClock) -> None:
    async with shown() as there:
        killed = (await there.ask("POST", "/kill", {"share": 0.5})).json()["ns"]
        assert len(set(killed)) == 15
        assert (await there.get(""))["live"] == 15
        rows = (await there.get("/nodes"))["nodes"]
        assert {row[0] for row in rows if not row[3]} == set(killed)
        await there.passed(100.0)
        everybody = (await there.ask("POST", "/kill", {"share": 1.0})).json()["ns"]
        assert len(everybody) == 14  # one is left: the run goes on
        (left,) = there.stage.roll.hosts
        answer = await there.ask("DELETE", f"/nodes/{left}")
        assert answer.status_code == 409
        assert "it is the last node" in answer.json()["detail"]
        await there.passed(300.0)


async def test_newcomers_join(autojump_clock: MockClock) -> None:
    async with shown() as there:
        assert (await there.ask("POST", "/nodes", {"count": 3})).json() == {"ns": [30, 31, 32]}
        await there.passed(60.0)
        known = await there.get("/nodes/31")
        assert len(known["contacts"]) > 10


async def test_lookups_are_asked_for(autojump_clock: MockClock) -> None:
    async with shown() as there:
        entry = there.stage.simulation.hand.draw_entry()
        assert entry is not None
        key, nothing = NATIVE.format(entry.key), NATIVE.format(NATIVE.digest(b"nothing"))
        first = (await there.ask("POST", "/lookups", {"n": 4, "id": key})).json()["ops"]
        second = (await there.ask("POST", "/lookups", {"n": None, "id": nothing, "count": 2})).json()["ops"]
        third = (await there.ask("POST", "/lookups", {})).json()["ops"]
        ops = [*first, *second, *third]
        assert ops == list(range(ops[0], ops[0] + 4))
        await there.passed(there.stage.now + 10.0)
        begun = {event["op"]: event for event in await happened(there, "lookup-begun")}
        ended = {event["op"]: event for event in await happened(there, "lookup-ended")}
    one, two, three, four = (begun[op] for op in ops)
    assert (one["n"], one["id"], one["purpose"]) == (4, key, "lookup")
    assert two["id"] == three["id"] == nothing != four["id"]
    assert [ended[op]["found"] for op in ops] == [True, None, None, True]


async def test_without_entries_none_can_be_looked_up(autojump_clock: MockClock) -> None:
    async with shown(to=0.5) as there:
        answer = await there.ask("POST", "/lookups", {"n": 4})
        assert answer.status_code == 409
        assert "no node holds an entry yet" in answer.json()["detail"]


async def test_a_busy_node_says_so(autojump_clock: MockClock) -> None:
    async with shown(Plan(nodes=5, entries=5, lookups=50, duration=60.0, warm=True), to=19.83) as there:
        for n in range(5):
            for body in ({"n": n, "count": 1_000}, {"n": n, "count": 1_000, "id": 64 * "0"}):
                answer = await there.ask("POST", "/lookups", body)
                assert answer.status_code == 429
                assert answer.json()["code"] == "busy"
        await there.passed(25.0)  # the nodes still do those of the plan
        assert (await there.get(""))["failed"] is None
        assert (await there.ask("POST", "/lookups", {"n": 4, "count": 100})).status_code == 200


async def test_speeds_are_set_and_reached(autojump_clock: MockClock) -> None:
    async with shown() as there:
        assert (await there.ask("PUT", "/speed", {"speed": 2})).status_code == 204
        begun, now = trio.current_time(), there.stage.now
        await trio.sleep(10)
        assert there.stage.now - now == pytest.approx(2 * (trio.current_time() - begun), abs=0.2)
        state = await there.get("")
        assert (state["speed"], state["running"]) == (2.0, True)
        assert state["reached"] == pytest.approx(2.0, abs=0.1)
        await there.ask("PUT", "/speed", {"speed": 0})
        now = there.stage.now
        await trio.sleep(10)
        assert there.stage.now == now
        assert not (await there.get(""))["running"]
        await there.ask("PUT", "/speed", {"speed": "max"})
        while there.stage.now < 200.0:
            await trio.lowlevel.checkpoint()  # the clock of the test stands still while there is more to do
        assert (await there.get(""))["speed"] == "max"


async def test_an_advance_goes_up_to_its_time(autojump_clock: MockClock) -> None:
    async with shown() as there:
        assert (await there.ask("POST", "/advance", {"to": 50})).status_code == 204
        with trio.fail_after(600):
            while there.stage.now < 50.0:
                await there.stage.news()
        await trio.sleep(10)
        state = await there.get("")
    assert (state["now"], state["running"], state["goal"]) == (50.0, False, None)


# The stream


async def test_a_stream_tells_state_and_events(autojump_clock: MockClock) -> None:
    async with shown() as there, events(there, "/v1/events") as stream:
        assert stream.status == 200
        first = (await anext(stream))["data"]
        assert [event["kind"] for event in first["events"]] == ["state"]
        assert first["events"][0]["now"] == there.stage.now
        await there.ask("DELETE", "/nodes/7")
        told: list[dict[str, Any]] = []
        with trio.fail_after(600):
            while not any(event["kind"] == "node-down" for event in told):
                told += (await anext(stream))["data"]["events"]
        (down,) = [event for event in told if event["kind"] == "node-down"]
        assert (down["n"], down["how"]) == (7, "is killed by hand")


@pytest.mark.parametrize("by", ["query", "header"])
async def test_a_stream_resumes_behind_a_serial(by: str, autojump_clock: MockClock) -> None:
    async with shown() as there:
        await there.passed(25.0)
        path, headers = ("/v1/events?after=40", {}) if by == "query" else ("/v1/events", {"Last_Event_ID": "40"})
        async with events(there, path, **headers) as stream:
            event = await anext(stream)
        assert event["event"] == "event"
        serials = [each["serial"] for each in event["data"]["events"] if each["kind"] != "state"]
        assert serials == list(range(41, there.stage.log.last + 1))
        assert event["id"] == str(event["data"]["last"]) == str(there.stage.log.last)


async def test_a_stream_that_is_not_wanted_is_refused(autojump_clock: MockClock) -> None:
    async with shown(to=1.0) as there, there.client(token=None) as client:
        assert (await client.get("/v1/events")).status_code == 406
        head = await client.head("/v1/events", headers=STREAM)
        assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")


# What is refused

WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/nodes/99", None, 404, "there is no node 99"),
    ("GET", "/nodes/one", None, 400, "a node has a number from 0"),
    ("GET", "/nodes/-1", None, 400, "a node has a number from 0"),
    ("GET", "/nodes?at=-1", None, 400, "'at' is a time in seconds"),
    ("GET", "/nodes?at=nan", None, 400, "'at' is a time in seconds"),
    ("GET", "/nodes?at=99999", None, 400, "'at' is 99999, and it is"),
    ("GET", "/nodes?to=1", None, 400, "no parameter 'to'; there are: at"),
    ("GET", "/nodes?at=1&at=2", None, 400, "'at' is there twice"),
    ("GET", "?at=1", None, 400, "no parameter 'at'; there is none here"),
    ("GET", "/happenings?from=5&to=4", None, 400, "'from' is after 'to'"),
    ("GET", "/nodes/1?at=1", None, 400, "no parameter 'at'; there is none here"),
    ("DELETE", "/nodes/1?n=2", None, 400, "no parameter 'n'; there is none here"),
    ("GET", "/nowhere", None, 404, "nothing is at this path"),
    ("DELETE", "/nodes/99", None, 404, "there is no node 99"),
    ("PUT", "/nodes/1", None, 405, "'PUT' is not for this path"),
    ("PUT", "/speed", {"speed": -1}, 400, "'speed' is a number from 0 to 1000000"),
    ("PUT", "/speed", {"speed": "fast"}, 400, "or 'max', not 'fast'"),
    ("PUT", "/speed", {"speed": True}, 400, "'speed' is a number, not true"),
    ("PUT", "/speed", {}, 400, "'speed' is a number, not null"),
    ("PUT", "/speed", {"speed": 1, "more": 2}, 400, "no member 'more'; there are: speed"),
    ("PUT", "/speed", [1], 400, "the body is one JSON object"),
    ("POST", "/advance", {"to": 1}, 400, "'to' is a number from 19 to"),
    ("POST", "/advance", {"to": 10**9}, 400, "'to' is a number from 19 to"),
    ("POST", "/lookups", {"n": 99}, 404, "there is no node 99"),
    ("POST", "/lookups", {"n": "1"}, 400, "'n' is the number of a node, or null"),
    ("POST", "/lookups", {"id": "abc"}, 400, "an ID is 64 hex digits"),
    ("POST", "/lookups", {"id": 5}, 400, "'id' is an ID in hex digits, or null"),
    ("POST", "/lookups", {"count": 0}, 400, "'count' is a number from 1 to 1000, not 0"),
    ("POST", "/lookups", {"count": 1001}, 400, "'count' is a number from 1 to 1000, not 1001"),
    ("POST", "/lookups", {"count": 1.5}, 400, "'count' is a number from 1 to 1000, not 1.5"),
    ("POST", "/kill", {"share": 0}, 400, "'share' is a number above 0, to 1, not 0"),
    ("POST", "/kill", {"share": 1.1}, 400, "'share' is a number above 0, to 1"),
    ("POST", "/nodes", {}, 400, "'count' is a number from 1 to 1000, not null"),
    ("POST", "/nodes?count=1", {}, 400, "no parameter 'count'"),
]


async def test_wrong_requests_are_told_why(autojump_clock: MockClock) -> None:
    async with shown() as there:
        before = there.stage.state()
        for verb, path, body, status, words in WRONG:
            answer = await there.ask(verb, path, body)
            assert answer.headers["content-type"] == "application/problem+json", path
            assert (answer.status_code, answer.json()["status"]) == (status, status), (path, answer.text)
            assert words in answer.json()["detail"], (path, answer.text)
        assert there.stage.state() == before


async def test_numbers_that_are_none_are_refused(autojump_clock: MockClock) -> None:
    async with shown(to=1.0) as there:
        for text in ("NaN", "Infinity", "1e999", "-1e999", "1" + 400 * "0", "-1" + 400 * "0", '1, "speed": 2', "["):
            answer = await there.ask("PUT", "/speed", content=f'{{"speed": {text}}}'.encode())
            assert answer.status_code == 400, text
        big = await there.ask("PUT", "/speed", content=b" " * 70_000)
        assert big.status_code == 413


async def test_minus_zero_is_zero(autojump_clock: MockClock) -> None:
    async with shown(to=1.0) as there:
        assert (await there.ask("PUT", "/speed", content=b'{"speed": -0.0}')).status_code == 204
        assert '"speed":0.0' in (await there.ask("GET", "")).text


async def test_a_time_that_is_forgotten_is_refused(autojump_clock: MockClock) -> None:
    async with shown() as there:
        there.stage.roll.kept_from = 12.0
        answer = await there.ask("GET", "/nodes?at=11.5")
        assert answer.status_code == 400
        assert "who was up is known from 12.000000 on" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 204),
        ({"Host": "localhost"}, 204),
    ],
)
async def test_pages_of_other_sites_change_nothing(
    headers: dict[str, str], status: int, autojump_clock: MockClock
) -> None:
    async with shown(to=1.0) as there:
        answer = await there.ask("PUT", "/speed", {"speed": 0}, headers=headers)
        assert answer.status_code == status
        if status != 204:
            assert "this simulation" in answer.json()["detail"]
            assert "--http-host" not in answer.json()["detail"]


# Failures


async def test_a_broken_invariant_ends_the_run(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a table has a hole")

    async with shown() as there:
        monkeypatch.setattr("dhtd.sim.invariants.check_host", broken)
        await there.passed(100.0)
        state = await there.get("")
        failed = state["failed"]
        assert "a table has a hole" in failed["message"]
        assert failed["message"].count("seed 1, event") == 1
        assert failed["replay"] == f"{COMMAND} --stop-at {state['events']}"
        assert failed["story"]
        assert not state["running"]
        now = there.stage.now
        for verb, path, body in (
            ("DELETE", "/nodes/1", None),
            ("POST", "/nodes", {"count": 1}),
            ("POST", "/lookups", {}),
            ("POST", "/kill", {"share": 0.1}),
            ("PUT", "/speed", {"speed": "max"}),
            ("POST", "/advance", {"to": now + 10}),
        ):
            answer = await there.ask(verb, path, body)
            assert answer.status_code == 409, path
            assert "the simulation has failed, and is over: " in answer.json()["detail"]
            assert "a table has a hole" in answer.json()["detail"]
        await trio.sleep(10)
        assert there.stage.now == now
        assert len((await there.get("/nodes"))["nodes"]) == 30


async def test_a_defect_of_the_site_ends_no_run(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with shown() as there:
        monkeypatch.setattr(there.stage, "nodes", lambda at: 1 / 0)
        answer = await there.ask("GET", "/nodes")
        assert answer.status_code == 500
        assert answer.json()["detail"] == "a defect in dhtd; the simulation's terminal has the details"
        assert there.notes == ["a request by HTTP failed"]
        there.notes.clear()
        await there.passed(30.0)


async def test_a_replay_of_a_touched_run_says_so(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a table has a hole")

    async with shown() as there:
        await there.ask("DELETE", "/nodes/1")
        monkeypatch.setattr("dhtd.sim.invariants.check_host", broken)
        await there.passed(100.0)
        assert (await there.get(""))["failed"]["replay"].endswith(
            "# not the same run: hands were laid on this one, once"
        )
        assert there.stage._touched == 1


async def test_a_request_is_one_touch(autojump_clock: MockClock) -> None:
    async with shown() as there:
        seen = []
        for path, body in (
            ("/lookups", {"count": 100}),
            ("/lookups", {"n": 4, "count": 1_000}),  # some are begun before the node is busy
            ("/lookups", {"n": 4}),  # refused
            ("/kill", {"share": 0.2}),
            ("/nodes", {"count": 5}),
        ):
            await there.ask("POST", path, body)
            seen.append((await there.get(""))["touched"])
    assert seen == [1, 2, 2, 3, 4]


async def test_newcomers_have_a_bound_in_sum(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "NODES_MAX", 35)
    async with shown() as there:
        assert (await there.ask("POST", "/nodes", {"count": 3})).status_code == 200
        refused = await there.ask("POST", "/nodes", {"count": 3})
        assert (refused.status_code, refused.json()["detail"]) == (
            409,
            "33 nodes are up, and 3 more would be above 35: kill some before",
        )
        assert (await there.get(""))["live"] == 33
        await there.ask("DELETE", "/nodes/1")
        assert (await there.ask("POST", "/nodes", {"count": 3})).status_code == 200


async def test_a_plan_may_be_above_the_bound(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "NODES_MAX", 5)
    async with shown() as there:
        assert (await there.ask("POST", "/nodes", {"count": 1})).status_code == 409
        await there.ask("DELETE", "/nodes/1")
        assert (await there.ask("POST", "/nodes", {"count": 1})).status_code == 200


async def test_two_runs_can_be_told_apart(autojump_clock: MockClock) -> None:
    runs = []
    for _ in range(2):
        async with shown(to=1.0) as there:
            runs.append((await there.get(""))["run"])
            assert (await there.get(""))["run"] == runs[-1]
    assert runs[0] != runs[1]


async def test_outcomes_have_a_bound_and_totals_none(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "OUTCOMES", 10)
    async with shown() as there:
        for to in range(20, 80):
            await there.passed(float(to))
            await trio.sleep(1)
        state = await there.get("")
    tally = there.stage.simulation.tally
    assert 10 <= len(tally.outcomes) < 20
    assert len(tally.first_seconds) <= 20
    assert state["asked"] == tally.ended > 50
    assert state["asked"] >= state["found"] == sum(state["hops"].values())
    assert there.stage.simulation.report().lookups.success_rate == 1.0


async def test_slices_leave_room_for_requests(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "perf_counter", iter(range(10**9)).__next__)  # each slice takes a second
    async with shown() as there:
        assert there.stage._slices.events == 1
        there.stage.set_speed(float("inf"))
        assert (await there.get(""))["running"]


async def test_a_client_that_hangs_up_ends_its_stream(autojump_clock: MockClock) -> None:
    async with shown() as there:
        for _ in range(3):
            async with events(there, "/v1/events") as stream:
                await anext(stream)
        answer = await sent(there, b"GET /v1/simulation HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")


async def test_a_client_that_does_not_read_keeps_no_view(autojump_clock: MockClock) -> None:
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        async with shown() as there:
            await there.passed(100.0)
            silent.connect(("127.0.0.1", int(there.urls[0].rpartition(":")[2])))
            silent.sendall(20 * b"GET /v1/simulation/happenings HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await trio.sleep(1)
            begun = trio.current_time()
        assert trio.current_time() - begun < 5

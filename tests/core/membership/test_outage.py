"""Silence under suspicion: which contacts are asked, how often, and what ends it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

import pytest

from dhtd.core.address.reachability import Reachability
from dhtd.core.counters import Counters
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Isolated
from dhtd.core.ids import Id
from dhtd.core.membership.joining import JoiningClock
from dhtd.core.membership.outage import TRANSITIONS, Doubt, Evidence, Outage
from dhtd.core.messages import Acknowledged, Error, FindNode, Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import CODEC, contact, endpoint

TIMEOUT = DEFAULT.query_timeout
WITNESSES = DEFAULT.outage_witnesses
KEY = Id(77)


def knowing(*ids: int, attempts: int = 1) -> Bench:
    """Return a node that knows these contacts; they have answered a second after each other, in this order."""
    bench = Bench(policy=replace(QUIET, ping_attempts=attempts))
    for id in ids:
        bench.know(contact(id))
        bench.advance(1.0)
    assert bench.node.overlays.first.is_connected
    return bench


def in_doubt(bench: Bench, id: int) -> list[Sent]:
    """Let a contact that the node pings after a stranger's query be silent; return the queries that follow."""
    overlay = bench.node.overlays.first
    overlay.state.meta.get(Id(id)).heard_at = None
    bench.query(FindNode(KEY), contact(id))
    assert [sent.to for sent in bench.sent()] == [endpoint(id)]
    bench.advance(TIMEOUT)
    return bench.sent()


def asked(sent: list[Sent]) -> list[Endpoint]:
    """Return the pinged contacts, in order, each once for a row of pings."""
    assert all(each.request == Ping() for each in sent)
    return list(dict.fromkeys(each.to for each in sent))


def isolated(bench: Bench) -> list[Isolated]:
    return [event for event in bench.events() if isinstance(event, Isolated)]


def test_one_answer_ends_a_doubt_at_once() -> None:
    bench = knowing(10, 11, 12)
    (sent,) = in_doubt(bench, 10)
    assert (sent.to, sent.request) == (endpoint(12), Ping())
    assert bench.node.memberships[Family.IPV4].is_in_doubt
    bench.pong(sent, 12)
    assert not bench.node.memberships[Family.IPV4].is_in_doubt
    bench.advance(10 * TIMEOUT)
    assert bench.sent() == []
    assert bench.node.overlays.first.is_connected
    assert isolated(bench) == []


def test_the_owner_may_ask_around() -> None:
    bench = knowing(10, 11, 12)
    heard_at = bench.now - 1.0
    bench.node.ask_around(heard_at - 0.5, bench.now)
    assert bench.sent() == []  # somebody has answered since
    bench.node.ask_around(heard_at, bench.now)
    bench.node.ask_around(heard_at, bench.now)  # asks nobody twice
    (sent,) = bench.sent()
    assert (sent.to, sent.request) == (endpoint(12), Ping())
    assert bench.node.memberships.is_asking_around
    assert not bench.node.memberships[Family.IPV4].is_in_doubt  # nothing speaks against it
    bench.pong(sent, 12)
    assert not bench.node.memberships.is_asking_around


def test_asking_around_in_an_outage_reveals_it() -> None:
    bench = knowing(10, 11, 12)
    bench.node.ask_around(bench.now, bench.now)
    asked_at = bench.now
    while not bench.node.memberships[Family.IPV4].is_in_doubt:
        bench.advance(0.1)
    assert bench.now - asked_at < TIMEOUT
    bench.advance(WITNESSES * TIMEOUT)
    assert not bench.node.memberships.is_asking_around
    assert len(isolated(bench)) == 1
    bench.sent()
    bench.node.ask_around(bench.now, bench.now)  # an unconnected node tries to join instead
    assert not bench.node.memberships.is_asking_around


def test_a_silence_while_asking_around_is_a_doubt() -> None:
    bench = knowing(10, 11, 12)
    doubt = bench.node.memberships.first._outage
    doubt.look(bench.now)
    assert len(bench.sent()) == 1
    doubt.arise(contact(10), bench.now)
    assert bench.node.memberships[Family.IPV4].is_in_doubt
    assert bench.sent() == []  # a witness is being asked already


def test_witnesses_are_asked_latest_first() -> None:
    bench = knowing(10, 11, 12, 13, 14)
    begun_at = bench.now
    order = asked(in_doubt(bench, 12))
    for _ in range(WITNESSES - 1):
        bench.advance(TIMEOUT)
        order += asked(bench.sent())
        assert isolated(bench) == []
    assert list(dict.fromkeys(order)) == [endpoint(14), endpoint(13), endpoint(11)]
    bench.advance(TIMEOUT)
    assert isolated(bench) == [Isolated(Family.IPV4)]
    assert not bench.node.overlays.first.is_connected
    assert bench.now - begun_at == (1 + WITNESSES) * TIMEOUT


def test_each_witness_is_asked_three_times() -> None:
    bench = knowing(10, 11, 12, 13, 14)
    sent = in_doubt(bench, 12)
    bench.advance(WITNESSES * TIMEOUT - 0.1)
    sent += bench.sent()
    assert [each.to for each in sent] == [endpoint(id) for id in (14, 13, 11) for _ in range(3)]
    assert len({each.query.tid for each in sent}) == WITNESSES


@pytest.mark.parametrize("answering", range(WITNESSES))
def test_a_single_witness_is_enough(answering: int) -> None:
    bench = knowing(10, 11, 12, 13, 14)
    sent = in_doubt(bench, 10)
    for _ in range(answering):
        bench.advance(TIMEOUT)
        sent = bench.sent()
    bench.pong(sent[-1], sent[-1].to[3])
    bench.advance(10 * TIMEOUT)
    assert bench.sent() == []
    assert isolated(bench) == []


def test_an_error_is_an_answer() -> None:
    bench = knowing(10, 11, 12)
    (sent,) = in_doubt(bench, 10)
    bench.refuse(sent, 12)
    bench.advance(10 * TIMEOUT)
    assert bench.sent() == []
    assert isolated(bench) == []


def test_any_other_answer_ends_the_doubt() -> None:
    bench = knowing(10, 11, 12)
    in_doubt(bench, 10)
    bench.node.commands.ping(endpoint(11), bench.now)
    (sent,) = bench.sent()
    bench.advance(TIMEOUT / 2)
    bench.pong(sent, 11)
    bench.sent()
    bench.advance(10 * TIMEOUT)
    assert bench.sent() == []
    assert isolated(bench) == []


def test_many_queries_lost_at_once_are_one_doubt() -> None:
    bench = knowing(*range(10, 18))
    for _ in range(4):
        bench.node.commands.lookup(KEY, bench.now)
    bench.advance(TIMEOUT - 0.01)
    assert len(bench.sent()) >= 4 * 8
    bench.advance(0.01)
    assert isolated(bench) == []
    (witness,) = [sent for sent in bench.sent() if isinstance(sent.request, Ping)]
    bench.pong(witness, witness.to[3])
    bench.advance(10 * TIMEOUT)
    assert isolated(bench) == []
    assert not any(isinstance(sent.request, Ping) for sent in bench.sent())


def test_both_attempts_of_one_query_are_one_doubt() -> None:
    bench = knowing(10, 11, 12, 13, attempts=2)
    again, witness = in_doubt(bench, 10)
    assert (again.to, witness.to) == (endpoint(10), endpoint(13))
    bench.advance(0.01)
    bench.pong(witness, 13)
    bench.advance(10 * TIMEOUT)
    assert bench.sent() == []
    assert isolated(bench) == []


def test_a_doubt_that_was_settled_may_arise_again() -> None:
    bench = knowing(10, 11, 12, 13)
    (sent,) = in_doubt(bench, 10)
    bench.pong(sent, 13)
    bench.advance(1.0)
    assert len(in_doubt(bench, 11)) == 1
    bench.advance(WITNESSES * TIMEOUT)
    assert isolated(bench) == [Isolated(Family.IPV4)]


@pytest.mark.parametrize(("ids", "expected"), [([10], [10, 10, 10]), ([10, 11], [11, 10, 11])])
def test_few_witnesses_are_asked_again(ids: list[int], expected: list[int]) -> None:
    bench = knowing(*ids)
    order = []
    sent = in_doubt(bench, 10)
    for _ in range(WITNESSES):
        order.append(sent[-1].query.tid)
        assert sent[-1].to == endpoint(expected[len(order) - 1])
        assert isolated(bench) == []
        bench.advance(TIMEOUT)
        sent = bench.sent()
    assert len(set(order)) == WITNESSES
    assert isolated(bench) == [Isolated(Family.IPV4)]


def test_a_bad_contact_is_no_witness() -> None:
    bench = knowing(10, 11, 12, 13)
    for _ in range(2):
        bench.node.state.meta.timed_out(Id(13))
    assert asked(in_doubt(bench, 10)) == [endpoint(12)]


class Doubting(NamedTuple):
    outage: Outage
    join: JoiningClock
    requester: Requester
    verdicts: list[None]


def make() -> Doubting:
    overlay = Overlay(Family.IPV4, Id(0), CODEC, Random(1), DEFAULT, 0.0)
    overlays = Overlays([overlay])
    requester = Requester(overlays, CODEC, Random(1), DEFAULT, Counters(), Reachability(DEFAULT, 0.0))
    overlay.state.answered(contact(10), 0.1, 0.0)
    join, verdicts = JoiningClock(overlay, Random(1), DEFAULT), list[None]()
    return Doubting(Outage(requester, overlay, join, verdicts.append), join, requester, verdicts)


def test_an_unconnected_node_has_no_doubts() -> None:
    doubt, _, requester, _ = make()
    doubt.arise(contact(10), 3.0)
    assert not requester.transmits


def test_a_doubt_is_void_once_the_network_is_lost() -> None:
    doubt, join, requester, verdicts = make()
    join.answered(0.0)
    doubt.arise(contact(10), 3.0)
    join.lost(3.5)  # nobody has answered the lookup of our own ID
    attempt_at = join.next_timeout()
    ((query, _),) = [(query, query.sent_at) for query in requester.transactions._queries.values()]
    doubt.failed(query, None, 3.0 + TIMEOUT)
    assert not verdicts
    assert join.next_timeout() == attempt_at
    assert len(requester.transmits) == 1
    doubt.overdue(query, 3.1, late=False)
    doubt.overdue(query, 3.2, late=True)
    assert len(requester.transmits) == 1


# The table of the states, and every walk through it


def test_the_table_reaches_and_leaves_each_doubt() -> None:
    assert {before for before, _ in TRANSITIONS} == set(Doubt)
    assert set(TRANSITIONS.values()) == set(Doubt)
    assert {evidence for _, evidence in TRANSITIONS} == set(Evidence)


@pytest.mark.parametrize("before", Doubt)
@pytest.mark.parametrize("evidence", Evidence)
def test_other_evidence_changes_nothing(before: Doubt, evidence: Evidence) -> None:
    outage = make().outage
    outage.doubt = before
    outage._take(evidence)
    assert outage.doubt is TRANSITIONS.get((before, evidence), before)


STEPS = ["silence", "request", "overdue", "answer", "error", "other", "silent", "lost", "connected", "defect"]


class Walk:
    """One outage, and the steps of a walk; the walk knows by itself which evidence each step is."""

    def __init__(self) -> None:
        self.outage, self.join, self.requester, self.verdicts = make()
        self.overlay = self.outage._overlay
        self.now = 0.0
        self.join.answered(self.now)

    @property
    def query(self) -> Asked | None:
        """The query to the witness."""
        return next(iter(self.requester.transactions), None)

    def step(self, name: str) -> Evidence | None:
        """Do one step; return its evidence, if the step is possible here."""
        self.now += 0.1
        query, is_connected = self.query, self.overlay.is_connected
        match name:
            case "silence":
                self.outage.arise(contact(10), self.now)
                return Evidence.SILENCE if is_connected else None
            case "request":
                self.outage.look(self.now)
                return Evidence.REQUEST if is_connected else None
            case "lost" if is_connected:
                self.join.lost(self.now)
            case "connected" if not is_connected:
                self.join.answered(self.now)
            case "overdue" if query is not None:
                self.outage.overdue(query, self.now, late=False)
                return Evidence.OVERDUE
            case "defect" if query is not None:
                self.end(query)
                self.outage.give_up(self.now)
                return Evidence.VOID
            case "answer" if query is not None:
                self.end(query)
                self.outage.answered(query, contact(10), Acknowledged(), self.now)
                return Evidence.ANSWER
            case "error" | "other" | "silent" if query is not None:
                self.end(query)
                if name == "other":
                    self.overlay.state.answered(contact(11), 0.1, self.now)
                is_last = not self.outage._witnesses
                self.outage.failed(query, Error(b"", Id(10), 202, "busy") if name == "error" else None, self.now)
                if name != "silent":
                    return Evidence.ANSWER
                return Evidence.ALL_SILENT if is_connected and is_last else None if is_connected else Evidence.VOID
            case _:
                pass
        return None

    def end(self, query: Asked) -> None:
        self.requester.transactions.conclude(query, self.now)

    def place(self) -> tuple[Doubt, int, bool, bool]:
        """Return everything that decides the next steps."""
        return self.outage.doubt, len(self.outage._witnesses), self.overlay.is_connected, self.query is not None


def test_every_transition_happens_and_no_other() -> None:
    happened: set[tuple[Doubt, Evidence, Doubt]] = set()
    seen: set[tuple[Doubt, int, bool, bool]] = set()
    paths: list[list[str]] = [[]]
    while paths:
        path = paths.pop()
        for name in STEPS:
            walk = Walk()
            for before in path:
                walk.step(before)
            doubt, verdicts = walk.outage.doubt, len(walk.verdicts)
            evidence = walk.step(name)
            assert (len(walk.verdicts) > verdicts) == (evidence is Evidence.ALL_SILENT)
            if evidence is None:
                assert walk.outage.doubt is doubt
            elif walk.outage.doubt is not doubt:
                happened.add((doubt, evidence, walk.outage.doubt))
            else:
                assert (doubt, evidence) not in TRANSITIONS
            if walk.place() not in seen:
                seen.add(walk.place())
                paths.append([*path, name])
    assert happened == {(before, evidence, after) for (before, evidence), after in TRANSITIONS.items()}

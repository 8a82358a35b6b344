"""The iterative lookup, held to a slow and obvious statement of its rules, whatever the answers are.

The model keeps a plain list of candidates with their namers and their fates, and sorts it anew for every question. It
says which contact must be asked next, and when the search may wait or end. In some networks all machines of one number
in the hundreds are one party: only so many of them may be asked and not be silent. Two bounds are held:

- in queries: `search_queries` in all; a liar that names dead nodes costs no more than 2 * alpha - 1 of them if K others
  are known;
- in time: each query delays the search until it is late and no longer; while nobody at all has answered, the hard
  timeout
  more; K times that if the search is patient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import PRIVATE_NETWORKS, Policy
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask, Finished, SearchStats, Wait
from tests.core.small import SEVEN, contact, endpoint
from tests.strategies import ids, scaled

HARD = 2.0  # seconds after which a query has failed
NOBODY = Id(SEVEN.size)  # an ID that no node can have
NOWHERE = 500  # machines from this number on are not there

FRESH, WAITING, SLOW, LATE, ANSWERED, FAILED = "fresh", "waiting", "slow", "late", "answered", "failed"
LATE_AFTER = 1.4  # times as long as until a query is slow


@dataclass(eq=False)
class Named:
    """A contact that the search has heard of."""

    contact: Contact
    hops: int
    progress: str = FRESH
    story: list[Endpoint | str | None] = field(default_factory=list)  # its namers (None: we) and its fate


@dataclass(eq=False)
class Flight:
    named: Named
    asked_at: float
    slow_at: float
    late_at: float
    fails_at: float
    told_more: bool = False  # a part of the answer has come


class SearchMachine(RuleBasedStateMachine):
    """Each asked node may answer, in time or late, whole or in parts, true or false, as itself or another, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.over = False

    @initialize(
        members=st.lists(ids(SEVEN), unique=True, min_size=1, max_size=40),
        k=st.integers(1, 5),
        alpha=st.integers(1, 4),
        candidates=st.sampled_from([6, 12, 256]),
        share=st.sampled_from([None, None, 2, 5]),
        opinions=st.integers(0, 3),
        seed=st.integers(0, 99),
    )
    def make_a_network(
        self, members: list[Id], k: int, alpha: int, candidates: int, share: int | None, opinions: int, seed: int
    ) -> None:
        self.members = [contact(id) for id in members]
        self.rng = Random(seed)
        self.known = {member: self.rng.sample(self.members, min(len(self.members), 6)) for member in self.members}
        # As in the default policy, twice as many are remembered as are ever asked.
        self.policy = Policy(
            k=k,
            alpha=alpha,
            search_queries=candidates // 2,
            search_candidates=candidates,
            search_opinions=opinions,
            lookup_per_network=share or 0,
            lookup_silent_per_ip=10_000,  # vain queries at one place: see test_address_quota
            lookup_silent_per_network=10_000,
            lookup_silent_exempt=10_000,
            exempt_networks=PRIVATE_NETWORKS if share is None else (),
        )
        self.begin(Id(0), Id(127), 3, patient=False)

    @rule(towards=ids(SEVEN), own_id=ids(SEVEN), seeds=st.integers(0, 8), patient=st.booleans())
    def search_again(self, towards: Id, own_id: Id, seeds: int, patient: bool) -> None:
        self.begin(towards, own_id, seeds, patient=patient)

    def begin(self, towards: Id, own_id: Id, seeds: int, *, patient: bool) -> None:
        self.now = 0.0
        self.over = False
        self.named: list[Named] = []  # in the order in which they were named
        self.asked: list[Endpoint] = []
        self.opinions: list[Named] = []  # own contacts that were asked at the end
        self.flights: list[Flight] = []
        self.timeouts = 0
        self.stalled = 0.0  # seconds in which only slow nodes were waited for
        self.in_parts = False
        self.ever_patient = patient
        self.target, self.own_id = towards, own_id
        self.search = Search(towards, own_id, self.policy, patient=patient)
        self.search.seed(self.members[:seeds])
        for member in self.members[:seeds]:
            self.hear_of(member, None, 1)
        self.advance()

    # The model's answers

    def distance(self, one: Contact) -> int:
        return one.id ^ self.target

    def by_nearness(self) -> list[Named]:
        return sorted(self.named, key=lambda named: self.distance(named.contact))

    def hear_of(self, one: Contact, namer: Endpoint | None, hops: int) -> Named | None:
        if one.id == self.own_id:
            return None
        named = next((named for named in self.named if named.contact == one), None)
        if named is None:
            named = Named(one, hops)
            self.named.append(named)
            if len(self.named) > self.policy.search_candidates:
                event("the farthest gives way")
                self.named.remove([other for other in self.by_nearness() if other.progress == FRESH][-1])
        if namer not in named.story:
            named.story.append(namer)
        return named

    def disappointment(self, namer: Endpoint) -> tuple[int, int]:
        """How many that `namer` named came to nothing, less those that answered; the least and most one may say.

        These differ where somebody was named when it was late already.
        """
        least = most = 0
        for named in self.named:
            if namer not in named.story:
                continue
            before, after = split(named.story, namer)
            if ANSWERED in after:
                least -= 2 if SLOW in before else 1
                most -= 1
            elif SLOW in after:
                least += 1
                most += 1
            elif FAILED in after:
                least += SLOW not in before
                most += 1
        return least, most

    def is_doubtful(self, named: Named) -> bool | None:
        """Whether all its namers have disappointed `alpha` times; None if the rule leaves it open."""
        verdicts: list[bool | None] = []
        for namer in named.story:
            if namer is None:
                return False
            if isinstance(namer, Endpoint):
                least, most = self.disappointment(namer)
                verdicts.append(True if least >= self.policy.alpha else False if most < self.policy.alpha else None)
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def is_crowded(self, named: Named) -> bool:
        """Whether other nodes of its network, asked and not silent, have all its places."""
        if self.policy.exempt_networks:
            return False
        holders = [other for other in self.named if other.progress in (WAITING, ANSWERED)]
        kin = [other for other in holders if other.contact.endpoint[:3] == named.contact.endpoint[:3]]
        return len(kin) >= self.policy.lookup_per_network

    def may_be_asked(self, named: Named) -> bool:
        new = named.progress == FRESH and named.contact.endpoint not in self.asked
        return new and len(self.asked) < self.policy.search_queries and not self.is_crowded(named)

    def opinion(self) -> Named | None:
        """Return the own contacts to ask before the end."""
        own = [named for named in self.by_nearness() if None in named.story and self.may_be_asked(named)]
        return own[0] if own and len(self.opinions) < self.policy.search_opinions else None

    def window(self) -> list[Named] | None:
        """Return the K nearest that are not failed, slow or late, the doubtful last; None if it is left open.

        A node at an endpoint that was asked, or after the last query, is not new.
        """
        trusted, doubtful = [], []
        for named in self.by_nearness():
            if named.progress in (FAILED, SLOW, LATE):
                continue
            if named.progress == FRESH:
                if not self.may_be_asked(named):
                    continue
                doubt = self.is_doubtful(named)
                if doubt is None:
                    event("a doubt left open")
                    return None
                if doubt:
                    event("somebody is in doubt")
                    doubtful.append(named)
                    continue
            trusted.append(named)
        return (trusted + doubtful)[: self.policy.k]

    def in_flight(self, among: list[Named] | None = None) -> int:
        """How many queries to these, or in all, near or far, are not slow yet."""
        asked = [flight.named for flight in self.flights] if among is None else among
        return sum(named.progress == WAITING for named in asked)

    def advance(self) -> None:
        """Ask what the search wants asked, until it waits or is over."""
        for _ in range(self.policy.search_queries + 1):
            window = self.window()
            step = self.search.next()
            if isinstance(step, Ask):
                self.check_ask(step.contact, window)
                continue
            if window is not None:
                full = self.in_flight(window) >= self.policy.alpha or self.in_flight() == 2 * self.policy.alpha
                assert full or not any(named.progress == FRESH for named in window), "there is somebody to ask"
                assert step == (Finished() if self.is_settled(window) and not self.is_opinion_awaited() else Wait())
            if isinstance(step, Wait):
                assert self.flights, "it waits for nobody"
            else:
                self.finish()
            return
        raise AssertionError("it asks and asks")

    def is_settled(self, window: list[Named]) -> bool:
        """Whether the result depends on no contact that is still waited for or to be asked."""
        if any(named.progress in (WAITING, FRESH) for named in window):
            return False
        order = self.by_nearness()
        if len(window) == self.policy.k:
            order = order[: order.index(window[-1])]
        if any(named.progress == SLOW for named in order):
            return False
        few = len(window) < self.policy.k and (not window or self.search.patient)
        return not (few and any(flight.named.progress == LATE for flight in self.flights))

    def is_opinion_awaited(self) -> bool:
        if not self.search.patient:
            return False
        return self.opinion() is not None or any(named.progress == WAITING for named in self.opinions)

    def check_ask(self, asked: Contact, window: list[Named] | None) -> None:
        assert asked.id != self.own_id
        assert asked.endpoint not in self.asked
        (named,) = (named for named in self.named if named.contact == asked)
        assert self.may_be_asked(named)
        if window is None:
            # The rule allows both: all contacts left for their opinion were left for their place, too.
            heard = len(self.search._opinions._asked)
            if named is self.opinion() and self.search.patient and heard > len(self.opinions):
                self.opinions.append(named)
        elif self.is_settled(window):
            event("one more opinion")
            assert self.search.patient
            assert named is self.opinion()
            assert self.in_flight() < self.policy.alpha
            self.opinions.append(named)
        else:
            fresh = [named for named in window if named.progress == FRESH]
            assert fresh, "nobody is left to be asked"
            assert named is fresh[0]
            assert self.in_flight(window) < self.policy.alpha
        assert self.in_flight() < 2 * self.policy.alpha
        named.progress = WAITING
        self.asked.append(asked.endpoint)
        assert len(self.asked) <= self.policy.search_queries
        slow_after = (0.05, 0.3, 0.5, 1.5)[asked.endpoint[3] % 4]  # the node's knowledge of its round trips
        self.flights.append(
            Flight(named, self.now, self.now + slow_after, self.now + LATE_AFTER * slow_after, self.now + HARD)
        )

    def finish(self) -> None:
        assert not self.over
        self.over = True
        assert self.search.next() == Finished()
        for flight in self.flights:
            event(f"ends while others are {flight.named.progress}")
        late_after = (2 if self.in_parts else 1) * min(LATE_AFTER * 1.5, HARD)
        if not self.in_parts:
            assert self.stalled <= HARD * (self.policy.k if self.ever_patient else 1)
        assert self.now <= late_after * len(self.asked) + self.stalled

    # Events

    def pick(self, which: int) -> Flight:
        """Return a query on its way; of another search once this one is over."""
        while self.over:
            self.begin(SEVEN.random(self.rng), SEVEN.random(self.rng), self.rng.randint(1, 8), patient=which % 2 == 1)
        return self.flights[which % len(self.flights)]

    def whole_answer(self, flight: Flight, named: Iterable[Contact], who: Contact | None = None) -> None:
        """The asked node, or another in its place, answers with these contacts."""
        self.part_of_answer(flight, named)
        self.flights.remove(flight)
        if flight.named.progress in (SLOW, LATE):
            event(f"an answer of a node that is {flight.named.progress}")
        asked = flight.named.contact
        who = asked if who is None else who
        self.search.answered(who)
        was, flight.named.progress = flight.named.progress, FAILED  # until its place is found
        if who == asked:
            flight.named.progress = FAILED if self.is_crowded(flight.named) else ANSWERED
            event(f"a node that was {was} has answered, and its place is taken: {flight.named.progress == FAILED}")
            flight.named.story.append(ANSWERED)
        else:  # nobody is to blame for it
            actual = self.hear_of(who, None, flight.named.hops)
            if actual is not None and actual in self.named:
                actual.progress = FAILED if self.is_crowded(actual) else ANSWERED
        self.advance()

    def part_of_answer(self, flight: Flight, named: Iterable[Contact]) -> None:
        of, named = flight.named, list(named)
        self.search.learn(of.contact.endpoint, named)
        for other in sorted(named, key=self.distance)[: 2 * self.policy.k]:
            self.hear_of(other, of.contact.endpoint, of.hops + 1)

    def turn_slow(self, flight: Flight) -> None:
        self.search.slow(flight.named.contact.endpoint)
        if flight.named.progress == WAITING:
            flight.named.progress = SLOW
            flight.named.story.append(SLOW)
        self.advance()

    def turn_late(self, flight: Flight) -> None:
        self.search.late(flight.named.contact.endpoint)
        if flight.named.progress == SLOW:
            flight.named.progress = LATE
        self.advance()

    def fail(self, flight: Flight, *, timeout: bool) -> None:
        self.flights.remove(flight)
        self.search.failed(flight.named.contact.endpoint, timeout=timeout)
        flight.named.progress = FAILED
        flight.named.story.append(FAILED)
        self.timeouts += timeout
        self.advance()

    def truth(self, of: Contact) -> list[Contact]:
        """The answer of an honest node; a missing one knows everybody."""
        known = self.known.get(of, self.members)
        return sorted(known, key=self.distance)[: self.policy.k]

    @rule(which=st.integers(0, 20))
    def answer_honestly(self, which: int) -> None:
        flight = self.pick(which)
        if flight.named.contact in self.known:
            self.whole_answer(flight, self.truth(flight.named.contact))
        elif flight.named.progress == WAITING:  # nobody is there to answer
            self.turn_slow(flight)
        elif flight.named.progress == SLOW:
            self.turn_late(flight)
        else:
            self.fail(flight, timeout=True)

    @rule(count=st.integers(2, 8), which=st.integers(0, 20))
    def answer_many(self, count: int, which: int) -> None:
        self.answer_honestly(which)
        for _ in range(count):
            if not self.over:
                self.answer_honestly(which)

    @rule(which=st.integers(0, 20), count=st.integers(1, 12))
    def answer_while_one_is_slow(self, which: int, count: int) -> None:
        """Every other asked node answers, and knows everybody."""
        slow = self.pick(which)
        if slow.named.progress == WAITING:
            slow.slow_at = self.now
            self.turn_slow(slow)
        for _ in range(count):
            others = [flight for flight in self.flights if flight is not slow]
            if self.over or not others:
                return
            self.whole_answer(others[0], sorted(self.members, key=self.distance)[: self.policy.k])

    @rule(which=st.integers(0, 20))
    def answer_with_lies_that_are_found_out(self, which: int) -> None:
        machine = 20 * (len(self.asked) + 1)  # others than have been named before
        self.name_nodes_near_the_target_that_are_not_there(which, 0, 2 * self.policy.k, machine)
        for flight in [flight for flight in self.flights if flight.named.contact not in self.known]:
            if not self.over and flight.named.progress == WAITING:
                flight.slow_at = self.now
                self.turn_slow(flight)

    @rule(which=st.integers(0, 20))
    def answer_in_part(self, which: int) -> None:
        """The rest is asked for by another query, with its own times."""
        flight = self.pick(which)
        if not flight.told_more:
            flight.told_more = self.in_parts = True
            flight.slow_at += self.now - flight.asked_at
            flight.late_at += self.now - flight.asked_at
            flight.fails_at = self.now + HARD
            self.part_of_answer(flight, self.truth(flight.named.contact)[:1])
            self.advance()

    @rule(which=st.integers(0, 20), id=ids(SEVEN))
    def answer_as_another(self, which: int, id: Id) -> None:
        flight = self.pick(which)
        event("the answering node claims to be us" if id == self.own_id else "another answers")
        self.whole_answer(flight, self.truth(flight.named.contact), Contact(id, flight.named.contact.endpoint))

    @rule(which=st.integers(0, 20))
    def name_nobody(self, which: int) -> None:
        self.whole_answer(self.pick(which), [])

    @rule(which=st.integers(0, 20), first=st.integers(0, 8), count=st.integers(1, 12), machine=st.integers(0, 60))
    def name_nodes_near_the_target_that_are_not_there(self, which: int, first: int, count: int, machine: int) -> None:
        fakes = [contact(self.target ^ (first + place), NOWHERE + machine + place) for place in range(count)]
        self.whole_answer(self.pick(which), fakes)

    @rule(which=st.integers(0, 20), data=st.data())
    def name_true_nodes_at_false_endpoints(self, which: int, data: Any) -> None:
        some = data.draw(st.lists(st.sampled_from(self.members), max_size=6))
        fakes = [Contact(member.id, endpoint(NOWHERE + member.id)) for member in some]
        self.whole_answer(self.pick(which), fakes)

    @rule(which=st.integers(0, 20), at=st.integers(0, 40), named=st.lists(ids(SEVEN), min_size=1, max_size=12))
    def name_one_endpoint_under_many_ids(self, which: int, at: int, named: list[Id]) -> None:
        there = self.members[at % len(self.members)].endpoint
        self.whole_answer(self.pick(which), [Contact(id, there) for id in named])

    @rule(which=st.integers(0, 20), timeout=st.booleans())
    def refuse(self, which: int, timeout: bool) -> None:
        self.fail(self.pick(which), timeout=timeout)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.0, 2.0]))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while not self.over and (when := self.next_deadline()) <= until:
            self.pass_until(when)
        if not self.over:
            self.pass_until(until)

    @rule()
    def let_the_next_turn_slow_or_fail(self) -> None:
        if not self.over:
            self.pass_until(self.next_deadline())

    @rule(patient=st.booleans())
    def change_patience(self, patient: bool) -> None:
        if not self.over:
            self.search.patient = patient
            self.ever_patient |= patient
            self.advance()

    def next_deadline(self) -> float:
        return min(
            min(
                {WAITING: flight.slow_at, SLOW: flight.late_at}.get(flight.named.progress, HARD + self.now),
                flight.fails_at,
            )
            for flight in self.flights
        )

    def pass_until(self, when: float) -> None:
        if all(flight.named.progress == LATE for flight in self.flights):
            event("only the late are waited for")
            self.stalled += when - self.now
        self.now = when
        for flight in list(self.flights):
            if not self.over and flight.fails_at <= when:
                self.fail(flight, timeout=True)
            elif not self.over and flight.slow_at <= when and flight.named.progress == WAITING:
                self.turn_slow(flight)
            elif not self.over and flight.late_at <= when and flight.named.progress == SLOW:
                self.turn_late(flight)

    # Invariants

    @invariant()
    def its_results_are_the_answering_nodes_by_nearness(self) -> None:
        answered = [named for named in self.by_nearness() if named.progress == ANSWERED]
        assert self.search.closest() == [named.contact for named in answered]
        hops = max((named.hops for named in answered), default=0)
        assert self.search.stats() == SearchStats(hops, len(self.asked), len(answered), self.timeouts)

    def teardown(self) -> None:
        if not hasattr(self, "search"):
            return
        for _ in range(3 * self.policy.search_queries):  # each query turns slow, and late, and fails
            if self.over:
                break
            self.pass_until(self.next_deadline())
        assert self.over, "it does not end"
        self.its_results_are_the_answering_nodes_by_nearness()


def split(story: list[Endpoint | str | None], namer: Endpoint) -> tuple[list[object], list[object]]:
    """Return the events before and after `namer` named the contact with this story."""
    at = story.index(namer)
    return list(story[:at]), list(story[at + 1 :])


TestTheSearchAgreesWithASortedList = SearchMachine.TestCase
TestTheSearchAgreesWithASortedList.settings = scaled(150)


# Whole searches, each through a network with a clock


class Race:
    """One search against the clock: each node takes its time to answer, or never does."""

    def __init__(self, search: Search, slow_after: float) -> None:
        self.search = search
        self.now = 0.0
        self.asked: list[Contact] = []
        self._slow_after = slow_after
        self._late_after = LATE_AFTER * slow_after

    def run(self, answers: dict[Contact, list[Contact]], delay: dict[Contact, float]) -> None:
        """Run it to its end. Nodes missing in `answers` do not answer; nodes without a delay answers at once."""
        events: list[tuple[float, int, str, Contact]] = []
        while not isinstance(step := self.search.next(), Finished):
            if isinstance(step, Ask):
                asked, count = step.contact, len(self.asked)
                self.asked.append(asked)
                takes = delay.get(asked, 0.0) if asked in answers else HARD
                if self._slow_after < takes:
                    heappush(events, (self.now + self._slow_after, count, "slow", asked))
                if self._late_after < min(takes, HARD):
                    heappush(events, (self.now + self._late_after, count, "late", asked))
                heappush(events, (self.now + min(takes, HARD), count, "failed" if takes >= HARD else "answered", asked))
                continue
            self.now, _, what, who = heappop(events)  # and fails where the search waits for nobody
            match what:
                case "slow":
                    self.search.slow(who.endpoint)
                case "late":
                    self.search.late(who.endpoint)
                case "failed":
                    self.search.failed(who.endpoint, timeout=True)
                case _:
                    self.search.learn(who.endpoint, answers[who])
                    self.search.answered(who)


def routing_tables(members: list[Contact], k: int, rng: Random) -> dict[Contact, list[Contact]]:
    """The contacts of each node in a healthy network: of each distance class up to K, and its own K nearest."""
    tables = {}
    for member in members:
        others = sorted((other for other in members if other != member), key=lambda other: other.id ^ member.id)
        table = set(others[:k])
        for bits in range(1, 8):
            one_class = [other for other in others if (other.id ^ member.id).bit_length() == bits]
            table.update(rng.sample(one_class, min(k, len(one_class))))
        tables[member] = sorted(table, key=lambda other: other.id)
    return tables


def nearest(members: Iterable[Contact], target: Id, count: int) -> list[Contact]:
    return sorted(members, key=lambda member: member.id ^ target)[:count]


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Contact], int, Random]:
    """A network of any size, its K, and chance."""
    rng = Random(draw(st.integers(0, 2**32)))
    members = rng.sample(range(SEVEN.size), draw(st.integers(1, SEVEN.size)))
    return [contact(id) for id in members], draw(st.integers(1, 8)), rng


@given(networks(), ids(SEVEN), st.booleans(), st.integers(1, 4), st.booleans())
def test_without_failures_it_finds_the_true_k_closest(
    network: tuple[list[Contact], int, Random], target: Id, patient: bool, alpha: int, one_of_them: bool
) -> None:
    members, k, rng = network
    policy = Policy(k=k, alpha=alpha)
    tables = routing_tables(members, k, rng)
    us = members[0] if one_of_them else contact(NOBODY)
    known = nearest(tables[us], target, 2 * k) if one_of_them else members[:1]
    answers = {member: nearest(tables[member], target, k) for member in members}
    search = Search(target, us.id, policy, patient=patient)
    search.seed(known)
    race = Race(search, slow_after=1.0)
    race.run(answers, {member: rng.uniform(0.01, 0.9) for member in members})
    # Others count us among the K that they name: so the K closest are taken of the network with us in it.
    truth = [member for member in nearest(members, target, k) if member != us]
    assert search.closest()[: len(truth)] == truth
    assert search.stats().responses <= search.stats().queries == len(race.asked)


@given(
    networks(),
    ids(SEVEN),
    st.booleans(),
    st.integers(1, 4),
    st.integers(0, 3),
    st.sampled_from([0.05, 0.3, 1.0]),
)
def test_liars_cost_few_queries_and_change_nothing(
    network: tuple[list[Contact], int, Random],
    target: Id,
    patient: bool,
    alpha: int,
    liars: int,
    slow_after: float,
) -> None:
    members, k, rng = network
    policy = Policy(k=k, alpha=alpha)
    tables = routing_tables(members, k, rng)
    answers = {member: nearest(tables[member], target, k) for member in members}
    seeds = rng.sample(members, min(k, len(members)))
    for liar in range(liars):  # each is as near as can be, and names as many as are listened to, nearer than anybody
        who = contact(target, NOWHERE + liar)
        answers[who] = [contact(target, NOWHERE + 100 * (liar + 1) + fake) for fake in range(2 * k)]
        seeds.append(who)
    search = Search(target, NOBODY, policy, patient=patient)
    search.seed(seeds)
    race = Race(search, slow_after)
    race.run(answers, dict.fromkeys(answers, 0.9 * slow_after))
    fakes = [asked for asked in race.asked if asked not in answers]
    honest = [one for one in search.closest() if one in tables]
    few = len(members) < k
    if not few:
        assert len(fakes) <= liars * (2 * alpha - 1)
    assert len(honest) + liars >= min(k, len(members))
    truth = nearest(members, target, k)
    assert honest[: max(0, k - liars)] == truth[: max(0, k - liars)]
    assert race.now <= LATE_AFTER * slow_after * len(race.asked) + (HARD if patient and few else 0.0)


@given(networks(), ids(SEVEN), st.integers(1, 4), st.sampled_from([0.05, 0.3, 1.0]), st.floats(0, 1))
def test_slow_and_dead_nodes_cost_bounded_time(
    network: tuple[list[Contact], int, Random], target: Id, alpha: int, slow_after: float, share: float
) -> None:
    members, k, rng = network
    policy = Policy(k=k, alpha=alpha, search_queries=40)
    tables = routing_tables(members, k, rng)
    dead = {member for member in members if rng.random() < share / 2}
    slow = {member for member in members if rng.random() < share / 2}
    answers = {member: nearest(tables[member], target, k) for member in members if member not in dead}
    delay = {member: rng.uniform(slow_after, 2.2) if member in slow else 0.9 * slow_after for member in members}
    seeds = rng.sample(members, min(2 * k, len(members)))
    search = Search(target, NOBODY, policy)
    search.seed(seeds)
    race = Race(search, slow_after)
    race.run(answers, delay)
    assert len(race.asked) <= 40
    in_time = [member for member in seeds if member in answers and delay[member] <= slow_after]
    # While nobody has answered it waits for the late; once somebody has, only until each is called late.
    assert race.now <= LATE_AFTER * slow_after * len(race.asked) + (0.0 if in_time else HARD)
    stats = search.stats()
    assert stats.responses + stats.timeouts <= stats.queries == len(race.asked)
    assert not set(search.closest()) & dead


@pytest.mark.slow
@given(ids(SEVEN), st.integers(1, 4), st.sampled_from([0.05, 0.3, 1.0]), st.booleans())
@example(Id(0), 4, 0.5, True)
def test_endless_liars_are_asked_within_the_policy(target: Id, alpha: int, slow_after: float, patient: bool) -> None:
    policy = Policy(alpha=alpha, search_queries=60, search_candidates=100)
    liars = [contact(target ^ 1, number) for number in range(1, 1200)]
    answers = {liar: liars[16 * place + 1 : 16 * place + 17] for place, liar in enumerate(liars)}
    search = Search(target, NOBODY, policy, patient=patient)
    search.seed(liars[:1])
    race = Race(search, slow_after)
    race.run(answers, dict.fromkeys(liars, slow_after))
    assert len(race.asked) <= 60
    assert race.now <= LATE_AFTER * slow_after * 60 + HARD

"""Runs a plan: brings a network up, does to it what the plan says, asks it what the plan asks, and reports.

Everything is an action on the network's schedule, so a run is its plan and nothing else: the same plan gives the same
run, event by event, on every machine. A failure tells the event that showed it, and `advance` goes up to any event.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import log2
from random import Random

from dhtd.core.events import Event
from dhtd.core.records import Peer, RecordKey
from dhtd.errors import SimulationFailed
from dhtd.sim import invariants
from dhtd.sim.chord.overlay import Chord
from dhtd.sim.eclipse import Eclipse
from dhtd.sim.goodbyes import Goodbyes
from dhtd.sim.hand import Hand
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import private, scattered
from dhtd.sim.plan import Plan
from dhtd.sim.population import Population
from dhtd.sim.power_cuts import PowerCuts
from dhtd.sim.questions import LOOKUP_LIMIT, Entry, Phase, Questions
from dhtd.sim.report import Report
from dhtd.sim.saved import Saved
from dhtd.sim.spectator import SeenNetwork, Spectator
from dhtd.sim.tally import Tally
from dhtd.sim.values import ValueQuestions
from dhtd.sim.watchers import Watchers

DOUBLING = 20.0  # seconds in which the network doubles while nodes join one by one
SETTLING = 60.0  # seconds from the last node's arrival until the network is said to stand
AWAY = 60.0  # seconds that a machine is away which comes back, in the mean
JUMP = 7_200.0  # seconds by which a clock jumps at most
_CHUNK = 4  # hosts brought up in one event of a warm start: few, so that a page that shows it need not wait


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How far a run is."""

    phase: str
    virtual_s: float
    total_s: float  # as planned
    events: int
    live: int
    asked: int
    ended: int
    found: int


class Simulation:
    """One run of a plan."""

    def __init__(self, plan: Plan, spectator: Spectator | None = None) -> None:
        plan.check()
        self.plan = plan
        address = scattered if plan.eclipse else private
        overlay = Chord() if plan.overlay == "chord" else None
        kind = Network if spectator is None else partial(SeenNetwork, spectator=spectator)
        self.net = kind(plan.seed, links=plan.links, policy=plan.policy, address=address, overlay=overlay)
        self._spectator = spectator
        self.tally = Tally(self.net, plan)
        self._rng = Random(f"plan {plan.seed}")
        self._eclipse = Eclipse(self.net, plan.eclipse, closest=plan.closest, site=plan.site)
        self._population = Population(self.net, plan, self.tally, self._rng)
        self._goodbyes = Goodbyes(self.net, self._forget)
        self._questions = Questions(self.net, plan, self._population, self.tally, self._rng, spectator)
        self.hand = Hand(self.net, self._population, self._questions, self._end, self._plan_end, lambda: self.phase)
        self._power_cuts = PowerCuts(self.net, self._population, self._questions, self._end)
        self._watchers = Watchers(self.net, plan, self._population, self._end, self._rng)
        self._values = ValueQuestions(self.net, plan, self._population, self._end, self._rng)
        self.net.listener = self._heard
        self.phase = Phase.JOINING
        self.stands_at = self._plan_start()
        self.ends_at = self.stands_at + plan.duration
        self._plan_rest()

    @property
    def is_over(self) -> bool:
        """Whether the duration is over, and every lookup has ended."""
        under_way = len(self._questions) + len(self._power_cuts) + len(self._values)
        return self.net.now >= self.ends_at and not under_way

    def advance(self, events: int) -> bool:
        """Do so many events; return whether there is more to do. Raise `SimulationFailed` if an invariant breaks."""
        schedule, ends_at = self.net.schedule, self.ends_at
        with self.located():
            for _ in range(events):
                if schedule.now < ends_at:
                    schedule.step(ends_at)
                elif not self.is_over:
                    schedule.step(ends_at + LOOKUP_LIMIT)
                else:
                    self._check_all()
                    return False
        return True

    def go_on(self, events: int, until: float) -> bool:
        """Do up to so many events up to a time, which may be behind the plan's end; return whether more may be due.

        Raise `SimulationFailed` if an invariant breaks.
        """
        step = self.net.schedule.step
        with self.located():
            for _ in range(events):
                if not step(until):
                    return False
        return True

    def ask_on(self) -> None:
        """Go on with lookups behind the plan's end, as often as before it."""
        if self.plan.lookups:
            every = (self.ends_at - self.asks_at) / self.plan.lookups
            self.net.schedule.at(self.ends_at, self._ask_on, every)

    @property
    def built(self) -> float:
        """Which part of a warm start is done."""
        chunks = -(-self.plan.nodes // _CHUNK)
        return min(1.0, self.net.schedule.events / (2 * chunks))

    def check(self) -> None:
        """Look at every node now, as else only the end of a run does. Raise `SimulationFailed`."""
        with self.located():
            self._check_all()

    def run(self) -> Report:
        """Do it all."""
        while self.advance(1_000_000):
            pass
        return self.report()

    def status(self) -> RunStatus:
        """Return how far the run is."""
        tally = self.tally
        return RunStatus(
            phase=self.phase.value,
            virtual_s=self.net.now,
            total_s=self.ends_at,
            events=self.net.schedule.events,
            live=len(self._population.live),
            asked=tally.asked,
            ended=len(tally.outcomes),
            found=tally.found,
        )

    def report(self) -> Report:
        """Return what the run has shown so far."""
        parts = self._power_cuts.report(), self._watchers.report(), self._values.report()
        return self.tally.report(self._population.live, *parts)

    # The plan

    def _plan_start(self) -> float:
        """Plan the arrival of the nodes; return when the network stands."""
        at, population = self.net.schedule.at, self._population
        if self.plan.warm:
            for first in range(0, self.plan.nodes, _CHUNK):
                at(0.0, population.place, min(_CHUNK, self.plan.nodes - first))
            for first in range(0, self.plan.nodes, _CHUNK):
                at(0.0, population.acquaint, first, _CHUNK)
            return 1.0
        for number in range(self.plan.nodes):
            at(DOUBLING * log2(number + 1), population.arrive)
        return DOUBLING * log2(self.plan.nodes) + SETTLING

    def _plan_rest(self) -> None:
        plan, at, begin, questions = self.plan, self.net.schedule.at, self.stands_at, self._questions
        at(begin, self._stand)
        entering = min(60.0, plan.duration / 5)
        coming = plan.duration / 3 if plan.eclipse else 0.0  # what it takes the attackers to be known
        early = 0.0 if plan.late else coming
        for number in range(plan.entries):
            at(begin + early + entering * number / plan.entries, questions.enter)
            if plan.eclipse:
                at(begin + (entering if plan.late else 0.0) + number, self._eclipse.attack, questions.key(number + 1))
        self.asks_at = asking = begin + coming + entering + min(30.0, plan.duration / 10)
        span = self.ends_at - asking if plan.rush is None else plan.rush
        for number in range(plan.lookups):
            at(asking + span * number / plan.lookups, self._look_up)
        if plan.partition is not None:
            at(begin + plan.partition[0], self._part)
            at(begin + plan.partition[1], self._heal)
        if plan.cut is not None:
            first, last = plan.cut
            for number in range(plan.entries // 2):
                at(begin + first + (last - first) * 2 * number / plan.entries, self._power_cuts.cut)
        if plan.restart is not None:
            at(begin + plan.restart, self._restart_all)

    def _stand(self) -> None:
        """The network stands: what the plan has in store for single nodes begins."""
        self.phase = Phase.RUNNING
        self.tally.begin(self._population.live)
        for host in list(self._population.live):
            self._plan_end(host)
            if self._rng.random() < self.plan.jumps:
                when = self.net.now + self._rng.random() * self.plan.duration
                self.net.schedule.at(when, self._jump, host, self._rng.random() * JUMP)
        self._watchers.begin(self.ends_at)
        self._values.begin(self.ends_at)

    def _heard(self, host: Host, event: Event) -> None:
        if self._spectator is not None:
            self._spectator.heard(host, event)
        self._questions.heard(host, event)
        self._power_cuts.heard(host, event)
        self._watchers.heard(host, event)
        self._values.heard(host, event)

    def _look_up(self) -> None:
        self._questions.look_up(self.phase)

    def _ask_on(self, every: float) -> None:
        self._look_up()
        self.net.schedule.at(self.net.now + every, self._ask_on, every)

    # What becomes of nodes

    def _plan_end(self, host: Host) -> None:
        """Draw when this machine's session ends."""
        mean = self.plan.churn
        if mean is not None:
            length = self._rng.paretovariate(2.0) * mean / 2 if self.plan.pareto else self._rng.expovariate(1 / mean)
            self.net.schedule.at(self.net.now + length, self._leave, host)

    def _leave(self, host: Host) -> None:
        """End a session: the machine comes back from its state file later, or another comes at once."""
        population = self._population
        if host not in population or population.is_last_honest(host):
            return  # it was cut off, or nobody would be left to join by and to ask
        if self._rng.random() < self.plan.returning:
            self._goes(host, "stops for a while")
            saved = self.net.kill(host)
            self.net.schedule.at(self.net.now + self._rng.expovariate(1 / AWAY), self._return, host, saved)
            return
        if self.plan.goodbyes and self._rng.random() < self.plan.goodbyes:
            self._goes(host, "says goodbye")
            self._goodbyes.begin(host)
        else:
            self._end(host, "stops for good")
        self._plan_end(population.arrive())
        self._questions.replace_those_of(host)

    def _end(self, host: Host, how: str) -> None:
        """A machine is gone for good."""
        self._goes(host, how)
        self._population.forget(host)

    def _forget(self, host: Host) -> None:
        """A machine has said goodbye, and is gone. People may have let it look something up meanwhile."""
        self._questions.abandon(host)
        self._population.forget(host)

    def _goes(self, host: Host, how: str) -> None:
        """Expect nothing more of a machine, whose node is about to be killed."""
        for part in (self._questions, self._power_cuts, self._watchers, self._values):
            part.abandon(host)
        if host in self._population:  # no attacker is, and no machine that says goodbye
            self._population.goes(host)
        self.net.note(how, host)

    def _return(self, host: Host, saved: Saved) -> None:
        self.net.note("comes back", host)
        self.net.restart(host, saved)
        self._population.comes(host)
        self._plan_end(host)

    def _restart_all(self) -> None:
        """Kill all nodes, and start them again at once."""
        self.net.note("restarts, every node at once")
        hosts, questions = self._population.live, self._questions
        saved = []
        for host in hosts:
            questions.abandon(host)
            saved.append(self.net.kill(host))
        for host, state in zip(hosts, saved, strict=True):
            more = [questions.new_key() for _ in range(self.plan.restored)]
            own = [RecordKey.of(key, Peer.on(port)) for key, port in more]
            self.net.restart(host, replace(state, own=(*state.own, *own), holders=()))
            for key, port in more:
                questions.own(Entry(key, port, host))

    def _jump(self, host: Host, seconds: float) -> None:
        if host in self._population:
            self.net.note(f"sees its clock jump {seconds:.6f} s ahead", host)
            self.net.jump(host, seconds)

    # Faults of the network

    def _part(self) -> None:
        halves = self._population.part()
        self.net.note(f"parts into {len(halves[0])} and {len(halves[1])} nodes")
        self.net.partition(halves)
        self.phase = Phase.PARTED

    def _heal(self) -> None:
        self.net.note("is whole again")
        self.net.heal()
        self.tally.healed_at = self.net.now
        self.phase = Phase.HEALED

    # Whether all is in order

    def _check_all(self) -> None:
        for host in self._population.live:
            try:
                invariants.check_host(host, self.net.now)
            except AssertionError as error:
                raise AssertionError(f"{host.endpoint}: {error}") from error

    @contextmanager
    def located(self) -> Iterator[None]:
        """Add to any failure its seed, and its place in the run."""
        try:
            yield
        except Exception as error:
            schedule = self.net.schedule
            where = f"seed {self.plan.seed}, event {schedule.events}, at {schedule.now:.6f} virtual seconds"
            what = str(error).partition("\n")[0] or "an assertion"
            raise SimulationFailed(f"{where}: {type(error).__name__}: {what}") from error

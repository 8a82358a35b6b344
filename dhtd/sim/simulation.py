"""Runs a plan: brings a network up, does to it what the plan says, asks it what the plan asks, and reports.

Everything is an action on the network's schedule, so a run is its plan and nothing else: the same plan gives the same
run, event by event, on every machine. A failure tells the event that showed it, and `advance` goes up to any event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import log2
from random import Random

from dhtd.core.endpoint import Family
from dhtd.core.events import Event, Handle, LookupDone, LookupProgress, Published, Republished
from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.records import Peer, RecordKey
from dhtd.errors import SimulationFailed
from dhtd.sim import invariants, warm
from dhtd.sim.eclipse import Eclipse
from dhtd.sim.host import Host, Saved
from dhtd.sim.liars import Empty, FakeContacts, FakeEndpoints, FakeIds, Lie, Mute
from dhtd.sim.links import Nat
from dhtd.sim.network import Network, private, scattered
from dhtd.sim.plan import Plan
from dhtd.sim.report import Report
from dhtd.sim.tally import Tally

DOUBLING = 20.0  # seconds in which the network doubles while nodes join one by one
SETTLING = 60.0  # seconds from the last node's arrival until the network is said to stand
BOOTSTRAPS = 3  # nodes that a new one is told of
LOOKUP_LIMIT = 60.0  # seconds that no lookup may take, whatever happens
AWAY = 60.0  # seconds that a machine is away which comes back, in the mean
JUMP = 7_200.0  # seconds by which a clock jumps at most
_CHUNK = 500  # hosts brought up in one event of a warm start
_TRIES = 64  # draws of an entry that should be found, before all are looked through

_LIES: tuple[Callable[[], Lie], ...] = (FakeContacts, FakeEndpoints, Mute, FakeIds, Empty)


class Entry:
    """A key that one machine serves."""

    __slots__ = ("is_acknowledged", "key", "owner", "port")

    def __init__(self, key: Id, port: int, owner: Host) -> None:
        self.key = key
        self.port = port
        self.owner = owner
        self.is_acknowledged = False  # some node holds it, or there is none that could


@dataclass(frozen=True, slots=True)
class Asked:
    """A lookup under way."""

    entry: Entry
    nearest: tuple[Id, ...]  # the truth; empty while a partition makes it a matter of the side
    across: bool  # from another side than the owner's, of a partition that is over


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

    def __init__(self, plan: Plan) -> None:
        plan.check()
        self.plan = plan
        address = scattered if plan.eclipse else private
        self.net = Network(plan.seed, links=plan.links, policy=plan.policy, address=address)
        self._families = (Family.IPV6,) if plan.site else (Family.IPV4,)
        self._eclipse = Eclipse(self.net, plan.eclipse, closest=plan.closest, site=plan.site)
        self.net.listener = self._heard
        self.tally = Tally(self.net, plan)
        self._rng = Random(f"plan {plan.seed}")
        self._live: list[Host] = []
        self._places: dict[Host, int] = {}  # where each live host stands in the list
        self._entries: list[Entry] = []
        self._entered: dict[tuple[Host, Id, int], Entry] = {}  # the same entries
        self._lookups: dict[tuple[Node, Handle], Asked] = {}
        self._sides: dict[Host, int] = {}  # of the partition, also when it is over
        self._names = 0
        self._phase = "joining"
        self.stands_at = self._plan_start()
        self.ends_at = self.stands_at + plan.duration
        self._plan_rest()

    @property
    def is_over(self) -> bool:
        """Whether the duration is over, and every lookup has ended."""
        return self.net.now >= self.ends_at and not self._lookups

    def advance(self, events: int) -> bool:
        """Do so many events; return whether there is more to do. Raise `SimulationFailed` where an invariant breaks."""
        schedule, ends_at = self.net.schedule, self.ends_at
        with self._located():
            for _ in range(events):
                if schedule.now < ends_at:
                    schedule.step(ends_at)
                elif not self.is_over:
                    schedule.step(ends_at + LOOKUP_LIMIT)
                else:
                    self._check_all()
                    return False
        return True

    def check(self) -> None:
        """Look at every node now, as else only the end of a run does. Raise `SimulationFailed`."""
        with self._located():
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
            phase=self._phase,
            virtual_s=self.net.now,
            total_s=self.ends_at,
            events=self.net.schedule.events,
            live=len(self._live),
            asked=tally.asked,
            ended=len(tally.outcomes),
            found=tally.found,
        )

    def report(self) -> Report:
        """Return what the run has shown so far."""
        return self.tally.report(self._live)

    # The plan

    def _plan_start(self) -> float:
        """Plan the arrival of the nodes; return when the network stands."""
        at = self.net.schedule.at
        if self.plan.warm:
            for first in range(0, self.plan.nodes, _CHUNK):
                at(0.0, self._place, min(_CHUNK, self.plan.nodes - first))
            for first in range(0, self.plan.nodes, _CHUNK):
                at(0.0, self._acquaint, first)
            return 1.0
        for number in range(self.plan.nodes):
            at(DOUBLING * log2(number + 1), self._arrive)
        return DOUBLING * log2(self.plan.nodes) + SETTLING

    def _plan_rest(self) -> None:
        plan, at, begin = self.plan, self.net.schedule.at, self.stands_at
        at(begin, self._stand)
        entering = min(60.0, plan.duration / 5)
        coming = plan.duration / 3 if plan.eclipse else 0.0  # what it takes the attackers to be known
        early = 0.0 if plan.late else coming
        for number in range(plan.entries):
            at(begin + early + entering * number / plan.entries, self._enter)
            if plan.eclipse:
                at(begin + (entering if plan.late else 0.0) + number, self._eclipse.attack, self._key(number + 1))
        asking = begin + coming + entering + min(30.0, plan.duration / 10)
        span = self.ends_at - asking if plan.rush is None else plan.rush
        for number in range(plan.lookups):
            at(asking + span * number / plan.lookups, self._look_up)
        if plan.partition is not None:
            at(begin + plan.partition[0], self._part)
            at(begin + plan.partition[1], self._heal)
        if plan.restart is not None:
            at(begin + plan.restart, self._restart_all)

    def _stand(self) -> None:
        """The network stands: what the plan has in store for single nodes begins."""
        self._phase = "running"
        self.tally.begin(self._live)
        for host in list(self._live):
            self._plan_end(host)
            if self._rng.random() < self.plan.jumps:
                when = self.net.now + self._rng.random() * self.plan.duration
                self.net.schedule.at(when, self._jump, host, self._rng.random() * JUMP)

    # Nodes

    def _arrive(self) -> Host:
        """Bring a machine up that joins by some that are there."""
        census = self.net.census
        known = [census[self._rng.randrange(len(census))] for _ in range(min(BOOTSTRAPS, len(census)))]
        nat, lie = self._nature()
        host = self.net.add(bootstrap=known, nat=nat, lie=lie, families=self._families)
        self.net.note(f"comes up, to join by {', '.join(map(str, host.bootstrap)) or 'nobody'}", host)
        if known:
            self.net.weather.place_beside(host.endpoint, known[0].endpoint)
            self._sides[host] = self._sides.get(known[0], 0)
        self._count(host)
        return host

    def _place(self, count: int) -> None:
        """Bring machines up that have been there before."""
        for _ in range(count):
            nat, lie = self._nature()
            age = (1 + self._rng.random()) * self.net.policy.bucket_refresh  # older than what it last heard
            self._count(self.net.add(nat=nat, lie=lie, age=age, start=False, families=self._families))

    def _acquaint(self, first: int) -> None:
        hosts = self._live[first : first + _CHUNK]
        for host in hosts:
            known = [self.net.census[self._rng.randrange(len(self.net.census))] for _ in range(BOOTSTRAPS)]
            host.bootstrap = tuple(other.endpoint for other in known)
        warm.acquaint(self.net, hosts)

    def _nature(self) -> tuple[Nat | None, Lie | None]:
        """Draw whether a machine is behind NAT, and whether it lies. The first one does neither."""
        behind, lying = self._rng.random() < self.plan.nat, self._rng.random() < self.plan.liars
        if not len(self.net.census):
            return None, None
        return Nat() if behind else None, self._rng.choice(_LIES)() if lying else None

    def _count(self, host: Host) -> None:
        self._places[host] = len(self._live)
        self._live.append(host)
        self.tally.population_changed(len(self._live))

    def _discount(self, host: Host) -> None:
        place, last = self._places.pop(host), self._live.pop()
        if last is not host:
            self._live[place] = last
            self._places[last] = place
        self.tally.population_changed(len(self._live))

    def _plan_end(self, host: Host) -> None:
        """Draw when this machine's session ends."""
        mean = self.plan.churn
        if mean is not None:
            length = self._rng.paretovariate(2.0) * mean / 2 if self.plan.pareto else self._rng.expovariate(1 / mean)
            self.net.schedule.at(self.net.now + length, self._leave, host)

    def _leave(self, host: Host) -> None:
        """End a session: the machine comes back from its state file later, or another comes at once."""
        if len(self._live) == 1:
            return  # nobody would be left to join by
        self._abandon(host)
        self._discount(host)
        if self._rng.random() < self.plan.returning:
            self.net.note("stops for a while", host)
            saved = self.net.kill(host)
            self.net.schedule.at(self.net.now + self._rng.expovariate(1 / AWAY), self._return, host, saved)
            return
        self.net.note("stops for good", host)
        self.net.remove(host)
        self._sides.pop(host, None)
        self._plan_end(self._arrive())
        for entry in [entry for entry in self._entries if entry.owner is host]:
            self._entries.remove(entry)
            del self._entered[host, entry.key, entry.port]
            self._enter()

    def _return(self, host: Host, saved: Saved) -> None:
        self.net.note("comes back", host)
        self.net.restart(host, saved)
        self._count(host)
        self._plan_end(host)

    def _restart_all(self) -> None:
        """Kill all nodes, and start them again at once."""
        self.net.note("restarts, every node at once")
        saved = []
        for host in self._live:
            self._abandon(host)
            saved.append(self.net.kill(host))
        for host, state in zip(self._live, saved, strict=True):
            more = [self._new_key() for _ in range(self.plan.restored)]
            own = [RecordKey.of(key, Peer.on(port)) for key, port in more]
            self.net.restart(host, Saved(state.id, state.contacts, (*state.own, *own), state.held))
            for key, port in more:
                self._own(Entry(key, port, host))

    def _jump(self, host: Host, seconds: float) -> None:
        if host in self._places:
            self.net.note(f"sees its clock jump {seconds:.6f} s ahead", host)
            self.net.jump(host, seconds)

    # Faults of the network

    def _part(self) -> None:
        halves: tuple[list[Host], list[Host]] = ([], [])
        for host in self.net.hosts:
            side = self._rng.randrange(2)
            self._sides[host] = side
            halves[side].append(host)
        self.net.note(f"parts into {len(halves[0])} and {len(halves[1])} nodes")
        self.net.partition(halves)
        self._phase = "parted"

    def _heal(self) -> None:
        self.net.note("is whole again")
        self.net.heal()
        self.tally.healed_at = self.net.now
        self._phase = "healed"

    # What is asked

    def _new_key(self) -> tuple[Id, int]:
        """Return a key and a port that no machine has entered; the one key, where all rush to it."""
        self._names += 1
        return self._key(self._names if self.plan.rush is None else 1), 1 + self._names % 65_535

    def _key(self, name: int) -> Id:
        return self.net.codec.traits.keyspace.digest(b"entry %d of %d" % (name, self.plan.seed))

    def _enter(self) -> None:
        """Let some honest machine enter a key."""
        owner = self._rng.choice(self._live)
        while owner.lie is not None:
            owner = self._rng.choice(self._live)
        key, port = self._new_key()
        self._own(Entry(key, port, owner))
        self.net.note(f"enters {self.net.codec.traits.keyspace.format(key)} on port {port}", owner)
        owner.node.enter(key, port, owner.clock(self.net.now))
        self.net.flush(owner)

    def _own(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._entered[entry.owner, entry.key, entry.port] = entry

    def _look_up(self) -> None:
        """Let some honest machine look up a key that it should find."""
        asker = self._rng.choice(self._live)
        while asker.lie is not None:
            asker = self._rng.choice(self._live)
        entry = self._draw(asker)
        if entry is None:
            self.tally.nothing_to_ask()
            return
        net = self.net
        parted = self._phase == "parted"
        nearest = (  # where there are attackers, who they are is what no lookup is to reach
            ()
            if parted or self.plan.eclipse
            else tuple(host.id for host in net.closest(entry.key, net.policy.k + 1) if host is not asker)[
                : net.policy.k
            ]
        )
        across = self._phase == "healed" and self._sides.get(asker, 0) != self._sides.get(entry.owner, 0)
        net.note(f"looks {net.codec.traits.keyspace.format(entry.key)} up", asker)
        op = asker.node.lookup(entry.key, asker.clock(net.now))
        self._lookups[asker.node, op] = Asked(entry, nearest, across)
        self.tally.asked += 1
        net.schedule.at(net.now + LOOKUP_LIMIT, self._must_be_over, asker.node, op)
        net.flush(asker)

    def _draw(self, asker: Host) -> Entry | None:
        """Draw an entry that some node has acknowledged, and whose machine is up and can be reached."""
        if not self._entries:
            return None
        for _ in range(_TRIES):
            entry = self._rng.choice(self._entries)
            if self._should_be_found(entry, asker):
                return entry
        candidates = [entry for entry in self._entries if self._should_be_found(entry, asker)]
        return self._rng.choice(candidates) if candidates else None

    def _should_be_found(self, entry: Entry, asker: Host) -> bool:
        owner = entry.owner
        return entry.is_acknowledged and owner.alive and self.net.weather.carries(asker.endpoint, owner.endpoint)

    def _must_be_over(self, node: Node, op: Handle) -> None:
        assert (node, op) not in self._lookups, f"a lookup has not ended within {LOOKUP_LIMIT:g} s"

    def _abandon(self, host: Host) -> None:
        """Expect nothing more of what the host's node was asked."""
        for node, op in [asked for asked in self._lookups if asked[0] is host.node]:
            del self._lookups[node, op]
            self.tally.asked -= 1

    def _heard(self, host: Host, event: Event) -> None:
        match event:
            case LookupProgress(op=op, endpoints=endpoints):
                asked = self._lookups.get((host.node, op))
                if asked is not None and endpoints:
                    self.tally.first_answer((host.node, op), event.stats.elapsed)
            case LookupDone(op=op):
                asked = self._lookups.pop((host.node, op), None)
                if asked is not None:
                    expected = asked.entry.owner.endpoint.with_port(asked.entry.port)
                    self.tally.lookup_done((host.node, op), event, expected, asked.nearest, across=asked.across)
            case Published() | Republished():
                self._published(host, event)
            case _:
                pass

    def _published(self, host: Host, event: Published | Republished) -> None:
        entry = self._entered.get((host, event.key, event.port))
        if entry is not None and (event.replicas or len(self._live) == 1):
            entry.is_acknowledged = True

    def _check_all(self) -> None:
        for host in self._live:
            try:
                invariants.check_host(host, self.net.now)
            except AssertionError as error:
                raise AssertionError(f"{host.endpoint}: {error}") from error

    @contextmanager
    def _located(self) -> Iterator[None]:
        """Say of any failure with which seed, and where in the run, it came."""
        try:
            yield
        except Exception as error:
            schedule = self.net.schedule
            where = f"seed {self.plan.seed}, event {schedule.events}, at {schedule.now:.6f} virtual seconds"
            what = str(error).partition("\n")[0] or "an assertion"
            raise SimulationFailed(f"{where}: {type(error).__name__}: {what}") from error

"""What a run asks of its network: machines enter keys, others look them up, and every lookup has a true answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random

from dhtd.core.events import Event, Handle, LookupDone, LookupProgress, Published, Republished
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.overlay import Member, Metric
from dhtd.sim.plan import Plan
from dhtd.sim.population import Population
from dhtd.sim.spectator import Spectator
from dhtd.sim.tally import Tally

LOOKUP_LIMIT = 60.0  # seconds that no lookup may take, whatever happens
_TRIES = 64  # draws of an entry that should be found, before all are looked through


class Phase(Enum):
    """How far a run is."""

    JOINING = "joining"  # nodes arrive
    RUNNING = "running"  # the network stands, and is asked
    PARTED = "parted"  # it is in two halves
    HEALED = "healed"  # it is whole again


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


class Questions:
    """The entries of a run, and the lookups under way."""

    def __init__(
        self,
        net: Network,
        plan: Plan,
        population: Population,
        tally: Tally,
        rng: Random,
        spectator: Spectator | None = None,
    ) -> None:
        self._net = net
        self._plan = plan
        self._population = population
        self._tally = tally
        self._rng = rng
        self._entries: list[Entry] = []
        self._entered: dict[tuple[Host, Id, int], Entry] = {}  # the same entries
        self._lookups: dict[tuple[Member, Handle], Asked] = {}
        self._wanted: dict[Member, set[Handle]] = {}  # lookups under way by hand, of each node
        self._names = 0
        self._spectator = spectator

    def __len__(self) -> int:
        """How many lookups are under way."""
        return len(self._lookups)

    # Entries

    def key(self, name: int) -> Id:
        """Return the key of an entry, by its number."""
        return self._net.keyspace.digest(b"entry %d of %d" % (name, self._plan.seed))

    def new_key(self) -> tuple[Id, int]:
        """Return a key and a port that no machine has entered. In a rush, it is always the same key."""
        self._names += 1
        return self.key(self._names if self._plan.rush is None else 1), 1 + self._names % 65_535

    def enter(self) -> None:
        """Let some honest machine enter a key."""
        net, owner = self._net, self._population.draw_honest()
        key, port = self.new_key()
        self.own(Entry(key, port, owner))
        net.note(f"enters {net.keyspace.format(key)} on port {port}", owner)
        owner.member.commands.enter(key, port, owner.clock(net.now))
        net.flush(owner)

    def own(self, entry: Entry) -> None:
        """Note an entry that its owner has."""
        self._entries.append(entry)
        self._entered[entry.owner, entry.key, entry.port] = entry

    def replace_those_of(self, host: Host) -> None:
        """Let other machines enter as many keys as this one had, which is gone for good."""
        for entry in [entry for entry in self._entries if entry.owner is host]:
            self._entries.remove(entry)
            del self._entered[host, entry.key, entry.port]
            self.enter()

    def served_by(self, host: Host) -> list[Entry]:
        """Return the acknowledged entries of a machine."""
        return [entry for entry in self._entries if entry.owner is host and entry.is_acknowledged]

    def acknowledged(self) -> list[Entry]:
        """Return the entries that some node holds, of machines that are up."""
        return [entry for entry in self._entries if entry.is_acknowledged and entry.owner.alive]

    def draw_owner(self) -> Host | None:
        """Draw a machine that is up and has an acknowledged entry."""
        served = self.acknowledged()
        return self._rng.choice(served).owner if served else None

    # Lookups

    def look_up(self, phase: Phase) -> None:
        """Let some honest machine look up a key that it should find."""
        asker = self._population.draw_honest()
        entry = self._draw(asker)
        if entry is None:
            self._tally.nothing_to_ask()
            return
        self.ask(asker, entry, phase)

    def ask(self, asker: Host, entry: Entry, phase: Phase, *, is_wanted: bool = False) -> None:
        """Let a machine look this entry up. A spectator sees the steps that it wants, or these if they are wanted."""
        net, population, spectator = self._net, self._population, self._spectator
        nearest: tuple[Id, ...] = ()
        if phase is not Phase.PARTED and not self._plan.eclipse:  # attackers are nearest, and are not to be reached
            nearest = _to_reach(net, entry.key, asker)
        across = phase is Phase.HEALED and population.are_apart(asker, entry.owner)
        net.note(f"looks {net.keyspace.format(entry.key)} up", asker)
        is_traced = spectator is not None and (is_wanted or spectator.wants_steps())
        op = asker.member.commands.lookup(entry.key, asker.clock(net.now), traced=is_traced)
        self._lookups[asker.member, op] = Asked(entry, nearest, across)
        if is_wanted:
            self._wanted.setdefault(asker.member, set()).add(op)
        self._tally.asked += 1
        if spectator is not None and is_traced:
            spectator.asked(asker, op, entry.key, entry.owner.endpoint.with_port(entry.port))
        net.schedule.at(net.now + LOOKUP_LIMIT, self._must_be_over, asker.member, op)
        net.flush(asker)

    def ask_anything(self, asker: Host, key: Id) -> None:
        """Let a machine look up a key of which nothing is known. It does not count."""
        net, spectator = self._net, self._spectator
        assert spectator is not None
        net.note(f"looks {net.keyspace.format(key)} up", asker)
        op = asker.member.commands.lookup(key, asker.clock(net.now), traced=True)
        self._wanted.setdefault(asker.member, set()).add(op)
        spectator.asked(asker, op, key, None)
        net.flush(asker)

    def wanted_of(self, host: Host) -> int:
        """Return how many lookups by hand a machine has under way."""
        return len(self._wanted.get(host.member, ()))

    def abandon(self, host: Host) -> None:
        """Expect nothing more of what the host's node was asked."""
        self._wanted.pop(host.member, None)
        for member, op in [asked for asked in self._lookups if asked[0] is host.member]:
            del self._lookups[member, op]
            self._tally.abandoned((member, op))

    def heard(self, host: Host, event: Event) -> None:
        """Take what a node tells its owner."""
        match event:
            case LookupProgress(op=op, endpoints=endpoints):
                asked = self._lookups.get((host.member, op))
                if asked is not None and endpoints:
                    self._tally.first_answer((host.member, op), event.stats.elapsed)
            case LookupDone(op=op):
                if self._wanted:
                    self._wanted.get(host.member, set()).discard(op)
                asked = self._lookups.pop((host.member, op), None)
                if asked is not None:
                    expected = asked.entry.owner.endpoint.with_port(asked.entry.port)
                    self._tally.lookup_done((host.member, op), event, expected, asked.nearest, across=asked.across)
            case Published() | Republished():
                self._published(host, event)
            case _:
                pass

    def _published(self, host: Host, event: Published | Republished) -> None:
        entry = self._entered.get((host, event.key, event.port))
        if entry is not None and (event.replicas or len(self._population.live) == 1):
            entry.is_acknowledged = True

    def _draw(self, asker: Host) -> Entry | None:
        """Draw an entry that some node has acknowledged, of a machine that is up and can be reached."""
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
        return entry.is_acknowledged and owner.alive and self._net.weather.carries(asker.endpoint, owner.endpoint)

    def _must_be_over(self, member: Member, op: Handle) -> None:
        assert (member, op) not in self._lookups, f"a lookup has not ended within {LOOKUP_LIMIT:g} s"


def _to_reach(net: Network, key: Id, asker: Host) -> tuple[Id, ...]:
    """Return the IDs of the hosts that a lookup of `key` is to reach: the truth, without the asker."""
    match net.overlay.metric:
        case Metric.XOR:
            return tuple(host.id for host in net.closest(key, net.policy.k + 1) if host is not asker)[: net.policy.k]
        case Metric.CLOCKWISE:
            successor = net.census.successor(key)
            return () if successor is asker else (successor.id,)

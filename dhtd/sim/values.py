"""The values of a run: machines put them, some go off for good, and others get them.

Half of the values never change. The others are signed, and their owners put newer ones while they are there. A get is
*right* if it brings the value of that key that was put last, and was acknowledged before the get began, or a newer one.
It is *wrong* if it brings any other, and else it brings *none*.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from dhtd.core.events import Event, GetDone, Handle, ValuePut
from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.population import Population
from dhtd.sim.questions import LOOKUP_LIMIT
from dhtd.sim.report import Gets, mean, spread

SIZE: Final = 100  # bytes of each value
RENEWALS: Final = 3  # newer values of each owner that signs
AWAY_FOR: Final = 12 * 3_600.0  # seconds that owners have been off when the gets begin, at least


class Kept:
    """A value of the run, and what has become of it."""

    __slots__ = ("acknowledged", "key", "owner", "seed", "seq")

    def __init__(self, key: Id, owner: Host, seed: bytes | None) -> None:
        self.key = key
        self.owner = owner
        self.seed = seed  # of its key pair; None: it never changes
        self.seq = 0  # that was put last
        self.acknowledged: int | None = None  # the last one that some node holds


class ValueQuestions:
    """The values of a run, and the gets under way."""

    def __init__(
        self, net: Network, plan: Plan, population: Population, end: Callable[[Host, str], None], rng: Random
    ) -> None:
        """`end` ends a machine for good, and says how."""
        self._net = net
        self._plan = plan
        self._population = population
        self._end = end
        self._rng = rng
        self._kept: list[Kept] = []
        self._puts: dict[tuple[Node, Handle], tuple[Kept, int]] = {}
        self._gets: dict[tuple[Node, Handle], tuple[Kept, int]] = {}  # and the seq that is acknowledged
        self._asked = self._right = self._wrong = 0
        self._seconds: list[float] = []
        self._copies: list[float] = []
        self._served: dict[Host, int] = {}  # gets that each machine had answered when the first one began

    def __len__(self) -> int:
        """How many gets are under way."""
        return len(self._gets)

    def begin(self, ends_at: float) -> None:
        """Plan all that happens."""
        net, plan, rng = self._net, self._plan, self._rng
        if not plan.values:
            return
        at, begin = net.schedule.at, net.now
        putting = min(60.0, plan.duration / 5)
        for number in range(plan.values):
            at(begin + putting * number / plan.values, self._put_new, number)
        asking = begin + putting + min(30.0, plan.duration / 10)
        if plan.away is not None:
            at(begin + plan.away, self._owners_leave)
            asking = begin + plan.away + AWAY_FOR
        for _ in range(RENEWALS if plan.away is None else 0):
            for number in range(plan.values):
                at(rng.uniform(asking, ends_at), self._put_newer, number)
        at(asking, self._count_served)
        for number in range(plan.gets):
            at(asking + (ends_at - asking) * number / plan.gets, self._get)

    def abandon(self, host: Host) -> None:
        """Expect nothing more of what the host's node was asked."""
        for asked in [asked for asked in self._gets if asked[0] is host.node]:
            del self._gets[asked]
            self._asked -= 1
        for asked in [asked for asked in self._puts if asked[0] is host.node]:
            del self._puts[asked]
        self._served.pop(host, None)

    def heard(self, host: Host, event: Event) -> None:
        """Take what a node tells its owner."""
        match event:
            case ValuePut():
                kept, seq = self._puts.pop((host.node, event.op), (None, 0))
                if kept is not None and event.replicas:
                    kept.acknowledged = max(seq, kept.acknowledged or 0)
            case GetDone():
                kept, least = self._gets.pop((host.node, event.op), (None, 0))
                if kept is not None:
                    self._judge(kept, least, event)
            case _:
                pass

    def report(self) -> Gets:
        """Return how the gets went."""
        served = [self._gets_of(host) - before for host, before in self._served.items() if host.nat is None]
        average = mean(served)
        asked = self._asked - len(self._gets)
        return Gets(
            total=asked,
            right=self._right,
            wrong=self._wrong,
            success_rate=round(self._right / asked, 6) if asked else None,
            latency_ms=spread([round(1_000 * seconds, 3) for seconds in self._seconds]),
            copies_mean=round(mean(self._copies), 3) if self._copies else None,
            busiest_share=round(max(served) / asked, 6) if asked and served else None,
            busiest_over_mean=round(max(served) / average, 3) if average else None,
        )

    # Puts

    def _put_new(self, number: int) -> None:
        owner = self._population.draw_honest()
        seed = None if number % 2 == 0 else b"%032d" % (self._plan.seed * 100_000 + number)
        value = self._value(number, seed, 1)
        kept = Kept(self._net.codec.key_of(value), owner, seed)
        self._kept.append(kept)
        self._put(kept, value, 1)

    def _put_newer(self, number: int) -> None:
        kept = self._kept[number]
        if kept.seed is not None and kept.owner.alive:
            self._put(kept, self._value(number, kept.seed, kept.seq + 1), kept.seq + 1)

    def _put(self, kept: Kept, value: Value, seq: int) -> None:
        net, owner = self._net, kept.owner
        net.note(f"puts {seq} under {net.codec.traits.keyspace.format(kept.key)}", owner)
        op = owner.node.commands.put(kept.key, value, owner.clock(net.now))
        kept.seq = seq
        self._puts[owner.node, op] = kept, seq
        net.flush(owner)

    def _value(self, number: int, seed: bytes | None, seq: int) -> Value:
        data = (b"value %d, %d of %d " % (number, seq, self._plan.seed)).ljust(SIZE, b".")
        if seed is None:
            return Immutable(data)
        from dhtd.wire.signatures import signed  # noqa: PLC0415 - see there

        return signed(seed, b"", seq, data)

    def _owners_leave(self) -> None:
        """All machines with values go off for good, and others come."""
        for owner in {kept.owner: None for kept in self._kept if kept.owner.alive}:
            self._end(owner, "goes off for good, with its values")
            self._population.arrive()

    # Gets

    def _get(self) -> None:
        net = self._net
        there = [kept for kept in self._kept if kept.acknowledged is not None]
        if not there:
            return
        kept, asker = self._rng.choice(there), self._population.draw_honest()
        net.note(f"gets {net.codec.traits.keyspace.format(kept.key)}", asker)
        op = asker.node.commands.get(kept.key, asker.clock(net.now))
        assert kept.acknowledged is not None
        self._gets[asker.node, op] = kept, kept.acknowledged
        self._asked += 1
        net.schedule.at(net.now + LOOKUP_LIMIT, self._must_be_over, asker.node, op)
        net.flush(asker)

    def _judge(self, kept: Kept, least: int, done: GetDone) -> None:
        value = done.value
        if value is not None:
            number = self._kept.index(kept)
            seq = value.seq if isinstance(value, Mutable) else 1
            if value == self._value(number, kept.seed, seq) and least <= seq <= kept.seq:
                self._right += 1
            else:
                self._wrong += 1
        self._seconds.append(done.stats.elapsed)
        self._copies.append(len(done.copies))

    def _count_served(self) -> None:
        self._served = {host: self._gets_of(host) for host in self._population.live}

    def _gets_of(self, host: Host) -> int:
        return host.node.counters.queries_received["get"]

    def _must_be_over(self, node: Node, op: Handle) -> None:
        assert (node, op) not in self._gets, f"a get has not ended within {LOOKUP_LIMIT:g} s"

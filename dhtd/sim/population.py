"""The machines of a run: how each comes up and what it is like, which are up, and on which side of a partition."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from dhtd.core.endpoint import Family
from dhtd.sim import warm
from dhtd.sim.chord import warm_ring
from dhtd.sim.host import Host
from dhtd.sim.liars import Empty, FakeContacts, FakeEndpoints, FakeIds, Mute
from dhtd.sim.lie import Lie
from dhtd.sim.links import Nat
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.tally import Tally

BOOTSTRAPS = 3  # nodes that a new one is told of

_LIES: tuple[Callable[[], Lie], ...] = (FakeContacts, FakeEndpoints, Mute, FakeIds, Empty)


class Population:
    """The machines that are up, without the attackers, and the side of each."""

    def __init__(self, net: Network, plan: Plan, tally: Tally, rng: Random) -> None:
        self._net = net
        self._plan = plan
        self._tally = tally
        self._rng = rng
        self._families = (Family.IPV6,) if plan.site else (Family.IPV4,)
        self.live: list[Host] = []
        self._honest = 0  # of these
        self._placed: list[Host] = []  # those of a warm start, until they know others
        self._places: dict[Host, int] = {}  # of each in the list
        self._sides: dict[Host, int] = {}  # of the partition, also when it is over

    def __contains__(self, host: Host) -> bool:
        """Whether a machine is up."""
        return host in self._places

    # Coming and going

    def arrive(self) -> Host:
        """Bring a machine up that joins by some that are there."""
        net, census = self._net, self._net.census
        known = [census[self._rng.randrange(len(census))] for _ in range(min(BOOTSTRAPS, len(census)))]
        nat, lie = self._nature()
        host = net.add(bootstrap=known, nat=nat, lie=lie, families=self._families)
        net.note(f"comes up, to join by {', '.join(map(str, host.bootstrap)) or 'nobody'}", host)
        if known:
            net.weather.place_beside(host.endpoint, known[0].endpoint)
            self._sides[host] = self._sides.get(known[0], 0)
        self.comes(host)
        return host

    def place(self, count: int) -> None:
        """Bring machines up that have been there before. They know nobody yet."""
        for _ in range(count):
            nat, lie = self._nature()
            age = (1 + self._rng.random()) * self._net.policy.bucket_refresh  # older than what it last heard
            host = self._net.add(nat=nat, lie=lie, age=age, start=False, families=self._families)
            self._placed.append(host)
            self.comes(host)

    def acquaint(self, first: int, count: int) -> None:
        """Have these machines know the others as if they had been there before, and start them."""
        census = self._net.census
        hosts = [host for host in self._placed[first : first + count] if host in self]  # one may be killed by hand
        if first + count >= len(self._placed):
            self._placed.clear()
        for host in hosts:
            known = [census[self._rng.randrange(len(census))] for _ in range(BOOTSTRAPS)]
            host.bootstrap = tuple(other.endpoint for other in known)
        match self._plan.overlay:
            case "chord":
                warm_ring.settle(self._net, hosts)
            case _:
                warm.acquaint(self._net, hosts)

    def comes(self, host: Host) -> None:
        """Count a machine that is up."""
        self._places[host] = len(self.live)
        self.live.append(host)
        self._honest += host.lie is None
        self._tally.population_changed(len(self.live))

    def goes(self, host: Host) -> None:
        """Stop counting a machine. The last one of the list takes its place."""
        place, last = self._places.pop(host), self.live.pop()
        self._honest -= host.lie is None
        if last is not host:
            self.live[place] = last
            self._places[last] = place
        self._tally.population_changed(len(self.live))

    def forget(self, host: Host) -> None:
        """A machine that is not counted any more will never come back."""
        self._net.remove(host)
        self._sides.pop(host, None)

    def is_last_honest(self, host: Host) -> bool:
        """Whether nobody would be left to ask without this machine."""
        return host.lie is None and self._honest == 1

    def draw_honest(self) -> Host:
        """Draw one of the machines that do not lie. There must be one."""
        assert self._honest, "all machines that are up lie"
        host = self._rng.choice(self.live)
        while host.lie is not None:
            host = self._rng.choice(self.live)
        return host

    # Partitions

    def part(self) -> tuple[list[Host], list[Host]]:
        """Give each machine of the network one of two sides, attackers too; return the sides."""
        halves: tuple[list[Host], list[Host]] = ([], [])
        for host in self._net.hosts:
            side = self._rng.randrange(2)
            self._sides[host] = side
            halves[side].append(host)
        return halves

    def are_apart(self, one: Host, other: Host) -> bool:
        """Whether two machines were on different sides of the last partition."""
        return self._sides.get(one, 0) != self._sides.get(other, 0)

    def _nature(self) -> tuple[Nat | None, Lie | None]:
        """Draw whether a machine is behind NAT, and whether it lies.

        The first one does neither, and one that comes when all others lie does neither.
        """
        behind, lying = self._rng.random() < self._plan.nat, self._rng.random() < self._plan.liars
        if not (len(self._net.census) and self._honest):
            return None, None
        return Nat() if behind else None, self._rng.choice(_LIES)() if lying else None

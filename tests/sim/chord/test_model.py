"""Rings held to a model, in any order of joins, leaves, kills, partitions and lookups, in a keyspace of 7 bits.

At most seven nodes die between two times of peace, and of the holders of each record one lives. A node that restarts
has lost its records, so that counts as a death. At the end all faults stop. Then each successor list, predecessor and
finger is right by the sorted list of live nodes, and each record is at its eight holders. Records of this model are not
renewed: what is lost stays lost.

A node dies only while each other one knows more live nodes than may die before the next peace.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.sim.chord.standing import Standing
from dhtd.sim.host import Host
from tests.sim.chord.truth import SMALL, heals, network, node, ring, successors
from tests.strategies import scaled

SIZE = 24
DEATHS = 7  # between two times of peace


class Rings(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16), size=st.integers(1, 10))
    def begin(self, seed: int, size: int) -> None:
        self.net = network(seed)
        self.records: list[tuple[Id, Endpoint]] = []
        self.holders: dict[Id, set[Host]] = {}  # of each key: those that were right at the last peace, and live
        self.deaths = 0
        self.is_parted = False
        for _ in range(size):
            self.join()
        self.peace()

    @property
    def is_quiet(self) -> bool:
        live = self.net.live
        enough = min(DEATHS + 1 - self.deaths, len(live) - 1)
        known = (sum(other.alive for other in map(self._at, node(host).ring.successors)) for host in live)
        return len(live) > 1 and not self.is_parted and all(count >= enough for count in known)

    def _at(self, contact: Contact) -> Host:
        host = self.net.at(contact.endpoint)
        assert host is not None
        return host

    @precondition(lambda self: len(self.net.live) < SIZE and not self.is_parted)
    @rule()
    def join(self) -> None:
        net = self.net
        taken = {host.id for host in net.hosts}
        id = net.rng.choice([id for id in range(SMALL.size) if id not in taken])
        live = net.live
        net.add(id=Id(id), bootstrap=net.rng.sample(live, min(3, len(live))))
        net.run_for(0.2)

    @precondition(lambda self: self.deaths < DEATHS and self.is_quiet)
    @rule()
    def die(self) -> None:
        if (host := self._draw_dying()) is not None:
            self.net.kill(host)

    @precondition(lambda self: self.deaths < DEATHS and self.is_quiet)
    @rule()
    def restart(self) -> None:
        if (host := self._draw_dying()) is not None:
            self.net.restart(host, self.net.kill(host))

    def _draw_dying(self) -> Host | None:
        """Draw a node that may lose what it holds: another one must have had each record since the last peace."""
        holders = self.holders.values()
        hosts = [host for host in self.net.live if not any(held == {host} for held in holders)]
        if not hosts:
            return None
        host = self.net.rng.choice(hosts)
        for held in holders:
            held.discard(host)
        self.deaths += 1
        return host

    @precondition(lambda self: not self.deaths and self.is_quiet)
    @rule()
    def leave(self) -> None:
        net = self.net
        host = net.rng.choice(net.live)
        node(host).leave(net.now)
        net.flush(host)
        net.run_until(lambda: node(host).standing is Standing.LEFT, 30)
        net.kill(host)
        for key, endpoint in self.records:  # what it alone had is handed over
            near = successors(ring(net), key, 8)
            self.holders[key] = {other for other in near if endpoint in node(other).shelf.under(key, net.now)}

    @precondition(lambda self: not self.is_parted)
    @rule()
    def part(self) -> None:
        hosts = self.net.live
        self.net.rng.shuffle(hosts)
        self.net.partition([hosts[::2], hosts[1::2]])
        self.is_parted = True

    @rule(seconds=st.floats(0.1, 15.0))
    def wait(self, seconds: float) -> None:
        self.net.run_for(seconds)

    @rule(key=st.integers(0, SMALL.size - 1))
    def look_up(self, key: int) -> None:
        """Whatever happens, a lookup ends."""
        self.net.lookup(self.net.rng.choice(self.net.live), Id(key))

    @rule(key=st.integers(0, SMALL.size - 1))
    def enter_in_peace(self, key: int) -> None:
        self.peace()
        net = self.net
        owner = net.rng.choice(net.live)
        replicas = net.enter(owner, Id(key), 3000).replicas
        assert replicas or len(net.live) == 1
        record = Id(key), owner.endpoint.with_port(3000)
        self.records = [*(each for each in self.records if each != record), record]
        net.run_for(5)
        self.peace()

    @rule()
    def peace(self) -> None:
        net = self.net
        net.heal()
        self.is_parted = False
        heals(net, self.records)
        self.deaths = 0
        hosts = ring(net)
        self.holders = {key: set(successors(hosts, key, 8)) for key, _ in self.records}
        for key in self.holders:
            done = net.lookup(net.rng.choice(hosts), key)
            assert set(done.endpoints) == {endpoint for other, endpoint in self.records if other == key}
            assert [contact.id for contact in done.closest] == [successors(hosts, key, 1)[0].id]

    def teardown(self) -> None:
        if hasattr(self, "net"):
            self.peace()


TestRings = Rings.TestCase
TestRings.settings = scaled(100, 24)


def walk(seed: int) -> None:
    """Take the rules in some order that has many joins and deaths."""
    rng, rings = Random(seed), Rings()
    rings.begin(seed, rng.randint(2, 12))
    for _ in range(3):
        rings.enter_in_peace(rng.randrange(SMALL.size))
    for _ in range(rng.randint(5, 30)):
        match rng.choice("jjjjddrpw"):
            case "j" if len(rings.net.live) < SIZE and not rings.is_parted:
                rings.join()
            case "d" if rings.deaths < DEATHS and rings.is_quiet:
                rings.die()
            case "r" if rings.deaths < DEATHS and rings.is_quiet:
                rings.restart()
            case "p" if not rings.is_parted:
                rings.part()
            case _:
                rings.wait(rng.choice([0.1, 1.0, 5.0, 15.0]))
    rings.teardown()


@pytest.mark.parametrize("seed", [2, 7, 34, 44, 63, 70])
def test_records_outlive_joins_between_deaths(seed: int) -> None:
    """These lose records where nodes do not compare what they hold."""
    walk(seed)

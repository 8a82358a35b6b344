"""Rings held to a model, in any order of joins, leaves, kills, partitions and lookups, in a keyspace of 7 bits.

At most seven nodes die between two times of peace: one less than hold each record. At the end all faults stop. Then
each successor list, predecessor and finger is right by the sorted list of live nodes, and each record is at its eight
holders.

No node joins between a death and the next peace: the dead cannot give a newcomer their records. Others have them, and
do not know that it lacks them. The renewal by the owner brings them, and records of this model are not renewed.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.sim.chord.standing import Standing
from tests.sim.chord.truth import SMALL, heals, network, node, ring, successors
from tests.strategies import scaled

SIZE = 24
DEATHS = 7  # between two times of peace


class Rings(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 2**16), size=st.integers(1, 10))
    def begin(self, seed: int, size: int) -> None:
        self.net = network(seed)
        self.records: list[tuple[Id, Endpoint]] = []
        self.deaths = 0
        self.is_parted = False
        self.has_newcomers = False  # since the last peace: they may know just one other node
        for _ in range(size):
            self.join()
        self.peace()

    @property
    def is_quiet(self) -> bool:
        return len(self.net.live) > 1 and not self.is_parted and not self.has_newcomers

    @precondition(lambda self: len(self.net.live) < SIZE and not self.is_parted and not self.deaths)
    @rule()
    def join(self) -> None:
        net = self.net
        taken = {host.id for host in net.hosts}
        id = net.rng.choice([id for id in range(SMALL.size) if id not in taken])
        live = net.live
        net.add(id=Id(id), bootstrap=net.rng.sample(live, min(3, len(live))))
        net.run_for(0.2)
        self.has_newcomers = True

    @precondition(lambda self: self.deaths < DEATHS and self.is_quiet)
    @rule()
    def die(self) -> None:
        self.net.kill(self.net.rng.choice(self.net.live))
        self.deaths += 1

    @precondition(lambda self: not self.deaths and self.is_quiet)
    @rule()
    def leave(self) -> None:
        net = self.net
        host = net.rng.choice(net.live)
        node(host).leave(net.now)
        net.flush(host)
        net.run_until(lambda: node(host).standing is Standing.LEFT, 30)
        net.kill(host)

    @precondition(lambda self: not self.is_parted and not self.deaths)
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

    @rule()
    def peace(self) -> None:
        net = self.net
        net.heal()
        self.is_parted = self.has_newcomers = False
        heals(net, self.records)
        self.deaths = 0
        hosts = ring(net)
        for key in {key for key, _ in self.records}:
            done = net.lookup(net.rng.choice(hosts), key)
            assert set(done.endpoints) == {endpoint for other, endpoint in self.records if other == key}
            assert [contact.id for contact in done.closest] == [successors(hosts, key, 1)[0].id]

    def teardown(self) -> None:
        if hasattr(self, "net"):
            self.peace()


TestRings = Rings.TestCase
TestRings.settings = scaled(100, 20)

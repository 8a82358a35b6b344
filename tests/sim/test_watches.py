"""A small network in which entries come and go, machines die, and links break: the watchers know the truth at last."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from dhtd.sim.saved import Saved
from tests.strategies import scaled

HOSTS = 6
KEYS = [Id(5), Id(2**255)]
PORTS = st.integers(80, 82)
# An entry may be held for a lease after its owner has died, and a holder may have been saved before it was withdrawn:
# then it has it for one lease of grace. A deletion that nobody heard is repeated for so long as well.
SETTLED = 300.0  # seconds


class View:
    """What a watcher has been told."""

    def __init__(self, host: Host, key: Id, op: Handle) -> None:
        self.host = host
        self.node = host.node
        self.key = key
        self.op = op
        self.endpoints: set[Endpoint] | None = None
        self._holders = 0
        self._read = len(host.events)  # those of an earlier run have other handles

    def read(self) -> None:
        """Take what is new, and check that each update follows from the one before."""
        for _, event in self.host.events[self._read :]:
            if isinstance(event, WatchUpdate) and event.op == self.op:
                before, added, removed = self.endpoints or set(), set(event.added), set(event.removed)
                assert event.key == self.key
                assert (len(added), len(removed)) == (len(event.added), len(event.removed))
                assert not added & before
                assert removed <= before
                changes = added or removed or self.endpoints is None
                assert changes or bool(event.holders) != bool(self._holders)  # an update says something new
                self._holders = event.holders
                self.endpoints = (before | added) - removed
                assert set(event.endpoints) == self.endpoints
        self._read = len(self.host.events)


class Watches(RuleBasedStateMachine):
    """Hosts of one network, and the entries that are there in truth."""

    @initialize(seed=st.integers(0, 99), loss=st.sampled_from([0.0, 0.1]))
    def build(self, seed: int, loss: float) -> None:
        links = LinkModels(loss=loss, duplicate=loss / 2, reorder=loss / 2)
        self.net = Network(seed, links=links)
        self.hosts = self.net.populate(HOSTS)
        for host in self.hosts:  # one that forgets all has somebody to join by
            host.bootstrap = tuple(other.endpoint for other in self.hosts if other is not host)
        self.net.run_for(30)
        self.entries: dict[int, set[tuple[Id, int]]] = {number: set() for number in range(HOSTS)}
        self.saved: dict[int, Saved] = {}
        self.views: list[View] = []

    hosts_ = st.integers(0, HOSTS - 1)
    keys_ = st.sampled_from(KEYS)

    def is_up(self, number: int) -> bool:
        return number not in self.saved

    @rule(number=hosts_, key=keys_, port=PORTS)
    def enter(self, number: int, key: Id, port: int) -> None:
        if self.is_up(number):
            host = self.hosts[number]
            host.node.commands.enter(key, port, host.clock(self.net.now))
            self.net.flush(host)
            self.entries[number].add((key, port))

    @rule(number=hosts_, key=keys_)
    def delete(self, number: int, key: Id) -> None:
        if self.is_up(number):
            host = self.hosts[number]
            host.node.commands.delete(key, None, host.clock(self.net.now))
            self.net.flush(host)
            self.entries[number] = {entry for entry in self.entries[number] if entry[0] != key}

    @rule(number=hosts_, key=keys_)
    def watch(self, number: int, key: Id) -> None:
        if self.is_up(number):
            host = self.hosts[number]
            self.views.append(View(host, key, host.node.commands.watch(key, host.clock(self.net.now))))
            self.net.flush(host)

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        view = self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))
        view.host.node.commands.cancel(view.op)
        self.net.flush(view.host)

    @precondition(lambda self: len(self.saved) < HOSTS - 3)
    @rule(number=hosts_)
    def kill(self, number: int) -> None:
        if self.is_up(number):
            host = self.hosts[number]
            self.saved[number] = self.net.kill(host)
            self.views = [view for view in self.views if view.host is not host]

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), remembers=st.booleans())
    def restart(self, data: Any, remembers: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.saved)))
        saved = self.saved.pop(number)
        self.net.restart(self.hosts[number], saved if remembers else None)
        if not remembers:
            self.entries[number].clear()

    @rule(number=hosts_)
    def unplug(self, number: int) -> None:
        self.net.unplug(self.hosts[number])

    @rule()
    def heal(self) -> None:
        self.net.heal()

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0, 25.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.net.run_for(seconds)

    @invariant()
    def updates_follow_from_each_other(self) -> None:
        for view in getattr(self, "views", ()):
            view.read()

    @rule()
    def settle(self) -> None:
        self.net.heal()
        self.net.run_for(SETTLED)
        truth = {
            key: {
                self.hosts[number].endpoint.with_port(port)
                for number, entries in self.entries.items()
                if self.is_up(number)
                for entry, port in entries
                if entry == key
            }
            for key in KEYS
        }
        for view in self.views:
            view.read()
            assert view.endpoints == truth[view.key], (view.host, view.key)

    def teardown(self) -> None:
        if hasattr(self, "net"):
            self.settle()


TestWatches = Watches.TestCase
TestWatches.settings = scaled(50, 40)

"""Machines that watch keys, while other machines enter and delete there, and while nodes near the keys die.

1. Some machines watch each key.
2. One change follows another: a machine enters the key, or deletes what it has entered, some of it a second later.
3. Meanwhile half of the nodes nearest to each key die, one by one. None of them watches or serves a key.

A change begins when its owner sends it to the first holder, or to the first watcher, where the owner itself tells of
changes. It lasts until the next change of the same endpoint. A watcher has seen it once what the watcher knows agrees
with it, unless older news follows within two seconds. What lasts for two seconds or less need not be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import Changed, Query, Request, Store, Withdraw
from dhtd.core.node import Node
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.plan import Plan
from dhtd.sim.population import Population
from dhtd.sim.report import Watches, percentile

LASTING: Final = 2.0  # seconds: what lasts longer must be seen
GAP: Final = (2.0, 8.0)  # seconds between two changes of a key
FLIP: Final = (0.5, 1.5)  # seconds that some entries last
FLIPPED: Final = 0.2  # the part of entries that does
PORTS: Final = 4  # entries of a key at once, in the mean
QUIET: Final = 30.0  # seconds after the last change, in which all must be seen


class Change:
    """An endpoint came, or went."""

    __slots__ = ("began_at", "ended_at", "endpoint", "is_there", "key", "owner", "seen")

    def __init__(self, key: Id, endpoint: Endpoint, owner: Host, *, is_there: bool) -> None:
        self.key = key
        self.endpoint = endpoint
        self.owner = owner
        self.is_there = is_there
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.seen: dict[Watcher, float] = {}  # when

    def is_told_by(self, request: Request) -> bool:
        """Whether its owner tells of it by this request."""
        match request:
            case Store(key=key, port=port):
                return self.is_there and (key, port) == (self.key, self.endpoint.port)
            case Withdraw(key=key, port=port):
                return not self.is_there and (key, port) == (self.key, self.endpoint.port)
            case Changed(key=key, added=added, removed=removed):
                return key == self.key and self.endpoint in (added if self.is_there else removed)
            case _:
                return False

    def lasted(self, now: float) -> bool:
        """Whether it must have been seen by now."""
        if self.began_at is None:
            return False
        return (now if self.ended_at is None else self.ended_at) - self.began_at > LASTING


class Watcher:
    """A machine that watches a key, and what it knows."""

    __slots__ = ("endpoints", "host", "key")

    def __init__(self, host: Host, key: Id) -> None:
        self.host = host
        self.key = key
        self.endpoints: frozenset[Endpoint] = frozenset()

    def agrees(self, change: Change) -> bool:
        """Whether it knows of this change."""
        return (change.endpoint in self.endpoints) == change.is_there


class Watchers:
    """The watched keys of a run, and what becomes of them."""

    def __init__(
        self, net: Network, plan: Plan, population: Population, end: Callable[[Host, str], None], rng: Random
    ) -> None:
        """`end` ends a machine for good, and says how."""
        self._net = net
        self._plan = plan
        self._population = population
        self._end = end
        self._rng = rng
        self._watchers: dict[tuple[Node, Handle], Watcher] = {}
        self._latest: dict[Id, dict[Endpoint, Change]] = {}  # of each key, by endpoint
        self._changes: list[Change] = []
        self._awaited: dict[Endpoint, list[Change]] = {}  # not sent yet, by the endpoint that will send it
        self._doomed: set[Host] = set()
        self._wrong = 0  # endpoints of updates that were wrong
        self._ports = 0

    # What happens

    def begin(self, ends_at: float) -> None:
        """Choose keys and watchers, and plan all that happens."""
        net, plan, rng = self._net, self._plan, self._rng
        keyspace = net.keyspace
        keys = [keyspace.digest(b"watched %d of %d" % (number, plan.seed)) for number in range(plan.watched)]
        if not keys:
            return
        net.taps.append(self._sent)
        # Half of the nearest nodes are doomed.
        first, last = net.now + plan.duration / 5, ends_at - QUIET
        for key in keys:
            nearest = [host for host in net.closest(key) if host not in self._doomed]
            for host in rng.sample(nearest, len(nearest) // 2):
                self._doomed.add(host)
                net.schedule.at(rng.uniform(first, last), self._die, host)
        # Each key is watched before it changes.
        for key in keys:
            self._latest[key] = {}
            for _ in range(plan.watchers):
                net.schedule.at(rng.uniform(net.now, net.now + plan.duration / 10), self._watch, key)
            net.schedule.at(first + rng.uniform(*GAP), self._change, key, last)

    def heard(self, host: Host, event: Event) -> None:
        """Take what a node tells its owner."""
        if not isinstance(event, WatchUpdate):
            return
        watcher = self._watchers.get((host.node, event.op))
        if watcher is None:
            return
        watcher.endpoints = frozenset(event.endpoints)
        latest = self._latest[watcher.key]
        for endpoint in (*event.added, *event.removed):
            if endpoint in latest:
                self._contradicts(watcher, latest[endpoint])
            elif endpoint[:-2] != host.endpoint[:-2]:  # it knows its own entries before others do
                self._is_wrong(watcher, endpoint)
        self._look(watcher, latest.values())

    def abandon(self, host: Host) -> None:
        """Expect nothing more of a machine, neither as a watcher nor as an owner."""
        self._awaited.pop(host.endpoint, None)
        for asked in [asked for asked in self._watchers if asked[0] is host.node]:
            watcher = self._watchers.pop(asked)
            for change in self._changes:
                change.seen.pop(watcher, None)
        for latest in self._latest.values():
            for change in latest.values():
                if change.owner is host and change.ended_at is None:
                    change.ended_at = self._net.now

    def report(self) -> Watches:
        """Return which changes were seen, and how soon."""
        now, watchers = self._net.now, list(self._watchers.values())
        lasting = [change for change in self._changes if change.lasted(now)]
        due = [(change, watcher) for change in lasting for watcher in watchers if watcher.key == change.key]
        took = []
        for change, watcher in due:
            if watcher in change.seen:
                assert change.began_at is not None
                took.append(1000 * (change.seen[watcher] - change.began_at))
        if not due:
            return Watches(0, 0, None, None, None, None, self._wrong)
        # One that was not seen took for ever.
        took += [float("inf")] * (len(due) - len(took))
        p50, p99, longest = (_finite(value) for value in (percentile(took, 0.5), percentile(took, 0.99), max(took)))
        seen = sum(value < float("inf") for value in took)
        return Watches(len(lasting), len(due), round(seen / len(due), 6), p50, p99, longest, self._wrong)

    # Inside

    def _watch(self, key: Id) -> None:
        host = self._draw()
        self._net.note(f"watches {self._net.keyspace.format(key)}", host)
        op = host.node.commands.watch(key, host.clock(self._net.now))
        self._watchers[host.node, op] = Watcher(host, key)
        self._net.flush(host)

    def _change(self, key: Id, last: float) -> None:
        """Change something under a key, and plan the next change."""
        net, rng = self._net, self._rng
        there = [each for each in self._latest[key].values() if each.is_there and each.ended_at is None]
        if rng.random() < len(there) / (2 * PORTS):
            self._delete(rng.choice(there))
        else:
            change = self._enter(key)
            if rng.random() < FLIPPED:
                net.schedule.at(net.now + rng.uniform(*FLIP), self._delete, change)
        if (when := net.now + rng.uniform(*GAP)) < last:
            net.schedule.at(when, self._change, key, last)

    def _enter(self, key: Id) -> Change:
        owner = self._draw()
        self._ports += 1
        port = 1 + self._ports % 65_535
        self._net.note(f"enters {self._net.keyspace.format(key)} on port {port}, watched", owner)
        change = self._await(Change(key, owner.endpoint.with_port(port), owner, is_there=True))
        owner.node.commands.enter(key, port, owner.clock(self._net.now))
        self._net.flush(owner)
        return change

    def _delete(self, entered: Change) -> None:
        key, owner, port = entered.key, entered.owner, entered.endpoint.port
        awaited = self._awaited.get(owner.endpoint, [])
        if not owner.alive or any(each.endpoint == entered.endpoint and not each.is_there for each in awaited):
            return
        if entered in awaited:
            awaited.remove(entered)  # nobody has heard of it
        else:
            self._await(Change(key, entered.endpoint, owner, is_there=False))
        self._net.note(f"deletes {self._net.keyspace.format(key)} on port {port}, watched", owner)
        owner.node.commands.delete(key, port, owner.clock(self._net.now))
        self._net.flush(owner)

    def _await(self, change: Change) -> Change:
        self._awaited.setdefault(change.owner.endpoint, []).append(change)
        return change

    def _sent(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        """Look whether a change begins with this datagram."""
        awaited = self._awaited.get(source)
        if not awaited:
            return
        message = self._net.codec.decode(data)
        if isinstance(message, Query):
            for change in [change for change in awaited if change.is_told_by(message.request)]:
                awaited.remove(change)
                self._begins(change)

    def _begins(self, change: Change) -> None:
        latest = self._latest[change.key]
        before = latest.get(change.endpoint)
        if before is not None:
            before.ended_at = self._net.now
        change.began_at = self._net.now
        latest[change.endpoint] = change
        self._changes.append(change)
        for watcher in self._watchers.values():
            if watcher.key == change.key:
                self._look(watcher, [change])

    def _look(self, watcher: Watcher, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.ended_at is None and watcher.agrees(change):
                change.seen.setdefault(watcher, self._net.now)

    def _contradicts(self, watcher: Watcher, change: Change) -> None:
        """Look whether a watcher has changed its mind. Soon after the change, older news may have been under way."""
        assert change.began_at is not None
        if watcher not in change.seen or watcher.agrees(change) or change.owner is watcher.host:
            return
        if self._net.now - change.began_at > LASTING:
            self._is_wrong(watcher, change.endpoint)
        else:
            del change.seen[watcher]

    def _is_wrong(self, watcher: Watcher, endpoint: Endpoint) -> None:
        self._wrong += 1
        self._net.note(f"is wrong about {endpoint} under a key that it watches", watcher.host)

    def _die(self, host: Host) -> None:
        if host.alive and not self._population.is_last_honest(host):
            self._end(host, "dies, near a watched key")

    def _draw(self) -> Host:
        """Draw an honest machine that will not die, if there is one."""
        there_is = any(host.lie is None and host not in self._doomed for host in self._population.live)
        host = self._population.draw_honest()
        while there_is and host in self._doomed:
            host = self._population.draw_honest()
        return host


def _finite(value: float) -> float | None:
    return round(value, 3) if value < float("inf") else None

"""A network of real nodes on one virtual clock.

Datagrams and wake-ups share one heap. A host has one wake-up planned at most; it is moved forward when an input gives
the node an earlier deadline, and a planned one that comes too early looks at the node's deadline and plans anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeVar

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Event, Handle, LookupDone, Published, Renamed, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim import invariants
from dhtd.sim.census import Census
from dhtd.sim.host import Host
from dhtd.sim.kademlia import Kademlia
from dhtd.sim.lie import Lie
from dhtd.sim.links import LinkModels, Nat, Weather
from dhtd.sim.overlay import Member, Overlay
from dhtd.sim.places import Address, Places, private
from dhtd.sim.saved import Saved
from dhtd.sim.schedule import Schedule
from dhtd.wire.native import NativeCodec

E = TypeVar("E", bound=Event)

# Event, seconds, source, destination, and the datagram; or nobody, the host (or the network), and what it did.
Happening = tuple[int, float, Endpoint | None, Endpoint | None, bytes | str]
Tap = Callable[[Endpoint, Endpoint, bytes], None]
Listener = Callable[[Host, Event], None]

_REMEMBERED = 1_000_000  # contacts that are one object to all nodes: each of 10,000 nodes is known to eighty others
_LATEST = 64  # events that are kept, to explain a failure
_CHECKED = 256  # every so many events, the host that had the last one is looked at


class Network:
    """Hosts, the links between them, and the time."""

    def __init__(
        self,
        seed: int,
        *,
        links: LinkModels | None = None,
        codec: Codec | None = None,
        policy: Policy = DEFAULT,
        address: Address = private,
        overlay: Overlay | None = None,
    ) -> None:
        """Without another `overlay`, it is one of Kademlia nodes with this `codec` and `policy`."""
        self.seed = seed
        self.rng = Random(f"network {seed}")
        self.policy = policy
        self.overlay: Overlay = overlay if overlay is not None else _kademlia(codec, policy)
        self.keyspace = self.overlay.keyspace
        self.schedule = Schedule()
        self.weather = Weather(links if links is not None else LinkModels(), Random(f"weather {seed}"))
        self.hosts: list[Host] = []
        self.census = Census(self.keyspace)  # the live hosts that anybody can reach
        self.taps: list[Tap] = []  # each is shown (source, destination, data) of every datagram sent
        self.listener: Listener | None = None  # takes the events of nodes; without one, each host keeps its own
        self.latest: deque[Happening] = deque(maxlen=_LATEST)
        self.datagrams = 0  # sent by hosts
        self.bytes = 0
        self._places = Places(address)
        self.renewals_gone = 0  # renewals of leases that had arrived at hosts that were removed
        self._starts = 0

    # Hosts

    @property
    def now(self) -> float:
        """The virtual time in seconds."""
        return self.schedule.now

    @property
    def live(self) -> list[Host]:
        """The hosts that are running."""
        return [host for host in self.hosts if host.alive]

    def add(
        self,
        *,
        bootstrap: Iterable[Host] = (),
        id: Id | None = None,
        endpoint: Endpoint | None = None,
        nat: Nat | None = None,
        lie: Lie | None = None,
        age: float = 0.0,
        start: bool = True,
        families: Iterable[Family] = (Family.IPV4,),
    ) -> Host:
        """Put a host at an `endpoint`, or at an address of its own, of each family that it speaks.

        Its node came up `age` seconds ago, and is now to `start`.
        """
        endpoints = self._places.next(families) if endpoint is None else (endpoint,)
        member = self._member(self.keyspace.random(self.rng) if id is None else id, endpoints, self.now - age)
        host = Host(endpoints, self.overlay, member, tuple(at for other in bootstrap for at in other.endpoints), nat)
        host.lie = lie
        self.hosts.append(host)
        self._places.put(host)
        self.census.add(host)
        if start:
            member.start(host.bootstrap, self.now)
            self.flush(host)
        return host

    def grow(self, count: int, *, every: float = 0.1) -> list[Host]:
        """Start `count` hosts, one `every` so many seconds, each bootstrapped from any that ran before it."""
        added = []
        for _ in range(count):
            live = self.live
            added.append(self.add(bootstrap=[self.rng.choice(live)] if live else []))
            self.run_for(every)
        return added

    def populate(self, count: int, *, known: int = 64, join: bool = True) -> list[Host]:
        """Start `count` hosts that all ran before: each restores its neighbours and `known` contacts of any kind.

        For tests to which the way into the network does not matter. It is much faster than `grow`. If the hosts do not
        `join`, it is faster still, because joined hosts ask around for minutes.
        """
        added = [self.add() for _ in range(count)]
        ordered = sorted(added, key=lambda host: host.id)
        for place, host in enumerate(ordered):
            near = ordered[max(0, place - self.policy.k) : place + self.policy.k + 1]
            for other in (*near, *self.rng.sample(added, min(known, len(added)))):
                if other is not host:
                    host.node.overlays.restore(other.contact)
            if not join:
                host.node.memberships.first.join.answered(self.now)  # what the first answer of anybody does
            self.flush(host)
        return added

    def kill(self, host: Host) -> Saved:
        """Stop a host at once, without a word to anybody; return its state."""
        host.alive = False
        self.census.remove(host)
        return host.save(self.now)

    def restart(self, host: Host, saved: Saved | None = None, *, id: Id | None = None) -> None:
        """Start a host that was killed, with its `saved` state or none, under that state's ID or a new one."""
        assert not host.alive
        if id is None:
            id = self.keyspace.random(self.rng) if saved is None else saved.id
        session = None if saved is None else saved.session
        host.restart(self._member(id, host.endpoints, host.clock(self.now), session))
        self.census.add(host)
        if saved is not None:
            host.load(saved, self.now)
        host.member.start(host.bootstrap, host.clock(self.now))
        self.flush(host)

    def move(self, host: Host) -> Endpoint:
        """Give a host another address, without telling its node; return the address."""
        assert len(host.endpoints) == 1
        self._places.clear(host)
        host.move(self._places.next([host.endpoint.family]))
        self._places.put(host)
        return host.endpoint

    def remove(self, host: Host) -> None:
        """Kill a host for good, and forget it."""
        self.kill(host)
        self.renewals_gone += host.renewals
        self.hosts.remove(host)
        self._places.clear(host)

    def closest(self, target: Id, count: int | None = None) -> list[Host]:
        """Return the live hosts nearest to `target` that anybody can reach, nearest first; K without a `count`."""
        return self.census.closest(target, self.policy.k if count is None else count)

    @property
    def codec(self) -> Codec:
        """The wire, in a network of Kademlia nodes."""
        assert isinstance(self.overlay, Kademlia)
        return self.overlay.codec

    def at(self, endpoint: Endpoint) -> Host | None:
        """Return the host at this endpoint, alive or not."""
        return self._places.at(endpoint)

    # Faults

    def partition(self, sides: Sequence[Sequence[Host]]) -> None:
        """Let nothing pass between these sides; hosts on none of them form one more."""
        self.weather.partition([[endpoint for host in side for endpoint in host.endpoints] for side in sides])

    def outage(self) -> None:
        """Let nothing arrive anywhere, until `heal`."""
        self.weather.outage()

    def unplug(self, host: Host) -> None:
        """Cut one host off, until `heal`."""
        for endpoint in host.endpoints:
            self.weather.unplug(endpoint)

    def heal(self) -> None:
        """End partitions, outages, and cut cables."""
        self.weather.heal()

    def jump(self, host: Host, seconds: float, *, wall: float | None = None) -> None:
        """Let a host's clock jump ahead, as after a suspend. Its wall clock jumps as far, or by `wall` seconds.

        Only wall clocks go back.
        """
        assert seconds >= 0
        host.ahead += seconds
        host.wall_ahead += seconds if wall is None else wall
        if host.alive:
            host.wake_at = None
            self.flush(host)

    # Time

    def run_for(self, seconds: float) -> None:
        """Let this much time pass."""
        until = self.now + seconds
        while self.schedule.step(until):
            pass

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0) -> None:
        """Let time pass until `condition` holds; fail if it does not hold within `limit` seconds."""
        until = self.now + limit
        while not condition():
            assert self.schedule.step(until), f"seed {self.seed}: not within {limit} s"

    def finish(self, host: Host, op: Handle, kind: type[E], limit: float = 60.0) -> E:
        """Run until the operation has ended, within `limit` seconds; return its last event."""
        self.flush(host)
        self.run_until(lambda: op in host.done, limit)
        event = host.done[op]
        assert isinstance(event, kind)
        return event

    # Commands

    def lookup(self, host: Host, key: Id) -> LookupDone:
        """Look `key` up from `host`, to the end."""
        return self.finish(host, host.member.commands.lookup(key, self.now), LookupDone)

    def enter(self, host: Host, key: Id, port: int) -> Published:
        """Enter `key` on `port` at `host`, until it is published."""
        return self.finish(host, host.member.commands.enter(key, port, self.now), Published)

    def delete(self, host: Host, key: Id, port: int | None = None) -> Withdrawn:
        """Delete the entry of `key` at `host`, until it is withdrawn. It must be there."""
        op, ports = host.member.commands.delete(key, port, self.now)
        assert ports
        return self.finish(host, op, Withdrawn)

    # The wire

    def flush(self, host: Host) -> None:
        """Carry on what the host's node has to send and to tell; to be called after any command given to the node."""
        member = host.member
        while (transmit := member.poll_transmit()) is not None:
            self.send(host, transmit.endpoint, transmit.data)
        while (event := member.poll_event()) is not None:
            if isinstance(event, Renamed):
                host.identify()
                self.census.renamed()
            if self.listener is None:
                host.record(event, self.now)
            else:
                self.listener(host, event)
        host.deadline = member.poll_timeout()
        self._plan_wake(host)

    def _plan_wake(self, host: Host) -> None:
        if (wake_at := host.plan_wake()) is not None:
            self.schedule.at(wake_at, self._wake, host, host.member, wake_at)

    def send(self, host: Host, destination: Endpoint, data: bytes) -> None:
        """Send a datagram from `host`; into nowhere, if that is of a family that it does not speak."""
        source = host.towards(destination)
        if source is None:
            return
        host.count_sent(self.now)
        self.datagrams += 1
        self.bytes += len(data)
        if host.nat is not None:
            host.nat.sent(destination, self.now)
        self.inject(source, destination, data, host.delay)

    def inject(self, source: Endpoint, destination: Endpoint, data: bytes, later: float = 0.0) -> None:
        """Send a datagram that claims to come from `source`; any machine may have sent it."""
        for tap in self.taps:
            tap(source, destination, data)
        now, weather = self.schedule.now, self.weather
        if weather.is_whole or weather.carries(source, destination):
            for delay in weather.delays(source, destination):
                self.schedule.at(now + delay + later, self._deliver, source, destination, data)

    def note(self, what: str, host: Host | None = None) -> None:
        """Keep among the `latest` events that a host, or the network, does this."""
        self.latest.append((self.schedule.events, self.now, None, None if host is None else host.endpoint, what))

    def _deliver(self, source: Endpoint, destination: Endpoint, data: bytes) -> None:
        host, weather, now = self._places.at(destination), self.weather, self.schedule.now
        if host is None or not host.alive or not (weather.is_whole or weather.carries(source, destination)):
            return
        if host.nat is not None and not host.nat.admits(source, now):
            return
        host.received += 1
        self.latest.append((self.schedule.events, now, source, destination, data))
        answer = host.member.handle_datagram(data, source, now + host.ahead)
        if answer is not None:
            self.overlay.check_answer(data, answer)
            if host.lie is None:
                self.send(host, source, answer)
            else:
                for forged in host.lie.answer(self, host, data, answer, source):
                    self.inject(forged.source, forged.destination, forged.data)
        self.flush(host)
        if not self.schedule.events % _CHECKED:
            invariants.check_host(host, now)

    def _wake(self, host: Host, member: Member, planned: float) -> None:
        if not host.alive or host.member is not member or host.wake_at != planned:
            return  # the host was stopped, or has an earlier wake-up, which plans the next
        host.wake_at = None
        now, deadline = self.schedule.now, host.deadline
        if deadline is not None and deadline - host.ahead <= now:
            self.note("wakes: a deadline", host)
            host.wake(max(host.clock(now), deadline))  # the sum may round to just before it
            self.flush(host)
        else:
            self._plan_wake(host)  # the deadline has moved since
        if not self.schedule.events % _CHECKED:
            invariants.check_host(host, now)

    def _member(self, id: Id, endpoints: tuple[Endpoint, ...], now: float, session: bytes | None = None) -> Member:
        self._starts += 1
        return self.overlay.member(id, endpoints, Random(f"node {self.seed} {self._starts}"), now, session)


def _kademlia(codec: Codec | None, policy: Policy) -> Kademlia:
    if codec is not None:
        return Kademlia(codec, codec, policy)
    return Kademlia(NativeCodec(_REMEMBERED), NativeCodec(_REMEMBERED, dual_stack=True), policy)

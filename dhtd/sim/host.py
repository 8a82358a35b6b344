"""A machine in a simulated network: one node, its events, and what would be in its state file."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import (
    Event,
    Handle,
    LookupProgress,
    Progress,
    Unasked,
)
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.sim.lie import Lie
from dhtd.sim.links import Nat
from dhtd.sim.overlay import Member, Overlay
from dhtd.sim.saved import Saved

_BUSY = 1_000  # calls of `handle_timeout` at one moment; only a defect makes so many


class Host:
    """One node at one endpoint of each of its address families. `Network` drives it; tests read it."""

    __slots__ = (
        "_burst",
        "_renewals_before",
        "_second",
        "_woken",
        "ahead",
        "alive",
        "bootstrap",
        "contact",
        "deadline",
        "delay",
        "done",
        "endpoint",
        "endpoints",
        "events",
        "id",
        "lie",
        "member",
        "nat",
        "overlay",
        "peak",
        "progress",
        "received",
        "sent",
        "wake_at",
        "wakeups",
        "wall_ahead",
    )

    def __init__(
        self,
        endpoints: tuple[Endpoint, ...],
        overlay: Overlay,
        member: Member,
        bootstrap: tuple[Endpoint, ...],
        nat: Nat | None,
    ) -> None:
        self.endpoints = endpoints
        self.endpoint = endpoints[0]
        self.overlay = overlay
        self.member = member
        self.bootstrap = bootstrap
        self.nat = nat
        self.lie: Lie | None = None  # what becomes of its answers, where it is a liar
        self.delay = 0.0  # seconds by which everything that it sends is late: a slow machine
        self.ahead = 0.0  # seconds by which its clock is ahead of the network's, since it has jumped
        self.wall_ahead = 0.0  # seconds by which its wall clock is, in which a state file counts
        self.alive = True
        self.deadline: float | None = None  # `poll_timeout` by the node's clock, since the last input
        self.wake_at: float | None = None  # when the network is going to look at it
        self.wakeups = 0  # calls of `handle_timeout`
        self.sent = 0  # datagrams
        self.received = 0
        self.peak = 0  # datagrams sent in the busiest second
        self._second = 0  # that of the last datagram
        self._burst = 0  # how many were sent in it
        self._renewals_before = 0  # renewals that had arrived before its node started
        self.events: list[tuple[float, Event]] = []  # all but progress, with their times in seconds
        self.done: dict[Handle, Event] = {}  # how operations ended
        self.progress: dict[Handle, list[LookupProgress]] = {}
        self.identify()
        self._woken = (0.0, 0)  # the last moment of waking, and how often it was that moment

    @property
    def node(self) -> Node:
        """The node, in a network of Kademlia nodes."""
        assert isinstance(self.member, Node)
        return self.member

    def identify(self) -> None:
        """Take note of the node's ID and of the first endpoint, since one of them is another now."""
        self.id: Id = self.member.own_id
        self.contact = Contact(self.id, self.endpoint)  # this host, as others know it

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """This host as others of each family know it."""
        return tuple(Contact(self.id, endpoint) for endpoint in self.endpoints)

    @property
    def renewals(self) -> int:
        """How many renewals of leases have arrived."""
        return self._renewals_before + self.overlay.renewals(self.member)

    def move(self, endpoints: tuple[Endpoint, ...]) -> None:
        """Be at other endpoints."""
        self.endpoints = endpoints
        self.endpoint = endpoints[0]
        self.identify()

    def restart(self, member: Member) -> None:
        """Run another node, after a kill."""
        self._renewals_before = self.renewals
        self.member = member
        self.identify()
        self.alive = True
        self.deadline = self.wake_at = None
        self.done.clear()

    def towards(self, destination: Endpoint) -> Endpoint | None:
        """Return the endpoint that this host sends from, if it speaks the family of the destination."""
        if len(self.endpoint) == len(destination):  # as mostly
            return self.endpoint
        return next((endpoint for endpoint in self.endpoints if len(endpoint) == len(destination)), None)

    def count_sent(self, now: float) -> None:
        """Count a datagram that this host sends."""
        self.sent += 1
        second = int(now)
        if second != self._second:
            self._second = second
            self._burst = 0
        self._burst += 1
        if self._burst > self.peak:  # noqa: PLR1730 - without a call
            self.peak = self._burst

    def clock(self, now: float) -> float:
        """Return what this machine's clock shows at the network's time `now`."""
        return now + self.ahead

    def plan_wake(self) -> float | None:
        """Return when to wake the node for its deadline; None if a wake-up is planned that comes no later."""
        if self.deadline is None:
            return None
        wake_at = self.deadline - self.ahead
        if self.wake_at is not None and self.wake_at <= wake_at:
            return None
        self.wake_at = wake_at
        return wake_at

    def wake(self, clock: float) -> None:
        """Let the node do what is due by its clock. Fail if something is due at this moment for ever."""
        moment, times = self._woken
        self._woken = (clock, times + 1) if moment == clock else (clock, 1)
        assert self._woken[1] < _BUSY, f"{self} does not get past {clock}"
        self.wakeups += 1
        self.member.handle_timeout(clock)

    def record(self, event: Event, now: float) -> None:
        """Keep an event of the node, so that `done` tells how each operation ended."""
        match event:
            case LookupProgress(op):
                self.progress.setdefault(op, []).append(event)
            case _ if isinstance(event, Unasked | Progress):
                self.events.append((now, event))
            case _:
                self.events.append((now, event))
                self.done[event.op] = event

    def save(self, now: float) -> Saved:
        """Return what this node would have in its state file now."""
        return self.overlay.save(self.member, self.clock(now), self.wall_ahead - self.ahead)

    def load(self, saved: Saved, now: float) -> None:
        """Put back into a fresh node what was saved, as the wall clock dates it now."""
        self.overlay.load(self.member, saved, self.clock(now), self.wall_ahead - self.ahead)

    def __repr__(self) -> str:
        """Return a short form for failing tests."""
        return f"<host {self.endpoint}>"

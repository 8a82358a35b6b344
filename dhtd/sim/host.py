"""A machine in a simulated network: one node, its events, and what would be in its state file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, Isolated, Joined, LookupProgress
from dhtd.core.messages import Contact
from dhtd.core.metric import Id
from dhtd.core.node import Node
from dhtd.core.store import HeldEntry
from dhtd.core.track import EntryKey
from dhtd.sim.links import Nat

if TYPE_CHECKING:
    from dhtd.sim.liars import Lie

_BUSY = 1_000  # calls of `handle_timeout` at one moment that only a defect can explain


@dataclass(frozen=True, slots=True)
class Saved:
    """What survives a restart."""

    id: Id
    contacts: tuple[Contact, ...]
    own: tuple[EntryKey, ...]
    held: tuple[HeldEntry, ...]


class Host:
    """One node at one endpoint. `Network` drives it; tests read it."""

    def __init__(self, endpoint: Endpoint, node: Node, bootstrap: tuple[Endpoint, ...], nat: Nat | None) -> None:
        self.endpoint = endpoint
        self.node = node
        self.bootstrap = bootstrap
        self.nat = nat
        self.lie: Lie | None = None  # what becomes of its answers, where it is a liar
        self.delay = 0.0  # seconds by which everything that it sends is late: a slow machine
        self.alive = True
        self.wake_at: float | None = None  # when the network is going to look at `poll_timeout`
        self.wakeups = 0  # calls of `handle_timeout`
        self.sent = 0  # datagrams
        self.received = 0
        self.events: list[tuple[float, Event]] = []  # all but progress, with their times in seconds
        self.done: dict[Handle, Event] = {}  # how operations ended
        self.progress: dict[Handle, list[LookupProgress]] = {}
        self._woken = (0.0, 0)  # the last moment of waking, and how often it was that moment

    @property
    def id(self) -> Id:
        """The node's ID."""
        return self.node.own_id

    @property
    def contact(self) -> Contact:
        """This host as others know it."""
        return Contact(self.id, self.endpoint)

    def wake(self, now: float) -> None:
        """Let the node do what is due; fail where it is due again and again and time stands still."""
        moment, times = self._woken
        self._woken = (now, times + 1) if moment == now else (now, 1)
        assert self._woken[1] < _BUSY, f"{self} does not get past {now}"
        self.wakeups += 1
        self.node.handle_timeout(now)

    def collect(self, now: float) -> None:
        """Take the node's events."""
        while (event := self.node.poll_event()) is not None:
            match event:
                case LookupProgress(op):
                    self.progress.setdefault(op, []).append(event)
                case Joined() | Isolated():
                    self.events.append((now, event))
                case _:
                    self.events.append((now, event))
                    self.done[event.op] = event

    def save(self) -> Saved:
        """Return what this node would have in its state file."""
        node = self.node
        own = tuple((entry.key, entry.port) for entry in node.tracker)
        return Saved(self.id, tuple(node.state.table), own, tuple(node.store))

    def __repr__(self) -> str:
        """Return a short form for failing tests."""
        return f"<host {self.endpoint}>"

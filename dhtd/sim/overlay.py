"""The seam between a run and the kind of network that it runs.

A *member* is a node of such a network: bytes and time in, bytes and events out. An *overlay* makes members, and knows
what a run asks of them besides. Whatever has both can be simulated: links, faults, churn and report are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from random import Random
from typing import NamedTuple, Protocol

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.querying.requester import Transmit
from dhtd.sim.saved import Saved


class Commands(Protocol):
    """What the owner of a member asks of it."""

    def lookup(self, key: Id, now: float, *, traced: bool = False) -> Handle: ...

    def enter(self, key: Id, port: int, now: float) -> Handle: ...

    def delete(self, key: Id, port: int | None, now: float) -> tuple[Handle, list[int]]: ...


class Member(Protocol):
    """A node, driven from outside."""

    @property
    def own_id(self) -> Id: ...

    @property
    def commands(self) -> Commands: ...

    def start(self, bootstrap: Iterable[Endpoint], now: float) -> None: ...

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None: ...

    def handle_timeout(self, now: float) -> None: ...

    def poll_transmit(self) -> Transmit | None: ...

    def poll_event(self) -> Event | None: ...

    def poll_timeout(self) -> float | None: ...


class Metric(Enum):
    """Which nodes a lookup of a key is to reach."""

    XOR = auto()  # the K nearest by exclusive or
    CLOCKWISE = auto()  # the first one at the key, or after it


class Sizes(NamedTuple):
    """How much a member knows, for a story."""

    contacts: int
    buckets: int | None  # None: there are no buckets
    own_entries: int
    held_entries: int


class Overlay(Protocol):
    """A kind of network."""

    @property
    def keyspace(self) -> Keyspace: ...

    @property
    def metric(self) -> Metric: ...

    def member(self, id: Id, endpoints: tuple[Endpoint, ...], rng: Random, now: float, session: bytes | None) -> Member:
        """Make a member that is to start. `session` is that of its state file."""
        ...

    def save(self, member: Member, clock: float, late: float) -> Saved:
        """Return its state file, of a wall clock that is `late` seconds ahead of its other clock."""
        ...

    def load(self, member: Member, saved: Saved, clock: float, late: float) -> None:
        """Put back into a fresh member what was saved."""
        ...

    def contacts(self, member: Member) -> Sequence[Contact]:
        """Return its routing table."""
        ...

    def say_goodbye(self, member: Member, now: float) -> None:
        """Have a member that is to stop tell those that hold its entries, or for which it holds some."""
        ...

    def has_gone(self, member: Member) -> bool:
        """Whether all has been said."""
        ...

    def renewals(self, member: Member) -> int:
        """Return how many renewals of leases have arrived there."""
        ...

    def check(self, member: Member, endpoints: tuple[Endpoint, ...], clock: float, *, has_jumped: bool) -> None:
        """Raise `AssertionError` where something does not hold that must hold at any moment."""
        ...

    def check_answer(self, query: bytes, answer: bytes) -> None:
        """Raise `AssertionError` where an answer must not be given to a query."""
        ...

    def sizes(self, member: Member) -> Sizes:
        """Return how much it knows."""
        ...

    def told(self, data: bytes) -> str:
        """Return in words what a datagram says."""
        ...

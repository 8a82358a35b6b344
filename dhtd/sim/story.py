"""The latest events of a network in words. They led to a failure, or to the event at which a replay stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.sayings import count


@dataclass(frozen=True, slots=True)
class Moment:
    """A datagram that arrived; or, without a source, what a node does, or (without a destination) the network."""

    event: int
    virtual_s: float
    source: str | None
    destination: str | None
    message: str

    def __str__(self) -> str:
        """Return the line that tells it."""
        place = self.destination or "the network"
        way = place if self.source is None else f"{self.source} to {place}:"
        return f"{self.event} at {self.virtual_s:.6f} {way} {self.message}"


@dataclass(frozen=True, slots=True)
class Condition:
    """How a node is: the one that had the latest event."""

    id: str
    endpoint: str
    alive: bool
    behind_nat: bool
    lie: str | None
    clock_ahead_s: float
    contacts: int
    buckets: int | None  # None: there are none, as in Chord
    own_entries: int
    held_entries: int
    wakes_in_s: float | None

    def __str__(self) -> str:
        """Return the line that tells it."""
        traits = [
            "" if self.alive else "stopped",
            "behind NAT" if self.behind_nat else "",
            f"a liar ({self.lie})" if self.lie is not None else "",
            f"its clock {self.clock_ahead_s:.6f} s ahead" if self.clock_ahead_s else "",
            count(self.contacts, "contact") + ("" if self.buckets is None else f" in {count(self.buckets, 'bucket')}"),
            f"{self.own_entries} entered and {self.held_entries} held",
            "no deadline" if self.wakes_in_s is None else f"its next deadline in {self.wakes_in_s:.6f} s",
        ]
        return f"{self.endpoint} is node {self.id}: {', '.join(filter(None, traits))}"


@dataclass(frozen=True, slots=True)
class Story:
    """The events that led to the present state of a network."""

    event: int  # the latest one, also where nothing arrived and no node woke
    virtual_s: float
    moments: list[Moment]  # the earliest first
    node: Condition | None  # that had the latest of them; None if there is none, or its machine is gone

    def __iter__(self) -> Iterator[str]:
        """Yield the lines that tell it."""
        yield from map(str, self.moments)
        if self.moments and self.moments[-1].event < self.event:
            yield f"{self.event} at {self.virtual_s:.6f}: nothing that a node heard of"
        if self.node is not None:
            yield str(self.node)


def tell(net: Network) -> Story:
    """Return the story of a network so far."""
    moments = [
        Moment(
            event,
            round(at, 6),
            None if source is None else str(source),
            None if destination is None else str(destination),
            data if isinstance(data, str) else net.overlay.told(data),
        )
        for event, at, source, destination, data in net.latest
    ]
    last = net.latest[-1][3] if net.latest else None
    host = None if last is None else net.at(last)
    node = None if host is None else _condition(net, host)
    return Story(net.schedule.events, round(net.now, 6), moments, node)


def _condition(net: Network, host: Host) -> Condition:
    sizes = net.overlay.sizes(host.member)
    deadline = host.member.poll_timeout()
    return Condition(
        id=net.keyspace.format(host.id),
        endpoint=str(host.endpoint),
        alive=host.alive,
        behind_nat=host.nat is not None,
        lie=None if host.lie is None else type(host.lie).__name__,
        clock_ahead_s=round(host.ahead, 6),
        contacts=sizes.contacts,
        buckets=sizes.buckets,
        own_entries=sizes.own_entries,
        held_entries=sizes.held_entries,
        wakes_in_s=None if deadline is None else round(max(0.0, deadline - host.clock(net.now)), 6),
    )

"""Tells what the node does, while clients follow it. While none does, nothing is observed, and nothing is kept.

A busy node answers thousands of queries a second. So each kind of event has an allowance: so many a second are told,
and the rest is counted, and told once a second by an event of the kind `counted`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import METHODS, Query, Request
from dhtd.core.node import Node
from dhtd.core.querying.observations import Allowance
from dhtd.daemon.events.ring import Ring
from dhtd.daemon.events.telling import Telling, about

if TYPE_CHECKING:
    from dhtd.daemon.sockets.zones import Zones

ALLOWED: Final = 50  # events of one kind in a second
STEPS_ALLOWED: Final = 500  # steps of lookups; few lookups are told, each as a whole
LINGER: Final = 30.0  # seconds without clients until nothing is observed: one that is back by then has missed nothing
_LOOK: Final = 1.0  # seconds between two looks at the counters

Handle = Callable[[bytes, Endpoint, float], bytes | None]


class Follower:
    """Follows one node. `ring` has what it tells."""

    def __init__(self, node: Node, zones: Zones, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.is_on = False
        # Serials of a later run are greater, since nobody is told 1,000 events a second for long.
        self.ring = Ring(max(1, int(1000 * wall())))
        self._node = node
        self._clock = clock
        self._wall = wall
        self._telling = Telling(node, zones, clock)
        self._clients = 0
        self._idle_since = 0.0
        self._look_at = 0.0
        self._allowances: dict[str, Allowance] = {}
        self._untold: Counter[str] = Counter()
        self._answered: list[tuple[bytes, Endpoint, int]] = []  # queries that are to be told, and the sizes of answers
        self._served = 0  # queries taken up to the last look
        self._told_served = 0  # since then
        self._caps: dict[str, int] = {}  # as at the last look

    @contextmanager
    def following(self) -> Iterator[Ring]:
        """Tell what happens while this context is open."""
        if not self.is_on:
            self._begin()
        self._clients += 1
        try:
            yield self.ring
        finally:
            self._clients -= 1
            self._idle_since = self._clock()

    def look(self, now: float) -> None:
        """Tell what is counted, once a second. Stop observing when no client has followed for a while."""
        if not self.is_on or now < self._look_at:
            return
        self._look_at = now + _LOOK
        if not self._clients and now - self._idle_since >= LINGER:
            self._end()
            return
        self._tell_limits()
        self._tell_counted()

    def take(self) -> None:
        """Tell what the node has done since the last call."""
        answered, self._answered = self._answered, []
        for data, source, size in answered:
            self._tell_served(data, source, size)
        while (observation := self._node.poll_observation()) is not None:
            told = self._telling.told(observation)
            if told is not None and self._may_tell(told[0]):
                self.ring.add(self._wall(), *told)

    def watching(self, handle: Handle) -> Handle:
        """Return a function that does what `handle` does with a datagram, and has `take` tell of those it answers.

        `take` reads a query a second time, after the answer has left, and only while the allowance lasts. All of these
        were answered, so their sources are within their limits.
        """
        allowance = self._allowance("served")
        if not allowance.is_left(self._clock()):
            return handle

        def watch(data: bytes, source: Endpoint, now: float) -> bytes | None:
            answer = handle(data, source, now)
            if answer is not None and allowance.take(now):
                self._answered.append((data, source, len(answer)))
            return answer

        return watch

    def _begin(self) -> None:
        self.is_on = True
        self._node.observe()
        self._look_at = self._clock() + _LOOK
        self._answered.clear()
        self._allowances.clear()
        self._untold.clear()
        self._served, self._told_served = self._count_served(), 0
        self._caps = dict(self._node.counters.caps_hit)

    def _end(self) -> None:
        self.is_on = False
        self._node.observe(on=False)
        self._telling.forget()
        self.ring.interrupt()

    def _allowance(self, kind: str) -> Allowance:
        allowance = self._allowances.get(kind)
        if allowance is None:
            most = STEPS_ALLOWED if kind == "lookup-step" else ALLOWED
            allowance = self._allowances[kind] = Allowance(most)
        return allowance

    def _may_tell(self, kind: str) -> bool:
        if self._allowance(kind).take(self._clock()):
            return True
        self._untold[kind] += 1
        return False

    def _tell_served(self, data: bytes, source: Endpoint, size: int) -> None:
        message = self._node.codec.decode(data)
        if isinstance(message, Query):  # else it was answered with an error
            self._told_served += 1
            self.ring.add(
                self._wall(),
                "served",
                {
                    "endpoint": self._telling.text(source),
                    "node_id": self._telling.format(message.sender),
                    "method": METHODS[type(message.request)],
                    "id": self._id(message.request),
                    "bytes": size,
                },
            )

    def _id(self, request: Request) -> str | None:
        id = about(request)
        return None if id is None else self._telling.format(id)

    def _tell_limits(self) -> None:
        for cap, total in self._node.counters.caps_hit.items():
            count = total - self._caps[cap]
            if count:
                self._caps[cap] = total
                self.ring.add(self._wall(), "limit", {"cap": cap, "count": count, "total": total})

    def _tell_counted(self) -> None:
        served = self._count_served()
        untold = self._node.requester.observations.untold
        counts = {
            "served": served - self._served - self._told_served,
            "lookup-begun": untold["search"],
            "other": untold["observation"],
            **self._untold,
        }
        self._served, self._told_served = served, 0
        untold.clear()
        self._untold.clear()
        counts = {kind: count for kind, count in counts.items() if count > 0}
        if counts:
            self.ring.add(self._wall(), "counted", {"counts": counts})

    def _count_served(self) -> int:
        return sum(self._node.counters.queries_received.values())

"""The canary: an entry of this daemon under a random ID, which it looks for through other nodes.

A node can be up and cut off, and not know it: its own state tells only what it believes. The canary tells what others
see. Its nearest nodes are asked to hold it, as any entry, and a lookup asks the network for it. This node is healthy if
another one has named the canary within `FRESH` seconds.

Nothing is done until somebody wants to know. From then on the canary is looked for every `INTERVAL` seconds, until
nobody has asked for `WANTED_FOR` seconds.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import trio

from dhtd.core.events import Answered, Event, LookupDone, LookupProgress, LookupStep, Unanswered
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Found
from dhtd.core.traces import QueryAnswered
from dhtd.daemon.driver import Driver, Start
from dhtd.errors import Busy

INTERVAL: Final = 20.0  # seconds between two looks
SOON: Final = 10.0  # seconds until the next look where the canary was not found
BUSY_FOR: Final = 1.0  # seconds until the next attempt where the node takes no further operation
FRESH: Final = 60.0  # seconds for which a find shows that this node is healthy
WANTED_FOR: Final = 300.0
LOOK_WITHIN: Final = 8.0  # seconds for a lookup, and for a store
PLACES: Final = 3  # nodes that are asked to hold it


@dataclass(frozen=True, slots=True)
class Look:
    """The outcome of a look for the canary."""

    at: float
    answered: int  # nodes that answered
    holders: int  # those of them that named the canary


class Canary:
    """The canary of one node. It is none of the own entries: it is on no disk, and in no list."""

    def __init__(self, driver: Driver) -> None:
        self.found_at: float | None = None
        self.last: Look | None = None
        self.is_busy = False  # the node takes no operation, so nothing is known of the network
        self._driver = driver
        self._node = driver.node
        self._key: Id = driver.node.codec.traits.keyspace.random(secrets.SystemRandom())
        self._port = driver.udp.listening()[0].port
        self._placed_at: float | None = None
        self._wanted_until = 0.0
        self._wanted = trio.Event()
        self._looked = trio.Event()  # set, and replaced, at each look
        self._hurry = trio.Event()  # set where the next look cannot wait

    @property
    def is_healthy(self) -> bool:
        """Whether another node has named the canary a short time ago."""
        return self.found_at is not None and self._driver.clock() - self.found_at <= FRESH

    @property
    def is_fresh(self) -> bool:
        """Whether the latest look tells of now. A machine that was suspended has an old one."""
        return self.last is not None and self._driver.clock() - self.last.at <= FRESH

    def want(self, seconds: float = WANTED_FOR) -> None:
        """Look for it for so many seconds from now on."""
        now = self._driver.clock()
        if self._wanted_until <= now:
            self._wanted.set()
        self._wanted_until = max(self._wanted_until, now + seconds)

    async def look_within(self, seconds: float) -> None:
        """Have it looked for, and wait for a look that is not old, or for so many seconds."""
        self.want()
        if not self.is_fresh:
            self._hurry.set()
            with trio.move_on_after(seconds):
                await self._looked.wait()

    async def run(self) -> None:
        """Look while somebody wants to know, until cancelled."""
        while True:
            if self._driver.clock() >= self._wanted_until:
                self._wanted = trio.Event()
                await self._wanted.wait()
            look = await self._look()
            self.is_busy = look is None
            if look is None:
                await trio.sleep(BUSY_FOR)
                continue
            self._note(look)
            self._hurry = trio.Event()
            with trio.move_on_after(INTERVAL if look.holders else SOON):
                await self._hurry.wait()

    async def _look(self) -> Look | None:
        """Look for the canary; place it where that is due. Return None where the node is too busy for that."""
        try:
            nodes, holders = await self._search()
            if self._is_due(len(holders)):
                await self._place(nodes)
                if not holders:
                    nodes, holders = await self._search()
        except Busy:
            return None
        return Look(self._driver.clock(), len(nodes), len(holders))

    def _note(self, look: Look) -> None:
        self.last = look
        if look.holders:
            self.found_at = look.at
        was, self._looked = self._looked, trio.Event()
        was.set()

    def _is_due(self, holders: int) -> bool:
        lasts = self._node.publisher.lease.lasts
        return holders < PLACES or self._placed_at is None or self._driver.clock() - self._placed_at >= lasts / 3

    async def _search(self) -> tuple[list[Contact], set[Contact]]:
        """Ask the network for the canary; return the nodes that answered, and those that named it."""
        nodes: dict[Contact, None] = {}
        holders: set[Contact] = set()
        begin = self._driver.begin(lambda now: self._node.commands.lookup(self._key, now, traced=True))
        with begin as lookup, trio.move_on_after(LOOK_WITHIN):
            while isinstance(event := await lookup.event(), LookupProgress | LookupStep):
                if isinstance(event, LookupStep) and isinstance(event.step, QueryAnswered):
                    step = event.step
                    nodes[step.contact] = None
                    if any(endpoint.port == self._port for endpoint in step.endpoints):
                        holders.add(step.contact)
            assert isinstance(event, LookupDone)
        return list(nodes), holders

    async def _place(self, nodes: Iterable[Contact]) -> None:
        """Have the nearest of these nodes hold the canary."""
        nearest = sorted(nodes, key=lambda node: node.id ^ self._key)[:PLACES]
        async with trio.open_nursery() as nursery:
            for node in nearest:
                nursery.start_soon(self._place_at, node)
        self._placed_at = self._driver.clock()

    async def _place_at(self, node: Contact) -> None:
        at, commands = node.endpoint, self._node.commands
        answer = await self._outcome(lambda now: commands.find_value(at, self._key, now))
        if isinstance(answer, Answered) and isinstance(answer.result, Found) and answer.result.token:
            token = answer.result.token
            await self._outcome(lambda now: commands.store_at(at, self._key, self._port, token, now))

    async def _outcome(self, start: Start) -> Event | None:
        with self._driver.begin(start) as query, trio.move_on_after(LOOK_WITHIN):
            event = await query.event()
            assert isinstance(event, Answered | Unanswered)
            return event
        return None

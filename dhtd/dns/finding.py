"""Finds who serves a name: by one lookup for all who ask at the same time, and by a watch for a name asked for again.

| asked for | what happens |
| --- | --- |
| first | a lookup. The answer waits for its end, for `SETTLE` after its first endpoint, or for `WITHIN` |
| again within the time that the lookup counts | nothing |
| again shortly before its end | another lookup, which nobody waits for |
| `HOT` times in that time | a watch. Answers follow what it tells, until nobody has asked for `IDLE` |
| while nobody answers this node | what is known counts to its end; then the failure is told |
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import inf
from typing import Any, Final

import trio

from dhtd.core.ids import MAINLINE, Id
from dhtd.dns.known import AHEAD, FAILED_FOR, IN_PART_FOR, NEGATIVE_FOR, PLACES_MAX, TTL, Known, Name, Names
from dhtd.dns.records import Place
from dhtd.errors import DhtdError, NotPermitted
from dhtd.service.door import House
from dhtd.service.entries import LookupEvent, LookupRequest, LookupResult
from dhtd.service.method import Leave
from dhtd.service.params import WatchedId
from dhtd.service.watch import WatchEvent, WatchRequest

WITHIN: Final = 1.8  # seconds until an asker is answered, whatever is found by then
SETTLE: Final = 0.3  # seconds for more endpoints, after the first one
LASTS_MAX: Final = 30.0  # seconds of a lookup
AT_ONCE: Final = 32  # lookups under way
RATE: Final = 64.0  # lookups a second: other nodes limit ours by its queries, which others of its owner need, too
BURST: Final = 64.0  # lookups in a row
SEARCHES_MAX: Final = 96  # those included that wait: the last of them begins before its asker gives up
WATCHES_MAX: Final = 64
HOT: Final = 4
IDLE: Final = 60.0  # seconds


class UnansweredError(Exception):
    """The network has not said who serves a name, or not in time."""


class DnsCaller:
    """Who asks by DNS, as methods see it: anybody."""

    uid = os.geteuid()
    is_owner = False

    def attach(self, leave: Leave) -> None:
        raise NotPermitted("an entry lives as long as a connection to the control socket, and not by DNS")

    def watch(self) -> None:
        """Watches are counted here."""


class Search:
    """A lookup that is under way, or waits for others to end."""

    def __init__(self, *, is_ahead: bool) -> None:
        """One that is `ahead` is made without an asker that waits."""
        self.is_ahead = is_ahead
        self.places: dict[str, Place] = {}
        self.has_found = trio.Event()  # or has ended
        self.has_ended = trio.Event()

    async def emit(self, event: LookupEvent) -> None:
        for text in event["peers"]:
            if len(self.places) < PLACES_MAX:
                self.places.setdefault(text, Place.of(text))
        if self.places:
            self.has_found.set()


class Finder:
    """Finds names. Its tasks run in the nursery that it is given."""

    def __init__(self, house: House, nursery: trio.Nursery, clock: Callable[[], float] = trio.current_time) -> None:
        self.clock = clock
        self.names: Names[Search, trio.CancelScope] = Names()
        self.searches = 0
        self.watches = 0
        self._house = house
        self._nursery = nursery
        self._slots = trio.Semaphore(AT_ONCE)
        self._begun_until = -inf  # the lookups up to now make up for the rate until then
        self._can_watch = house.keyspace != MAINLINE  # its wire has no watches

    async def find(self, id: Id) -> Known:
        """Return who serves an ID; raise `UnansweredError`."""
        name = self.names.of(id)
        now = self.clock()
        if name.known.until > now:
            self._ask(name.known, now)
            return name.known
        if name.search is None:
            if name.failed_until > now or self.searches >= SEARCHES_MAX:
                raise UnansweredError
            self._search(name, is_ahead=False)
        search = name.search
        assert search is not None
        name.waiting += 1
        try:
            with trio.move_on_after(WITHIN):
                await search.has_found.wait()
                with trio.move_on_after(SETTLE):
                    await search.has_ended.wait()
        finally:
            name.waiting -= 1
        now = self.clock()
        if name.known.until > now:
            return name.known
        if search.places and not search.has_ended.is_set():
            return Known(id, tuple(search.places.values()), now + FAILED_FOR, is_kept=False)
        raise UnansweredError

    def peek(self, id: Id) -> Known | None:
        """Return who serves an ID, if that is known."""
        name = self.names.of(id)
        now = self.clock()
        if name.known.until > now:
            self._ask(name.known, now)
            return name.known
        return None

    def _ask(self, known: Known, now: float) -> None:
        known.asked += 1
        if now >= known.due:
            self.renew(known, now)

    def renew(self, known: Known, now: float) -> None:
        """Somebody has asked for what is `due`: have it looked up again, or watched."""
        known.due = inf
        if known.id is None:
            return
        name = self.names.of(known.id)
        if known is not name.known:
            return
        if name.watch is not None:
            name.watch.deadline = now + IDLE + TTL
            known.due = now + TTL
        elif known.asked >= HOT and known.places and self._can_watch and self.watches < WATCHES_MAX:
            self.watches += 1
            name.watch = trio.CancelScope(deadline=now + IDLE + TTL)
            self._nursery.start_soon(self._keep_watch, name, name.watch)
        elif name.search is None and self.searches < SEARCHES_MAX:
            self._search(name, is_ahead=True)

    def _search(self, name: Name[Search, trio.CancelScope], *, is_ahead: bool) -> None:
        search = name.search = Search(is_ahead=is_ahead)
        self.searches += 1
        self._nursery.start_soon(self._look_up, name, search)

    async def _look_up(self, name: Name[Search, trio.CancelScope], search: Search) -> None:
        known: Known | None = None
        try:
            async with self._slots:
                # A flood of questions may have filled the queue, and their askers have their failure already.
                if name.waiting or search.is_ahead:
                    await self._pace()
                    with trio.move_on_after(LASTS_MAX):
                        result: Any = await self._house.handler(LookupRequest(name.id), search.emit, DnsCaller())
                        known = self._known(name.id, result)
        except DhtdError:
            pass
        except Exception:  # noqa: BLE001 - noted
            self._house.note("a lookup for DNS failed")
        finally:
            name.search = None
            self.searches -= 1
            if known is None:
                name.failed_until = self.clock() + FAILED_FOR
            elif name.watch is None or name.known.until <= self.clock():
                name.learn(known)  # but a watch knows better
            search.has_found.set()
            search.has_ended.set()

    async def _pace(self) -> None:
        """Wait until another lookup keeps to the rate."""
        self._begun_until = max(self._begun_until, self.clock() - BURST / RATE) + 1 / RATE
        await trio.sleep_until(self._begun_until)

    def _known(self, id: Id, result: LookupResult) -> Known | None:
        """Return what a lookup has shown; None for nothing.

        There is nothing under a name only if the lookup is complete, and most of the nodes that were asked have said
        so. Endpoints may well be too many to be complete, and always may be in the Mainline network.
        """
        now, stats = self.clock(), result["stats"]
        is_told = stats["responses"] > stats["timeouts"]
        places = [Place.of(text) for text in result["peers"][:PLACES_MAX]]
        if places:
            lasts = TTL if is_told else IN_PART_FOR
            return Known(id, places, now + lasts, now + (1 - AHEAD) * lasts)
        if result["complete"] and is_told:
            return Known(id, (), now + NEGATIVE_FOR)
        return None

    async def _keep_watch(self, name: Name[Search, trio.CancelScope], watch: trio.CancelScope) -> None:
        async def emit(event: WatchEvent) -> None:
            """Take what other nodes vouch for. Where there is no endpoint, the next question has a lookup made."""
            if not event["holders"]:
                watch.cancel()
            elif event["peers"]:
                places = [Place.of(text) for text in event["peers"][:PLACES_MAX]]
                name.learn(Known(name.id, places, inf, self.clock() + TTL))
            else:
                name.learn(Known(name.id, (), -inf))

        try:
            with watch:
                await self._house.handler(WatchRequest((WatchedId(name.id, None),)), emit, DnsCaller())
        except DhtdError:
            pass
        except Exception:  # noqa: BLE001 - noted
            self._house.note("a watch for DNS failed")
        finally:
            name.watch = None
            self.watches -= 1
            known, now = name.known, self.clock()
            known.until, known.due = min(known.until, now + TTL), now + (1 - AHEAD) * TTL

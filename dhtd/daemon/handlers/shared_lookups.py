"""Lookups of clients for the same ID share their searches, as far as nobody can tell.

A client must hear nothing that is older than its question. So it joins no search that is under way: it waits for the
next one, together with all who ask meanwhile. That begins when the search before it has ended, or after `PATIENCE`.
A popular ID then costs the network one search at a time, and not one for each client.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from dhtd.core.events import Event, Handle, Progress
from dhtd.core.ids import Id, packed
from dhtd.daemon.driver import Driver
from dhtd.errors import DhtdError

PATIENCE: Final = 0.1  # seconds: a search takes longer where nodes are silent
PASSES: Final = 2  # of trio's loop, for requests that have arrived at the same time

Events = trio.MemoryReceiveChannel[Event]


class SharedLookups:
    """The searches for clients."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._next: dict[bytes, _Search] = {}  # those that have not begun, by key

    @contextmanager
    def join(self, key: Id) -> Iterator[Member]:
        """Take part in a search that begins from now on; leaving the context leaves it."""
        name = packed(key)
        search = self._next.get(name)
        if search is None or search.has_begun:
            search = self._next[name] = _Search(self._driver, key, before=search)
        with search.member() as member:
            try:
                yield member
            finally:
                if search.is_over and self._next.get(name) is search:
                    del self._next[name]


class Member:
    """A client's part in a search."""

    def __init__(self, search: _Search, events: Events) -> None:
        self._search = search
        self._events = events

    async def event(self) -> Event:
        """Wait for the next event; the last one is a `LookupDone`. Raises the error with which the search began."""
        await self._search.begin()
        return await self._events.receive()


class _Search:
    """One search, and its members: the listener of its events. It ends with its last member."""

    def __init__(self, driver: Driver, key: Id, before: _Search | None) -> None:
        self.has_begun = False
        self.ended = trio.Event()
        self._driver = driver
        self._key = key
        self._before = None if before is None or before.is_over else before
        self._begin_at = trio.current_time() + PATIENCE
        self._op: Handle | None = None
        self._error: DhtdError | None = None
        self._members: set[trio.MemorySendChannel[Event]] = set()

    @property
    def is_over(self) -> bool:
        """Whether nobody hears anything of it any more."""
        return self.ended.is_set()

    @contextmanager
    def member(self) -> Iterator[Member]:
        """Yield a new member; it leaves when the context ends."""
        send, receive = trio.open_memory_channel[Event](math.inf)  # bounded by `search_queries`
        self._members.add(send)
        try:
            with receive:
                yield Member(self, receive)
        finally:
            self._members.discard(send)
            if not self._members:
                self._end()

    async def begin(self) -> None:
        """Begin, unless another member has. The search before it goes first, for a while."""
        if not self.has_begun and self._before is not None:
            with trio.move_on_at(self._begin_at):
                await self._before.ended.wait()
        for _ in range(PASSES):
            if not self.has_begun:
                await trio.lowlevel.checkpoint()
        if not self.has_begun:
            self.has_begun, self._before = True, None
            try:
                self._op = self._driver.begin_for(self, lambda now: self._driver.node.commands.lookup(self._key, now))
            except DhtdError as error:
                self._error = error
                self._end()
        if self._error is not None:
            raise self._error

    def send_nowait(self, event: Event) -> None:
        for member in self._members:
            member.send_nowait(event)
        if not isinstance(event, Progress):
            self._end()

    def close(self) -> None:
        self._end()

    def _end(self) -> None:
        """Tell nobody anything more, and ask no more."""
        self.has_begun = True
        self.ended.set()
        for member in self._members:
            member.close()
        if self._op is not None:
            self._driver.end(self._op)

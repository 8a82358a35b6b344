"""Watches IDs for as long as the user wants, over ends and restarts of the daemon.

1. Ask the daemon. If that fails the first time, the command fails.
2. Take its events as they come.
3. If the daemon is lost, say so once, and go back to the first step, ever more seldom, until it is there again.

Nothing but `poll` waits. So the caller has its turn at each event, and at each wake-up by a signal.
"""

from __future__ import annotations

import errno
import math
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from dhtd.cli.arguments import Key
from dhtd.cli.watched import Change, Watched
from dhtd.errors import DaemonUnreachable, DhtdError, TooManyClients, UsageError

if TYPE_CHECKING:
    from dhtd.control.feed import Feed

RETRY_FIRST: Final = 0.05  # seconds until the daemon is tried again, which double up to RETRY_MAX
RETRY_MAX: Final = 2.0


class Watching(AbstractContextManager["Watching"]):
    """Watched IDs. `connect` makes a feed that has not begun, and `say` tells of a daemon that is lost, or back."""

    def __init__(self, connect: Callable[[], Feed], keys: Iterable[Key], say: Callable[[str], None]) -> None:
        self.watched: dict[str, Watched] = {}
        for key in keys:
            self.watched.setdefault(key.id, Watched(key))
        self._ids = [{"id": each.id, **({"name": each.name} if each.name else {})} for each in self.watched.values()]
        self._connect = connect
        self._say = say
        self._feed: Feed | None = None
        self._begin_by = 0.0  # when the first event has to be there
        self._has_begun = False  # it is
        self._is_lost = False  # that was said
        self._retry_at = 0.0
        self._pause = RETRY_FIRST

    def __exit__(self, *exc_info: object) -> None:
        self._hang_up()

    def turns(
        self, until: float = math.inf, *, wakeup: int | None = None, output: int | None = None
    ) -> Iterator[Change | None]:
        """Yield what has changed each time that something happens, until a time of the monotonic clock.

        Something is an event, or a byte that can be read from `wakeup`. It may change nothing: then None. Raises
        `BrokenPipeError` as soon as nobody reads `output` any more.
        """
        while True:
            # 1. Have a feed, unless it is too early for another try.
            if self._feed is None and time.monotonic() >= self._retry_at:
                self._begin()
            # 2. Wait for an event or a wake-up.
            ready = self._wait(until, wakeup, output)
            if output in ready:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            # 3. Take the events.
            yield from self._take()
            if wakeup in ready:
                yield None
            if time.monotonic() >= until:
                return

    def _begin(self) -> None:
        self._feed = self._connect()
        self._begin_by = self._begin_by or self._feed.silence_ends() or 0.0
        try:
            self._feed.begin(self._ids)
        except DhtdError as error:
            self._lose(error)

    def _wait(self, until: float, wakeup: int | None, output: int | None) -> list[int]:
        """Wait until something happens; return where."""
        poll = select.poll()
        if wakeup is not None:
            poll.register(wakeup, select.POLLIN)
        if output is not None:
            poll.register(output, 0)  # errors alone: a pipe without a reader is one
        if self._feed is None:
            until = min(until, self._retry_at)
        else:
            poll.register(self._feed, select.POLLIN)
            silence_ends = self._feed.silence_ends()
            until = until if silence_ends is None else min(until, silence_ends)
        wait = max(0.0, until - time.monotonic())
        ready = poll.poll(None if wait == math.inf else min(1000 * wait + 1, 1e6))
        return [descriptor for descriptor, _ in ready]

    def _take(self) -> Iterator[Change | None]:
        """Yield what each event changes that is there."""
        if self._feed is None:
            return
        try:
            for body in self._feed.events():
                self._hear()
                watched = self.watched.get(str(body.get("id")))
                yield None if watched is None else watched.take(body)
        except DhtdError as error:
            self._lose(error)

    def _hear(self) -> None:
        self._has_begun = True
        self._pause = RETRY_FIRST
        if self._is_lost:
            self._is_lost = False
            self._say("the daemon is back")

    def _lose(self, error: DhtdError) -> None:
        """Try again later; raise the error if that is no use, or if the watch has not even begun."""
        self._hang_up()
        may_begin = isinstance(error, TooManyClients) and time.monotonic() < self._begin_by
        if isinstance(error, UsageError) or not (self._has_begun or may_begin):
            raise error
        if self._has_begun and not self._is_lost:
            self._is_lost = True
            gone = "the daemon has gone away" if isinstance(error, DaemonUnreachable) else str(error)
            self._say(f"{gone}; watching again as soon as it is back")
        for watched in self.watched.values():
            watched.resume()
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, RETRY_MAX)

    def _hang_up(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None

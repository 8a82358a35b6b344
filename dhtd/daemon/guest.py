"""A daemon as a guest in a process of others: several live in one, on one loop of trio.

A guest obeys no signals, sets up no log, and tells no service manager. All else is the daemon of `dhtd start`: its
state file, its sockets, its goodbye.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from dhtd.config.settings import Settings
from dhtd.control.connection import Farewell
from dhtd.control.threads import in_thread
from dhtd.daemon.app import Daemon, Ready, opened
from dhtd.errors import DhtdError
from dhtd.service.owner import StopResult

log = logging.getLogger("dhtd")


class Guest:
    """One run of a daemon. `run` it in a task, and wait for `has_joined` or `has_ended` in another."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.has_ended = trio.Event()
        self.failure: BaseException | None = None  # that kept it from starting, or from saving
        self._daemon: Daemon | None = None
        self._has_vanished = False

    async def run(self, announce: Callable[[Ready], None]) -> None:
        """Serve until `stop`, `vanish`, a client or a cancellation ends it; then save, unless it has vanished.

        Raises a `DhtdError` where it cannot start or save.
        """
        try:
            with opened(self.settings) as daemon:
                self._daemon = daemon
                try:
                    await daemon.serve(None, announce, lambda: self.settings)
                finally:
                    self._daemon = None
                    await self._end(daemon)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self.has_ended.set()

    async def _end(self, daemon: Daemon) -> None:
        outcome: StopResult | DhtdError = {"pid": None}  # the process goes on
        try:
            if not self._has_vanished:
                with trio.CancelScope(shield=True):
                    await in_thread(daemon.save)
        except DhtdError as error:
            outcome = error
            raise
        finally:
            for farewell in daemon.farewells:
                _part(farewell, outcome)

    def stop(self) -> None:
        """Have it end politely: it says goodbye, and saves."""
        if self._daemon is not None:
            self._daemon.stop("because its owner says so")

    def vanish(self) -> None:
        """Have it end as if its process was killed: nobody is told, and nothing is saved."""
        self._has_vanished = True
        if self._daemon is not None:
            self._daemon.vanish()

    async def has_joined(self) -> None:
        """Wait until the node has joined its network. It must be announced."""
        if self._daemon is not None:
            await self._daemon.joined()


def _part(farewell: Farewell, outcome: StopResult | DhtdError) -> None:
    farewell.say(outcome)
    farewell.close()

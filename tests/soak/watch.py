"""Clients that watch a few IDs at elders all the time. What they have been told must be the truth in the end."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final, cast

from dhtd.control.client import Client
from dhtd.errors import DaemonUnreachable
from dhtd.service.watch import WATCH, WatchEvent
from tests.e2e.daemons import Daemon

WATCHED: Final = 4  # IDs
WATCHED_SHARE: Final = 0.3  # the part of entries that is made under these
ENDLESS: Final = 1e6  # seconds: the connection lasts as long as the daemon

Peers = frozenset[str]


class Watch:
    """A client of one daemon, in a thread of its own, until the daemon ends."""

    def __init__(self, daemon: Daemon, ids: Sequence[str]) -> None:
        self.address = daemon.address
        self.updates = 0
        self.has_ended = False
        self._daemon = daemon
        self._known: dict[str, Peers] = dict.fromkeys(ids, frozenset())
        threading.Thread(target=self._run, daemon=True).start()

    def wrong(self, truth: Mapping[str, Peers]) -> list[str]:
        """Return in words what it has been told and is not so, and what it has not been told."""
        return [
            f"{id} {endpoint} {what} {self.address}"
            for id, known in self._known.items()
            for what, endpoints in (("not told to", truth[id] - known), ("told to", known - truth[id]))
            for endpoint in sorted(endpoints)
        ]

    def _run(self) -> None:
        try:
            with Client(self._daemon.socket, ENDLESS) as client:
                for event in client.stream(WATCH, ids=[{"id": id} for id in self._known]):
                    told = cast("WatchEvent", event)  # there is no result, since there is no end
                    self._known[told["id"]] = frozenset(told["peers"])
                    self.updates += 1
        except DaemonUnreachable:
            self.has_ended = True  # as its daemon has; another error is shown, with its traceback

"""A stream of events of the daemon that keeps nobody waiting: its events are taken once its descriptor is readable."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dhtd.control.conversation import Event, Failure
from dhtd.control.link import Link


class Feed:
    """One connection, from its request to its end. Every call may raise a `DhtdError`, and so end it."""

    def __init__(self, path: Path, timeout: float, start_hint: str) -> None:
        self._link = Link(path, timeout, start_hint)
        self._is_heard = False

    def begin(self, ids: Iterable[Mapping[str, object]]) -> None:
        """Ask for these IDs, each with its name if it has one."""
        self.ask("watch", {"ids": list(ids)})

    def ask(self, method: str, params: Mapping[str, object]) -> None:
        """Call a method that goes on until we hang up."""
        self._link.connect()
        self._link.send(self._link.conversation.ask(method, params))

    def fileno(self) -> int:
        """Return the descriptor, which is readable when events arrive."""
        return self._link.fileno()

    def silence_ends(self) -> float | None:
        """Return when the first event has to be there, on the monotonic clock; None once it is."""
        return None if self._is_heard else self._link.deadline

    def events(self) -> Iterator[Mapping[str, Any]]:
        """Yield the events that are there, without waiting for one."""
        for answer in self._link.arrived():
            if isinstance(answer, Failure):
                raise answer.error
            if isinstance(answer, Event):
                self._is_heard = True
                yield answer.body
        if not self._is_heard and time.monotonic() >= self._link.deadline:
            raise self._link.too_late()

    def close(self) -> None:
        """Hang up."""
        self._link.close()

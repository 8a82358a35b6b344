"""When holders are asked about what others have said.

- A holder does not name an endpoint any more that others still name. Soon, those are asked that have not said the same
  by then: they may be dead. While nothing comes of the questions, they come ever more rarely.
- A holder has not answered a question. It is asked again, in a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.timers import Timers
from dhtd.core.watching.own_watch import OwnWatch


class Questions:
    """The watches with holders that are to be asked, and when. A doubt is asked about again after `gap` seconds."""

    __slots__ = ("_gap", "_timers")

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._timers: Timers[OwnWatch] = Timers()

    def removed(self, watch: OwnWatch, endpoints: Iterable[Endpoint], by: Contact, now: float) -> None:
        """A holder does not name these any more."""
        if watch.removed(endpoints, by):
            self._set(watch, now + watch.moment)

    def doubtful(self, watch: OwnWatch, contact: Contact, now: float) -> bool:
        """A node does not answer; return whether it is a holder."""
        if contact not in watch.words:
            return False
        watch.doubt(contact)
        self._set(watch, now + self._gap)
        return True

    def forget(self, watch: OwnWatch) -> None:
        """Nothing is to be asked about this watch."""
        self._timers.cancel(watch)

    def next_timeout(self) -> float | None:
        """Return when `due` yields something."""
        return self._timers.next()

    def due(self, now: float) -> Iterator[tuple[OwnWatch, list[Contact]]]:
        """Yield the holders that are to be asked now, by watch."""
        for watch in self._timers.pop_due(now):
            yield watch, watch.to_be_asked()

    def _set(self, watch: OwnWatch, at: float) -> None:
        self._timers.set(watch, min(at, self._timers.get(watch) or at))

"""The handles of the owner's commands, and the events that tell how the commands go."""

from __future__ import annotations

from collections import deque

from dhtd.core.counters import OPERATIONS
from dhtd.core.events import Event, Handle, Outcome, Progress
from dhtd.core.querying.observations import Observations
from dhtd.errors import Busy


class Handles:
    """The commands under way, `limit` at most, and the events that the owner has not taken yet."""

    __slots__ = ("_caps_hit", "_events", "_last", "_limit", "_observations", "open", "running")

    def __init__(self, limit: int, caps_hit: dict[str, int], observations: Observations | None = None) -> None:
        """`observations` have all outcomes as well, also where no owner waits for them any more."""
        self._limit = limit
        self._caps_hit = caps_hit
        self._observations = Observations() if observations is None else observations
        self._last = 0
        self._events: deque[Event] = deque()
        self.open: set[Handle] = set()  # commands with an owner that waits for the outcome
        self.running: set[Handle] = set()  # these, and those that go on without an owner that waits

    def check_free(self) -> None:
        """Raise `Busy` where no further command is taken until one has ended."""
        if len(self.running) >= self._limit:
            self._caps_hit[OPERATIONS] += 1
            raise Busy(f"as many operations are under way as are taken at once ({len(self.running)}): try again")

    def begin(self) -> Handle:
        """Return the handle of a new command."""
        self._last += 1
        op = Handle(self._last)
        self.open.add(op)
        self.running.add(op)
        return op

    def begin_lasting(self) -> Handle:
        """Return the handle of a command that lasts until its owner ends it. It is not counted as under way."""
        op = self.begin()
        self.running.discard(op)
        return op

    def tell(self, outcome: Outcome, now: float) -> None:
        """Tell the owner what became of a command, if it still waits for that."""
        if outcome.op in self.open:
            self._events.append(outcome)
        if not isinstance(outcome, Progress):
            self._observations.note(outcome)
            self.end(outcome.op)

    def tell_news(self, event: Event) -> None:
        """Tell the owner what it did not ask for."""
        self._observations.note(event)
        self._events.append(event)

    def leave(self, op: Handle) -> None:
        """Tell nothing more of a command: its owner is gone."""
        self.open.discard(op)

    def end(self, op: Handle) -> None:
        """Take note that a command has ended: nothing more follows."""
        self.open.discard(op)
        self.running.discard(op)

    def poll(self) -> Event | None:
        """Take and return the next event."""
        return self._events.popleft() if self._events else None

"""Whether silence is an outage: one contact that does not answer says little, so others are asked until one does.

A quiet node asks now one contact and now another, minutes apart. With a part p of all datagrams lost, each of these
queries fails in 1 - (1 - p)**2 of all cases: one in five at 10 % loss. Three or four of them in a row, as a count of
timeouts sees them, come about by chance every few dozen hours, and more often where contacts die; while after a real
outage it takes minutes to have sent so many. So silence is not counted but looked into, at once. Whoever has answered
last, and is thus hardly dead, is asked, then the one before, until somebody answers or `outage_witnesses` contacts in a
row have not. Each is asked up to three times before it counts as silent (`InFlight.is_insistent`): its chance to be so
while the network is up is q = (1 - (1 - p)**2)**3, and that of a false alarm, for each query that begins a doubt,
q**outage_witnesses. With three of them that is 3e-7 at 10 % loss, 1e-4 at 20 %, 2e-3 at 30 %. A contact that is dead
but was among the last to answer counts as one witness less. In an outage, the verdict comes four query timeouts (the
first, and those of three witnesses) after the first query that is sent into it.
"""

from __future__ import annotations

from enum import Enum, auto

from dhtd.core.membership.joining import JoiningClock
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlay import Overlay


class Stage(Enum):
    """How sure it is that anybody answers."""

    SURE = auto()  # nothing speaks against it
    ASKING = auto()  # a witness is asked, since the owner wants to know: it should answer at once
    DOUBTFUL = auto()  # somebody live is silent, and a witness is asked


class Outage:
    """Asks witnesses, one after another, whether the network of one family is up; reports that it is down."""

    __slots__ = ("_is_down", "_join", "_overlay", "_requester", "_witnesses", "stage")

    def __init__(self, requester: Requester, overlay: Overlay, join: JoiningClock, is_down: Report[None]) -> None:
        self._requester = requester
        self._overlay = overlay
        self._join = join
        self._is_down = is_down
        self.stage = Stage.SURE
        self._witnesses: list[Contact] = []  # still to be asked, the next one last

    def arise(self, contact: Contact, now: float) -> None:
        """A live contact is silent, and nobody has answered since it was asked: look into it, unless that is done."""
        if not self._overlay.is_connected:
            return
        is_asking = self.stage is not Stage.SURE
        self.stage = Stage.DOUBTFUL
        if not is_asking:
            count = self._requester.policy.outage_witnesses
            others = [other for other in self._overlay.state.latest(count + 1) if other != contact]
            self._ask_each([*others[:count], contact], now)

    def look(self, now: float) -> None:
        """Ask who has answered last whether anybody still does, though nothing speaks against it."""
        there = self._overlay.state.latest(self._requester.policy.outage_witnesses)
        if self.stage is Stage.SURE and self._overlay.is_connected and there:
            self.stage = Stage.ASKING
            self._ask_each(there, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The network is up."""
        self.stage = Stage.SURE

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Keep waiting; it is sent again. But whoever answered last should have answered by now."""
        if self.stage is Stage.ASKING:
            self.stage = Stage.DOUBTFUL

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Ask the next one, unless anybody has answered meanwhile, or this was the last."""
        is_up = error is not None or self._overlay.state.heard_since(query.sent_at)
        if is_up or not self._overlay.is_connected:
            self.stage = Stage.SURE
        elif self._witnesses:
            self._ask(now)
        else:
            self.stage = Stage.SURE
            self._join.lost(now)
            self._is_down(None)

    def give_up(self, now: float) -> None:
        """Look into it again at the next silence."""
        self.stage = Stage.SURE

    def _ask_each(self, there: list[Contact], now: float) -> None:
        """Ask these, one after the other; where they are few, each of them again."""
        count = self._requester.policy.outage_witnesses
        self._witnesses = [there[place % len(there)] for place in reversed(range(count))]
        self._ask(now)

    def _ask(self, now: float) -> None:
        witness = self._witnesses.pop()
        try:
            self._requester.ask(self, Ping(), witness.endpoint, witness.id, now, insistent=True, impatient=self)
        except Exception:
            self.give_up(now)
            raise

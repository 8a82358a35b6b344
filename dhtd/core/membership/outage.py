"""Whether silence is an outage: one silent contact says little, so others are asked until one answers.

A quiet node asks one contact now and another minutes later. With a part p of all datagrams lost, each of these queries
fails in 1 - (1 - p)**2 of all cases: one in five at 10 % loss. A count of timeouts would see three or four failures in
a row every few dozen hours by chance, and more often where contacts die. After a real outage, it would need minutes to
collect as many. So silence is not counted. It is looked into, at once:

1. The contact that answered last is hardly dead. It is the first witness, and is asked up to three times before it
   counts as silent (`InFlight.is_insistent`).
2. If it is silent, the contact that answered before it is asked, and so on. Any answer ends the doubt.
3. After `outage_witnesses` silent ones in a row, the network is down.

While the network is up, a witness is silent with probability q = (1 - (1 - p)**2)**3. A doubt ends in a false alarm
with q**outage_witnesses. For three witnesses, that is 3e-7 at 10 % loss, 1e-4 at 20 %, 2e-3 at 30 %. A contact that
died just after it answered counts as one witness less. In an outage, the verdict comes four query timeouts (the first,
and those of three witnesses) after the first query into it.

`TRANSITIONS` is the table of how one state of `Doubt` follows another. The verdict itself is a state of `Joining`: a
node whose witnesses are all silent turns `Joining.SILENT`, and has no doubt any more.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from dhtd.core.enums import plain
from dhtd.core.membership.joining import JoiningClock
from dhtd.core.messages import Contact, Error, Ping, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.routing.overlay import Overlay


@plain
class Doubt(Enum):
    """How sure it is that the network answers."""

    NONE = auto()  # nothing speaks against it, and no witness is asked
    ASKING = auto()  # a witness is asked because the owner wants to know: it should answer at once
    DOUBTFUL = auto()  # a live contact is silent, and a witness is asked


@plain
class Evidence(Enum):
    """What changes the doubt."""

    SILENCE = auto()  # a live contact did not answer, and no other contact has answered since it was asked
    REQUEST = auto()  # the owner wants to know whether the network answers
    OVERDUE = auto()  # the witness takes longer than most answers do
    ANSWER = auto()  # the witness answered, or another contact has answered since it was asked
    VOID = auto()  # the network was given up meanwhile, or a defect of ours ended the questions
    ALL_SILENT = auto()  # the last witness was silent as well


TRANSITIONS: Final = {
    (Doubt.NONE, Evidence.SILENCE): Doubt.DOUBTFUL,
    (Doubt.NONE, Evidence.REQUEST): Doubt.ASKING,
    (Doubt.ASKING, Evidence.SILENCE): Doubt.DOUBTFUL,
    (Doubt.ASKING, Evidence.OVERDUE): Doubt.DOUBTFUL,
    (Doubt.ASKING, Evidence.ANSWER): Doubt.NONE,
    (Doubt.ASKING, Evidence.VOID): Doubt.NONE,
    (Doubt.ASKING, Evidence.ALL_SILENT): Doubt.NONE,
    (Doubt.DOUBTFUL, Evidence.ANSWER): Doubt.NONE,
    (Doubt.DOUBTFUL, Evidence.VOID): Doubt.NONE,
    (Doubt.DOUBTFUL, Evidence.ALL_SILENT): Doubt.NONE,
}  # in all other cases the state stays


class Outage:
    """Asks witnesses, one after another, whether the network of one family is up; reports that it is down."""

    __slots__ = ("_is_down", "_join", "_overlay", "_requester", "_witnesses", "doubt")

    def __init__(self, requester: Requester, overlay: Overlay, join: JoiningClock, is_down: Report[None]) -> None:
        self._requester = requester
        self._overlay = overlay
        self._join = join
        self._is_down = is_down
        self.doubt = Doubt.NONE
        self._witnesses: list[Contact] = []  # still to be asked, the next one last

    @property
    def is_asking(self) -> bool:
        """Whether a witness is asked."""
        return self.doubt is not Doubt.NONE

    def arise(self, contact: Contact, now: float) -> None:
        """Look into the silence of a live contact, unless that is under way."""
        if not self._overlay.is_connected:
            return
        is_new = not self.is_asking
        self._take(Evidence.SILENCE)
        if is_new:
            count = self._requester.policy.outage_witnesses
            others = [other for other in self._overlay.state.latest(count + 1) if other != contact]
            self._ask_each([*others[:count], contact], now)

    def look(self, now: float) -> None:
        """Ask the contacts that answered last whether they still do, though nothing speaks against it."""
        there = self._overlay.state.latest(self._requester.policy.outage_witnesses)
        if not self.is_asking and self._overlay.is_connected and there:
            self._take(Evidence.REQUEST)
            self._ask_each(there, now)

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The network is up."""
        self._take(Evidence.ANSWER)

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """Keep waiting: the requester sends the query again. But this contact should have answered by now."""
        self._take(Evidence.OVERDUE)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """Ask the next witness, unless the matter is settled."""
        if error is not None or self._overlay.state.heard_since(query.sent_at):
            self._take(Evidence.ANSWER)
        elif not self._overlay.is_connected:
            self._take(Evidence.VOID)
        elif self._witnesses:
            self._ask(now)
        else:
            self._take(Evidence.ALL_SILENT)
            self._join.lost(now)
            self._is_down(None)

    def give_up(self, now: float) -> None:
        """Look into it again at the next silence."""
        self._take(Evidence.VOID)

    def _take(self, evidence: Evidence) -> None:
        self.doubt = TRANSITIONS.get((self.doubt, evidence), self.doubt)

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

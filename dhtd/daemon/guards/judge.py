"""Decides by the outcomes of checks whether an entry is published. No I/O, and no clock.

- Two failures in a row withdraw an entry, and one success enters it again.
- A service that comes and goes would make the network work all the time. So from the third withdrawal within ten
  minutes on, the entry stays away for a while: 10 s, then twice as long each time, up to five minutes.

    WAITING --success--> PASSING        WAITING --two failures--> FAILING
    PASSING --two failures--> FAILING
    FAILING --success--> PASSING        FAILING --success, too early--> WAITING
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from dhtd.daemon.guards.outcome import Outcome

FAILURES: Final = 2  # in a row, to withdraw
RECENT: Final = 600.0  # seconds for which a withdrawal counts
AT_WILL: Final = 2  # recent withdrawals without a pause
PAUSE_FIRST: Final = 10.0  # seconds
PAUSE_MAX: Final = 300.0
FIRST_CHECK: Final = "the first check is under way"


class State(Enum):
    """What the checks say of an entry."""

    WAITING = "waiting"  # no decision yet, or the service has come and gone too often
    PASSING = "passing"  # the latest check passed, or only the latest one failed: the entry is published
    FAILING = "failing"  # two checks in a row have failed: the entry is withdrawn


class Judge:
    """The outcomes of one check. `is_published`: an earlier run of the daemon has published the entry."""

    def __init__(self, now: float, *, is_published: bool = False) -> None:
        self.state = State.WAITING
        self.since = now
        self.message = FIRST_CHECK
        self.has_outcome = False
        self._is_published = is_published
        self._failures = 0
        self._withdrawn: list[float] = []  # when, of late
        self._back_at = -math.inf

    @property
    def is_good(self) -> bool:
        """Whether the entry is to be published. One that was published before stays so until the checks decide."""
        return self.state is State.PASSING or (self.state is State.WAITING and self._is_published)

    def take(self, outcome: Outcome, now: float) -> None:
        """Take the outcome of the next check."""
        self.message = outcome.message
        self.has_outcome = True
        if not outcome.passed:
            self._failures += 1
            if self._failures >= FAILURES and self.state is not State.FAILING:
                self._withdraw(now)
            return
        self._failures = 0
        if now < self._back_at:
            self._turn(State.WAITING, now)
            self.message = (
                f"{outcome.message}; entered in {math.ceil(self._back_at - now)} s, because it was withdrawn"
                f" {len(self._withdrawn)} times within {RECENT / 60:.0f} min"
            )
        else:
            self._turn(State.PASSING, now)

    def _withdraw(self, now: float) -> None:
        if self.is_good:
            self._withdrawn = [*(then for then in self._withdrawn if then > now - RECENT), now]
            excess = len(self._withdrawn) - AT_WILL
            self._back_at = now + min(PAUSE_FIRST * 2 ** (excess - 1), PAUSE_MAX) if excess > 0 else -math.inf
        self._is_published = False
        self._turn(State.FAILING, now)

    def _turn(self, state: State, now: float) -> None:
        if state is not self.state:
            self.state, self.since = state, now

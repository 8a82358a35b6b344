"""How many queries are answered: a limit for each source and one for all, by virtual scheduling (GCRA, ITU-T I.371).

A limit keeps one number: the time at which a source that keeps to the rate would send its next query. A source that is
farther ahead of the clock than a burst allows is refused. It owes nothing once the clock has caught up.

Attackers may forge any number of sources, so memory is fixed:

- Sources that owe something are remembered one by one while they are few. One query is owed for `1 / rate` seconds. So
  a flood of forged sources, each used once, leaves few at any moment, and they are forgotten first.
- When there is no place left, newcomers share `cells`. To close one cell takes a rate's worth of queries, so a flood of
  `r` queries a second closes at most `r / (rate * cells)` of all cells: with the numbers of `Policy`, 100,000 queries a
  second shut out one stranger in 168. If all sources were forgotten instead, a flood could lift its own limit.
- Contacts that answer us do not share: they have places of their own, no more than the table has contacts.
- When the limit of its source is used up, such a contact has a rate of its own: see `contact_rate`.
- When that is used up as well, and for strangers, queries with a token that proves their sender have another rate. No
  other source can use it up. It is kept in a few cells as well, since every proved sender is a real one.

The limit for all is for strangers. They are refused while a part of its burst is left, and contacts that answer us may
use that part. So a flood of strangers, however large, takes nothing from contacts: the limit of its source and its lane
are all that limits a contact. Queries beyond these are answered briefly at most, and count as a stranger's, so a flood
that forges one contact takes nothing from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dhtd.core.counters import RATE_LIMIT, RATE_LIMIT_TOTAL
from dhtd.core.endpoint import IPV4_SIZE, Endpoint, source_group
from dhtd.core.policy import Policy
from dhtd.core.serving.cells import Cells
from dhtd.core.serving.contact_rate import ContactRates

if TYPE_CHECKING:
    from random import Random

_FEW = 32  # sources that are too few to be worth forgetting any


class Rate:
    """At most `rate` events a second, with bursts of `burst` seconds' worth, and of one event at least."""

    __slots__ = ("_allowance", "_due", "_interval")

    def __init__(self, rate: float, burst: float) -> None:
        self._interval = 1 / rate
        self._allowance = max(burst - self._interval, 0.0)
        self._due = float("-inf")

    def allows(self, now: float) -> bool:
        """Whether an event is within the rate."""
        return self._due - now <= self._allowance

    def count(self, now: float) -> None:
        """Count an event that is allowed."""
        self._due = max(self._due, now) + self._interval


class RateLimit:
    """At most `rate` queries a second from each source and `total` from all; 0 is no limit.

    `answers_us` tells whether a contact that answers us is at an endpoint. It is asked only when places or a limit are
    used up.
    """

    __slots__ = (
        "_all_allowance",
        "_all_due",
        "_all_interval",
        "_allowance",
        "_answers_us",
        "_cells",
        "_due",
        "_full",
        "_interval",
        "_lanes",
        "_look_at",
        "_policy",
        "_proved",
        "_rng",
        "_strangers_allowance",
    )

    def __init__(
        self,
        policy: Policy,
        rng: Random,
        answers_us: Callable[[Endpoint], bool],
        *,
        rate: float | None = None,
        total: float | None = None,
    ) -> None:
        self._policy = policy
        self._rng = rng
        self._answers_us = answers_us
        self.begin(policy.rate_limit if rate is None else rate, total)

    def begin(self, rate: float, total: float | None = None) -> None:
        """Limit to these rates from now on, and begin with sources that owe nothing.

        Without a `total`, it is that of the policy.
        """
        policy, burst = self._policy, self._policy.rate_burst
        total = policy.rate_limit_total if total is None else total
        self._interval = 1 / rate if rate > 0 else 0.0
        self._allowance = max(burst - self._interval, 0.0)
        self._due: dict[bytes, float] = {}  # when a source that keeps to the rate would send its next query
        self._full = min(_FEW, policy.rate_sources)  # with so many sources, those that owe nothing are forgotten
        self._cells: Cells | None = None  # the same for the sources that share; there while places are few
        self._proved: Cells | None = None  # the same for queries that are proved, once there was one above the limit
        self._look_at = float("-inf")  # when to look for places again, while there are cells
        self._lanes = ContactRates(self._interval, self._allowance, self._answers_us)
        self._all_interval = 1 / total if total > 0 else 0.0
        self._all_allowance = max(burst - self._all_interval, 0.0)
        self._strangers_allowance = self._all_allowance * (1 - policy.rate_reserve)
        self._all_due = float("-inf")

    def refusal(self, source: Endpoint, now: float) -> str | None:
        """Return the name of the limit that a query from this endpoint exceeds; if none, count it and return None."""
        all_due = self._all_due
        if all_due < now:
            all_due = now
        elif all_due - now > self._strangers_allowance and (
            all_due - now > self._all_allowance or not self._answers_us(source)
        ):
            return RATE_LIMIT_TOTAL
        if self._interval:
            group = source[:4] if len(source) == IPV4_SIZE else source_group(source[:-2])  # IPv4 without a call
            due = self._due.get(group)
            if due is None:
                if len(self._due) >= self._full or self._cells is not None:
                    cells = self._shared(source, now)
                    if cells is not None:
                        if not cells.allows(group, now):
                            return RATE_LIMIT
                        self._all_due = all_due + self._all_interval
                        return None
                due = now
            elif due < now:
                due = now
            elif due - now > self._allowance:
                if not self._answers_us(source) or not self._lanes.allows(source, now):
                    return RATE_LIMIT
                self._all_due = all_due + self._all_interval
                return None
            self._due[group] = due + self._interval
        self._all_due = all_due + self._all_interval
        return None

    def allows_proved(self, sender: Endpoint, now: float) -> bool:
        """Whether a query above `RATE_LIMIT` is answered because its token proves its sender; then it counts.

        A contact that answers us has this rate for its endpoint, a stranger shares it with all at its address.
        """
        if self._proved is None:
            self._proved = Cells(self._policy.proved_cells, self._interval, self._allowance, self._rng, now)
        if not self._proved.allows(sender if self._answers_us(sender) else source_group(sender[:-2]), now):
            return False
        self._all_due = max(self._all_due, now) + self._all_interval
        return True

    def allows_brief(self, now: float) -> bool:
        """Whether the strangers' part of the limit for all has room for one more brief answer; then it counts."""
        all_due = max(self._all_due, now)
        if all_due - now > self._strangers_allowance:
            return False
        self._all_due = all_due + self._all_interval
        return True

    def _shared(self, source: Endpoint, now: float) -> Cells | None:
        """Return the cells, if a source that owes nothing as far as we remember is to share one."""
        if self._cells is None or now >= self._look_at:
            self._make_room(now)
        return None if self._cells is None or self._answers_us(source) else self._cells

    def _make_room(self, now: float) -> None:
        """Forget the sources that owe nothing. If that leaves no place, make cells; drop them when no source shares.

        While there are cells, this is not done for each newcomer, or each query of a flood would look through all
        sources.
        """
        self._due = {group: due for group, due in self._due.items() if due > now}
        places = self._policy.rate_sources
        self._full = min(max(2 * len(self._due), _FEW), places)
        if len(self._due) >= places and self._cells is None:
            self._cells = Cells(self._policy.rate_cells, self._interval, self._allowance, self._rng, now)
        elif len(self._due) < places and self._cells is not None and now >= self._cells.settled_at:
            self._cells = None
        self._look_at = now + self._policy.rate_burst / 4

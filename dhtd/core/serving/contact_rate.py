"""Lanes: a rate of its own for each contact that answers us, for when the limit of its source is used up.

Other machines at the contact's address, or attackers that forge it, can use up the limit of the source. If we were
silent then, the contact would take us for dead. So each contact has a lane, keyed by address and port, and a neighbour
on another port cannot use it up. An attacker that forges the endpoint itself can. Then the contact still has the
queries whose token proves their sender: see `rate_limit`.

Only contacts that answer us have lanes. Each time a lane is made, those of contacts that are gone or silent are given
up. Only a new contact makes a lane, so no flood causes this often.
"""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.endpoint import Endpoint


class ContactRates:
    """One query each `interval` seconds in each lane, and `allowance` seconds' worth more of them at once."""

    __slots__ = ("_allowance", "_answers_us", "_due", "_interval")

    def __init__(self, interval: float, allowance: float, answers_us: Callable[[Endpoint], bool]) -> None:
        self._interval = interval
        self._allowance = allowance
        self._answers_us = answers_us
        self._due: dict[Endpoint, float] = {}  # when a contact that keeps to the rate would send its next query

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self._due)

    def allows(self, contact: Endpoint, now: float) -> bool:
        """Whether a query is within the lane of this contact, which answers us; then it counts."""
        due = self._due.get(contact)
        if due is None:
            self._due = {other: due for other, due in self._due.items() if self._answers_us(other)}
            due = now
        elif due < now:
            due = now
        elif due - now > self._allowance:
            return False
        self._due[contact] = due + self._interval
        return True

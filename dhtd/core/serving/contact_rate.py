"""Lanes: what each contact that answers us may send for itself, when the limit of its source is used up.

Whoever else is at its address, or forges that, uses up the limit of the source, and must not make us silent towards the
contact: it would take us for dead. So a contact has a lane of its own, by its exact endpoint, which who is at another
port of the address has no part in. Who forges the endpoint itself uses up the lane. What then is left to the contact
are queries whose token proves that they are its own: see `rate_limit`.

There are never more lanes than contacts that answer us: nobody else has one, and with each that is made, those of
contacts that are gone or silent are given up. It takes a new contact to make one, so that no flood has this done often.
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

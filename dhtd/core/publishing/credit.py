"""How many own entries new contacts may hurry.

New contacts cost a stranger nothing but new IDs. So all entries share a credit: new contacts hurry one entry for every
four (`newcomer_share`) that are published again unhurried. An entry that finds no credit waits for its usual turn.
Little is lost: its old holders still answer, and a network that grew so much that they are hard to find has doubled,
which hurries all entries without credit.
"""

from __future__ import annotations

from dhtd.core.policy import Policy


class Credit:
    """Earned by unhurried publications, spent by new contacts."""

    __slots__ = ("_left", "_policy")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._left = float(policy.newcomer_credit)

    @property
    def is_left(self) -> bool:
        """Whether a new contact may hurry an entry."""
        return self._left >= 1

    def spend(self, entries: int) -> None:
        """A new contact has hurried so many entries."""
        self._left -= entries

    def earn(self, entries: int) -> None:
        """An entry was published again unhurried. With so many `entries` in all, the credit grows up to their share."""
        policy = self._policy
        most = max(policy.newcomer_credit, policy.newcomer_share * entries)
        self._left = min(most, self._left + policy.newcomer_share)

"""When something is due for own records, for deleted ones, or for the holders of both. Most nodes have none of these.

So it is asked first, after each datagram, whether there are any.
"""

from __future__ import annotations

from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.pending_withdrawals import PendingWithdrawals


class RecordTimers:
    """The parts of a publisher that have something to do only where there are records, or holders."""

    __slots__ = ("_next_timeouts", "_work")

    def __init__(
        self, records: OwnRecords, heartbeats: Heartbeats, patrol: Patrol, withdrawals: PendingWithdrawals
    ) -> None:
        self._work = (*records.work, heartbeats.holders, withdrawals.by_record)
        self._next_timeouts = (
            *(records.next_timeout, records.next_overdue),
            *(heartbeats.next_timeout, patrol.next_timeout, withdrawals.next_timeout),
        )

    def __bool__(self) -> bool:
        """Whether anything may be due at any time."""
        return any(self._work)

    def next_timeout(self) -> float | None:
        """Return when the next of the parts has something to do."""
        if not any(self._work):
            return None
        due = [next_timeout() for next_timeout in self._next_timeouts]
        return min([at for at in due if at is not None], default=None)

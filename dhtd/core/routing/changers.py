"""Endpoints whose nodes change their IDs: each has one ID that is believed, and the next one only after a pause.

Without pauses, one node could be new with each answer: in one bucket of the table after another, near one own entry
after another, and in the lookups of every node that has heard one of its IDs. But a node that has lost its state file
changes its ID as well. So the first change is believed at once. The pause after it is five minutes, and doubles with
each further change, unless the endpoint has kept its ID for as long again as the last pause.

Only the answers of the endpoint itself count. Others may name it with any ID, and so make us ask for an ID that it
never had.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy

_MOST: Final = 1_024  # endpoints that are remembered; whichever changed first gives way


class _Record:
    """What is known of one endpoint."""

    __slots__ = ("id", "pause", "until")

    def __init__(self, id: bytes) -> None:
        self.id = id  # the one that is believed, packed; empty where it is gone
        self.pause = 0.0  # the last one
        self.until = float("-inf")  # no other ID is believed before


class Changers:
    """Remembers which ID each endpoint is believed to have, once it has answered under another than expected."""

    __slots__ = ("_policy", "_records")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._records: dict[Endpoint, _Record] = {}

    def __len__(self) -> int:
        """How many endpoints are remembered."""
        return len(self._records)

    def gone(self, contact: Contact) -> None:
        """Another node has answered where this one had: the next ID there is a change."""
        record = self._records.get(contact.endpoint)
        if record is None:
            self._remember(contact.endpoint, _Record(packed(contact.id)))
        elif record.id == packed(contact.id):
            record.id = b""

    def answered_instead(self, contact: Contact) -> None:
        """Somebody has named another ID at this endpoint, and this is the one that answers."""
        if contact.endpoint not in self._records:
            self._remember(contact.endpoint, _Record(packed(contact.id)))

    def believes(self, contact: Contact, now: float) -> bool:
        """Whether a node that has answered may enter the table under its ID. If that is a change, note it."""
        record = self._records.get(contact.endpoint)
        if record is None or record.id == packed(contact.id):
            return True
        if now < record.until:
            return False
        has_lapsed = now >= record.until + record.pause
        record.pause = self._policy.id_change if has_lapsed else min(2 * record.pause, self._policy.id_change_max)
        record.until = now + record.pause
        record.id = packed(contact.id)
        del self._records[contact.endpoint]
        self._records[contact.endpoint] = record
        return True

    def doubts(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Whether the endpoint is in a pause, and believed to have another ID or none."""
        record = self._records.get(endpoint)
        return record is not None and now < record.until and record.id != packed(id)

    def _remember(self, endpoint: Endpoint, record: _Record) -> None:
        self._records[endpoint] = record
        if len(self._records) > _MOST:
            del self._records[next(iter(self._records))]

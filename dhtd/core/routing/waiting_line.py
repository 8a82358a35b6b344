"""The newcomers that wait for a place in a full bucket, and the claimants that wait for the ID of a contact.

Both have answered us. A place comes free when a contact turns bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dhtd.core.counters import CLAIMS, CONTACTS_PER_NETWORK_IN_BUCKET, REPLACEMENTS
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.routing.diversity import Diversity
from dhtd.core.routing.table import Bucket


class InLine(NamedTuple):
    """A contact that waits."""

    contact: Contact
    answered_at: float


class WaitingLine:
    """The newcomers: for each bucket the latest `replacements`, and of one network no more than a bucket holds."""

    __slots__ = ("_caps_hit", "_diversity", "_newcomers", "_policy")

    def __init__(self, policy: Policy, diversity: Diversity, caps_hit: dict[str, int]) -> None:
        self._policy = policy
        self._diversity = diversity
        self._caps_hit = caps_hit
        self._newcomers: dict[bytes, InLine] = {}  # by packed ID, the latest last

    def join(self, contact: Contact, bucket: Bucket, now: float) -> None:
        """Let a newcomer wait that has just answered. If that makes too many, the one that waits longest goes."""
        self.leave(contact)
        self._newcomers[packed(contact.id)] = InLine(contact, now)
        low, high = bucket.low, bucket.high
        in_line = [other for other, _ in self._newcomers.values() if low <= other.id <= high]
        kin = self._diversity.kin(contact.endpoint, in_line)
        if len(kin) > self._policy.contacts_per_network_in_bucket:
            self.leave(kin[0])
            self._caps_hit[CONTACTS_PER_NETWORK_IN_BUCKET] += 1
        elif len(in_line) > self._policy.replacements:
            self.leave(in_line[0])
            self._caps_hit[REPLACEMENTS] += 1

    def leave(self, contact: Contact) -> None:
        """Let a newcomer wait no longer, if it does."""
        self._newcomers.pop(packed(contact.id), None)

    def of(self, bucket: Bucket) -> Iterator[Contact]:
        """Yield the newcomers that wait for a place in `bucket`, the latest first."""
        return (contact for contact, _ in reversed(self._newcomers.values()) if contact.id in bucket)

    def take_each(self, bucket: Bucket) -> Iterator[InLine]:
        """Take out, one after the other, the newcomers that wait for a place in `bucket`, the latest first."""
        for contact in list(self.of(bucket)):
            yield self._newcomers.pop(packed(contact.id))


class Claims:
    """The latest `claims` contacts that have answered under the ID of a contact elsewhere, one for each ID."""

    __slots__ = ("_caps_hit", "_claimants", "_most")

    def __init__(self, policy: Policy, caps_hit: dict[str, int]) -> None:
        self._most = policy.claims
        self._caps_hit = caps_hit
        self._claimants: dict[bytes, InLine] = {}  # by packed ID, the latest last

    def add(self, contact: Contact, now: float) -> None:
        """Let a claimant wait that has just answered."""
        self.drop(contact.id)
        self._claimants[packed(contact.id)] = InLine(contact, now)
        if len(self._claimants) > self._most:
            del self._claimants[next(iter(self._claimants))]
            self._caps_hit[CLAIMS] += 1

    def drop(self, id: Id) -> None:
        """Forget the claim to this ID: its contact has answered, or left."""
        if self._claimants:
            self._claimants.pop(packed(id), None)

    def take(self, id: Id) -> InLine | None:
        """Take out the claimant of this ID, if there is one."""
        return self._claimants.pop(packed(id), None)

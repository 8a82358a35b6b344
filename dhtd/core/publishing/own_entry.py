"""One own entry: its holders, how its publications went, and what is known of the next one."""

from __future__ import annotations

from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.sightings import Seen, Sightings
from dhtd.core.records import RecordKey


class OwnEntry:
    """A port on which this machine serves a key.

    `OwnRecords` changes the holders, since it notes each change for the disk. Everybody may read.
    """

    __slots__ = (
        "_holders",
        "_lease",
        "_limit",
        "again_at",
        "failures",
        "hurried",
        "hurries",
        "interval",
        "joined",
        "key",
        "lost",
        "port",
        "published_at",
        "record_key",
        "replicas",
        "sightings",
    )

    def __init__(self, record_key: RecordKey, policy: Policy, lease: OwnLease) -> None:
        self.record_key = record_key
        self.key = record_key.key
        self.port = record_key.port
        self.interval = policy.republish_first  # seconds until the next publication, while all is well
        self.replicas: tuple[Contact, ...] = ()  # the nodes that took it at its last publication
        self.lost: tuple[Contact, ...] = ()  # the replicas that were given up since
        self.published_at: float | None = None  # when its last publication ended, with or without replicas
        self.failures = 0  # publications in a row that no node took
        self.hurried = False  # something has hurried the next publication
        self.hurries = 0  # hurried publications, less the unhurried ones since
        self.joined: set[int] = set()  # the families with a network that was reached since the last publication
        self.again_at: float | None = None  # when to publish once more after the publication under way
        self._holders: dict[Contact, float] = {}  # each node that may hold the entry, and until when; the latest last
        self._limit = policy.entry_holders
        self._lease = lease  # holders that have renewed it keep the entry longer
        self.sightings = Sightings()  # what these nodes saw of our address

    def replicas_of(self, family: int) -> list[Contact]:
        """Return the replicas of one address family."""
        return [replica for replica in self.replicas if len(replica.endpoint) == family]

    def holders(self, now: float) -> dict[Contact, float]:
        """Return the nodes that may hold the entry now, and until when."""
        lasting = ((contact, max(until, self._lease.until(contact))) for contact, until in self._holders.items())
        return {contact: until for contact, until in lasting if until > now}

    def may_hold(self, contact: Contact, until: float) -> bool:
        """Note a holder; return whether another one had to be forgotten: the one that lets go first."""
        self._holders.pop(contact, None)
        self._holders[contact] = until
        if len(self._holders) <= self._limit:
            return False
        first = next(iter(self._holders))
        del self._holders[first]
        self.sightings.forget(first.endpoint)
        return True

    def seen_at(self, observed: Endpoint, holder: Endpoint, until: float) -> bool:
        """A holder has taken the entry, and saw the store come from `observed`. Return whether that is news."""
        return self.sightings.add(holder, observed, until)

    def restore_seen(self, holder: Endpoint, seen: Seen, until: float, now: float) -> None:
        """Put back what a holder saw of our address: see `Sightings.restore`."""
        self.sightings.restore(holder, seen, until, now)

    def forget_expired(self, now: float) -> None:
        """Drop the holders with expired copies."""
        self._holders = {
            contact: until for contact, until in self._holders.items() if max(until, self._lease.until(contact)) > now
        }
        self.sightings.forget_expired(now)

    def adapt_interval(self, holders: Iterable[Contact], now: float, policy: Policy) -> None:
        """Double the interval, up to `republish`, if the replicas still hold the entry; halve it if they do not.

        With a mean session of half an hour, all of eight holders are gone after 45 minutes in one case of seven.
        """
        again = set(holders)
        if not self.replicas or not again or self.published_at is None:
            return
        if now - self.published_at < self.interval / 2:
            return  # too short a time to tell
        stayed = len(set(self.replicas) & again) / len(self.replicas)
        if stayed >= 0.75:
            self.interval = min(2 * self.interval, policy.republish)
        elif stayed < 0.5:
            self.interval = max(self.interval / 2, policy.republish_first)

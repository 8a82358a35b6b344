"""The routing table: contacts in buckets, each a range of the keyspace (Kademlia section 2.4).

It knows structure only: ranges, splitting, nearness. `standing` says which contacts are good, `admission` which enter.
Ranges are halves of halves, so of two buckets the one nearer to a target holds only contacts nearer to it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterator

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace, closest, packed
from dhtd.core.messages import Contact


class Bucket:
    """The contacts with IDs from `low` to `high`, both included."""

    __slots__ = ("activity", "closed_until", "contacts", "good_until", "high", "low")

    def __init__(self, low: Id, high: Id, activity: float) -> None:
        self.low = low
        self.high = high
        self.activity = activity  # when a contact in it last answered or entered, or it was looked up; seconds
        self.contacts: list[Contact] = []  # in the order in which they entered
        # Cached by `admission`, and dropped when a contact enters, leaves or turns bad:
        self.good_until = float("-inf")  # until then all contacts are good, if nothing changes
        self.closed_until = float("-inf")  # until then it has no use for newcomers, if nothing changes

    def __contains__(self, id: Id) -> bool:
        """Whether the ID is in this bucket's range."""
        return self.low <= id <= self.high

    def changed(self) -> None:
        """Drop what is cached: a contact has entered, left or turned bad (while one is, there is nothing)."""
        self.good_until = self.closed_until = float("-inf")

    def halves(self) -> tuple[Bucket, Bucket]:
        """Return the two buckets that this one splits into."""
        middle = (self.low + self.high) // 2
        lower, upper = (
            Bucket(self.low, Id(middle), self.activity),
            Bucket(Id(middle + 1), self.high, self.activity),
        )
        for contact in self.contacts:
            (lower if contact.id <= middle else upper).contacts.append(contact)
        return lower, upper


class RoutingTable:
    """Contacts by nearness. Each ID and each endpoint is in it once at most; our own ID never."""

    __slots__ = (
        "_by_endpoint",
        "_by_id",
        "_keyspace",
        "_lows",
        "_nearest",
        "_radius",
        "_width",
        "at",
        "buckets",
        "k",
        "own_id",
    )

    def __init__(self, keyspace: Keyspace, own_id: Id, k: int, now: float) -> None:
        self.own_id = own_id
        self.k = k
        self.buckets = [Bucket(Id(0), Id(keyspace.size - 1), now)]  # in the order of their ranges
        self._lows = [Id(0)]
        self._width = keyspace.width
        self._by_id: dict[bytes, Contact] = {}  # by the bytes of its ID
        self._by_endpoint: dict[Endpoint, Contact] = {}
        # The contact at this endpoint; asked for each query.
        self.at: Callable[[Endpoint], Contact | None] = self._by_endpoint.get
        self._keyspace = keyspace
        self._nearest: list[int] = []  # the distances of the K nearest contacts, in order
        self._radius = keyspace.size  # the last of these; all of the keyspace while there are fewer

    def __len__(self) -> int:
        """How many contacts there are."""
        return len(self._by_id)

    def __iter__(self) -> Iterator[Contact]:
        """Yield each contact."""
        return iter(self._by_id.values())

    def get(self, id: Id) -> Contact | None:
        """Return the contact with this ID, if there is one."""
        return self._by_id.get(id.to_bytes(self._width, "big"))

    def bucket(self, id: Id) -> Bucket:
        """Return the bucket whose range holds `id`."""
        return self.buckets[bisect_right(self._lows, id) - 1]

    def turns_away(self, id: Id, now: float) -> bool:
        """Whether `id` is new and its bucket has no use for newcomers. Each query of a stranger asks this."""
        closed_until = self.buckets[bisect_right(self._lows, id) - 1].closed_until
        return now < closed_until and id.to_bytes(self._width, "big") not in self._by_id

    def bounds(self) -> list[int]:
        """Return where each bucket begins, and where the last one ends."""
        return [*self._lows, self._keyspace.size]

    def insert(self, contact: Contact) -> bool:
        """Put `contact` into its bucket, splitting it where that is allowed and needed; return whether it went in.

        The contact's ID and endpoint must be new to the table, and its ID not our own.
        """
        assert contact.id != self.own_id
        assert self.get(contact.id) is None
        assert contact.endpoint not in self._by_endpoint
        bucket = self.bucket(contact.id)
        while len(bucket.contacts) >= self.k:
            if not self._may_split(bucket.low, bucket.high, contact.id):
                return False
            self._split(bucket)
            bucket = self.bucket(contact.id)
        bucket.contacts.append(contact)
        bucket.changed()
        self._by_id[contact.id.to_bytes(self._width, "big")] = contact
        self._by_endpoint[contact.endpoint] = contact
        self._came(contact.id ^ self.own_id)
        return True

    def rename(self, own_id: Id, now: float) -> list[Contact]:
        """Begin anew under another ID of ours, with the same contacts; return those that have no place any more."""
        contacts = closest(self, own_id, len(self))
        self.own_id = own_id
        self.buckets[:] = [Bucket(Id(0), Id(self._keyspace.size - 1), now)]
        self._lows[:] = [Id(0)]
        self._nearest.clear()
        self._radius = self._keyspace.size
        self._by_id.clear()
        self._by_endpoint.clear()
        return [contact for contact in contacts if contact.id == own_id or not self.insert(contact)]

    def has_room(self, bucket: Bucket, id: Id) -> bool:
        """Whether `insert` would take a contact with this ID, which is in the range of `bucket`. Splits nothing."""
        if len(bucket.contacts) < self.k:
            return True
        low, high, ids = bucket.low, bucket.high, [contact.id for contact in bucket.contacts]
        while len(ids) >= self.k:
            if not self._may_split(low, high, id):
                return False
            middle = (low + high) // 2
            low, high = (low, Id(middle)) if id <= middle else (Id(middle + 1), high)
            ids = [other for other in ids if low <= other <= high]
        return True

    def is_whole(self, bucket: Bucket) -> bool:
        """Whether the bucket would split for no ID in its range, until a contact near us leaves."""
        own_id, low, high = self.own_id, bucket.low, bucket.high
        return not low <= own_id <= high and (low ^ own_id) & ~(high - low) >= self._radius

    def is_near(self, id: Id) -> bool:
        """Whether an ID is no farther from us than the K-th nearest contact."""
        return id ^ self.own_id <= self._radius

    def remove(self, contact: Contact) -> None:
        """Take out a contact that is in the table."""
        bucket = self.bucket(contact.id)
        bucket.contacts.remove(contact)
        bucket.changed()
        del self._by_id[contact.id.to_bytes(self._width, "big")]
        del self._by_endpoint[contact.endpoint]
        self._went(contact.id ^ self.own_id)

    def closest(self, target: Id, count: int, without: Collection[bytes]) -> list[Contact]:
        """Return up to `count` contacts, nearest to `target` first (XOR metric; Kademlia section 2.3).

        Visits buckets from near to far and stops when it has enough. Passes over packed IDs in `without`.
        """
        found: list[Contact] = []
        for bucket in self.by_nearness(target):
            contacts = bucket.contacts
            if without:
                contacts = [contact for contact in contacts if packed(contact.id) not in without]
            found += closest(contacts, target, count - len(found))
            if len(found) == count:
                break
        return found

    def by_nearness(self, target: Id) -> Iterator[Bucket]:
        """Yield the buckets, the one whose range holds `target` first, then always the next nearest."""
        buckets, lows = self.buckets, self._lows
        begin = bisect_right(lows, target) - 1
        end = begin + 1
        low, high = buckets[begin].low, buckets[begin].high
        yield buckets[begin]
        # The last range is one half of a range twice as wide. The other half holds the next nearest buckets.
        while end - begin < len(buckets):
            width = high - low + 1
            if low & width:
                low = Id(low - width)
                end_of_half, begin = begin, bisect_left(lows, low)
                half = buckets[begin:end_of_half]
            else:
                high = Id(high + width)
                begin_of_half, end = end, bisect_right(lows, high)
                half = buckets[begin_of_half:end]
            if len(half) > 1:
                # The distances from `target` to the IDs of a range are a range of their own, as wide and aligned alike.
                half.sort(key=lambda bucket: (bucket.low ^ target) & ~(bucket.high - bucket.low))
            yield from half

    def _may_split(self, low: Id, high: Id, id: Id) -> bool:
        """Whether a bucket of this range splits for an ID.

        Our own bucket does. So does a bucket that would keep out one of the K nodes nearest to us. The second rule is
        that of Kademlia section 2.4 for unbalanced trees. Without it, a node with an almost empty bucket of its own
        would not know its real neighbours, and so not the holders of entries near it.
        """
        own_id = self.own_id
        if id ^ own_id < self._radius or low <= own_id <= high:
            return low != high
        return False

    def _came(self, distance: int) -> None:
        """Note how far the K-th nearest contact is, now that one has entered at this distance."""
        if distance <= self._radius:
            nearest = self._nearest
            insort(nearest, distance)
            del nearest[self.k :]
            if len(nearest) == self.k:
                self._radius = nearest[-1]

    def _went(self, distance: int) -> None:
        """Note how far the K-th nearest contact is, now that one has left that was at this distance."""
        if distance <= self._radius:
            own_id = self.own_id
            nearest = self._nearest = sorted([contact.id ^ own_id for contact in self])[: self.k]
            radius = nearest[-1] if len(nearest) == self.k else self._keyspace.size
            if radius > self._radius:
                for bucket in self.buckets:
                    bucket.closed_until = float("-inf")
            self._radius = radius

    def _split(self, bucket: Bucket) -> None:
        index = bisect_right(self._lows, bucket.low) - 1
        halves = bucket.halves()
        self.buckets[index : index + 1] = halves
        self._lows[index : index + 1] = [half.low for half in halves]

"""Which contacts enter the routing table, and which leave it: the policy over `table`, `standing` and `diversity`.

- Only a contact that has answered us enters.
- A full bucket replaces a bad contact. Without one, its oldest questionable contact is to be verified while the
  newcomer waits. Without that, the newcomer is refused, but remembered for the day a contact turns bad.
- Another address that claims the ID of a contact never displaces it, unless the contact is bad. If the contact has been
  silent for a while, it is to be verified, and the claimant waits for the result.
- No party has more contacts than `diversity` allows, bad ones not counted.
"""

from __future__ import annotations

from dhtd.core.codec import Codec
from dhtd.core.counters import none_hit
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.routing.changers import Changers
from dhtd.core.routing.contacts import Contacts
from dhtd.core.routing.outcomes import (
    Admission,
    Contested,
    Crowded,
    Full,
    Inserted,
    Known,
    Refused,
    Replaced,
    Verify,
)
from dhtd.core.routing.room import Room
from dhtd.core.routing.standing import GOOD
from dhtd.core.routing.table import Bucket
from dhtd.core.routing.waiting_line import Claims, InLine, WaitingLine


class RoutingState(Contacts):
    """The routing table under its admission policy."""

    __slots__ = (
        "_claims",
        "_line",
        "_room",
        "_suits",
        "caps_hit",
        "changers",
        "routers",
    )

    def __init__(
        self, own_id: Id, codec: Codec, policy: Policy, now: float, caps_hit: dict[str, int] | None = None
    ) -> None:
        super().__init__(own_id, codec, policy, now)
        self._suits = codec.traits.suits
        self.caps_hit = none_hit() if caps_hit is None else caps_hit  # by name
        self.changers = Changers(policy)
        self.routers: frozenset[Endpoint] = frozenset()  # that show the way, and never become contacts
        self._line = WaitingLine(policy, self._diversity, self.caps_hit)
        self._claims = Claims(policy, self.caps_hit)
        self._room = Room(self.table, self.meta, self._diversity, self.caps_hit)

    def slept(self, seconds: float) -> None:
        """Take what is known of contacts and buckets as so much older."""
        self.meta.slept(seconds)
        for bucket in self.table.buckets:
            bucket.activity -= seconds
            bucket.good_until = bucket.closed_until = float("-inf")
        if self.heard_at is not None:
            self.heard_at -= seconds

    def answered(self, contact: Contact, rtt: float | None, now: float) -> Admission:
        """Take an answer from `contact`, `rtt` seconds after its query; admit it if the policy allows."""
        # 1. A contact that we know has answered.
        if contact.id == self.table.own_id:
            return Refused()
        self.heard_at = now
        if contact.endpoint in self.routers:
            return Refused()
        incumbent = self.table.get(contact.id)
        if incumbent == contact:
            self._heard(contact, rtt, now)
            return Known()
        # 2. A node has answered under the ID of a contact that is elsewhere.
        if incumbent is not None and not self.meta.is_bad(contact.id):
            # The claimant waits until the contact is verified, unless that one has just answered.
            if not self._is_contestable(contact.id, now):
                return Refused()
            self._claims.add(contact, now)
            return Contested(incumbent)
        # 3. The node at the endpoint of a contact has changed its ID.
        cap = self._room.cap_reached(contact.endpoint, self.table.bucket(contact.id), others_make_way=True)
        predecessor = self.table.at(contact.endpoint)
        if predecessor is not None:
            self._remove(predecessor)
            self.changers.gone(predecessor)
        if not self.changers.believes(contact, now):
            return Refused()
        # 4. Its party has as many contacts as it may.
        if cap is not None:
            return Crowded(cap)
        # 5. It enters, if its bucket has room.
        if incumbent is not None:
            self._remove(incumbent)
        return self._admit(contact, rtt, now)

    def is_settled(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Whether it is plain that there is nothing to learn about a node that has queried us; else ask `queried`."""
        incumbent = self.table.at(endpoint)
        if incumbent is not None and incumbent.id == id:
            return self.meta.standing(id, now) is GOOD
        return self.table.turns_away(id, now)

    def queried(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Return whether to ping a node that has queried us, to learn if it belongs in the table, or still does.

        Nothing is noted: an attacker can forge a query, or send one again.
        """
        # 1. A contact, or a node that claims the ID of one: is the contact's answer of use?
        incumbent = self.table.get(id)
        if incumbent is not None:
            if incumbent.endpoint != endpoint:
                return self.meta.is_bad(id) or self._is_contestable(id, now)
            return self.meta.standing(id, now) is not GOOD
        # 2. A stranger that could not enter, whatever it answers.
        if id == self.table.own_id or endpoint in self.routers or self.changers.doubts(id, endpoint, now):
            return False
        bucket = self.table.bucket(id)
        if now < bucket.closed_until:
            return False
        # 3. A stranger that there is room for, or a contact that might make room.
        if self.table.has_room(bucket, id) or not self._all_good(bucket, now):
            return self._room.cap_reached(endpoint, bucket, others_make_way=True) is None
        # 4. No room: remember that until a contact of the bucket is not good any more.
        if self.table.is_whole(bucket):
            bucket.closed_until = bucket.good_until
        return False

    def timed_out(self, contact: Contact, sent_at: float) -> Contact | None:
        """Take note that a query sent at `sent_at` was not answered; return the contact that is evicted for it."""
        # 1. It counts only if another node has answered since: while the network is down, no contact is to blame.
        if self.table.get(contact.id) != contact or not self.heard_since(sent_at):
            return None
        if not self.meta.timed_out(contact.id):
            return None
        # 2. The contact has turned bad. It stays, to be tried again, while no other contact waits for its place.
        bucket = self.table.bucket(contact.id)
        bucket.changed()
        self._forget_answers()
        newcomer = self._take_claim(contact, bucket) or self._take_waiting(contact, bucket)
        if newcomer is None:
            return None
        # 3. The one that waits takes its place, as of when it answered.
        self._remove(contact)
        self._insert(newcomer.contact, None, newcomer.answered_at)
        return contact

    def moved(self, id: Id, endpoint: Endpoint) -> None:
        """Take out the contact with this ID, if it is at `endpoint`: another node has answered from there."""
        contact = Contact(id, endpoint)
        if self.table.get(id) == contact:
            self._remove(contact)
            self.changers.gone(contact)

    def restore(self, contact: Contact, heard_at: float | None = None) -> bool:
        """Put back a contact of an earlier run, as questionable, or as of when it answered; return if there was room.

        There is none where a bad contact would have to leave.
        """
        table = self.table
        if contact.id == table.own_id or table.get(contact.id) or table.at(contact.endpoint):
            return False
        bucket = table.bucket(contact.id)
        if self._room.cap_reached(contact.endpoint, bucket, others_make_way=False) is not None:
            return False
        if not table.has_room(bucket, contact.id):
            return False
        went_in = table.insert(contact)
        assert went_in
        self._diversity.add(contact.endpoint)
        self._forget_answers()
        record = self.meta.add(contact.id)
        if heard_at is not None:
            self.heard_at = record.heard_at = heard_at
            record.reachable = True
        return True

    def live_in(self, own: tuple[bytes, ...]) -> None:
        """Count all contacts anew, since our own networks are others; contacts beyond a cap leave.

        The contacts that answered last stay: after a move, these are the ones that can still be reached.
        """
        contacts = sorted(self.table, key=self.meta.last_heard, reverse=True)
        self._diversity.live_in(own)
        self.answers.live_in(own)
        self._room.forget()
        kept: dict[bytes, list[Contact]] = {}  # by bucket
        for contact in contacts:
            bucket = self.table.bucket(contact.id)
            bucket.changed()
            beside = kept.setdefault(packed(bucket.low), [])
            if self._diversity.cap_reached(contact.endpoint, beside) is None:
                self._diversity.add(contact.endpoint)
                beside.append(contact)
            else:
                self._drop(contact)

    def rename(self, own_id: Id, now: float) -> None:
        """Have another ID. Contacts stay where there is room, as questionable: they know us by the old one."""
        for contact in self.table.rename(own_id, now):
            self._diversity.remove(contact.endpoint)
            self.meta.drop(contact.id)
            self._claims.drop(contact.id)
        self.meta.doubt_all(now)
        self._forget_answers()

    def _all_good(self, bucket: Bucket, now: float) -> bool:
        """Whether all in the bucket are good. Asked for each query of a stranger, so remembered."""
        if now < bucket.good_until:
            return True
        if any(self.meta.standing(contact.id, now) is not GOOD for contact in bucket.contacts):
            return False
        bucket.good_until = min((self.meta.good_until(contact.id) for contact in bucket.contacts), default=now)
        return True

    def _heard(self, contact: Contact, rtt: float | None, now: float) -> None:
        if self.meta.is_bad(contact.id):
            self._forget_answers()
        self.meta.answered(contact.id, rtt, now)
        self._claims.drop(contact.id)
        bucket = self.table.bucket(contact.id)
        bucket.activity = max(bucket.activity, now)  # a newcomer that waited for its place answered before others did

    def _is_contestable(self, id: Id, now: float) -> bool:
        heard_at = self.meta.get(id).heard_at
        return heard_at is None or now - heard_at >= self._policy.claim_after

    def _admit(self, contact: Contact, rtt: float | None, now: float) -> Admission:
        bucket = self.table.bucket(contact.id)
        # 1. A bad contact makes room in a full bucket.
        evicted = None
        if len(bucket.contacts) >= self._policy.k:
            evicted = next((other for other in bucket.contacts if self.meta.is_bad(other.id)), None)
            if evicted is not None:
                self._remove(evicted)
        # 2. Where there is room, other bad contacts leave until its party is within the caps.
        if self.table.has_room(bucket, contact.id):
            while (leaving := self._room.next_to_make_way(contact.endpoint, bucket)) is not None:
                self._remove(leaving)
            self._insert(contact, rtt, now)
            self._line.leave(contact)
            return Inserted() if evicted is None else Replaced(evicted)
        # 3. Else it waits. The oldest questionable contact is to be verified; none is bad, or it would have left.
        self._line.join(contact, bucket, now)
        if self._all_good(bucket, now):
            return Full()
        doubtful = [other for other in bucket.contacts if self.meta.standing(other.id, now) is not GOOD]
        oldest_first = sorted(doubtful, key=self.meta.last_heard)
        return Verify(min(oldest_first, key=self._suits))

    def _insert(self, contact: Contact, rtt: float | None, answered_at: float) -> None:
        went_in = self.table.insert(contact)
        assert went_in
        self._diversity.add(contact.endpoint)
        self._forget_answers()
        self.meta.add(contact.id)
        self._heard(contact, rtt, answered_at)

    def _remove(self, contact: Contact) -> None:
        self._diversity.remove(contact.endpoint)
        self._drop(contact)

    def _drop(self, contact: Contact) -> None:
        self.table.remove(contact)
        self._forget_answers()
        self.meta.drop(contact.id)
        self._claims.drop(contact.id)

    def _forget_answers(self) -> None:
        """Make answers anew: a contact has entered or left the table, turned bad, or recovered."""
        self.answers.forget()
        self._room.forget()

    def _take_claim(self, incumbent: Contact, bucket: Bucket) -> InLine | None:
        """Take the claimant of the ID of an incumbent that has turned bad, if it may have a place."""
        claim = self._claims.take(incumbent.id)
        if claim is None or self.table.at(claim.contact.endpoint) is not None:
            return None
        return claim if self._room.has_share(claim.contact, incumbent, bucket) else None

    def _take_waiting(self, leaving: Contact, bucket: Bucket) -> InLine | None:
        """Take the last newcomer in line that is not in the table by another way, and may have a place."""
        for newcomer in self._line.take_each(bucket):
            contact = newcomer.contact
            is_new = self.table.get(contact.id) is None and self.table.at(contact.endpoint) is None
            if is_new and self._room.has_share(contact, leaving, bucket):
                return newcomer
        return None

"""Who may enter the routing table, and who must leave it: the policy over `routing_table` and `routing_meta`.

Only a contact that has answered us enters. A full bucket replaces a bad contact; else its oldest questionable one is to
be verified while the newcomer waits; else the newcomer is refused, but remembered for the day a contact turns bad.
An incumbent is never displaced by another address that claims its ID, unless it is bad: if it has been silent for a
while, it is to be verified, and the claimant waits for what comes of that. No party has more contacts than `diversity`
allows, bad ones not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from dhtd.core.address_groups import is_beside
from dhtd.core.codec import Codec, PackedContacts
from dhtd.core.counters import CLAIMS, CONTACTS_PER_NETWORK_IN_BUCKET, REPLACEMENTS, none_hit
from dhtd.core.endpoint import Endpoint, Scope, means_the_same, scope_of
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.round_trips import RoundTrips
from dhtd.core.routing.answer_cache import AnswerCache
from dhtd.core.routing.changers import Changers
from dhtd.core.routing.diversity import Diversity
from dhtd.core.routing.standing import History, Standing, Standings
from dhtd.core.routing.table import Bucket, RoutingTable


@dataclass(frozen=True, slots=True)
class Inserted:
    """The contact is in the table now."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The contact is in the table now, in place of `evicted`."""

    evicted: Contact


@dataclass(frozen=True, slots=True)
class Known:
    """The contact was in the table already; its record is up to date."""


@dataclass(frozen=True, slots=True)
class Verify:
    """The bucket is full: ping `questionable`. If it fails, the newcomer, which waits, takes its place."""

    questionable: Contact


@dataclass(frozen=True, slots=True)
class Full:
    """The bucket is full of good contacts; the newcomer waits for one of them to turn bad."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The contact claims our own ID, or one that a contact elsewhere has, or has changed its ID too often."""


@dataclass(frozen=True, slots=True)
class Contested:
    """A contact elsewhere has this ID: ping `incumbent`. If it fails, the newcomer, which waits, takes its place."""

    incumbent: Contact


@dataclass(frozen=True, slots=True)
class Crowded:
    """The contact's address or network has as many contacts as it may, by this cap."""

    cap: str


Admission = Inserted | Replaced | Known | Verify | Full | Refused | Contested | Crowded


_LOCAL: Final = frozenset((Scope.HOST, Scope.LINK))


class RoutingState:
    """The routing table under its admission policy."""

    __slots__ = (
        "_bad_by_party",
        "_claims",
        "_codec",
        "_diversity",
        "_own_networks",
        "_policy",
        "_visible",
        "_waiting",
        "caps_hit",
        "changers",
        "has_scopes",
        "heard_at",
        "meta",
        "nearest",
        "table",
    )

    def __init__(
        self, own_id: Id, codec: Codec, policy: Policy, now: float, caps_hit: dict[str, int] | None = None
    ) -> None:
        self._codec = codec
        self._policy = policy
        self._own_networks = policy.own_networks
        self.caps_hit = none_hit() if caps_hit is None else caps_hit  # by name
        self.table = RoutingTable(codec.traits.keyspace, own_id, policy.k, now)
        self.meta = Standings(policy)
        self._diversity = Diversity(policy)
        # The bad contacts of each party: a table may have hundreds, and who is beyond a cap has us look at each query.
        self._bad_by_party: dict[bytes, list[Contact]] | None = None  # None from when the table changes
        # By packed ID, the latest last: newcomers to full buckets, and who answered under a contact's ID; and when.
        self._waiting: dict[bytes, tuple[Contact, float]] = {}
        self._claims: dict[bytes, tuple[Contact, float]] = {}
        self.changers = Changers(policy)
        self.heard_at: float | None = None  # when anybody else last answered: evidence that the network is up
        self.has_scopes = False  # whether `packed_for` is to be asked: contacts do not mean the same to everybody
        # Answers that are packed already, for those of a scope, and those that are beside us.
        self._visible: dict[tuple[Scope, bool], AnswerCache] = {}
        self.nearest: AnswerCache | None = None  # answers that are packed already; None from when the table changes

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
        if contact.id == self.table.own_id:
            return Refused()
        self.heard_at = now
        incumbent = self.table.get(contact.id)
        if incumbent == contact:
            self._heard(contact, rtt, now)
            return Known()
        if incumbent is not None and not self.meta.is_bad(contact.id):
            return self._claim(contact, incumbent, now)
        cap = self._cap_reached(contact.endpoint, self.table.bucket(contact.id), others_make_way=True)
        predecessor = self.table.at(contact.endpoint)
        if predecessor is not None:  # the node there has changed its ID
            self._remove(predecessor)
            self.changers.gone(predecessor)
        if not self.changers.believes(contact, now):
            return Refused()
        if cap is not None:
            return Crowded(cap)
        if incumbent is not None:
            self._remove(incumbent)
        return self._admit(contact, rtt, now)

    def is_settled(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Whether it is plain that there is nothing to learn about a node that has queried us; else ask `queried`."""
        incumbent = self.table.at(endpoint)
        if incumbent is not None and incumbent.id == id:
            return self.meta.standing(id, now) is Standing.GOOD
        return self.table.turns_away(id, now)

    def queried(self, id: Id, endpoint: Endpoint, now: float) -> bool:
        """Return whether to ping a node that has queried us, to learn if it belongs in the table, or still does.

        Nothing is noted: anybody can forge a query, or send one again.
        """
        incumbent = self.table.get(id)
        if incumbent is not None:
            if incumbent.endpoint != endpoint:
                return self.meta.is_bad(id) or self._is_contestable(id, now)
            return self.meta.standing(id, now) is not Standing.GOOD
        if id == self.table.own_id or self.changers.doubts(id, endpoint, now):
            return False
        bucket = self.table.bucket(id)
        if now < bucket.closed_until:
            return False
        if self.table.has_room(bucket, id) or not self._all_good(bucket, now):
            return self._cap_reached(endpoint, bucket, others_make_way=True) is None
        if self.table.is_whole(bucket):
            bucket.closed_until = bucket.good_until
        return False

    def doubts(self, now: float, contact: Contact) -> bool:
        """Whether the node at an endpoint has another ID by now, for all we know: see `changers`."""
        return self.changers.doubts(contact.id, contact.endpoint, now)

    def timed_out(self, contact: Contact, sent_at: float) -> Contact | None:
        """Take note that a query sent at `sent_at` was not answered; return the contact that is evicted for it.

        It counts only if somebody else has answered since: while the network is down, nobody is to blame. A contact
        that turns bad leaves when another waits for its place, and else stays, as bad, to be tried again.
        """
        if self.table.get(contact.id) != contact or not self.heard_since(sent_at):
            return None
        if not self.meta.timed_out(contact.id):
            return None
        bucket = self.table.bucket(contact.id)
        bucket.changed()
        self._forget_answers()
        newcomer = self._take_claim(contact, bucket) or self._take_waiting(contact, bucket)
        if newcomer is None:
            return None
        self._remove(contact)
        replacement, answered_at = newcomer
        self._insert(replacement, None, answered_at)
        return contact

    def moved(self, id: Id, endpoint: Endpoint) -> None:
        """Take out the contact with this ID, if it is at `endpoint`: another node has answered from there."""
        contact = Contact(id, endpoint)
        if self.table.get(id) == contact:
            self._remove(contact)
            self.changers.gone(contact)

    def restore(self, contact: Contact) -> bool:
        """Put back a contact of an earlier run, as questionable; return whether there was room."""
        if contact.id == self.table.own_id or self.table.get(contact.id) or self.table.at(contact.endpoint):
            return False
        if self._cap_reached(contact.endpoint, self.table.bucket(contact.id), others_make_way=False) is not None:
            return False
        if not self.table.insert(contact):
            return False
        self._diversity.add(contact.endpoint)
        self._forget_answers()
        self.meta.add(contact.id)
        return True

    def live_in(self, own: tuple[bytes, ...]) -> None:
        """Count all contacts anew, since our own networks are others; who is beyond a cap now leaves.

        Those who were heard last stay: after a move, these are the ones that can still be reached.
        """
        contacts = sorted(self.table, key=lambda contact: _age_key(self.meta.get(contact.id)), reverse=True)
        self._own_networks = own
        self._diversity.live_in(own)
        self._forget_answers()
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

    def estimated_size(self, without: Iterable[Contact] = ()) -> int:
        """Return about how many nodes the network has, ourselves included: from how near the K nearest to us are.

        Those `without` which it is to be done do not count.
        """
        passed_over = self.meta.bad.union(packed(contact.id) for contact in without)
        nearest = self.table.closest(self.table.own_id, self._policy.k, passed_over)
        if len(nearest) < self._policy.k:
            return len(nearest) + 1
        return self._codec.traits.keyspace.size * self._policy.k // (nearest[-1].id ^ self.table.own_id)

    def heard_since(self, when: float) -> bool:
        """Whether anybody else has answered after `when`: then the network was up."""
        return self.heard_at is not None and self.heard_at > when

    def answers_us(self, endpoint: Endpoint) -> bool:
        """Whether a contact is there that has answered since this node started, and has not stopped to."""
        contact = self.table.at(endpoint)
        return contact is not None and not self.meta.is_bad(contact.id) and self.meta.get(contact.id).reachable

    def is_live(self, contact: Contact) -> bool:
        """Whether the contact is in the table, at this endpoint, and not bad."""
        return self.table.get(contact.id) == contact and not self.meta.is_bad(contact.id)

    def is_neighbour(self, contact: Contact) -> bool:
        """Whether a contact is among the K nearest to us."""
        return contact in self.closest(self.table.own_id, self._policy.k)

    def standing(self, contact: Contact, now: float) -> Standing:
        """Return the standing of a contact in the table."""
        return self.meta.standing(contact.id, now)

    def latest(self, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad: those that have answered last, the very last one first."""
        live = [contact for contact in self.table if not self.meta.is_bad(contact.id)]
        return sorted(live, key=lambda contact: _age_key(self.meta.get(contact.id)), reverse=True)[:count]

    def stalest(self, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad: those that have not answered for the longest time."""
        live = [contact for contact in self.table if not self.meta.is_bad(contact.id)]
        return sorted(live, key=lambda contact: _age_key(self.meta.get(contact.id)))[:count]

    def are_kin(self, one: Contact, other: Contact) -> bool:
        """Whether two nodes may well be one party's."""
        return self._diversity.are_kin(one.endpoint, other.endpoint)

    def round_trips(self, contact: Contact) -> RoundTrips | None:
        """Return the measured round trips of a contact, if it is in the table."""
        return self.meta.get(contact.id).round_trips if self.table.get(contact.id) == contact else None

    def waiting(self, bucket: Bucket) -> Iterator[Contact]:
        """Yield the newcomers that wait for a place in `bucket`, the latest first."""
        return (contact for contact, _ in reversed(self._waiting.values()) if contact.id in bucket)

    def closest(self, target: Id, count: int) -> list[Contact]:
        """Return up to `count` contacts that are not bad, nearest to `target` first.

        Questionable contacts are not put behind good ones: that would trade the neighbours of a quiet target for
        strangers farther away, and a lookup must end at the same nodes as the publication before it.
        """
        return self.table.closest(target, count, self.meta.bad)

    def packed_closest(self, target: Id) -> PackedContacts:
        """Return the K contacts of `closest` in wire form, in no order; quickly, if the table has not changed."""
        nearest = self.nearest
        if nearest is None:
            live = self._live()
            nearest = self.nearest = self._nearest(live)
            scopes = {scope_of(contact.endpoint) for contact in live}
            self.has_scopes = not scopes.isdisjoint(_LOCAL) or len(scopes) > 1
        return nearest.to(target)

    def packed_for(self, other: Endpoint, target: Id) -> PackedContacts:
        """Return what `packed_closest` does, but only contacts that mean the same machine to who is there as to us."""
        if self.nearest is None or not self.has_scopes:
            nodes = self.packed_closest(target)
            if not self.has_scopes:
                return nodes
        scope = scope_of(other), is_beside(other, self._own_networks)
        nearest = self._visible.get(scope)
        if nearest is None:
            visible = [each for each in self._live() if means_the_same(each.endpoint, other, beside_us=scope[1])]
            nearest = self._visible[scope] = self._nearest(visible)
        return nearest.to(target)

    def _live(self) -> Iterable[Contact]:
        """Return the contacts that are not bad."""
        is_bad = self.meta.is_bad
        return [contact for contact in self.table if not is_bad(contact.id)] if self.meta.bad else self.table

    def _nearest(self, contacts: Iterable[Contact]) -> AnswerCache:
        return AnswerCache(contacts, self._policy.k, self._codec.pack_contacts, self.table.bounds())

    def _all_good(self, bucket: Bucket, now: float) -> bool:
        """Whether nobody in the bucket is questionable or bad. Asked for each query of a stranger, so remembered."""
        if now < bucket.good_until:
            return True
        if any(self.meta.standing(contact.id, now) is not Standing.GOOD for contact in bucket.contacts):
            return False
        bucket.good_until = min((self.meta.good_until(contact.id) for contact in bucket.contacts), default=now)
        return True

    def _heard(self, contact: Contact, rtt: float | None, now: float) -> None:
        if self.meta.is_bad(contact.id):
            self._forget_answers()
        self.meta.answered(contact.id, rtt, now)
        if self._claims:
            self._claims.pop(packed(contact.id), None)
        bucket = self.table.bucket(contact.id)
        bucket.activity = max(bucket.activity, now)  # who has waited for its place answered before others did

    def _claim(self, contact: Contact, incumbent: Contact, now: float) -> Admission:
        """Let a claimant to the ID of `incumbent` wait for whether that one still answers, unless it just has."""
        if not self._is_contestable(contact.id, now):
            return Refused()
        self._claims.pop(packed(contact.id), None)
        self._claims[packed(contact.id)] = contact, now
        if len(self._claims) > self._policy.claims:
            del self._claims[next(iter(self._claims))]
            self.caps_hit[CLAIMS] += 1
        return Contested(incumbent)

    def _is_contestable(self, id: Id, now: float) -> bool:
        heard_at = self.meta.get(id).heard_at
        return heard_at is None or now - heard_at >= self._policy.claim_after

    def _cap_reached(self, endpoint: Endpoint, bucket: Bucket, *, others_make_way: bool) -> str | None:
        """Return, and count, the cap that keeps an endpoint out of a bucket, if one does.

        Where `others_make_way`, bad contacts do not count, nor does one that was at the endpoint under another ID.
        """
        cap = self._diversity.cap_reached(endpoint, bucket.contacts)
        if cap is not None and others_make_way:
            leaving = self._bad_kin(endpoint) if self.meta.bad else []
            predecessor = self.table.at(endpoint)
            if predecessor is not None and predecessor not in leaving:
                leaving.append(predecessor)
            if leaving:
                cap = self._diversity.cap_reached(endpoint, bucket.contacts, leaving)
        if cap is not None:
            self.caps_hit[cap] += 1
        return cap

    def _bad_kin(self, endpoint: Endpoint) -> list[Contact]:
        """Return the bad contacts whose leaving can make room for an endpoint within the caps, in no order."""
        party_of = self._diversity.networks.party
        by_party = self._bad_by_party
        if by_party is None:
            by_party = self._bad_by_party = {}
            for id in self.meta.bad:
                contact = self.table.get(unpacked(id))
                assert contact is not None
                for key in party_of(contact.endpoint) or ():
                    by_party.setdefault(key, []).append(contact)
        party = party_of(endpoint)
        assert party is not None, "nothing keeps it out"
        return list(by_party.get(party[-1], ()))

    def _admit(self, contact: Contact, rtt: float | None, now: float) -> Admission:
        bucket = self.table.bucket(contact.id)
        evicted = None
        if len(bucket.contacts) >= self._policy.k:
            evicted = next((other for other in bucket.contacts if self.meta.is_bad(other.id)), None)
            if evicted is not None:
                self._remove(evicted)
        if self.table.has_room(bucket, contact.id):
            self._make_way(contact.endpoint, bucket)
            self._insert(contact, rtt, now)
            self._waiting.pop(packed(contact.id), None)
            return Inserted() if evicted is None else Replaced(evicted)
        self._wait(contact, bucket, now)
        if self._all_good(bucket, now):
            return Full()
        # None is bad: it would have been evicted.
        questionable = [other for other in bucket.contacts if self.meta.standing(other.id, now) is not Standing.GOOD]
        return Verify(min(questionable, key=lambda other: _age_key(self.meta.get(other.id))))

    def _make_way(self, endpoint: Endpoint, bucket: Bucket) -> None:
        """Take out the bad contacts in whose place a newcomer comes that is within the limits without them."""
        reached = self._diversity.cap_reached
        while (cap := reached(endpoint, bucket.contacts)) is not None:
            bad = (contact for contact in self.table if self.meta.is_bad(contact.id))  # who came first leaves first
            self._remove(next(one for one in bad if reached(endpoint, bucket.contacts, [one]) != cap))

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
        self._claims.pop(packed(contact.id), None)

    def _forget_answers(self) -> None:
        """Make answers anew: a contact has entered or left the table, turned bad, or recovered."""
        self.nearest = None
        self._visible.clear()
        self._bad_by_party = None

    def _wait(self, contact: Contact, bucket: Bucket, now: float) -> None:
        self._waiting.pop(packed(contact.id), None)
        self._waiting[packed(contact.id)] = contact, now
        low, high = bucket.low, bucket.high
        in_line = [other for other, _ in self._waiting.values() if low <= other.id <= high]
        kin = [other for other in in_line if self._diversity.are_kin(contact.endpoint, other.endpoint)]
        if len(kin) > self._policy.contacts_per_network_in_bucket:
            del self._waiting[packed(kin[0].id)]
            self.caps_hit[CONTACTS_PER_NETWORK_IN_BUCKET] += 1
        elif len(in_line) > self._policy.replacements:
            del self._waiting[packed(in_line[0].id)]
            self.caps_hit[REPLACEMENTS] += 1

    def _take_claim(self, incumbent: Contact, bucket: Bucket) -> tuple[Contact, float] | None:
        """Take who claims the ID of an incumbent that has turned bad, if it may have a place."""
        claim = self._claims.pop(packed(incumbent.id), None)
        if claim is None or self.table.at(claim[0].endpoint) is not None:
            return None
        return claim if self._has_share(claim[0], incumbent, bucket) else None

    def _take_waiting(self, leaving: Contact, bucket: Bucket) -> tuple[Contact, float] | None:
        """Take the newcomer that has answered last of those in line, and is not in the table by another way."""
        for contact in list(self.waiting(bucket)):
            newcomer = self._waiting.pop(packed(contact.id))
            is_new = self.table.get(contact.id) is None and self.table.at(contact.endpoint) is None
            if is_new and self._has_share(contact, leaving, bucket):
                return newcomer
        return None

    def _has_share(self, newcomer: Contact, leaving: Contact, bucket: Bucket) -> bool:
        """Whether a newcomer may come in for one who leaves, by the limits for its address and network."""
        return self._diversity.cap_reached(newcomer.endpoint, bucket.contacts, [leaving]) is None


def _age_key(record: History) -> float:
    return float("-inf") if record.heard_at is None else record.heard_at

"""Whether the table has room for an endpoint, by what `diversity` allows its party, and which contacts make way.

A bad contact stays in the table while no other contact wants its place. So it counts for the caps only against
contacts that it need not give way to.
"""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import unpacked
from dhtd.core.messages import Contact
from dhtd.core.routing.diversity import Diversity
from dhtd.core.routing.standing import Standings
from dhtd.core.routing.table import Bucket, RoutingTable


class Room:
    """The caps on parties, with bad contacts left out where they would make way."""

    __slots__ = ("_bad_by_party", "_caps_hit", "_diversity", "_standings", "_table")

    def __init__(
        self, table: RoutingTable, standings: Standings, diversity: Diversity, caps_hit: dict[str, int]
    ) -> None:
        self._table = table
        self._standings = standings
        self._diversity = diversity
        self._caps_hit = caps_hit
        # The bad contacts of each party: a table may have hundreds, and each query from a party beyond its cap asks.
        self._bad_by_party: dict[bytes, list[Contact]] | None = None  # None from when the table changes

    def forget(self) -> None:
        """The table has changed, or the standing of a contact."""
        self._bad_by_party = None

    def cap_reached(self, endpoint: Endpoint, bucket: Bucket, *, others_make_way: bool) -> str | None:
        """Return, and count, the cap that keeps an endpoint out of a bucket, if one does.

        Where `others_make_way`, two kinds of contacts do not count: bad ones, and one at the endpoint with another ID.
        """
        cap = self._diversity.cap_reached(endpoint, bucket.contacts)
        if cap is not None and others_make_way:
            leaving = self._bad_kin(endpoint) if self._standings.bad else []
            predecessor = self._table.at(endpoint)
            if predecessor is not None and predecessor not in leaving:
                leaving.append(predecessor)
            if leaving:
                cap = self._diversity.cap_reached(endpoint, bucket.contacts, leaving)
        if cap is not None:
            self._caps_hit[cap] += 1
        return cap

    def has_share(self, newcomer: Contact, leaving: Contact, bucket: Bucket) -> bool:
        """Whether a newcomer may take the place of one that leaves, by the caps on its address and network."""
        return self._diversity.cap_reached(newcomer.endpoint, bucket.contacts, [leaving]) is None

    def next_to_make_way(self, endpoint: Endpoint, bucket: Bucket) -> Contact | None:
        """Return a bad contact that has to leave before the endpoint is within the caps; None where it is."""
        reached = self._diversity.cap_reached
        cap = reached(endpoint, bucket.contacts)
        if cap is None:
            return None
        bad = (contact for contact in self._table if self._standings.is_bad(contact.id))  # the first to come leaves
        return next(one for one in bad if reached(endpoint, bucket.contacts, [one]) != cap)

    def _bad_kin(self, endpoint: Endpoint) -> list[Contact]:
        """Return the bad contacts whose leaving can make room for an endpoint within the caps, in no order."""
        party_of = self._diversity.networks.party
        by_party = self._bad_by_party
        if by_party is None:
            by_party = self._bad_by_party = {}
            for id in self._standings.bad:
                contact = self._table.get(unpacked(id))
                assert contact is not None
                for key in party_of(contact.endpoint) or ():
                    by_party.setdefault(key, []).append(contact)
        party = party_of(endpoint)
        assert party is not None, "no cap keeps it out"
        return list(by_party.get(party[-1], ()))

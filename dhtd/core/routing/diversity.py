"""How many places one party may hold: in the routing table, in one of its buckets, and in one lookup.

IDs are free, and addresses are not, so addresses are counted. Otherwise one machine with enough made-up IDs would fill
a table, or the neighbourhood of a key. The numbers are those of Kad and of Ethereum's discovery (one contact an
address, 2 of a /24 in a bucket, 10 in the table); libtorrent allows one of a /24 in a bucket or a lookup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dhtd.core.address_groups import Party, network_of, outside, site_of
from dhtd.core.counters import (
    CONTACTS_PER_IP,
    CONTACTS_PER_NETWORK,
    CONTACTS_PER_NETWORK_IN_BUCKET,
    LOOKUP_PER_IP,
    LOOKUP_PER_NETWORK,
)
from dhtd.core.endpoint import IPV4_SIZE, Endpoint
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy


class Diversity:
    """How many contacts of the table each party has: in step with the table by `add` and `remove`, in constant time."""

    __slots__ = ("_counts", "_policy", "_shares", "networks")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.networks = outside(policy.exempt_networks, policy.own_networks, sites=bool(policy.site_share))
        self._shares = (1, policy.site_share)  # of a network and of a site, as multiples
        self._counts: dict[bytes, int] = {}  # by address, and by network

    def live_in(self, own: tuple[bytes, ...]) -> None:
        """Count by other networks of our own from now on, beginning with none."""
        self.networks = outside(self._policy.exempt_networks, own, sites=bool(self._policy.site_share))
        self._counts.clear()

    def add(self, endpoint: Endpoint) -> None:
        """Count a contact that has entered the table."""
        for party in self.networks.party(endpoint) or ():
            self._counts[party] = self._counts.get(party, 0) + 1

    def remove(self, endpoint: Endpoint) -> None:
        """Stop counting a contact that left the table."""
        for party in self.networks.party(endpoint) or ():
            self._counts[party] -= 1
            if not self._counts[party]:
                del self._counts[party]

    def cap_reached(self, endpoint: Endpoint, bucket: Iterable[Contact], leaving: Sequence[Contact] = ()) -> str | None:
        """Return the name of the cap that keeps `endpoint` out of this bucket of the table, if one does.

        Contacts that are `leaving`, or could be made to, do not count.
        """
        party = self.networks.party(endpoint)
        if party is None:
            return None
        counts = [self._counts.get(each, 0) for each in party]
        for contact in leaving:
            other = self.networks.party(contact.endpoint)
            if other is not None:
                counts = [count - (each in other) for count, each in zip(counts, party, strict=True)]
        policy = self._policy
        if counts[0] >= policy.contacts_per_ip:
            return CONTACTS_PER_IP
        if any(
            count >= policy.contacts_per_network * share for share, count in zip(self._shares, counts[1:], strict=False)
        ):
            return CONTACTS_PER_NETWORK
        if all(
            count < policy.contacts_per_network_in_bucket * share
            for share, count in zip(self._shares, counts[1:], strict=False)
        ):
            return None  # without looking at the bucket: no more of them are there than in the table
        prefix = network_of(endpoint) if len(endpoint) == IPV4_SIZE else site_of(endpoint)
        beside = [other for other in bucket if other.endpoint.startswith(prefix) and other not in leaving]
        parties = [other for contact in beside if (other := self.networks.party(contact.endpoint))]
        for share, network in zip(self._shares, party[1:], strict=False):
            if sum(network in other for other in parties) >= policy.contacts_per_network_in_bucket * share:
                return CONTACTS_PER_NETWORK_IN_BUCKET
        return None

    def are_kin(self, one: Endpoint, other: Endpoint) -> bool:
        """Whether two endpoints are in one network, and limited for that."""
        one_party, other_party = self.networks.party(one), self.networks.party(other)
        return one_party is not None and other_party is not None and one_party[1] == other_party[1]

    def kin(self, endpoint: Endpoint, others: Iterable[Contact]) -> list[Contact]:
        """Return those of the contacts that are in one network with `endpoint`, and limited for that."""
        if self.networks.is_exempt(endpoint):
            return []
        return [other for other in others if self.are_kin(endpoint, other.endpoint)]


class Quota:
    """The places of one lookup: each party has its share of the nodes that are asked, or have answered."""

    __slots__ = ("_held", "_policy", "_shares")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._shares = (1, policy.site_share)
        self._held: dict[bytes, int] = {}

    def hold(self, party: Party | None) -> None:
        """Count a place that is taken."""
        for key in party or ():
            self._held[key] = self._held.get(key, 0) + 1

    def free(self, party: Party | None) -> None:
        """Count a place that is given up."""
        for key in party or ():
            self._held[key] -= 1

    def has_place(self, party: Party) -> bool:
        """Whether the party's network, or its site, has a place."""
        return any(self._held.get(network, 0) for network in party[1:])

    def cap_reached(self, party: Party | None) -> str | None:
        """Return the name of the cap that leaves no place for the party, if one does."""
        if party is None:
            return None
        if self._held.get(party[0], 0) >= self._policy.lookup_per_ip:
            return LOOKUP_PER_IP
        for share, network in zip(self._shares, party[1:], strict=False):
            if self._held.get(network, 0) >= self._policy.lookup_per_network * share:
                return LOOKUP_PER_NETWORK
        return None

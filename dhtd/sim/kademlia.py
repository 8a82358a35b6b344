"""Kademlia as an overlay: the real node, what is in its state file, and what must hold of it at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace, packed
from dhtd.core.messages import METHODS, Contact, Find, Get, Query, Renew, Watch
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.publishing.sightings import Seen
from dhtd.core.routing.overlay import Overlay
from dhtd.sim import sayings
from dhtd.sim.overlay import Member, Metric, Sizes
from dhtd.sim.saved import Holding, Saved

_SLACK = 1e-6  # seconds: clocks that have jumped are sums, and sums are rounded
_FEW = 1_000  # entries that are looked at one by one
_PUBLICATION = 15 * 60.0  # seconds that a publication may take that has to wait for others, or for a network


class Kademlia:
    """Networks of the node that `dhtd start` runs."""

    metric = Metric.XOR

    def __init__(self, codec: Codec, dual_codec: Codec, policy: Policy) -> None:
        """`dual_codec` is for machines that speak both families."""
        self.codec = codec
        self._dual_codec = dual_codec
        self._policy = policy
        self._sure = min(policy.datagram_sent_max, policy.datagram_value_max)  # bytes of an answer that may be given

    @property
    def keyspace(self) -> Keyspace:
        """The keyspace of the wire."""
        return self.codec.traits.keyspace

    def member(self, id: Id, endpoints: tuple[Endpoint, ...], rng: Random, now: float, session: bytes | None) -> Node:
        """Make a node."""
        codec = self.codec if len(endpoints) == 1 else self._dual_codec
        families = [endpoint.family for endpoint in endpoints]
        return Node(
            id, codec, rng=rng, now=now, policy=self._policy, families=families, local=endpoints, session=session
        )

    def save(self, member: Member, clock: float, late: float) -> Saved:
        """Return the node's state file."""
        node = _node(member)
        own = tuple(entry.record_key for entry in node.own_records)
        held = tuple(node.store)
        entries = dict.fromkeys((*own, *node.withdrawals.entries()))
        holders = tuple(
            Holding(entry, contact, until + late, _later(node.publisher.seen_by(entry, contact.endpoint), late))
            for entry in entries
            for contact, until in node.publisher.holders(entry, clock).items()
        )
        return Saved(node.own_id, tuple(node.overlays.contacts()), own, held, holders, node.publisher.lease.session)

    def load(self, member: Member, saved: Saved, clock: float, late: float) -> None:
        """Put back what was saved."""
        node = _node(member)
        for contact in saved.contacts:
            node.overlays.restore(contact)
        for record_key in saved.own:
            node.publisher.restore_own(record_key, clock)
        for each in saved.holders:
            seen = _later(each.seen, -late)
            node.publisher.restore_holder(each.record_key, each.contact, each.until - late, clock, seen)
        for entry in saved.held:
            node.store.restore(entry, clock)

    def contacts(self, member: Member) -> Sequence[Contact]:
        """Return the routing table."""
        return list(_node(member).state.table)

    def say_goodbye(self, member: Member, now: float) -> None:
        """Have the holders of its entries drop them. Others that it holds entries for are told nothing."""
        node = _node(member)
        node.watching.own.end_all(now)
        node.publisher.heartbeats.say_goodbye(0, now)

    def has_gone(self, member: Member) -> bool:
        """Whether all holders have answered, or are given up."""
        return not _node(member).publisher.heartbeats.is_saying_goodbye

    def renewals(self, member: Member) -> int:
        """Return how many renewals have arrived."""
        return _node(member).counters.queries_received[METHODS[Renew]]

    def check(self, member: Member, endpoints: tuple[Endpoint, ...], clock: float, *, has_jumped: bool) -> None:
        """The table, the store and the own entries are in order."""
        node = _node(member)
        for overlay in node.overlays:
            _check_table(node, overlay, endpoints)
        _check_store(node, clock)
        _check_own(node, clock, has_jumped=has_jumped)

    def check_answer(self, query: bytes, answer: bytes) -> None:
        """No answer is too long for its datagram, or for a query without a token."""
        if len(answer) > self._sure or len(answer) > self._policy.amplification * len(query):
            check_answer(self.codec, self._policy, query, answer)

    def sizes(self, member: Member) -> Sizes:
        """Return how much a node knows."""
        node = _node(member)
        table = node.state.table
        return Sizes(len(table), len(table.buckets), len(node.own_records), len(node.store))

    def told(self, data: bytes) -> str:
        """Return what a datagram says."""
        return sayings.told(self.codec, data)


def check_answer(codec: Codec, policy: Policy, query: bytes, answer: bytes) -> None:
    """No answer is too long for a datagram, or too long for a query without a token, if there is no budget for that."""
    assert len(answer) <= policy.datagram_value_max, f"an answer of {len(answer)} bytes"
    is_long = len(answer) > policy.datagram_sent_max
    if is_long or len(answer) > policy.amplification * len(query):
        message = codec.decode(query)
        assert isinstance(message, Query)
        assert isinstance(message.request, Get if is_long else Find | Watch), f"an answer of {len(answer)} bytes"
        assert policy.spare_bytes or message.request.token is not None, (
            f"{len(answer)} bytes answer {len(query)} of a stranger"
        )


def _node(member: Member) -> Node:
    assert isinstance(member, Node)
    return member


def _later(seen: Seen, seconds: float) -> Seen:
    return tuple((ip, until + seconds) for ip, until in seen)


def _check_table(node: Node, overlay: Overlay, endpoints: tuple[Endpoint, ...]) -> None:
    table = overlay.state.table
    policy = node.policy
    contacts = list(table)
    ids = {packed(contact.id) for contact in contacts}
    assert len(ids) == len({contact.endpoint for contact in contacts}) == len(contacts), "a contact is there twice"
    assert packed(node.own_id) not in ids, "the own ID is in the table"
    assert not {contact.endpoint for contact in contacts} & set(endpoints), "an own endpoint is in the table"
    assert all(len(contact.endpoint) == overlay.family for contact in contacts), "a contact is of another family"
    buckets = table.buckets
    assert buckets[0].low == 0, "the ranges do not begin at 0"
    assert buckets[-1].high == node.codec.traits.keyspace.size - 1, "the ranges do not end with the keyspace"
    for lower, upper in pairwise(buckets):
        assert lower.high + 1 == upper.low, "two ranges overlap, or leave a gap"
    for bucket in buckets:
        assert len(bucket.contacts) <= policy.k, "a bucket holds more than K"
        assert all(bucket.low <= contact.id <= bucket.high for contact in bucket.contacts), "a contact is misplaced"
    assert sum(len(bucket.contacts) for bucket in buckets) == len(contacts), "buckets and index differ"


def _check_store(node: Node, clock: float) -> None:
    store, policy = node.store, node.policy
    assert len(store) <= policy.store_entries, "the store is over its quota"
    held = 0
    for entry in store:
        held += 1
        assert entry.expires_at <= clock + entry.lease + _SLACK, "an entry is held too long"
        assert entry.expires_at + policy.store_sweep + 1 > clock, "an expired entry was not swept"
        if held > _FEW:
            return
    assert held == len(store), "the store miscounts"


def _check_own(node: Node, clock: float, *, has_jumped: bool) -> None:
    policy = node.policy
    if len(node.own_records) > _FEW or has_jumped:
        return  # so many wait for each other, and a suspended machine has published nothing meanwhile
    overdue = policy.republish * (1 + policy.republish_jitter) + _PUBLICATION
    for entry in node.own_records:
        if entry.published_at is not None:
            assert entry.published_at + overdue > clock, "an own entry is not published any more"

"""What must hold of every node at any moment, whatever its network does to it. The node's own code has no part in it.

A breach is an `AssertionError`. The simulation adds its seed and the number of the event.
"""

from __future__ import annotations

from itertools import pairwise

from dhtd.core.codec import Codec
from dhtd.core.ids import packed
from dhtd.core.messages import Find, Get, Query, Watch
from dhtd.core.policy import Policy
from dhtd.core.routing.overlay import Overlay
from dhtd.sim.host import Host

_SLACK = 1e-6  # seconds: clocks that have jumped are sums, and sums are rounded
_FEW = 1_000  # entries that are looked at one by one
_PUBLICATION = 15 * 60.0  # seconds that a publication may take that has to wait for others, or for a network


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


def check_host(host: Host, now: float) -> None:
    """The table, the store, the own entries and the timers of a live host are in order."""
    clock = host.clock(now)
    for overlay in host.node.overlays:
        _check_table(host, overlay)
    _check_store(host, clock)
    _check_own(host, clock)
    deadline = host.node.poll_timeout()
    planned = host.wake_at
    assert deadline is None or (planned is not None and planned <= deadline - host.ahead + _SLACK), (
        "a timer is forgotten"
    )


def _check_table(host: Host, overlay: Overlay) -> None:
    table = overlay.state.table
    policy = host.node.policy
    contacts = list(table)
    ids = {packed(contact.id) for contact in contacts}
    assert len(ids) == len({contact.endpoint for contact in contacts}) == len(contacts), "a contact is there twice"
    assert packed(host.id) not in ids, "the own ID is in the table"
    assert not {contact.endpoint for contact in contacts} & set(host.endpoints), "an own endpoint is in the table"
    assert all(len(contact.endpoint) == overlay.family for contact in contacts), "a contact is of another family"
    buckets = table.buckets
    assert buckets[0].low == 0, "the ranges do not begin at 0"
    assert buckets[-1].high == host.node.codec.traits.keyspace.size - 1, "the ranges do not end with the keyspace"
    for lower, upper in pairwise(buckets):
        assert lower.high + 1 == upper.low, "two ranges overlap, or leave a gap"
    for bucket in buckets:
        assert len(bucket.contacts) <= policy.k, "a bucket holds more than K"
        assert all(bucket.low <= contact.id <= bucket.high for contact in bucket.contacts), "a contact is misplaced"
    assert sum(len(bucket.contacts) for bucket in buckets) == len(contacts), "buckets and index differ"


def _check_store(host: Host, clock: float) -> None:
    store, policy = host.node.store, host.node.policy
    assert len(store) <= policy.store_entries, "the store is over its quota"
    held = 0
    for entry in store:
        held += 1
        assert entry.expires_at <= clock + entry.lease + _SLACK, "an entry is held too long"
        assert entry.expires_at + policy.store_sweep + 1 > clock, "an expired entry was not swept"
        if held > _FEW:
            return
    assert held == len(store), "the store miscounts"


def _check_own(host: Host, clock: float) -> None:
    policy = host.node.policy
    if len(host.node.own_records) > _FEW or host.ahead:
        return  # so many wait for each other, and a suspended machine has published nothing meanwhile
    overdue = policy.republish * (1 + policy.republish_jitter) + _PUBLICATION
    for entry in host.node.own_records:
        if entry.published_at is not None:
            assert entry.published_at + overdue > clock, "an own entry is not published any more"

"""Which own entries a contact concerns."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from random import Random

import pytest

from dhtd.core.ids import NATIVE, Id, closest
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.walks import STEP
from tests.core.publishing.hurried import REPLICAS, make, publish
from tests.core.small import contact, endpoint
from tests.records import own_key


@pytest.mark.no_cover
def test_a_contact_hurries_each_entry_in_reach_once() -> None:
    records, rng = make(replace(DEFAULT, newcomer_credit=2_000)), Random(2)
    nodes = [Contact(NATIVE.random(rng), endpoint(number)) for number in range(300)]
    for _ in range(2_000):
        key = NATIVE.random(rng)
        publish(records, records.add(own_key(key, 80)), 0.0, closest(nodes, key, 8))
    concerned = 0
    for number in range(100):
        node = Contact(NATIVE.random(rng), endpoint(1_000 + number))
        near = list(records.reach.of(node))
        concerned += len(near)
        records.hurrying.contact_stayed(node, 1.0, 1.0)
        assert not list(records.reach.of(node))
    assert 10 < concerned / 100 < 60  # 8 in 300 of 2,000 are 53, and fewer when some are hurried


@pytest.mark.no_cover
def test_a_contact_copies_no_list_of_entries() -> None:
    """In a network of few nodes, every contact concerns every entry."""
    records = make(replace(DEFAULT, newcomer_credit=0))
    for number in range(20 * STEP):
        publish(records, records.add(own_key(Id(number << 64), 80)), 0.0, REPLICAS[:1])
    stranger = contact(9)
    tracemalloc.start()
    try:
        assert not records.hurrying.holds(stranger)
        records.hurrying.contact_joined(stranger, 1.0)
        assert tracemalloc.get_traced_memory()[1] < 8 * STEP
    finally:
        tracemalloc.stop()

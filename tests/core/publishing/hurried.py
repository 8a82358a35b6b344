"""Own records with all that moves their timers, as a publisher has them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from dhtd.core.endpoint import Family
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.upheavals import Upheavals
from dhtd.sim.json_codec import JsonCodec
from tests.core.small import contact

KEY = Id(0)
BARE = JsonCodec(NATIVE, bare=True).traits
REPLICAS = [contact(id) for id in range(1, 9)]


class HurriedRecords(OwnRecords):
    """Own records, and the news that hurries them; on a wire without leases."""

    def __init__(self, rng: Random, policy: Policy = DEFAULT, families: Iterable[Family] = Family) -> None:
        lease = OwnLease(b"", BARE, policy)
        super().__init__(rng, policy, lease, families)
        self.hurrying = Hurrying(self, policy, lease)
        self.upheavals = Upheavals(self, policy)


def make(policy: Policy = DEFAULT) -> HurriedRecords:
    return HurriedRecords(Random(1), policy)


def publish(records: OwnRecords, entry: OwnEntry, now: float, replicas: list[Contact] = REPLICAS) -> None:
    records.began(entry, 0.0)
    records.published(entry.record_key, replicas, now)

"""Own records with all that moves their timers, as a publisher has them."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.upheavals import Upheavals
from tests.core.small import contact

KEY = Id(0)
REPLICAS = [contact(id) for id in range(1, 9)]


class HurriedRecords(OwnRecords):
    """Own records, and the news that hurries them."""

    def __init__(self, rng: Random, policy: Policy = DEFAULT, families: Iterable[Family] = Family) -> None:
        super().__init__(rng, policy, families)
        self.hurrying = Hurrying(self, policy)
        self.upheavals = Upheavals(self, policy)


def make(policy: Policy = DEFAULT) -> HurriedRecords:
    return HurriedRecords(Random(1), policy)


def publish(records: OwnRecords, entry: OwnEntry, now: float, replicas: list[Contact] = REPLICAS) -> None:
    records.began(entry, 0.0)
    records.published(entry.record_key, replicas, now)

"""Nodes that change their IDs make an owner publish little more: counted, with and without them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from dhtd.core.messages import Contact
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.records import RecordKey
from tests.bench.republish import sent


@pytest.mark.slow
def test_id_changes_hasten_few_publications(
    figure: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = 0
    published = OwnRecords.published

    def counted(
        self: OwnRecords, record_key: RecordKey, replicas: Iterable[Contact], now: float, *, refused: bool
    ) -> None:
        nonlocal hurried
        entry = self.get(record_key)
        hurried += entry is not None and entry.hurried
        published(self, record_key, replicas, now, refused=refused)

    monkeypatch.setattr(OwnRecords, "published", counted)
    calm = sent(1, nodes=50, entries=15, minutes=20, changing=False)
    assert hurried == 0
    changing = sent(1, nodes=50, entries=15, minutes=20, changing=True)
    figure("publications that nodes with new IDs have hurried, of 15 entries in 20 minutes", hurried)
    figure("queries sent, in parts of those without them", round(changing / calm, 2))
    assert hurried <= 4 + 15 / 4 + 1
    assert changing <= 1.4 * calm

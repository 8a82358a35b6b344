"""How many entries new contacts may hurry."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Family
from dhtd.core.policy import DEFAULT
from tests.core.publishing.hurried import KEY, REPLICAS, make, publish
from tests.core.small import contact
from tests.records import own_key


def test_four_unhurried_publications_earn_one_credit() -> None:
    records = make()
    entries = [records.add(own_key(KEY, port)) for port in range(1, 41)]
    for entry in entries:
        publish(records, entry, 0.0)

    def hurried(now: float) -> int:
        records.hurrying.contact_stayed(contact(7, machine=99), now, now)
        return sum(entry.hurried for entry in entries)

    assert [hurried(1.0), hurried(1.0)] == [4, 4]
    for entry in entries:
        publish(records, entry, 900.0)
    assert hurried(900.0) == 36 // 4
    for _ in range(50):
        for entry in entries:
            publish(records, entry, 1_000.0)
    assert hurried(1_000.0) == 10  # however much is published, the credit is for a quarter of the entries


def test_an_unheld_entry_needs_no_credit() -> None:
    records = make()
    entries = [records.add(own_key(KEY, port)) for port in range(1, 41)]
    for entry in entries:
        publish(records, entry, 0.0, [])
    records.hurrying.contact_joined(contact(7), 1.0)
    assert all(entry.hurried for entry in entries)


def test_losses_and_growth_need_no_credit() -> None:
    for news in ("losses", "growth"):
        records = make(replace(DEFAULT, newcomer_credit=0))
        entry = records.add(own_key(KEY, 80))
        publish(records, entry, 0.0)
        records.hurrying.contact_stayed(contact(7, machine=99), 1.0, 1.0)
        assert not entry.hurried
        if news == "losses":
            for replica in REPLICAS[:4]:
                records.hurrying.holder_lost(replica, 1.0)
        else:
            records.hurrying.network_has(2, Family.IPV4, 1.0)
        assert entry.hurried

"""Held records by source: leases of one address, and the records of a crowded key."""

from __future__ import annotations

from dhtd.core.endpoint import Endpoint
from dhtd.core.storage.leases import Entry, Lease
from dhtd.core.storage.sources import Crowd, Sources

HERE, THERE = Endpoint.of("10.0.0.1", 80), Endpoint.of("10.0.0.2", 80)
SIX, BESIDE_SIX = Endpoint.of("2001:db8::1", 80), Endpoint.of("2001:db8::2", 80)  # of one /64


def entry(lease: Lease, endpoint: Endpoint = HERE, key: bytes = b"k") -> Entry:
    return lease, key, endpoint


def lease_of(session: int | None) -> Lease:
    return Lease(session, 60, 60.0)


def test_a_lease_is_found_by_address_and_session() -> None:
    sources, lease = Sources(), lease_of(1)
    assert sources.lease(HERE.ip, 1) is None
    sources.add(entry(lease))
    assert sources.lease(HERE.ip, 1) is lease
    assert sources.lease(HERE.ip, 2) is sources.lease(HERE.ip, None) is sources.lease(THERE.ip, 1) is None


def test_several_leases_of_a_source_are_told_apart() -> None:
    sources, one, two, six = Sources(), lease_of(1), lease_of(2), lease_of(1)
    for each in (entry(one), entry(two), entry(one, key=b"l"), entry(six, SIX), entry(lease_of(2), BESIDE_SIX)):
        sources.add(each)
    assert (sources.lease(HERE.ip, 1), sources.lease(HERE.ip, 2), sources.lease(SIX.ip, 1)) == (one, two, six)
    assert sources.lease(BESIDE_SIX.ip, 1) is sources.lease(SIX.ip, 2) is sources.lease(HERE.ip, 3) is None
    assert [sources.size(each.ip) for each in (HERE, THERE, SIX, BESIDE_SIX)] == [3, 0, 2, 2]


def test_a_lease_without_records_is_forgotten() -> None:
    sources, one, two = Sources(), lease_of(1), lease_of(2)
    entries = [entry(one), entry(one, key=b"l"), entry(two)]
    for each in entries:
        sources.add(each)
    sources.drop(entries[0])
    assert (list(one), sources.size(HERE.ip), sources.shares.most) == ([entries[1]], 2, 2)
    sources.drop(entries[1])
    assert (sources.lease(HERE.ip, 1), sources.lease(HERE.ip, 2), sources.size(HERE.ip)) == (None, two, 1)
    sources.drop(entries[2])
    assert (sources.size(HERE.ip), sources.shares.most, sources._sources) == (0, 0, {})


def test_records_without_sessions_have_leases_of_their_own() -> None:
    sources = Sources()
    entries = [entry(lease_of(None), key=key) for key in (b"k", b"l", b"m")]
    for each in entries:
        sources.add(each)
    assert sources.size(HERE.ip) == 3
    sources.drop(entries[0])
    assert sources.loser(THERE.ip) == entries[1]
    sources.drop(entries[1])
    assert (sources.size(HERE.ip), sources.loser(THERE.ip)) == (1, None)


def test_the_first_record_of_the_first_lease_gives_way() -> None:
    sources, one, two = Sources(), lease_of(1), lease_of(2)
    entries = [entry(one, key=b"k"), entry(two, key=b"l"), entry(one, key=b"m")]
    for each in entries:
        sources.add(each)
    assert sources.loser(THERE.ip) == entries[0]
    sources.add(entry(lease_of(1), THERE))
    sources.add(entry(lease_of(2), THERE))
    assert sources.loser(THERE.ip) is None


def test_a_crowd_counts_the_records_of_each_source() -> None:
    crowd, one = Crowd(), lease_of(1)
    entries = [entry(one), entry(one, HERE.with_port(81)), entry(lease_of(1), THERE)]
    for each in entries:
        crowd.add(each)
    assert crowd.loser(SIX.ip) == entries[0]
    assert crowd.loser(THERE.ip) is None
    crowd.drop(entries[0])
    assert crowd.loser(SIX.ip) is None
    for each in entries[1:]:
        crowd.drop(each)
    assert (crowd._sources, crowd.shares.most) == ({}, 0)


def test_a_lease_keeps_its_records_in_order() -> None:
    lease = lease_of(1)
    assert (len(lease), list(lease)) == (0, [])
    entries = [entry(lease, key=key) for key in (b"k", b"l", b"m")]
    for number, each in enumerate(entries, 1):
        lease.add(each)
        assert (len(lease), list(lease), lease.first()) == (number, entries[:number], entries[0])
    lease.drop(entries[0])
    lease.drop(entries[2])
    assert (list(lease), lease.first()) == ([entries[1]], entries[1])
    lease.drop(entries[1])
    assert len(lease) == 0

"""Fair shares: the source with most entries gives way, by the entry that expires first."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.storage.fair_shares import Entry, FairShares

ONE, OTHER, NEW = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), bytes((10, 0, 0, 3))


class Pool:
    """Holds records, and tells its shares of each change, after it."""

    def __init__(self) -> None:
        self.held: dict[tuple[bytes, Endpoint], Entry] = {}
        self._taken = 0
        self.shares = FairShares(lambda record: self.held.get(record[1:]))

    def add(self, ip: bytes, *expiries: float) -> list[Entry]:
        """Take a new record of a source for each of these expiries."""
        records = []
        for expiry in expiries:
            self._taken += 1
            record = (expiry, b"%d" % self._taken, Endpoint(ip + b"\0P"))
            self.held[record[1:]] = record
            self.shares.add(record)
            records.append(record)
        return records

    def renew(self, old: Entry, expiry: float) -> Entry:
        record = self.held[old[1:]] = (expiry, *old[1:])
        self.shares.renew(old, record)
        return record

    def drop(self, record: Entry) -> None:
        del self.held[record[1:]]
        self.shares.drop(record)

    def loser(self, ip: bytes = NEW) -> Entry | None:
        return self.shares.loser(ip)


def test_an_empty_pool_has_nothing_to_give() -> None:
    pool = Pool()
    assert (pool.shares.most, pool.shares.has_more_than_fair, pool.shares.size(ONE)) == (0, False, 0)
    assert pool.loser() is None


def test_a_source_with_one_record_gives_way_to_nobody() -> None:
    pool = Pool()
    pool.add(ONE, 5.0)
    assert (pool.shares.most, pool.shares.has_more_than_fair, pool.shares.size(ONE)) == (1, False, 1)
    assert pool.loser() is None


@pytest.mark.parametrize("expiries", [(10.0, 20.0), (20.0, 10.0), (20.0, 30.0, 10.0), (30.0, 20.0, 10.0)])
def test_the_record_that_expires_first_gives_way(expiries: tuple[float, ...]) -> None:
    pool = Pool()
    records = pool.add(ONE, *expiries)
    assert pool.shares.has_more_than_fair
    assert pool.loser() == min(records)


def test_a_source_keeps_as_many_as_the_newcomer_has() -> None:
    pool = Pool()
    first, _ = pool.add(ONE, 1.0, 2.0)
    pool.add(OTHER, 3.0)
    assert pool.loser(OTHER) is None
    pool.add(ONE, 4.0)
    assert pool.loser(OTHER) == first
    assert pool.loser(ONE) is None


def test_the_source_with_most_gives_way() -> None:
    pool = Pool()
    pool.add(ONE, 1.0, 2.0)
    first, *_ = pool.add(OTHER, 7.0, 8.0, 9.0)
    assert pool.shares.most == 3
    assert pool.loser() == first


def test_of_equals_the_last_to_become_so_gives_way() -> None:
    pool = Pool()
    first, _ = pool.add(ONE, 1.0, 2.0)
    other, _ = pool.add(OTHER, 3.0, 4.0)
    assert pool.loser() == other
    assert pool.loser() == other  # asking changes nothing
    [third] = pool.add(ONE, 5.0)
    pool.drop(third)
    assert pool.loser() == first


def test_a_renewed_record_gives_way_later() -> None:
    pool = Pool()
    first, second = pool.add(ONE, 1.0, 2.0)
    first = pool.renew(first, 3.0)
    assert pool.loser() == second
    pool.renew(second, 4.0)
    assert pool.loser() == first


def test_a_record_renewed_for_less_gives_way_sooner() -> None:
    pool = Pool()
    _, second = pool.add(ONE, 1.0, 2.0)
    second = pool.renew(second, 0.5)
    assert pool.loser() == second


def test_a_single_record_may_be_renewed() -> None:
    pool = Pool()
    [only] = pool.add(ONE, 1.0)
    pool.renew(only, 9.0)
    [second] = pool.add(ONE, 5.0)
    assert pool.loser() == second


def test_dropped_records_are_passed_over() -> None:
    pool = Pool()
    first, second, third = pool.add(ONE, 1.0, 2.0, 3.0)
    pool.drop(first)
    assert (pool.shares.most, pool.shares.size(ONE)) == (2, 2)
    assert pool.loser() == second
    pool.drop(second)
    assert (pool.shares.most, pool.shares.size(ONE), pool.loser()) == (1, 1, None)
    pool.drop(third)
    assert (pool.shares.most, pool.shares.size(ONE)) == (0, 0)


def test_of_two_left_the_last_one_is_known() -> None:
    pool = Pool()
    first, second = pool.add(ONE, 1.0, 2.0)
    pool.drop(first)
    [third] = pool.add(ONE, 3.0)
    assert pool.loser() == second
    pool.drop(second)
    pool.add(ONE, 4.0)
    assert pool.loser() == third


def test_most_falls_to_the_next_number() -> None:
    pool = Pool()
    pool.add(OTHER, 1.0, 2.0)
    *_, last = pool.add(ONE, 1.0, 2.0, 3.0, 4.0)
    pool.drop(last)
    assert pool.shares.most == 3
    pool.add(OTHER, 5.0)
    assert pool.shares.most == 3
    pool.drop(pool.add(NEW, 1.0)[0])
    assert pool.shares.most == 3


def test_a_pool_with_single_records_has_most_of_one() -> None:
    pool = Pool()
    [first], [second] = pool.add(ONE, 1.0), pool.add(OTHER, 2.0)
    pool.drop(first)
    assert pool.shares.most == 1
    pool.drop(second)
    assert pool.shares.most == 0


def test_hosts_of_a_64_are_one_source() -> None:
    pool = Pool()
    one, neighbour, stranger = (Endpoint.of(host, 80).ip for host in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"))
    pool.add(one, 1.0)
    pool.add(neighbour, 2.0)
    assert [pool.shares.size(ip) for ip in (one, neighbour, stranger)] == [2, 2, 0]
    [first, _] = pool.held.values()
    assert pool.loser(stranger) == first
    pool.renew(first, 3.0)
    for record in list(pool.held.values()):
        pool.drop(record)
    assert pool.shares.size(one) == 0


def test_a_queue_is_rebuilt_beyond_its_slack() -> None:
    """The slack is eight records, on top of twice as many as are held."""
    pool = Pool()
    first, second = pool.add(ONE, 1_000.0, 2_000.0)
    group = pool.shares._sources[ONE]
    assert not isinstance(group, tuple)
    lengths = []
    for step in range(1, 12):
        second = pool.renew(second, 2_000.0 - step)
        lengths.append(len(group.queue))
    assert lengths == [*range(3, 13), 2]
    assert group.queue[0] == first
    assert pool.loser() == first

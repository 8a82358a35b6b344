"""Changed holders: noted, taken to be saved, and put back if they could not be."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.publishing.changed_holders import ChangedHolders
from tests.core.bench import Bench
from tests.core.small import contact
from tests.records import own_key

ONE, TWO, THREE = (own_key(Id(number), 80) for number in (1, 2, 3))


def test_changes_are_taken_once() -> None:
    changed = ChangedHolders()
    changed.note(ONE)
    changed.note(TWO)
    changed.note(TWO)
    assert set(changed) == {ONE, TWO}
    assert changed.take() == {ONE, TWO}
    assert changed.take() == set()


def test_some_changes_are_taken_and_the_others_stay() -> None:
    changed = ChangedHolders()
    changed.note(ONE)
    changed.note(TWO)
    assert changed.take({TWO, THREE}) == {TWO}
    assert changed.take() == {ONE}


def test_changes_that_could_not_be_saved_come_again() -> None:
    changed = ChangedHolders()
    changed.note(ONE)
    changed.put_back(changed.take())
    changed.put_back([TWO])
    assert changed.take() == {ONE, TWO}


def test_changes_of_own_and_deleted_entries_are_given() -> None:
    bench = Bench()
    publisher, records = bench.node.publisher, bench.node.own_records
    records.may_hold(records.add(ONE), contact(1), 100.0)
    publisher.withdrawals.add(TWO, contact(1), 100.0)
    publisher.withdrawals.restore(THREE, contact(1), 100.0)  # which is on disk
    assert publisher.changed_records() == {ONE, TWO}
    assert publisher.take_changed({TWO}) == {TWO}
    publisher.mark_changed([TWO])
    assert publisher.take_changed() == {ONE, TWO}
    assert publisher.changed_records() == set()

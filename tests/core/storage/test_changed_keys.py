"""The keys with held records that have changed since they were saved."""

from __future__ import annotations

from dhtd.core.storage.changed_keys import _SLACK, ChangedKeys

A, B = b"a", b"b"


def key(number: int) -> bytes:
    return number.to_bytes(2, "big")


def test_unsaved_changes_come_again() -> None:
    changed = ChangedKeys(8)
    changed.note(A)
    unsaved = changed.take()
    changed.note(B)
    changed.put_back(unsaved)
    assert changed.take() == {A, B}
    assert changed.take() == set()


def test_unsaved_changes_do_not_fill_memory() -> None:
    changed, most = ChangedKeys(16), 16 + _SLACK
    for number in range(most):
        changed.note(key(number))
    changed.note(key(0))  # it is among them already
    assert len(changed) == most
    changed.note(key(most))
    changed.note(A)
    assert len(changed) == 0
    assert changed.take() is None  # then all that is held is to be saved
    assert changed.take() == set()


def test_all_that_was_not_saved_is_to_be_saved() -> None:
    changed = ChangedKeys(16)
    changed.note(A)
    changed.put_back(None)
    changed.note(B)
    assert (len(changed), changed.take(2)) == (0, None)
    changed.put_back({key(number) for number in range(16 + _SLACK)})
    changed.put_back({A})
    assert changed.take() is None


def test_changes_are_taken_some_at_a_time() -> None:
    changed = ChangedKeys(8)
    for number in range(5):
        changed.note(key(number))
    assert len(changed) == 5
    taken = [changed.take(2) or set() for _ in range(3)]
    assert [len(some) for some in taken] == [2, 2, 1]
    assert len(changed) == 0
    assert set.union(*taken) == set(map(key, range(5)))

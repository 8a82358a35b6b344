"""Which keys are watched, and where something may have changed."""

from __future__ import annotations

from dhtd.core.storage.watched_keys import WatchedKeys


def test_only_watched_keys_are_stirred() -> None:
    keys = WatchedKeys()
    keys.note(b"a")
    keys.watch(b"a")
    keys.note(b"b")
    keys.note(b"a")
    keys.note(b"a")
    assert keys.are_stirred
    assert keys.take() == [b"a"]
    assert (keys.are_stirred, keys.take()) == (False, [])


def test_keys_are_taken_in_the_order_of_changes() -> None:
    keys = WatchedKeys()
    for key in (b"a", b"b", b"c"):
        keys.watch(key)
    keys.note(b"c")
    keys.note(b"a")
    keys.note(b"c")
    assert keys.take() == [b"c", b"a"]
    keys.note_all()
    assert keys.take() == [b"a", b"b", b"c"]


def test_a_key_is_watched_until_the_last_one_leaves() -> None:
    keys = WatchedKeys()
    keys.watch(b"a")
    keys.watch(b"a")
    keys.leave(b"a")
    keys.note(b"a")
    assert (len(keys), keys.are_stirred) == (1, True)
    keys.leave(b"a")
    assert (len(keys), keys.are_stirred) == (0, False)
    keys.note(b"a")
    assert keys.take() == []

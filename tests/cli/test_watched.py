"""One watched ID: the difference of each event to what was told before, also by another daemon."""

from __future__ import annotations

from typing import Any

from dhtd.cli.arguments import Key
from dhtd.cli.watched import Change, Watched

ID = "07" * 32
ONE, TWO, THREE = (f"10.7.7.{number}:80" for number in (1, 2, 3))


def event(*peers: str, holders: int | None = 8, **more: Any) -> dict[str, Any]:
    return {"id": ID, "name": None, "peers": list(peers), "added": ["x"], "removed": [], "holders": holders, **more}


def differences(watched: Watched, *events: dict[str, Any]) -> list[tuple[tuple[str, ...], tuple[str, ...]] | None]:
    return [
        None if change is None else (change.added, change.removed) for change in (watched.take(each) for each in events)
    ]


def test_differences_are_to_what_was_told() -> None:
    watched = Watched(Key(ID, None))
    assert not watched.serves(0)
    assert differences(watched, event(ONE), event(ONE), event(TWO, ONE), event(THREE, TWO), event()) == [
        ((ONE,), ()),
        None,
        ((TWO,), ()),
        ((THREE,), (ONE,)),
        ((), (THREE, TWO)),
    ]


def test_an_empty_beginning_is_a_change() -> None:
    watched = Watched(Key(ID, None))
    change = watched.take(event(holders=0))
    assert isinstance(change, Change)
    assert (change.is_first, change.is_vouched, change.peers) == (True, False, ())
    assert (watched.serves(0), watched.serves(1), watched.is_answered) == (True, False, False)


def test_an_outage_is_a_change_and_its_end() -> None:
    watched = Watched(Key(ID, None))
    told = [watched.take(event(ONE, holders=holders)) for holders in (3, 0, 0, 5, 8)]
    assert [change and (change.was_vouched, change.is_vouched) for change in told] == [
        (True, True), (True, False), None, (False, True), None
    ]  # fmt: skip


def test_an_outage_keeps_nothing_that_the_same_daemon_takes_away() -> None:
    watched = Watched(Key(ID, None))
    watched.take(event(ONE, TWO))
    assert differences(watched, event(ONE, TWO, holders=0), event(ONE, holders=0)) == [((), ()), ((), (TWO,))]


def test_a_new_daemon_that_knows_nothing_takes_nothing_away() -> None:
    watched = Watched(Key(ID, None))
    watched.take(event(ONE, TWO))
    watched.resume()
    assert differences(watched, event(THREE, holders=0), event(holders=0), event(TWO)) == [
        ((THREE,), ()),
        None,
        ((), (ONE, THREE)),
    ]


def test_a_daemon_that_goes_on_is_believed_in_an_outage() -> None:
    watched = Watched(Key(ID, None))
    assert differences(watched, event(ONE, TWO), event(ONE, holders=0)) == [((ONE, TWO), ()), ((), (TWO,))]


def test_a_resumed_watch_is_believed_once_vouched_for() -> None:
    watched = Watched(Key(ID, None))
    watched.take(event(ONE))
    watched.resume()
    assert differences(watched, event(ONE), event(holders=0)) == [None, ((), (ONE,))]


def test_the_given_name_comes_before_the_daemon_s() -> None:
    for given, told, shown in (("wiki", "else", "wiki"), (None, "else", "else"), (None, 7, None), (None, None, None)):
        change = Watched(Key(ID, given)).take(event(name=told))
        assert change is not None
        assert change.name == shown


def test_events_of_other_versions_do_no_harm() -> None:
    watched = Watched(Key(ID, None))
    change = watched.take({"id": ID, "peers": "garbage", "more": 1})
    assert change is not None
    assert (change.peers, change.is_vouched, change.body["more"]) == ((), True, 1)

"""Endpoints that change their IDs: each change is believed later than the one before, and lookups ask them last."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.check import Check
from dhtd.core.querying.region import Region
from dhtd.core.querying.search import Search
from dhtd.core.querying.steps import Ask
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.changers import Changers
from dhtd.core.routing.outcomes import Inserted, Refused
from tests.core.bench import Bench
from tests.core.small import CODEC, contact, endpoint

PAUSE = DEFAULT.id_change


def changed_at(*times: float) -> Changers:
    """Return the memory of machine 1, which had ID 1 and took the next one at each of these times."""
    changers = Changers(DEFAULT)
    for number, now in enumerate(times, 2):
        changers.gone(contact(number - 1, machine=1))
        assert changers.believes(contact(number, machine=1), now)
    return changers


def test_each_change_doubles_the_pause() -> None:
    times = [0.0]
    for pauses in (1, 2, 4, 8, 12, 12):  # an hour is the longest
        changers = changed_at(*times)
        again = contact(100, machine=1)
        due = times[-1] + pauses * PAUSE
        assert changers.doubts(again.id, again.endpoint, due - 1)
        assert not changers.believes(again, due - 1)
        assert not changers.doubts(again.id, again.endpoint, due)
        assert changers.believes(again, due)
        times.append(due)


def test_an_id_that_was_kept_resets_the_pause() -> None:
    changers = changed_at(0.0, PAUSE, 5 * PAUSE)
    assert not changers.believes(contact(100, machine=1), 6 * PAUSE - 1)
    assert changers.believes(contact(100, machine=1), 6 * PAUSE)


def test_the_known_id_stays_welcome_until_another() -> None:
    changers = changed_at(0.0)
    assert changers.believes(contact(2, machine=1), 1.0)
    assert not changers.doubts(Id(2), endpoint(1), 1.0)
    changers.gone(contact(2, machine=1))
    assert changers.doubts(Id(2), endpoint(1), 1.0)


def test_an_old_id_that_is_gone_changes_nothing() -> None:
    changers = changed_at(0.0)
    changers.gone(contact(1, machine=1))
    assert not changers.doubts(Id(2), endpoint(1), 1.0)


def test_only_own_answers_make_a_node_doubted() -> None:
    changers = Changers(DEFAULT)
    for _ in range(3):
        changers.answered_instead(contact(5, machine=1))
        assert changers.believes(contact(5, machine=1), 1.0)
        assert not changers.doubts(Id(9), endpoint(1), 1.0)
    assert changers.believes(contact(6, machine=1), 2.0)  # now it has answered under another
    assert changers.doubts(Id(9), endpoint(1), 2.0)


def test_another_id_after_the_pause_is_a_new_change() -> None:
    state = RoutingState(Id(0), CODEC, DEFAULT, 0.0)
    for id, now, outcome in (
        (5, 0.0, Inserted()),
        (6, 1.0, Inserted()),
        (7, 2.0, Refused()),
        (8, 1.0 + PAUSE, Inserted()),
        (9, 2.0 + PAUSE, Refused()),
        (9, 3 * PAUSE, Refused()),
        (9, 1.0 + 3 * PAUSE, Inserted()),
    ):
        assert state.answered(contact(id, machine=1), None, now) == outcome


def test_a_search_asks_changers_last() -> None:
    search = Search(Id(0), Id(127), DEFAULT)
    search.candidates.doubts = lambda contact: contact.id < 4
    search.seed(map(contact, range(1, 12)))
    asked = []
    while isinstance(step := search.next(), Ask):
        asked.append(step.contact.id)
        search.answered(step.contact)
    assert asked == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_search_with_few_others_asks_changers_too() -> None:
    search = Search(Id(0), Id(127), DEFAULT)
    search.candidates.doubts = lambda contact: contact.id < 4
    search.seed(map(contact, range(1, 7)))
    asked = []
    while isinstance(step := search.next(), Ask):
        asked.append(step.contact.id)
        search.answered(step.contact)
    assert asked == [4, 5, 6, 1, 2, 3]


def test_a_region_is_asked_without_them() -> None:
    search = Search(Id(0), Id(127), DEFAULT)
    search.candidates.doubts = lambda contact: contact.id < 4
    search.seed(map(contact, range(1, 12)))
    region = Region(Id(0), 16, 32, 0, 0)
    chosen = region.choose(search.candidates.order, lambda _: True)
    assert sorted(each.contact.id for each in chosen) == [4, 5, 6, 7, 8, 9, 10, 11]


def test_a_lookup_passes_over_the_ids_of_a_changer() -> None:
    bench = Bench(own_id=0)
    for id in (1, 2, 3):
        bench.node.state.answered(contact(id, machine=50), None, bench.now)
    bench.node.state.answered(contact(64), None, bench.now)
    bench.node.commands.lookup(Id(65), bench.now)
    first = bench.sent_one()
    bench.found(first, 64, [contact(66, machine=50), *map(contact, range(67, 74))])
    asked = [sent.to for sent in bench.sent()]
    assert endpoint(50) not in asked
    assert endpoint(67) in asked


def test_two_ids_in_a_search_are_remembered() -> None:
    bench = Bench(own_id=0)
    for actual in (90, 91):
        bench.node.state.moved(Id(actual - 1), endpoint(50))  # so that it is not in the table
        check = Check(bench.node.requester)
        check.start(endpoint(50), Id(66), bench.now, attempts=1)
        (ping,) = (sent for sent in bench.sent() if sent.request == Ping())
        bench.pong(ping, actual)
    assert bench.node.state.changers.doubts(*contact(66, machine=50), bench.now)
    assert not bench.node.state.changers.doubts(*contact(91, machine=50), bench.now)


def test_the_id_that_answers_is_remembered() -> None:
    bench = Bench(own_id=0)
    bench.know(contact(64))
    bench.node.commands.lookup(Id(65), bench.now)
    bench.found(bench.sent_one(), 64, [contact(66, machine=1)])
    named = bench.sent_one()
    assert named.to == endpoint(1)
    bench.found(named, 67)  # it has another ID
    changers = bench.node.state.changers
    assert len(changers) == 1
    assert changers.believes(contact(68, machine=1), bench.now)  # the first change
    assert changers.doubts(Id(69), endpoint(1), bench.now)

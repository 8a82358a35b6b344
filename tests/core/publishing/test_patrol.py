"""Holders in doubt are asked, and entries with lost holders are published again soon."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Unheld
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, Ping, Store
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.routing.overlay import Joining
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import contact, endpoint
from tests.records import own_key

KEY = Id(64)
HOLDERS = (64, 65, 66, 67)
POLICY = replace(QUIET, k=4, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
PATROL = replace(POLICY, patrol=30.0)
TIMEOUT = DEFAULT.query_timeout


def publishing(*others: int, policy: Policy = POLICY, now: float = 0.0) -> Bench:
    """Return a node with one entry at HOLDERS, and other contacts, as on a wire without leases."""
    bench = Bench(policy=policy, now=now)
    bench.node.publisher.lease.is_renewed = False
    bench.know(*map(contact, (*HOLDERS, *others)))
    bench.node.commands.enter(KEY, 80, bench.now)
    while sent := bench.sent():
        for query in sent:
            answer(bench, query)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert {replica.id for replica in entry.replicas} == set(HOLDERS)
    return bench


def answer(bench: Bench, query: Sent) -> None:
    number = query.to[3]
    if isinstance(query.request, Ping | Store):
        bench.pong(query, number)
    else:
        bench.found(query, number)


def pinged(sent: list[Sent]) -> list[int]:
    return sorted(query.to[3] for query in sent if isinstance(query.request, Ping))


def suspect(bench: Bench, *numbers: int) -> None:
    bench.node.publisher.patrol.suspect([contact(number) for number in numbers], bench.now)


def lose(bench: Bench, *numbers: int) -> None:
    """Have these miss the pings of the patrol, while others answer."""
    bench.node.state.heard_at = bench.now + 0.5
    bench.advance(TIMEOUT)


def test_a_doubtful_holder_stays_if_it_answers() -> None:
    bench = publishing()
    suspect(bench, 65)
    answer(bench, bench.sent_one())
    assert bench.node.publisher.hurrying.holds(contact(65))
    assert bench.sent() == []


def test_two_lost_holders_put_the_others_in_doubt() -> None:
    bench = publishing()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    bench.advance(100.0)
    bench.sent()
    bench.node.publisher.patrol.lost(contact(64), bench.now)
    assert bench.sent() == []
    bench.node.publisher.patrol.lost(contact(65), bench.now)
    assert pinged(bench.sent()) == [66, 67]
    assert bench.node.own_records.due_in(entry, bench.now) <= POLICY.startup_spread


def test_two_silences_while_others_answer_are_a_loss() -> None:
    bench = publishing()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    suspect(bench, 65)
    lose(bench, 65)
    assert entry.lost == (contact(65),)


def test_while_nobody_answers_nobody_is_lost() -> None:
    bench = publishing()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    suspect(bench, 65)
    bench.node.state.heard_at = None
    bench.advance(2 * TIMEOUT)
    assert entry.lost == ()


def test_another_nodes_answer_proves_the_loss() -> None:
    bench = publishing()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    suspect(bench, 65)
    bench.pong(bench.sent_one(), 99)
    assert entry.lost == (contact(65),)


def test_a_refusal_is_an_answer() -> None:
    bench = publishing()
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    suspect(bench, 65)
    bench.refuse(bench.sent_one(), 65)
    assert entry.lost == ()


def test_few_are_asked_at_once_and_none_twice() -> None:
    bench = publishing(policy=replace(POLICY, verifications=2))
    suspect(bench, 64, 65, 66, 67, 64)
    first = bench.sent()
    assert pinged(first) == [64, 65]
    for query in first:
        answer(bench, query)
    suspect(bench, 66)
    assert pinged(bench.sent()) == [66, 67]


def test_each_answer_makes_room_for_the_next_ping() -> None:
    bench = publishing(policy=replace(POLICY, verifications=2))
    suspect(bench, 64, 65, 66, 67)
    first, second = bench.sent()
    answer(bench, first)
    assert pinged(bench.sent()) == [66]
    bench.refuse(second, 65)
    assert pinged(bench.sent()) == [67]


def test_many_losses_have_further_nodes_asked() -> None:
    bench = publishing(1, 2, 16)
    for number in (100, 101):
        bench.node.publisher.patrol.lost(contact(number), bench.now)
    assert bench.sent() == []
    bench.node.publisher.patrol.lost(contact(102), bench.now)
    asked = pinged(bench.sent())
    assert {64, 65, 66, 67} <= set(asked)
    assert len(asked) <= DEFAULT.verifications


def test_a_missed_query_prompts_a_check_at_once() -> None:
    bench = publishing()
    bench.node.commands.lookup(Id(65), bench.now)
    bench.sent()
    bench.node.state.heard_at = bench.now + 1.0
    bench.advance(TIMEOUT)
    assert set(pinged(bench.sent())) <= set(HOLDERS)


def rounds(bench: Bench, turns: int) -> list[tuple[float, int]]:
    """Let each holder that is asked answer; return the times, and the holders."""
    asked = []
    for _ in range(turns):
        while not (sent := bench.sent()):
            when = bench.node.poll_timeout()
            assert when is not None
            bench.advance(when - bench.now)
        for query in sent:
            answer(bench, query)
            asked.append((bench.now, query.to[3]))
    return asked


def test_the_patrol_asks_a_holder_every_half_minute() -> None:
    bench = publishing(1, 2, policy=PATROL)
    asked = rounds(bench, 8)
    assert {number for _, number in asked[:4]} == set(HOLDERS)
    assert [number for _, number in asked[4:]] == [number for _, number in asked[:4]]
    assert all(22 < later - sooner <= 30 for (sooner, _), (later, _) in pairwise(asked))


def test_the_first_turn_is_half_a_minute_after_the_start() -> None:
    bench = publishing(policy=PATROL, now=1_000.0)
    assert bench.node.publisher.patrol.next_timeout() == 1_030.0


def test_without_entries_the_patrol_rests() -> None:
    bench = publishing(policy=PATROL)
    bench.node.own_records.remove(own_key(KEY, 80))
    bench.advance(600.0)
    assert bench.sent() == []
    assert bench.node.publisher.patrol.next_timeout() is None


def test_without_entries_nobody_is_asked() -> None:
    bench = Bench(policy=PATROL)
    bench.node.publisher.lease.is_renewed = False
    bench.know(*map(contact, HOLDERS))
    for number in range(10, 14):
        bench.node.publisher.patrol.lost(contact(number), bench.now)
    assert bench.sent() == []


def test_an_unheld_entry_gives_the_patrol_nobody() -> None:
    bench = publishing(policy=PATROL)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    entry.replicas = ()
    bench.advance(60.0)
    assert pinged(bench.sent()) == []


def test_the_patrol_rests_without_a_network() -> None:
    bench = publishing(policy=PATROL)
    bench.node.overlays.first.joining = Joining.CONNECTED
    assert bench.node.publisher.patrol.next_timeout() is None
    bench.node.publisher.patrol.go_round(bench.now + 100.0)
    assert bench.sent() == []


def test_holders_of_an_unreached_family_are_left() -> None:
    bench = Bench(policy=PATROL, families=(Family.IPV4, Family.IPV6))
    bench.node.publisher.lease.is_renewed = False
    bench.know(contact(64))
    entry = bench.node.own_records.add(own_key(KEY, 80))
    bench.node.own_records.began(entry, bench.now)
    there = Contact(Id(65), Endpoint.of("2001:db8::65", 1729))
    bench.node.own_records.published(own_key(KEY, 80), [there], bench.now)
    assert bench.node.overlays.first.is_joined
    bench.advance(35.0)
    assert bench.sent() == []


def test_a_loss_makes_turns_come_sooner_for_a_while() -> None:
    bench = publishing(1, 2, policy=PATROL)
    bench.node.publisher.patrol.lost(contact(99), bench.now)
    before = bench.now
    pauses = []
    for when, _ in rounds(bench, 6):
        pauses.append(when - before)
        before = when
    assert pauses[0] < 4
    assert 5 < pauses[1] < 8
    assert 11 < pauses[2] <= 15
    assert all(22 < pause <= 30 for pause in pauses[3:])
    for number in range(100, 104):
        bench.node.publisher.patrol.lost(contact(number), bench.now)
    assert bench.node.publisher.patrol.next_timeout() == bench.now + 1.0


def test_a_lost_node_counts_once_in_five_minutes() -> None:
    bench = publishing(1, 2)
    for _ in range(9):
        bench.node.publisher.patrol.lost(contact(99), bench.now)
    suspect(bench, 99)
    assert bench.sent() == []  # three would have had contacts asked
    bench.now += 300.0
    suspect(bench, 99)
    assert pinged(bench.sent()) == [99]


def test_the_first_of_many_lost_nodes_are_forgotten() -> None:
    bench = publishing()
    for machine in range(1_025):
        bench.node.publisher.patrol.lost(contact(99, machine=machine), bench.now)
    assert len(bench.node.publisher.patrol._gone) == 1_024
    assert contact(99, machine=0) not in bench.node.publisher.patrol._gone


def test_a_lone_silence_is_checked_beside_a_witness() -> None:
    bench = publishing(1, policy=POLICY)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    holder = Contact(Id(65), endpoint(99))  # no timeout of a contact tells of this one
    entry.replicas = (holder,)
    bench.node.publisher.patrol.suspect([holder], bench.now)
    bench.sent()
    bench.advance(TIMEOUT)
    assert not entry.lost
    (witness,) = [query for query in bench.sent() if query.to != holder.endpoint]
    bench.advance(0.1)
    answer(bench, witness)
    bench.advance(TIMEOUT)
    assert entry.lost == (holder,)


def test_without_a_witness_nobody_is_lost() -> None:
    bench = publishing(policy=POLICY)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    for known in bench.node.state.table:
        for _ in range(2):
            bench.node.state.timed_out(known, bench.now)
    bench.node.publisher.patrol.suspect([contact(65)], bench.now)
    bench.sent()
    bench.advance(5 * TIMEOUT)
    assert entry.lost == ()
    assert bench.node.publisher.patrol._waiting == {}


def test_the_owner_hears_of_refused_entries_seldom() -> None:
    bench = Bench(policy=POLICY)
    bench.know(contact(64), contact(65))
    told = []
    for port in (80, 81):
        bench.node.commands.enter(KEY, port, bench.now)
        while sent := bench.sent():
            for query in sent:
                if isinstance(query.request, FindNode):
                    bench.found(query, query.to[3], token=b"")
                else:
                    answer(bench, query)
        told += [event for event in bench.events() if isinstance(event, Unheld)]
    assert told == [Unheld(1, 1)]
    assert bench.node.own_records.untaken.refused == 2
    assert bench.node.own_records.untaken.is_notice_due(bench.now + DEFAULT.unheld_notice, refused=True)


def test_the_owner_hears_of_unanswered_ones_seldom() -> None:
    bench = Bench(policy=replace(POLICY, bad_after=99))
    bench.know(contact(64))
    told = []
    for port in (80, 81):
        bench.node.commands.enter(KEY, port, bench.now)
        bench.node.state.heard_at = bench.now + 100.0  # somebody else answers
        bench.advance(10.0)
        bench.sent()
        told += [event for event in bench.events() if isinstance(event, Unheld)]
    assert bench.node.overlays.is_connected
    assert told == [Unheld(1, 1, refused=False)]
    assert bench.node.own_records.untaken.unanswered == 2
    bench.node.commands.delete(KEY, None, bench.now)
    assert bench.node.own_records.untaken.unanswered == 0


def test_the_patrol_goes_from_entry_to_entry() -> None:
    bench = Bench(policy=PATROL)
    records, patrol = bench.node.own_records, bench.node.publisher.patrol
    for port in (80, 81):
        records.began(records.add(own_key(KEY, port)), bench.now)
        records.published(own_key(KEY, port), [contact(port)], bench.now)
    assert [patrol._some_holders(1) for _ in range(3)] == [[contact(80)], [contact(81)], [contact(80)]]

"""Heartbeats: holders renew our lease, lose records and take them again, or are lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from math import ceil

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, Ping, Renew, Store, Withdraw
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.publishing.hurrying import Hurrying
from dhtd.core.publishing.own_lease import REGULAR
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.restock import Restock
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import KEY, by_id, entered, knowing, publish
from tests.core.small import contact
from tests.records import SESSION, own_key

POLICY = replace(QUIET, heartbeat=20.0, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
PERIOD, LEASE = 20.0, 60
TIMEOUT = DEFAULT.query_timeout


def holding(*ids: int) -> Bench:
    """Return a node with an entry on these nodes."""
    bench = knowing(*ids, policy=POLICY)
    for sent in publish_at(bench, ids):
        bench.pong(sent, sent.to[3])
    bench.events()
    return bench


def publish_at(bench: Bench, ids: tuple[int, ...]) -> list[Sent]:
    bench.node.commands.enter(KEY, 80, bench.now)
    for id, sent in by_id(bench.sent()).items():
        bench.found(sent, id, token=b"token")
    stores = bench.sent()
    assert {sent.request for sent in stores} == {Store(KEY, 80, b"token", LEASE, SESSION)}
    assert {sent.to[3] for sent in stores} == set(ids)
    return stores


def heartbeats(bench: Bench) -> Heartbeats:
    return bench.node.publisher.heartbeats


def renewals(bench: Bench) -> list[Sent]:
    """Return the renewals sent since the last call, and drop what else was sent."""
    return [sent for sent in bench.sent() if isinstance(sent.request, Renew)]


def next_beat(bench: Bench) -> list[Sent]:
    """Let time pass until holders are asked; return these renewals."""
    due = heartbeats(bench).next_timeout()
    assert due is not None
    assert due <= bench.now + PERIOD
    bench.advance(due - bench.now + 1e-6)
    return renewals(bench)


def renew(bench: Bench, sent: Sent, held: int | None, token: bytes = b"next", id: int | None = None) -> None:
    """Answer a renewal as the node that it was sent to, or as another one there."""
    own = Id(sent.to[3] if id is None else id)
    bench.deliver(bench.codec.encode_renewed(sent.query.tid, own, US, token, held), sent.to)


def beat(bench: Bench, held: int | None, *, token: bytes = b"next") -> Sent:
    """Let the only holder answer its next heartbeat; return that."""
    (sent,) = next_beat(bench)
    renew(bench, sent, held, token)
    return sent


def due_in(bench: Bench) -> float:
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    return bench.node.own_records.due_in(entry, bench.now)


def test_a_deleted_entry_is_asked_for_no_more() -> None:
    """Not even where the lease has run out in silence, so that the entry has forgotten its holder."""
    bench = holding(1)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    entry.forget_expired(bench.now + 2 * LEASE)
    assert entry.holders(bench.now) == {}
    assert len(heartbeats(bench)) == 1
    bench.node.commands.delete(KEY, 80, bench.now)
    assert len(heartbeats(bench)) == 0


def test_each_holder_is_asked_in_each_period() -> None:
    bench = holding(1, 2)
    assert len(heartbeats(bench)) == 2
    bench.advance(PERIOD)
    sent = renewals(bench)
    assert {each.to[3] for each in sent} == {1, 2}
    for each in sent:
        assert each.request == Renew(SESSION, LEASE, b"")
        renew(bench, each, 1)
    asked: list[int] = []
    while len(asked) < 10:
        for each in next_beat(bench):
            assert each.request == Renew(SESSION, LEASE, b"next")
            renew(bench, each, 1)
            asked.append(each.to[3])
    assert 4 <= asked.count(1) <= 6
    assert 9 * 0.4 * PERIOD < bench.now < 6 * PERIOD + 1


def test_a_renewal_begins_the_lease_anew() -> None:
    bench = holding(1)
    assert bench.node.publisher.lease.until(contact(1)) == bench.now + LEASE
    for _ in range(3):
        beat(bench, 1)
        assert bench.node.publisher.lease.until(contact(1)) == bench.now + LEASE


def test_holders_are_asked_in_step() -> None:
    bench = holding(1, 2)
    times: dict[int, list[float]] = {1: [], 2: []}
    while len(times[1]) + len(times[2]) < 20:
        for each in next_beat(bench):
            renew(bench, each, 1)
            times[each.to[3]].append(bench.now)
    for first, second in zip(times[1][1:-1], times[2][1:-1], strict=True):
        assert abs(first - second) < 0.001
    assert all(0.9 * PERIOD <= later - sooner <= PERIOD + 0.001 for sooner, later in pairwise(times[1][1:]))


def test_a_renewal_without_a_good_token_is_repeated_once() -> None:
    bench = holding(1)
    beat(bench, None, token=b"first")
    again = bench.sent_one()
    assert again.request == Renew(SESSION, LEASE, b"first")
    renew(bench, again, None, b"second")
    assert bench.sent() == []  # it takes no token of its own: that is a miss
    beat(bench, None, token=b"third")
    renew(bench, bench.sent_one(), 1)
    assert len(heartbeats(bench)) == 1


def test_a_holder_that_takes_no_token_is_lost() -> None:
    bench = holding(1)
    for _ in range(2):
        beat(bench, None)
        renew(bench, bench.sent_one(), None)
    assert len(heartbeats(bench)) == 0


def test_a_silent_holder_is_checked_and_replaced() -> None:
    bench = holding(1, 2)
    began = bench.now
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    while not entry.lost:
        bench.advance(0.5)
        for sent in bench.sent():
            if sent.to[3] == 2 and isinstance(sent.request, Renew):
                renew(bench, sent, 1)
            elif sent.to[3] == 2:
                bench.pong(sent, 2)
    assert bench.now - began <= 2 * PERIOD + 3 * TIMEOUT
    assert entry.hurried


def test_a_holder_that_misses_two_heartbeats_is_lost() -> None:
    bench = holding(1, 2)
    while len(heartbeats(bench)) > 1:
        bench.advance(0.5)
        for sent in bench.sent():
            if sent.to[3] == 2 and isinstance(sent.request, Renew):
                renew(bench, sent, 1)
            elif sent.to[3] == 2 and isinstance(sent.request, Ping):
                bench.pong(sent, 2)
            elif sent.to[3] == 2 and isinstance(sent.request, FindNode):
                bench.found(sent, 2)
    assert bench.now <= 2 * PERIOD


def test_while_nobody_answers_no_holder_is_lost() -> None:
    bench = holding(1, 2)
    bench.advance(10 * PERIOD)
    assert len(heartbeats(bench)) == 2


def test_while_nobody_answers_one_holder_is_suspected(monkeypatch: pytest.MonkeyPatch) -> None:
    suspected: list[Contact] = []
    suspect = Patrol.suspect

    def note(self: Patrol, holders: Iterable[Contact], now: float) -> None:
        holders = list(holders)
        suspected.extend(holders)
        suspect(self, holders, now)

    bench = holding(1, 2, 3)
    assert len(next_beat(bench)) == 3
    monkeypatch.setattr(Patrol, "suspect", note)
    bench.advance(TIMEOUT)
    assert len(suspected) == 1


def test_another_node_at_its_place_is_no_holder() -> None:
    bench = holding(1)
    (sent,) = next_beat(bench)
    renew(bench, sent, 1, id=9)
    assert len(heartbeats(bench)) == 0


def test_one_silent_holder_is_reason_enough_to_hurry() -> None:
    bench = holding(1, 2, 3)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    bench.node.publisher.patrol.lost(contact(1), bench.now)
    assert entry.hurried


def test_one_lost_datagram_is_sent_again_soon() -> None:
    bench = holding(1)
    next_beat(bench)
    bench.advance(TIMEOUT - 0.1)
    (again, _) = renewals(bench)
    renew(bench, again, 0)
    for kind in (FindNode, Store):
        bench.sent_one()
        bench.advance(TIMEOUT - 0.1)
        (again, _) = bench.sent()
        assert isinstance(again.request, kind)
        if kind is FindNode:
            bench.found(again, 1, token=b"fresh")


@pytest.mark.parametrize("is_silent", [False, True])
def test_one_new_id_is_no_reason_to_hurry(is_silent: bool) -> None:
    bench = holding(1, 2, 3)
    due = due_in(bench)
    bench.node.publisher.hurrying.holder_lost(contact(1), bench.now, is_silent=is_silent)
    assert (due_in(bench) < due) is is_silent


def test_another_node_at_its_place_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = holding(1, 2, 3)
    lost: list[bool] = []

    def note(self: Hurrying, contact: Contact, now: float, *, is_silent: bool = True) -> list[Contact]:
        lost.append(is_silent)
        return []

    monkeypatch.setattr(Hurrying, "holder_lost", note)
    for sent in next_beat(bench):
        renew(bench, sent, 1, id=9 if sent.to[3] == 1 else None)
    assert lost == [False]
    assert len(heartbeats(bench)) == 2


def test_a_refusal_counts_as_a_miss() -> None:
    bench = holding(1)
    bench.refuse(next_beat(bench)[0], 1)
    assert len(heartbeats(bench)) == 1
    bench.refuse(next_beat(bench)[0], 1)
    assert len(heartbeats(bench)) == 0


def test_an_answer_makes_up_for_a_miss() -> None:
    bench = holding(1)
    for _ in range(3):
        bench.refuse(next_beat(bench)[0], 1)
        beat(bench, 1)
    assert len(heartbeats(bench)) == 1


def test_a_lost_holder_hurries_its_entries() -> None:
    bench = holding(1)
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    for is_hurried in (False, True):
        bench.refuse(next_beat(bench)[0], 1)
        assert entry.hurried is is_hurried
    assert entry.lost == (contact(1),)


def test_a_holder_gets_back_what_it_has_lost() -> None:
    bench = holding(1)
    beat(bench, 0)
    find = bench.sent_one()
    assert find.request == FindNode(KEY)
    bench.found(find, 1, token=b"fresh")
    store = bench.sent_one()
    assert store.request == Store(KEY, 80, b"fresh", LEASE, SESSION)
    bench.pong(store, 1)
    beat(bench, 1)
    assert bench.sent() == []


def test_a_holder_that_loses_again_and_again_is_restocked_rarely() -> None:
    restocks = restocked_in(holding(1), 40)
    pauses = [later - earlier for earlier, later in pairwise(restocks)]
    assert restocks[0] == 0
    assert pauses == sorted(pauses)
    assert len(restocks) < 8


def restocked_in(bench: Bench, turns: int) -> list[int]:
    """Let the only holder lose all, again and again; return the turns in which it is restocked."""
    restocks = []
    for turn in range(turns):
        beat(bench, 0)
        for find in bench.sent():
            restocks.append(turn)
            bench.found(find, 1, token=b"fresh")
            bench.pong(bench.sent_one(), 1)
    return restocks


def test_a_holder_that_kept_all_is_restocked_at_once() -> None:
    bench = holding(1)
    before = restocked_in(bench, 8)
    for _ in range(20):
        beat(bench, 1)
    assert restocked_in(bench, 8) == before == [0, 2, 5]


@pytest.mark.parametrize("refuses", ["token", "store"])
def test_what_a_holder_does_not_take_back_is_published(refuses: str) -> None:
    bench = holding(1)
    for _ in range(5):
        beat(bench, 1)
    beat(bench, 0)
    bench.found(bench.sent_one(), 1, token=b"" if refuses == "token" else b"fresh")
    if refuses == "store":
        bench.refuse(bench.sent_one(), 1)
    assert len(heartbeats(bench)) == 0
    assert due_in(bench) <= POLICY.startup_spread


def test_a_holder_with_withdrawn_records_drops_all() -> None:
    bench = holding(1)
    beat(bench, 2)
    assert bench.sent() == []  # its answer may have crossed a store
    beat(bench, 2)
    drop = bench.sent_one()
    assert drop.request == Renew(SESSION, 0, b"next")
    renew(bench, drop, 2)
    bench.found(bench.sent_one(), 1, token=b"fresh")
    bench.pong(bench.sent_one(), 1)
    beat(bench, 1)
    assert bench.sent() == []


def test_a_deleted_entry_has_no_heartbeats() -> None:
    bench = holding(1)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert len(heartbeats(bench)) == 0
    bench.sent()
    bench.advance(2 * PERIOD)
    assert not any(isinstance(sent.request, Renew) for sent in bench.sent())


def test_a_deleted_entry_is_not_restocked() -> None:
    bench = holding(1)
    beat(bench, 0)
    find = bench.sent_one()
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.sent()
    bench.found(find, 1, token=b"fresh")
    assert not any(isinstance(sent.request, Store) for sent in bench.sent())


def test_other_nodes_than_the_replicas_are_left() -> None:
    bench = knowing(1, 2, policy=replace(POLICY, k=2))
    for sent in publish_at(bench, (1, 2)):
        bench.pong(sent, sent.to[3])
    assert len(heartbeats(bench)) == 2
    bench.know(contact(77))
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    entry.replicas = (contact(2),)
    heartbeats(bench).published(entry)
    assert len(heartbeats(bench)) == 1


def test_many_holders_are_asked_less_often() -> None:
    bench = Bench(policy=replace(POLICY, heartbeat_rate=0.1))
    bench.know(*map(contact, range(1, 5)))
    for sent in publish_at(bench, (1, 2, 3, 4)):
        bench.pong(sent, sent.to[3])
    lease = bench.node.publisher.lease
    assert lease.period == 4 / (0.1 * REGULAR) > 4 / 0.1  # a part of the rate is for those that are asked again
    assert lease.seconds == ceil(3 * lease.period)
    bench.node.commands.delete(KEY, 80, bench.now)
    assert (lease.period, lease.seconds) == (PERIOD, LEASE)


def test_a_farewell_has_all_holders_drop_soon() -> None:
    bench = holding(1, 2)
    assert not heartbeats(bench).is_saying_goodbye
    heartbeats(bench).say_goodbye(POLICY.farewell, bench.now)
    sent = renewals(bench)
    assert {(each.to[3], each.request) for each in sent} == {
        (1, Renew(SESSION, 30, b"")),
        (2, Renew(SESSION, 30, b"")),
    }
    renew(bench, sent[0], None, b"fresh")
    renew(bench, sent[1], 1)
    again = bench.sent_one()
    assert again.request == Renew(SESSION, 30, b"fresh")
    assert heartbeats(bench).is_saying_goodbye
    renew(bench, again, 0)
    assert not heartbeats(bench).is_saying_goodbye
    bench.advance(5 * PERIOD)
    assert bench.sent() == []


def test_a_silent_holder_ends_the_farewell_too() -> None:
    bench = holding(1)
    heartbeats(bench).say_goodbye(0, bench.now)
    assert bench.sent_one().request == Renew(SESSION, 0, b"")
    bench.advance(TIMEOUT)
    assert not heartbeats(bench).is_saying_goodbye


def test_a_rare_heartbeat_makes_a_farewell_longer() -> None:
    bench = holding(1)
    bench.node.publisher.lease.period = 100.5
    heartbeats(bench).say_goodbye(30, bench.now)
    assert bench.sent_one().request == Renew(SESSION, 101, b"")


def test_only_a_holder_has_a_token() -> None:
    bench = holding(1)
    beat(bench, 1, token=b"next")
    assert [heartbeats(bench).token(contact(id)) for id in (1, 2)] == [b"next", b""]


def test_restored_holders_are_asked_soon() -> None:
    bench = Bench(policy=POLICY)
    bench.node.publisher.restore_own(own_key(KEY, 80), bench.now)
    assert bench.node.publisher.restore_holder(own_key(KEY, 80), contact(1), -5.0, bench.now)
    assert bench.node.publisher.holders(own_key(KEY, 80), bench.now) == {contact(1): bench.now + LEASE}
    (sent,) = next_beat(bench)
    assert bench.now <= PERIOD / 2
    renew(bench, sent, None)
    assert [each.request for each in renewals(bench)] == [Renew(SESSION, LEASE, b"next")]


def test_after_a_sleep_all_holders_are_asked_soon() -> None:
    bench = holding(1, 2, 3, 4)
    for sent in next_beat(bench):
        renew(bench, sent, 1)
    bench.node.machine.slept(600.0, bench.now)
    due = heartbeats(bench).next_timeout()
    assert due is not None
    assert bench.now < due  # not all at once
    bench.advance(PERIOD / 2)
    assert {sent.to[3] for sent in renewals(bench)} == {1, 2, 3, 4}


def test_a_renewed_holder_is_asked_to_let_go() -> None:
    """Long after the entry was stored there: its lease was renewed since."""
    bench = holding(1)
    for _ in range(10):
        beat(bench, 1)
    bench.node.commands.delete(KEY, 80, bench.now)
    for sent in bench.sent():
        bench.found(sent, 1, token=b"fresh")
    assert Withdraw(KEY, 80, b"fresh", SESSION) in [sent.request for sent in bench.sent()]


def test_without_leases_nobody_is_asked() -> None:
    bench = knowing(1)
    bench.node.publisher.lease.is_renewed = False
    entered(bench, 1)
    assert len(heartbeats(bench)) == 0
    publish(bench, (1,))


def test_an_answer_after_a_deletion_changes_nothing() -> None:
    bench = holding(1)
    (sent,) = next_beat(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    renew(bench, sent, 1)
    assert len(heartbeats(bench)) == 0


def test_a_silence_after_a_deletion_changes_nothing() -> None:
    bench = holding(1)
    next_beat(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.advance(TIMEOUT)
    assert len(heartbeats(bench)) == 0


def test_a_miss_in_the_farewell_loses_nobody() -> None:
    bench = holding(1)
    heartbeats(bench).say_goodbye(30, bench.now)
    bench.refuse(bench.sent_one(), 1)
    assert (len(heartbeats(bench)), heartbeats(bench).is_saying_goodbye) == (1, False)


def test_a_holder_that_is_lost_is_restocked_no_more() -> None:
    bench = holding(1)
    beat(bench, 0)
    find = bench.sent_one()
    heartbeats(bench)._lose(contact(1), bench.now)
    bench.sent()
    bench.found(find, 1, token=b"fresh")
    assert not any(isinstance(each.request, Store) for each in bench.sent())


def test_a_defect_in_a_restock_leaves_it_to_the_next_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, *args: object) -> None:
        raise RuntimeError

    bench = holding(1)
    beat(bench, 0)
    with monkeypatch.context() as broken:
        broken.setattr(Restock, "token", fail)
        with pytest.raises(RuntimeError):
            bench.found(bench.sent_one(), 1, token=b"fresh")
    for _ in range(2):
        beat(bench, 0)
    assert [type(sent.request) for sent in bench.sent()] == [FindNode]


def test_a_defect_in_a_heartbeat_ends_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, *args: object) -> None:
        raise RuntimeError

    bench = holding(1)
    (sent,) = next_beat(bench)
    with monkeypatch.context() as broken:
        broken.setattr(Heartbeats, "_compare", fail)
        with pytest.raises(RuntimeError):
            renew(bench, sent, 1)
    assert beat(bench, 1).request == Renew(SESSION, LEASE, b"next")


def test_a_store_that_is_taken_after_a_deletion_changes_nothing() -> None:
    bench = holding(1)
    beat(bench, 0)
    bench.found(bench.sent_one(), 1, token=b"fresh")
    store = bench.sent_one()
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.pong(store, 1)
    assert len(heartbeats(bench)) == 0

"""A defect of ours in one due thing delays nothing else, and not its own next turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest

from dhtd.core.address.external_address import ExternalAddress
from dhtd.core.endpoint import Family
from dhtd.core.events import Answered, GaveUp, LookupDone, Published, Unanswered, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.membership.bootstrap import Bootstrap
from dhtd.core.membership.introduction import Introduction
from dhtd.core.membership.membership import Membership
from dhtd.core.membership.outage import Outage
from dhtd.core.messages import FindNode, FindValue, Ping, Store, Withdraw
from dhtd.core.news import News
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.own_records import OwnRecords
from dhtd.core.publishing.patrol import Patrol
from dhtd.core.publishing.pending_withdrawals import PendingWithdrawals
from dhtd.core.publishing.publication import Publication
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.publishing.sweep import Sweep
from dhtd.core.publishing.untaken import Untaken
from dhtd.core.publishing.withdrawal import Withdrawal
from dhtd.core.publishing.withdrawal_retry import WithdrawalRetry
from dhtd.core.publishing.withdrawing import Withdrawing
from dhtd.core.querying.check import Check
from dhtd.core.querying.exploration import Exploration
from dhtd.core.querying.lookup import Lookup
from dhtd.core.querying.refreshing import Refreshed, Refreshing
from dhtd.core.querying.requester import Requester
from dhtd.core.querying.single_query import SingleQuery
from dhtd.core.querying.traversal import Traversal
from dhtd.core.routing.admission import RoutingState
from dhtd.core.storage.store import HeldRecords
from tests.core.bench import Bench, Sent
from tests.core.small import contact, endpoint
from tests.records import hold_peer

KEY = Id(77)
HOLDER, GONE = contact(1), contact(2)
LASTS = DEFAULT.publication_lasts


class Defect(Exception):
    pass


def fail(*_: object, **__: object) -> NoReturn:
    raise Defect


def wake(bench: Bench, seconds: float) -> int:
    """Let time pass like `Bench.advance`; return how often due work failed."""
    until, failures = bench.now + seconds, 0
    while (when := bench.node.poll_timeout()) is not None and when <= until:
        bench.now = max(when, bench.now)
        try:
            bench.node.handle_timeout(bench.now)
        except* Defect:
            failures += 1
            bench.now += 0.1  # failed work may be due again at once
    bench.now = until
    return failures


def own(bench: Bench) -> None:
    """Have the node publish an entry on its only contact."""
    bench.know(HOLDER)
    bench.node.commands.enter(KEY, 80, bench.now)
    hold(bench)
    assert bench.event(Published).replicas == (HOLDER,)


def hold(bench: Bench) -> int:
    """Answer all queries of the node as its only contact; return the number of stores taken."""
    stores = 0
    while sent := bench.sent():
        for query in sent:
            if isinstance(query.request, FindNode | FindValue):
                bench.found(query, HOLDER.id)
            else:
                stores += isinstance(query.request, Store)
                bench.pong(query, HOLDER.id)
    return stores


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (Membership, "keep_up"),
        (News, "settle"),
        (Sweep, "go_on"),
        (Publisher, "publish_due"),
        (Withdrawing, "retry_due"),
    ],
)
def test_a_constant_failure_takes_no_other_turn(
    where: type[object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    own(bench)
    bench.node.commands.ping(GONE.endpoint, bench.now)
    monkeypatch.setattr(where, name, fail)
    wake(bench, 60.0)
    monkeypatch.undo()
    wake(bench, 0.1)
    bench.node._news.settle(bench.now)
    assert isinstance(bench.event(Unanswered), Unanswered)
    pings = [sent for sent in bench.sent() if isinstance(sent.request, Ping) and sent.to == GONE.endpoint]
    assert len(pings) == DEFAULT.ping_attempts


def test_a_failing_end_spares_the_other_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    first, second = (
        bench.node.commands.ping(GONE.endpoint, bench.now),
        bench.node.commands.ping(contact(3).endpoint, bench.now),
    )
    failed = SingleQuery.failed

    def fail_first(self: SingleQuery, *args: object) -> None:
        if self._op == first:
            raise Defect
        failed(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SingleQuery, "failed", fail_first)
    bench.sent()
    assert wake(bench, 30.0) == 1
    assert bench.event(Unanswered).op == second


def test_a_failed_sweep_waits_for_its_next_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    hold_peer(bench.node.store, Id(1), endpoint(1), bench.now)
    monkeypatch.setattr(HeldRecords, "sweep", fail)
    assert wake(bench, 4.5 * DEFAULT.store_sweep) == 4


def test_a_failed_publication_gets_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    monkeypatch.setattr(Publisher, "_publish", fail)
    due = bench.node.own_records.next_timeout()
    assert due is not None
    wake(bench, due - bench.now + 1.0)
    monkeypatch.undo()
    bench.sent()
    wake(bench, LASTS)
    assert hold(bench) == 1
    assert bench.node.own_records.next_timeout() is not None


@pytest.mark.parametrize("name", ["start", "answered", "_converged", "_store"])
def test_a_broken_publication_begins_anew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    monkeypatch.setattr(Publication, name, fail)
    op = None
    try:
        op = bench.node.commands.enter(KEY, 80, bench.now)
        hold(bench)
    except Defect:
        pass
    monkeypatch.undo()
    bench.sent()
    wake(bench, LASTS - 1.0)
    bench.sent()
    assert bench.events() == []
    wake(bench, 2.0)
    assert hold(bench) == 1
    published = bench.event(Published)
    assert published.replicas == (HOLDER,)
    assert op is None or published.op == op


def test_a_waiting_publication_is_not_restarted() -> None:
    bench = Bench()
    bench.node.start([HOLDER.endpoint], bench.now)
    op = bench.node.commands.enter(KEY, 80, bench.now, patient=True)
    wake(bench, 3 * LASTS)
    (ongoing,) = bench.node.publisher._publications.values()
    assert ongoing.publication in bench.node.waiting
    assert len(bench.node.waiting) == 1
    assert bench.node.memberships.endpoints_to_join_by() == [HOLDER.endpoint]
    assert ongoing.ops == [op]


def test_a_failed_reminder_is_retried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.sent()  # and the holder is silent
    monkeypatch.setattr(WithdrawalRetry, "start", fail)
    assert wake(bench, 120.0) > 1
    monkeypatch.undo()
    assert bench.node.withdrawals.next_timeout() is not None
    bench.sent()
    wake(bench, DEFAULT.withdraw_retry_max)
    assert [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]


def remind(bench: Bench) -> list[Sent]:
    """Delete the own entry, and let time pass until the silent holder is reminded."""
    bench.node.commands.delete(KEY, 80, bench.now)
    wake(bench, 5.0)
    bench.sent()
    while not (asked := [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]):
        wake(bench, 0.1)
    return asked


@pytest.mark.parametrize("answers", [1, 2])
def test_a_broken_reminder_is_over(answers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    asked = remind(bench)
    withdrawals = bench.node.withdrawals
    if answers == 2:
        bench.found(asked[0], HOLDER.id)
        asked = [sent for sent in bench.sent() if isinstance(sent.request, Withdraw)]
    monkeypatch.setattr(PendingWithdrawals, "let_go" if answers == 2 else "holds_nothing", fail)
    with pytest.raises(Defect):
        bench.pong(asked[0], HOLDER.id) if answers == 2 else bench.found(asked[0], HOLDER.id, token=b"")
    monkeypatch.undo()
    assert withdrawals._in_hand == 0
    assert not bench.node.publisher.withdrawing.under_way
    assert withdrawals.next_timeout() is not None
    bench.events()
    op = bench.node.commands.enter(KEY, 80, bench.now)
    assert hold(bench) == 1
    assert bench.event(Published).op == op


def test_a_late_answer_to_a_reminder_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    own(bench)
    bench.node.commands.enter(KEY, 81, bench.now)
    hold(bench)
    bench.node.commands.delete(KEY, None, bench.now)
    wake(bench, 5.0)
    bench.sent()
    while not (asked := [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]):
        wake(bench, 0.1)
    bench.found(asked[0], HOLDER.id)
    first, second = [sent for sent in bench.sent() if isinstance(sent.request, Withdraw)]
    let_go = PendingWithdrawals.let_go

    def let_go_and_fail(*args: object, **kwargs: object) -> NoReturn:
        let_go(*args, **kwargs)  # type: ignore[arg-type]
        raise Defect

    monkeypatch.setattr(PendingWithdrawals, "let_go", let_go_and_fail)
    with pytest.raises(Defect):
        bench.pong(first, HOLDER.id)
    monkeypatch.undo()
    bench.pong(second, HOLDER.id)
    assert all(pending.acknowledged for pending in bench.node.withdrawals)
    assert bench.node.withdrawals._in_hand == 0
    assert not bench.node.publisher.withdrawing.under_way


def test_a_dead_reminder_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    bench.node.commands.delete(KEY, 80, bench.now)
    wake(bench, 5.0)
    bench.sent()
    go_on = WithdrawalRetry._go_on

    def ask_and_fail(self: WithdrawalRetry, now: float, *, silent: bool) -> None:
        go_on(self, now, silent=silent)
        self.give_up(now)
        raise Defect

    monkeypatch.setattr(WithdrawalRetry, "_go_on", ask_and_fail)
    while not (asked := [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]):
        wake(bench, 0.1)
    monkeypatch.undo()
    bench.found(asked[0], HOLDER.id)
    bench.refuse(asked[0], HOLDER.id)
    wake(bench, 2.5)
    assert not [sent for sent in bench.sent() if isinstance(sent.request, FindValue | Withdraw)]
    assert bench.node.withdrawals._in_hand == 0


def test_a_reminder_given_up_ends_once() -> None:
    bench = Bench()
    own(bench)
    remind(bench)
    for query in bench.node.requester.transactions:
        query.owner.give_up(bench.now)
    wake(bench, 4.0)
    assert bench.node.withdrawals._in_hand == 0
    assert not bench.node.publisher.withdrawing.under_way


@pytest.mark.parametrize(
    ("where", "name"),
    [
        *((Traversal, "answered"), (Traversal, "_advance")),
        *((Refreshing, "_converged"), (Refreshing, "_finished"), (Refreshing, "start")),
    ],
)
def test_a_broken_refresh_blocks_no_other(where: type[object], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    with monkeypatch.context() as broken:
        broken.setattr(where, name, fail)
        failures = wake(bench, DEFAULT.bucket_refresh)
        for asked in [sent for sent in bench.sent() if isinstance(sent.request, FindNode)][:1]:
            with pytest.raises(Defect):
                bench.found(asked, HOLDER.id)
            failures += 1
        assert failures
    assert bench.node.overlays.first.refresher.under_way == 0
    bench.sent()
    wake(bench, DEFAULT.bucket_refresh)
    assert [sent for sent in bench.sent() if isinstance(sent.request, FindNode)]


@pytest.mark.parametrize("where", [(RoutingState, "answered"), (ExternalAddress, "vote")])
def test_a_broken_result_still_ends_its_operation(
    where: tuple[type[object], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    bench.know(HOLDER)
    op = bench.node.commands.lookup(KEY, bench.now)
    ping = bench.node.commands.ping(HOLDER.endpoint, bench.now)
    with monkeypatch.context() as broken:
        broken.setattr(*where, fail)
        for asked in bench.sent():
            with pytest.raises(Defect):
                bench.pong(asked, HOLDER.id) if isinstance(asked.request, Ping) else bench.found(asked, HOLDER.id)
    assert [event for event in bench.events() if isinstance(event, GaveUp)] == [GaveUp(op), GaveUp(ping)]
    assert not bench.node.handles.running
    wake(bench, 10.0)
    assert not any(isinstance(event, LookupDone | Answered | Unanswered | GaveUp) for event in bench.events())


def test_a_failing_check_of_silence_ends_its_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.sent()
    monkeypatch.setattr(News, "unanswered", fail)
    assert wake(bench, 10.0)
    assert bench.event(GaveUp) == GaveUp(op)
    assert not bench.node.handles.running


@pytest.mark.parametrize("name", ["start", "gave_token", "_withdraw", "_left_behind"])
def test_a_broken_withdrawal_ends_and_is_retried(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    with monkeypatch.context() as broken:
        broken.setattr(Withdrawal, name, fail)
        try:
            bench.node.commands.delete(KEY, 80, bench.now)
            hold(bench)
        except Defect:
            pass
    assert not bench.node.publisher.withdrawing.under_way
    wake(bench, 0.1)
    assert bench.event(Withdrawn).ports == (80,)
    bench.sent()
    wake(bench, DEFAULT.withdraw_retry_max)
    assert [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]


def test_a_dead_withdrawal_spares_a_new_entry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    bench.know(HOLDER, GONE)
    bench.node.commands.enter(KEY, 80, bench.now)
    while sent := bench.sent():
        for query in sent:
            id = HOLDER.id if query.to == HOLDER.endpoint else GONE.id
            bench.pong(query, id) if isinstance(query.request, Store) else bench.found(query, id)
    bench.node.commands.delete(KEY, 80, bench.now)
    first, second, *_ = [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]
    withdraw = Withdrawal._withdraw

    def fail_first(self: Withdrawal, *args: object) -> None:
        withdraw(self, *args)  # type: ignore[arg-type]
        raise Defect

    monkeypatch.setattr(Withdrawal, "_withdraw", fail_first)
    with pytest.raises(Defect):
        bench.found(first, HOLDER.id)
    monkeypatch.undo()
    [gone] = [sent for sent in bench.sent() if isinstance(sent.request, Withdraw)]
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(second, GONE.id)
    bench.refuse(gone, HOLDER.id)
    assert not [sent for sent in bench.sent() if isinstance(sent.request, Withdraw)]
    assert len(bench.node.withdrawals) == 0


@pytest.mark.parametrize("name", ["answered", "failed"])
def test_a_broken_check_frees_its_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.node.start([HOLDER.endpoint], bench.now)
    bench.node.handle_timeout(bench.now)
    [ping] = bench.sent()
    monkeypatch.setattr(Check, name, fail)
    if name == "answered":
        with pytest.raises(Defect):
            bench.pong(ping, HOLDER.id)
    else:
        with pytest.raises(Defect):
            bench.refuse(ping, HOLDER.id)
    assert not bench.node.memberships.first.join.attempt
    monkeypatch.undo()
    wake(bench, DEFAULT.rejoin_max)
    assert [sent for sent in bench.sent() if sent.to == HOLDER.endpoint]


def test_a_broken_doubt_can_arise_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    bench.node.ask_around(bench.now + 1.0, bench.now)
    [asked] = bench.sent()
    with monkeypatch.context() as broken:
        broken.setattr(Outage, "answered", fail)
        with pytest.raises(Defect):
            bench.pong(asked, HOLDER.id)
    assert not bench.node.memberships.is_asking_around
    with monkeypatch.context() as broken:
        broken.setattr(Requester, "ask", fail)
        with pytest.raises(Defect):
            bench.node.ask_around(bench.now + 1.0, bench.now)
    assert not bench.node.memberships.is_asking_around
    bench.node.ask_around(bench.now + 1.0, bench.now)
    assert bench.sent()


def test_a_patrol_that_a_defect_stops_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    patrol = bench.node.publisher.patrol
    patrol.suspect([HOLDER], bench.now)
    [asked] = bench.sent()
    monkeypatch.setattr(Patrol, "answered", fail)
    with pytest.raises(Defect):
        bench.pong(asked, HOLDER.id)
    patrol.suspect([HOLDER], bench.now)
    assert [sent.to for sent in bench.sent()] == [HOLDER.endpoint]


@pytest.mark.parametrize("where", [(OwnRecords, "published"), (Untaken, "is_notice_due")])
def test_waiters_hear_of_a_broken_publication(where: tuple[type[object], str], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    monkeypatch.setattr(*where, fail)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), HOLDER.id)
    store = bench.sent_one()
    with pytest.raises(Defect):
        bench.refuse(store, HOLDER.id)
    assert bench.event(Published).op == op
    assert not bench.node.handles.running


def test_a_broken_exploration_ends_its_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    op = bench.node.commands.lookup(KEY, bench.now)
    bench.sent()
    lookup = bench.node.commands._asking[op]
    assert isinstance(lookup, Lookup)
    asked = bench.node.requester.ask(
        Exploration(lookup._traversal, KEY), FindNode(KEY), HOLDER.endpoint, HOLDER.id, bench.now
    )
    monkeypatch.setattr(Traversal, "explored", fail)
    [sent] = [sent for sent in bench.sent() if sent.query.tid == asked.tid]
    with pytest.raises(Defect):
        bench.found(sent, HOLDER.id)
    assert bench.event(GaveUp) == GaveUp(op)


def test_an_introduction_that_fails_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    Introduction(bench.node.requester).start(bench.node.own_id, [HOLDER], {HOLDER.endpoint: b"token"}, bench.now)
    [sent] = bench.sent()
    monkeypatch.setattr(Introduction, "answered", fail)
    with pytest.raises(Defect):
        bench.found(sent, HOLDER.id)
    assert bench.events() == []


def test_a_broken_bootstrap_tells_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    op = bench.node.commands.bootstrap([GONE.endpoint], bench.now)
    monkeypatch.setattr(Bootstrap, "answered", fail)
    with pytest.raises(Defect):
        bench.pong(bench.sent_one(), GONE.id)
    assert bench.event(GaveUp) == GaveUp(op)
    assert not bench.node.handles.running


OPERATIONS: dict[str, Callable[[Node, float], object]] = {
    "lookup": lambda node, now: node.commands.lookup(KEY, now),
    "delete": lambda node, now: node.commands.delete(KEY, 80, now),
    "bootstrap": lambda node, now: node.commands.bootstrap([GONE.endpoint], now),
    "watch": lambda node, now: node.commands.watch(KEY, now),
    "refresh": lambda node, now: node.memberships.first.refresh(KEY, now),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_given_up_twice_has_one_end(name: str) -> None:
    bench = Bench()
    own(bench)
    OPERATIONS[name](bench.node, bench.now)
    owners = [query.owner for query in bench.node.requester.transactions]
    for owner in owners * 2:
        owner.give_up(bench.now)
    bench.node.handle_timeout(bench.now)
    assert len(bench.events()) == (name != "refresh")
    assert bench.node.overlays.first.refresher.under_way == 0
    assert not bench.node.handles.running


def test_a_lookup_that_is_given_up_twice_ends_once() -> None:
    bench = Bench()
    bench.know(HOLDER)
    lookup = bench.node.commands._asking[bench.node.commands.lookup(KEY, bench.now)]
    lookup.give_up(bench.now)
    lookup.give_up(bench.now)
    bench.node._news.settle(bench.now)
    assert len(bench.events()) == 1


def test_a_refresh_that_is_given_up_twice_ends_once() -> None:
    bench, told = Bench(), list[Refreshed]()
    refreshing = Refreshing(bench.node.requester, bench.node.overlays, told.append, KEY, Family.IPV4)
    refreshing.give_up(bench.now)
    refreshing.give_up(bench.now)
    assert len(told) == 1

"""A defect of ours in one thing that is due keeps nothing else from its turn, and nothing from its next one."""

from __future__ import annotations

from typing import NoReturn

import pytest

from dhtd.core.events import Published, Unanswered
from dhtd.core.messages import FindNode, FindValue, Ping, Store, Withdraw
from dhtd.core.metric import Id
from dhtd.core.node import Node
from dhtd.core.operations import SingleQuery
from dhtd.core.policy import DEFAULT
from dhtd.core.publication import Publication
from dhtd.core.reminder import Reminder
from dhtd.core.store import Store as Held
from tests.core.bench import Bench
from tests.core.small import contact

KEY = Id(77)
HOLDER, GONE = contact(1), contact(2)
LASTS = DEFAULT.publication_lasts


class Defect(Exception):
    pass


def fail(*_: object, **__: object) -> NoReturn:
    raise Defect


def wake(bench: Bench, seconds: float) -> int:
    """Let time pass as `Bench.advance` does; return how often what was due could not be done."""
    until, failures = bench.now + seconds, 0
    while (when := bench.node.poll_timeout()) is not None and when <= until:
        bench.now = max(when, bench.now)
        try:
            bench.node.handle_timeout(bench.now)
        except* Defect:
            failures += 1
            bench.now += 0.1  # what has failed may be due again at once
    bench.now = until
    return failures


def own(bench: Bench) -> None:
    """Have the node publish an entry on its only contact."""
    bench.know(HOLDER)
    bench.node.enter(KEY, 80, bench.now)
    hold(bench)
    assert bench.event(Published).replicas == (HOLDER,)


def hold(bench: Bench) -> int:
    """Answer whatever the node asks as its only contact; return how many stores it took."""
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
    [(Node, "_keep_up"), (Node, "_settle"), (Node, "_sweep"), (Node, "_publish_due"), (Node, "_remind_due")],
)
def test_what_fails_each_time_takes_no_turn_of_another(
    where: type[object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    own(bench)
    bench.node.ping(GONE.endpoint, bench.now)
    monkeypatch.setattr(where, name, fail)
    wake(bench, 60.0)
    monkeypatch.undo()
    wake(bench, 0.1)
    bench.node._settle(bench.now)
    assert isinstance(bench.event(Unanswered), Unanswered)
    pings = [sent for sent in bench.sent() if isinstance(sent.request, Ping) and sent.to == GONE.endpoint]
    assert len(pings) == DEFAULT.ping_attempts


def test_a_query_whose_end_fails_keeps_no_other_from_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    first, second = bench.node.ping(GONE.endpoint, bench.now), bench.node.ping(contact(3).endpoint, bench.now)
    failed = SingleQuery.failed

    def fail_first(self: SingleQuery, *args: object) -> None:
        if self._op == first:
            raise Defect
        failed(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(SingleQuery, "failed", fail_first)
    bench.sent()
    assert wake(bench, 30.0) == 1
    assert bench.event(Unanswered).op == second


def test_a_store_that_cannot_be_swept_is_not_swept_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    monkeypatch.setattr(Held, "sweep", fail)
    assert wake(bench, 4.5 * DEFAULT.store_sweep) == 4


def test_an_own_entry_whose_publication_could_not_begin_has_another_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    monkeypatch.setattr(Node, "_publish", fail)
    due = bench.node.tracker.next_timeout()
    assert due is not None
    wake(bench, due - bench.now + 1.0)
    monkeypatch.undo()
    bench.sent()
    wake(bench, LASTS)
    assert hold(bench) == 1
    assert bench.node.tracker.next_timeout() is not None


@pytest.mark.parametrize("name", ["start", "answered", "_converged", "_store"])
def test_a_publication_that_a_defect_has_stopped_is_begun_anew(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.know(HOLDER)
    monkeypatch.setattr(Publication, name, fail)
    op = None
    try:
        op = bench.node.enter(KEY, 80, bench.now)
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


def test_a_publication_that_waits_for_the_network_is_not_begun_anew() -> None:
    bench = Bench()
    bench.node.start([HOLDER.endpoint], bench.now)
    op = bench.node.enter(KEY, 80, bench.now, patient=True)
    wake(bench, 3 * LASTS)
    [waiting] = bench.node._deferred
    assert isinstance(waiting, Publication)
    assert waiting.watchers == [op]


def test_a_holder_that_could_not_be_reminded_is_reminded_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    own(bench)
    bench.node.delete(KEY, 80, bench.now)
    bench.sent()  # and the holder is silent
    monkeypatch.setattr(Reminder, "start", fail)
    assert wake(bench, 120.0) > 1
    monkeypatch.undo()
    assert bench.node.withdrawals.next_timeout() is not None
    bench.sent()
    wake(bench, DEFAULT.withdraw_retry_max)
    assert [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]


def test_what_comes_of_a_reminder_that_was_given_up_is_taken_and_its_end_counts_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    own(bench)
    bench.node.delete(KEY, 80, bench.now)
    wake(bench, 5.0)
    bench.sent()
    go_on = Reminder._go_on

    def ask_and_fail(self: Reminder, now: float, *, silent: bool) -> None:
        go_on(self, now, silent=silent)
        raise Defect

    monkeypatch.setattr(Reminder, "_go_on", ask_and_fail)
    while not (asked := [sent for sent in bench.sent() if isinstance(sent.request, FindValue)]):
        wake(bench, 0.1)
    monkeypatch.undo()
    bench.found(asked[0], HOLDER.id)
    [withdraw] = [sent for sent in bench.sent() if isinstance(sent.request, Withdraw)]
    bench.pong(withdraw, HOLDER.id)
    [pending] = bench.node.withdrawals
    assert pending.acknowledged
    assert bench.node.withdrawals._in_hand == 0

"""A ping on the node's own account: sent as often as asked, over once, and with a witness beside it."""

from __future__ import annotations

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Ping
from dhtd.core.policy import DEFAULT
from dhtd.core.querying.check import Check
from tests.core.bench import Bench
from tests.core.small import contact, endpoint


def begin(
    bench: Bench, *, attempts: int = 1, insistent: bool = False, witness: Contact | None = None
) -> tuple[Check, list[Endpoint]]:
    over: list[Endpoint] = []
    check = Check(bench.node.requester, over.append, witness)
    check.start(endpoint(5), Id(5), bench.now, attempts, insistent=insistent)
    return check, over


def asked(bench: Bench) -> list[Endpoint]:
    sent = bench.sent()
    assert all(query.request == Ping() for query in sent)
    return [query.to for query in sent]


@pytest.mark.parametrize("refuses", [True, False])
def test_any_answer_is_its_end(refuses: bool) -> None:
    bench = Bench()
    _, over = begin(bench)
    ping = bench.sent_one()
    assert (ping.to, ping.request, over) == (endpoint(5), Ping(), [])
    if refuses:
        bench.refuse(ping, 5)
    else:
        bench.pong(ping, 5)
    assert over == [endpoint(5)]


def test_silence_is_its_end_after_all_attempts() -> None:
    bench = Bench()
    _, over = begin(bench, attempts=2)
    assert asked(bench) == [endpoint(5)]
    bench.advance(DEFAULT.query_timeout)
    assert (asked(bench), over) == ([endpoint(5)], [])
    bench.advance(DEFAULT.query_timeout)
    assert (asked(bench), over) == ([], [endpoint(5)])


@pytest.mark.parametrize(("insistent", "sent"), [(True, 3), (False, 1)])
def test_an_insistent_ping_is_sent_three_times(insistent: bool, sent: int) -> None:
    bench = Bench()
    begin(bench, insistent=insistent)
    bench.advance(DEFAULT.query_timeout - 0.1)
    assert asked(bench) == [endpoint(5)] * sent


def test_its_end_is_told_once() -> None:
    bench = Bench()
    check, over = begin(bench)
    check.give_up(bench.now)
    check.give_up(bench.now)
    bench.pong(bench.sent_one(), 5)
    assert over == [endpoint(5)]


def test_what_has_not_begun_has_no_end() -> None:
    bench, over = Bench(), list[Endpoint]()
    Check(bench.node.requester, over.append).give_up(bench.now)
    assert over == []


def test_a_check_that_nobody_counts_ends_quietly() -> None:
    bench = Bench()
    Check(bench.node.requester).start(endpoint(5), None, bench.now, 1)
    bench.advance(DEFAULT.query_timeout - 0.1)
    bench.pong(bench.sent_one(), 5)  # it was sent once, since nothing insists on it
    assert bench.node.overlays.contacts() == [contact(5)]


def test_a_witness_is_pinged_with_each_attempt() -> None:
    bench = Bench()
    _, over = begin(bench, attempts=2, witness=contact(9))
    assert asked(bench) == [endpoint(5), endpoint(9)]
    bench.advance(DEFAULT.query_timeout)
    assert sorted(asked(bench)) == [endpoint(5), endpoint(9)]
    assert over == []
    bench.advance(DEFAULT.query_timeout)
    assert asked(bench) == []
    assert over == [endpoint(5)]


def test_the_answer_of_a_witness_is_no_end() -> None:
    bench = Bench()
    _, over = begin(bench, witness=contact(9))
    _, ping = bench.sent()
    bench.pong(ping, 9)
    assert over == []

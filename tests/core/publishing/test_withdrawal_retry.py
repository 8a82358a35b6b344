"""A node asks holders again that have not confirmed a deletion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Published, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_SERVER, Contact, FindNode, FindValue, Ping, Store, Withdraw
from dhtd.core.policy import Policy
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.small import contact, endpoint
from tests.records import own_key, to_withdraw

KEY = Id(77)
POLICY = replace(QUIET, republish_jitter=0.0, startup_spread=0.0)
RETRY, CONFIRM = POLICY.withdraw_retry, POLICY.withdraw_confirm
TIMEOUT = POLICY.query_timeout
HELD_UNTIL = 3_602.0


def owing(*keys: Id, policy: Policy = POLICY, ports: tuple[int, ...] = (80,)) -> Bench:
    """Return a node that knows node 1, and 2 as the holder of entries deleted in its last life."""
    bench = Bench(policy=policy)
    bench.node.publisher.lease.is_renewed = False  # as on a wire without leases: a copy may last an hour
    for key in keys:
        for port in ports:
            assert bench.node.publisher.restore_holder(own_key(key, port), contact(2), HELD_UNTIL, bench.now)
    bench.know(contact(1))
    return bench


def queries(bench: Bench, holder: int = 2) -> list[Sent]:
    """Return what was sent to the holder since the last call: each query once, though it is sent again.

    But for pings, by which a node looks whether the network is down.
    """
    sent = {each.query.tid: each for each in bench.sent() if each.to == endpoint(holder)}
    return [each for each in sent.values() if not isinstance(each.request, Ping)]


def asked(bench: Bench, kind: type[FindValue | Withdraw]) -> list[Sent]:
    sent = queries(bench)
    assert {type(each.request) for each in sent} <= {kind}
    return sent


def test_holders_are_asked_once_the_network_is_reached() -> None:
    spread = 10.0
    bench = Bench(policy=replace(POLICY, startup_spread=spread))
    bench.node.publisher.restore_holder(own_key(KEY, 80), contact(2), HELD_UNTIL, bench.now)
    bench.advance(100)
    assert bench.sent() == []
    bench.know(contact(1))
    bench.advance(spread)
    assert [each.request for each in asked(bench, FindValue)] == [FindValue(KEY)]


def test_a_holder_lets_go_of_every_port_twice() -> None:
    bench = owing(KEY, ports=(80, 81))
    bench.advance(0)
    for pause in (CONFIRM, 0.0):
        (find,) = asked(bench, FindValue)
        bench.found(find, 2, token=b"fresh")
        withdrawals = asked(bench, Withdraw)
        assert [each.request for each in withdrawals] == [
            to_withdraw(KEY, 80, b"fresh"),
            to_withdraw(KEY, 81, b"fresh"),
        ]
        for each in withdrawals:
            bench.pong(each, 2)
        bench.advance(pause)
    assert len(bench.node.withdrawals) == 0
    assert bench.events() == []  # it is nobody's business
    assert not bench.node.publisher.withdrawing.under_way


def test_a_holder_that_has_it_again_confirms_again() -> None:
    bench = owing(KEY)
    bench.advance(0)
    for had_it in (True, True, False):
        (find,) = asked(bench, FindValue)
        others = [endpoint(5).with_port(80), US.with_port(81)]
        bench.found(find, 2, endpoints=[*others, US.with_port(80)] if had_it else others)
        bench.pong(asked(bench, Withdraw)[0], 2)
        assert len(bench.node.withdrawals) == had_it
        bench.advance(CONFIRM)
    assert queries(bench) == []


def test_no_token_and_no_entry_means_not_held() -> None:
    bench = owing(KEY)
    bench.advance(0)
    bench.found(queries(bench)[0], 2, token=b"")
    assert len(bench.node.withdrawals) == 0


def test_a_named_entry_without_a_token_is_held() -> None:
    bench = owing(KEY, ports=(80, 81))
    bench.advance(0)
    for pause in (RETRY, 2 * RETRY):
        bench.found(asked(bench, FindValue)[0], 2, endpoints=[US.with_port(80)], token=b"")
        assert [pending.record_key.port for pending in bench.node.withdrawals] == [80]
        bench.advance(pause - 0.1)
        assert queries(bench) == []
        bench.advance(0.1)
    bench.found(asked(bench, FindValue)[0], 2, token=b"")
    assert len(bench.node.withdrawals) == 0


def test_a_cut_answer_is_asked_for_its_rest() -> None:
    bench = owing(KEY)
    bench.advance(0)
    for had_it in (True, True, False):
        (find,) = asked(bench, FindValue)
        bench.found(find, 2, token=b"proof", more=True)
        (again,) = asked(bench, FindValue)
        assert again.request == FindValue(KEY, b"proof")
        bench.found(again, 2, endpoints=[US.with_port(80)] if had_it else [], token=b"fresh")
        (withdrawal,) = asked(bench, Withdraw)
        assert withdrawal.request == to_withdraw(KEY, 80, b"fresh")
        bench.pong(withdrawal, 2)
        assert len(bench.node.withdrawals) == had_it
        bench.advance(CONFIRM)
    assert queries(bench) == []
    assert not bench.node.publisher.withdrawing.under_way


def test_a_part_of_an_answer_is_a_failure() -> None:
    bench = owing(KEY)
    bench.advance(0)
    bench.found(queries(bench)[0], 2, more=True)
    queries(bench)
    bench.advance(TIMEOUT)
    assert [pending.attempts for pending in bench.node.withdrawals] == [1]
    assert not bench.node.publisher.withdrawing.under_way
    queries(bench)
    bench.advance(RETRY)
    assert [each.request for each in asked(bench, FindValue)] == [FindValue(KEY)]


def test_any_id_at_the_place_is_asked() -> None:
    bench = owing(KEY)
    bench.advance(0)
    bench.found(queries(bench)[0], 9)
    bench.pong(asked(bench, Withdraw)[0], 9)
    assert [pending.acknowledged for pending in bench.node.withdrawals] == [True]


@pytest.mark.parametrize("code", [ERROR_SERVER, 203])
def test_a_holder_that_refuses_is_asked_again_later(code: int) -> None:
    bench = owing(KEY)
    bench.advance(0)
    for pause in (RETRY, 2 * RETRY, 4 * RETRY):
        (find,) = asked(bench, FindValue)
        bench.found(find, 2)
        bench.refuse(asked(bench, Withdraw)[0], 2, code)
        bench.advance(pause - 0.1)
        assert queries(bench) == []
        bench.advance(0.1)
    assert [pending.attempts for pending in bench.node.withdrawals] == [3]


def test_the_first_key_is_asked_alone_then_a_few() -> None:
    keys = [Id(number) for number in range(64, 74)]
    bench = owing(*keys)
    bench.advance(0)
    (first,) = asked(bench, FindValue)
    bench.found(first, 2)
    on_their_way = queries(bench)
    assert [type(each.request) for each in on_their_way] == [Withdraw]
    done: list[Id] = []
    most = 0
    while on_their_way:
        most = max(most, len({each.request.key for each in on_their_way}))  # type: ignore[union-attr]
        each = on_their_way.pop(0)
        if isinstance(each.request, FindValue):
            bench.found(each, 2)
        else:
            assert isinstance(each.request, Withdraw)
            done.append(each.request.key)
            bench.pong(each, 2)
        on_their_way += queries(bench)
    assert done == keys
    assert most == POLICY.alpha
    assert all(pending.acknowledged for pending in bench.node.withdrawals)


def test_a_silence_puts_the_asked_keys_last() -> None:
    keys = [Id(number) for number in range(64, 74)]
    bench = owing(*keys)
    bench.advance(0)
    bench.found(queries(bench)[0], 2)
    bench.advance(2 * TIMEOUT + 0.1)  # an attempt at a withdrawal is worth two
    assert queries(bench)  # the same withdrawal again
    bench.advance(RETRY)
    (find,) = asked(bench, FindValue)
    assert find.request == FindValue(keys[1])


def test_a_twice_silent_holder_is_looked_for() -> None:
    bench = owing(KEY)
    bench.advance(0)
    bench.sent()
    bench.advance(TIMEOUT)
    assert not [each for each in bench.sent() if isinstance(each.request, FindNode)]
    bench.advance(RETRY + TIMEOUT)
    (search,) = [each for each in bench.sent() if isinstance(each.request, FindNode)]
    assert (search.to, search.request) == (endpoint(1), FindNode(Id(2)))
    moved = contact(2, machine=9)
    bench.found(search, 1, [moved])
    (found,) = queries(bench, holder=9)
    bench.found(found, 2)
    bench.advance(RETRY)
    (find,) = queries(bench)
    assert find.request == FindValue(KEY)  # it may still be at its old place
    bench.advance(TIMEOUT)
    assert FindValue(KEY) in [each.request for each in queries(bench, holder=9)]


def test_another_node_does_not_let_go_for_a_holder() -> None:
    bench = owing(KEY)
    bench.know(contact(2))
    bench.advance(0)
    bench.sent()
    bench.advance(RETRY + TIMEOUT)
    bench.node.commands.ping(endpoint(9), bench.now)
    (ping,) = [each for each in bench.sent() if each.to == endpoint(9)]
    bench.pong(ping, 2)  # the holder's ID, which is in the table at its own place
    assert bench.node.state.table.get(Id(2)) == contact(2)
    bench.advance(10 * RETRY)
    assert not [each for each in bench.sent() if each.to == endpoint(9)]
    assert [pending.holder for pending in bench.node.withdrawals] == [contact(2)]


def test_without_a_network_nobody_is_looked_for() -> None:
    bench = owing(KEY)
    bench.node.memberships.first.join.lost(bench.now)
    bench.advance(300)
    assert {type(each.request) for each in bench.sent()} >= {FindValue}
    assert not bench.node.overlays.first.is_connected
    assert not [each for each in bench.sent() if isinstance(each.request, FindNode)]


def test_an_entry_entered_again_is_not_withdrawn() -> None:
    bench = owing(Id(64), KEY)
    bench.advance(0)
    (first,) = asked(bench, FindValue)
    assert first.request == FindValue(Id(64))
    bench.node.commands.enter(KEY, 80, bench.now)
    bench.sent()
    bench.found(first, 2)
    (withdraw,) = asked(bench, Withdraw)
    bench.pong(withdraw, 2)
    assert queries(bench) == []
    entry = bench.node.own_records.get(own_key(KEY, 80))
    assert entry is not None
    assert entry.holders(bench.now) == {contact(2): HELD_UNTIL}  # for the next time that it is deleted


def test_an_entry_is_published_after_its_withdrawal() -> None:
    bench = owing(KEY)
    bench.advance(0)
    (find,) = asked(bench, FindValue)
    op = bench.node.commands.enter(KEY, 80, bench.now)
    assert bench.sent() == []
    bench.found(find, 2)
    (withdraw,) = asked(bench, Withdraw)
    bench.pong(withdraw, 2)
    while (sent := bench.sent()) and not bench.node.publisher._publications[own_key(KEY, 80)].publication._over:
        for each in sent:
            if isinstance(each.request, Store):
                bench.pong(each, each.to[3])
            else:
                bench.found(each, each.to[3])
    assert bench.event(Published).op == op


def test_a_silent_nearest_node_is_asked_again_too() -> None:
    bench = Bench(policy=POLICY)
    bench.know(contact(1))
    bench.node.own_records.add(own_key(KEY, 80))
    op, _ = bench.node.commands.delete(KEY, 80, bench.now)
    (search,) = bench.sent()
    bench.found(search, 1)
    bench.sent()
    bench.advance(2 * TIMEOUT)
    assert bench.event(Withdrawn) == Withdrawn(op, KEY, (80,), nodes=0, silent=1)
    (pending,) = bench.node.withdrawals
    assert (pending.holder, pending.until) == (contact(1), bench.now + POLICY.store_expiry)


def test_a_holder_without_a_token_stays_in_debt() -> None:
    for named, debts in (([US.with_port(80)], [contact(2)]), ([US.with_port(81)], [])):
        bench = Bench(policy=POLICY)
        bench.know(contact(1))
        bench.node.own_records.add(own_key(KEY, 80))
        assert bench.node.publisher.restore_holder(own_key(KEY, 80), contact(2), HELD_UNTIL, bench.now)
        bench.node.commands.delete(KEY, 80, bench.now)
        for query in bench.sent():
            if query.to == endpoint(2):
                bench.found(query, 2, endpoints=named, token=b"")
            else:
                bench.found(query, 1, token=b"")
        assert bench.event(Withdrawn).silent == len(debts)
        assert [pending.holder for pending in bench.node.withdrawals] == debts


def test_excess_withdrawals_are_counted() -> None:
    policy = replace(POLICY, withdrawals=1, entry_holders=1)
    bench = owing(KEY, Id(64), policy=policy)
    caps = bench.node.counters.caps_hit
    assert (caps["withdrawals"], caps["entry_holders"]) == (1, 0)
    bench.node.own_records.add(own_key(KEY, 81))
    bench.node.publisher.restore_holder(own_key(KEY, 81), contact(3), HELD_UNTIL, bench.now)
    bench.node.publisher.restore_holder(own_key(KEY, 81), contact(4), HELD_UNTIL, bench.now)
    assert (caps["withdrawals"], caps["entry_holders"]) == (1, 1)
    bench.node.commands.delete(KEY, 81, bench.now)
    assert caps["withdrawals"] == 2
    for each in bench.sent():
        bench.found(each, each.to[3])
    bench.sent()
    bench.advance(2 * TIMEOUT)  # and the nearest node, which may hold it, too
    assert caps["withdrawals"] == 3
    assert len(bench.node.withdrawals) == 1


# Possible content of a state file


def test_expired_and_unreachable_holders_stay_out() -> None:
    bench = Bench(own_id=7, now=100.0)
    bench.node.publisher.lease.is_renewed = False  # as on a wire without leases
    restore = bench.node.publisher.restore_holder
    assert not restore(own_key(KEY, 80), contact(2), 100.0, bench.now)
    assert not restore(own_key(KEY, 80), Contact(Id(7), endpoint(2)), HELD_UNTIL, bench.now)
    assert not restore(own_key(KEY, 80), Contact(Id(2), Endpoint.of("2001:db8::1", 1)), HELD_UNTIL, bench.now)
    assert len(bench.node.withdrawals) == 0
    both = Bench(families=(Family.IPV4, Family.IPV6))
    mapped = Endpoint(bytes(10) + b"\xff\xff" + endpoint(2))
    assert mapped.is_mapped
    assert not both.node.publisher.restore_holder(own_key(KEY, 80), Contact(Id(2), mapped), HELD_UNTIL, bench.now)
    assert both.node.publisher.restore_holder(
        own_key(KEY, 80), Contact(Id(2), Endpoint.of("2001:db8::1", 1)), HELD_UNTIL, bench.now
    )


def test_no_clock_makes_a_holder_hold_over_an_hour() -> None:
    bench = Bench(now=100.0)
    bench.node.publisher.lease.is_renewed = False  # as on a wire without leases
    bench.node.publisher.restore_holder(own_key(KEY, 80), contact(2), 1e9, bench.now)
    (pending,) = bench.node.withdrawals
    assert pending.until == 100.0 + POLICY.store_expiry + TIMEOUT
    assert bench.node.publisher.holders(own_key(KEY, 80), bench.now) == {contact(2): pending.until}
    bench.advance(POLICY.store_expiry + TIMEOUT + 300.0)
    assert len(bench.node.withdrawals) == 0

"""The core takes nothing of a wire for granted that its traits do not promise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Published, Unanswered, Withdrawn
from dhtd.core.ids import Id
from dhtd.core.messages import Error, FindNode, FindValue, Message, Reply, Store, Withdraw
from tests.core.bench import QUIET, Bench
from tests.core.small import SmallCodec, contact, endpoint

KEY = Id(77)
POLICY = replace(QUIET, republish_jitter=0.0, startup_spread=0.0)
OURS_PERHAPS = endpoint(5).with_port(80)  # on the port of our entry


class TerseCodec(SmallCodec):
    """The native wire, where no reply tells what was observed, and no error who it is from."""

    def decode(self, data: bytes) -> Message:
        """Return the message without that."""
        message = super().decode(data)
        match message:
            case Reply():
                return replace(message, observed=None)
            case Error():
                return replace(message, sender=None)
            case _:
                return message


def terse() -> Bench:
    return Bench(policy=POLICY, codec=TerseCodec())


def test_an_error_without_an_id_is_no_contact() -> None:
    bench = terse()
    op = bench.node.ping(endpoint(1), bench.now)
    sent = bench.sent_one()
    bench.refuse(sent, 1)
    assert bench.event(Unanswered) == Unanswered(op, endpoint(1), Error(sent.query.tid, None, 202, "busy"))
    assert bench.node.contacts() == []
    assert len(bench.node.requester.transactions) == 0
    assert bench.node.counters.errors_received == 1


def test_an_error_without_an_id_is_no_timeout() -> None:
    bench = terse()
    bench.know(contact(1))
    for _ in range(3):
        bench.node.find_value(endpoint(1), KEY, bench.now)
        bench.refuse(bench.sent_one(), 1)
    (known,) = bench.node.contacts()
    assert bench.node.state.is_live(known)


def test_nobody_tells_where_we_are() -> None:
    bench = terse()
    bench.know(contact(1))
    assert bench.node.external.seen() == []
    op = bench.node.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    bench.pong(bench.sent_one(), 1)
    assert bench.event(Published) == Published(op, KEY, 80, (contact(1),), 1)
    assert bench.node.seen_by(KEY, 80, endpoint(1)) == ()


def deleting(bench: Bench) -> None:
    """Have a node that node 1 has an entry from delete it."""
    bench.know(contact(1))
    bench.node.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1)
    bench.pong(bench.sent_one(), 1)
    bench.node.delete(KEY, 80, bench.now)
    bench.events()


def answer(bench: Bench, endpoints: list[Endpoint], token: bytes) -> None:
    """Answer all finds that are sent, and acknowledge the withdrawals."""
    for sent in bench.sent():
        if isinstance(sent.request, FindNode | FindValue):
            bench.found(sent, 1, endpoints=endpoints if isinstance(sent.request, FindValue) else [], token=token)
        else:
            assert isinstance(sent.request, Withdraw)
            bench.pong(sent, 1)


@pytest.mark.parametrize(("named", "held"), [([OURS_PERHAPS], 1), ([endpoint(5).with_port(81)], 0), ([], 0)])
def test_what_may_be_our_entry_and_gets_no_token_is_owed(named: list[Endpoint], held: int) -> None:
    bench = terse()
    deleting(bench)
    answer(bench, named, b"")
    assert bench.event(Withdrawn).silent == len(bench.node.withdrawals) == held


def test_a_holder_lets_go_though_it_does_not_tell_whose_entry_it_is() -> None:
    bench = terse()
    deleting(bench)
    answer(bench, [OURS_PERHAPS], b"token")
    answer(bench, [OURS_PERHAPS], b"token")
    ended = bench.event(Withdrawn)
    assert (ended.nodes, ended.silent, ended.left_behind) == (1, 0, ())
    for named in ([OURS_PERHAPS], []):  # the first time it has it again, for all we know
        bench.advance(POLICY.withdraw_confirm)
        assert len(bench.node.withdrawals) == 1
        answer(bench, named, b"token")
        answer(bench, named, b"token")
    assert len(bench.node.withdrawals) == 0


def test_a_store_is_sent_with_the_token_of_its_holder() -> None:
    bench = terse()
    bench.know(contact(1))
    bench.node.enter(KEY, 80, bench.now)
    bench.found(bench.sent_one(), 1, token=b"theirs")
    assert bench.sent_one().request == Store(KEY, 80, b"theirs")

"""The withdrawals of a node: begun by deletions, and over once no holder owes anything."""

from __future__ import annotations

from dhtd.core.messages import FindNode, FindValue, Store, Withdraw
from tests.core.played import KEY, entered, knowing, of_kind
from tests.core.small import contact
from tests.records import own_key

OWN = own_key(KEY, 80)


def test_a_deletion_makes_its_holders_debtors() -> None:
    bench = knowing(1, 2, 3)
    entered(bench, 1, 2, 3)
    withdrawing = bench.node.publisher.withdrawing
    bench.node.commands.delete(KEY, 80, bench.now)
    assert OWN in withdrawing.under_way
    assert set(withdrawing.pending.holders(OWN)) == {contact(1), contact(2), contact(3)}


def test_a_withdrawal_is_over_once_all_have_answered() -> None:
    bench = knowing(1)
    entered(bench, 1)
    withdrawing = bench.node.publisher.withdrawing
    bench.node.commands.delete(KEY, 80, bench.now)
    while sent := bench.sent():
        assert OWN in withdrawing.under_way
        for query in sent:
            if isinstance(query.request, FindNode | FindValue):
                bench.found(query, 1, token=b"token")
            else:
                bench.pong(query, 1)
    assert OWN not in withdrawing.under_way
    [pending] = withdrawing.pending  # until the acknowledgement is confirmed
    assert pending.acknowledged


def test_a_publication_waits_for_the_withdrawal() -> None:
    bench = knowing(1)
    entered(bench, 1)
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.node.commands.enter(KEY, 80, bench.now)
    for id, query in of_kind(bench.sent(), FindValue).items():
        bench.found(query, id, token=b"token")
    withdraws = of_kind(bench.sent(), Withdraw)
    assert not of_kind(bench.sent(), Store)
    assert set(withdraws) == {1}

"""Expired records are dropped, some at a time."""

from __future__ import annotations

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT
from dhtd.core.storage.store import SWEPT
from tests.core.bench import Bench
from tests.core.small import endpoint
from tests.core.test_node import KEY
from tests.records import hold_peer, own_key


def test_the_expired_are_swept_each_ten_seconds() -> None:
    bench = Bench()
    hold_peer(bench.node.store, KEY, endpoint(7), bench.now, lease=5)
    bench.advance(DEFAULT.store_sweep - 0.1)
    assert len(bench.node.store) == 1
    bench.advance(0.1)
    assert len(bench.node.store) == 0
    assert bench.node.poll_timeout() == DEFAULT.store_sweep + 300.0  # nothing is held: it wakes nobody for nothing
    hold_peer(bench.node.store, KEY, endpoint(7), bench.now)
    assert bench.node.poll_timeout() == 2 * DEFAULT.store_sweep


def test_withdrawals_are_swept_where_nothing_is_held() -> None:
    bench = Bench()
    bench.node.withdrawals.restore(own_key(KEY, 80), Contact(Id(7), endpoint(7)), 5.0)
    bench.advance(DEFAULT.store_sweep - 0.1)
    assert len(bench.node.withdrawals) == 1
    bench.advance(0.1)
    assert len(bench.node.withdrawals) == 0
    assert bench.node.poll_timeout() == DEFAULT.store_sweep + 300.0


def test_a_full_store_is_swept_in_small_steps() -> None:
    bench = Bench()
    for number in range(1_000):
        hold_peer(bench.node.store, Id(number), endpoint(7), bench.now, lease=5)
    sizes = [1_000]
    for _ in range(4):
        due = bench.node.poll_timeout()
        assert due is not None
        bench.advance(due - bench.now)
        sizes.append(len(bench.node.store))
    assert sizes == [1_000, 1_000 - SWEPT, 1_000 - 2 * SWEPT, 1_000 - 3 * SWEPT, 0]
    assert DEFAULT.store_sweep < bench.now < DEFAULT.store_sweep + 0.1


def test_small_steps_pause_under_the_eyes_of_watchers() -> None:
    bench = Bench()
    bench.node.watching.keys.watch(packed(KEY))
    for number in range(2 * SWEPT):
        hold_peer(bench.node.store, Id(number), endpoint(7), bench.now, lease=5)
    sizes, pauses = [], []
    for _ in range(8):
        due = bench.node.poll_timeout()
        assert due is not None
        pauses.append(round(due - bench.now, 6))
        bench.advance(due - bench.now)
        sizes.append(len(bench.node.store))
    assert sizes[-4:] == [2 * SWEPT, SWEPT, 0, 0]
    assert pauses[-4:] == [1.0, 1.0, 0.01, 0.01]

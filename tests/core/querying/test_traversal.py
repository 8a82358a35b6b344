"""A traversal's figures: those of its searches together."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.querying.steps import SearchStats
from dhtd.core.querying.traversal import Traversal
from tests.core.bench import Bench
from tests.core.both import both, id_at
from tests.core.small import contact, six


def make(bench: Bench) -> Traversal:
    return Traversal(
        bench.node.requester,
        bench.node.overlays,
        Id(5),
        finished=lambda now: None,
        gave_up=lambda now: None,
        patient=True,
        thorough=True,
    )


def test_before_the_start_all_figures_are_zero() -> None:
    traversal = make(Bench())
    assert traversal.stats() == SearchStats(hops=0, queries=0, responses=0, timeouts=0)
    assert traversal.closest() == ()
    assert not traversal.is_exhausted


def test_figures_of_both_families_are_added_hops_are_not() -> None:
    bench = both()
    bench.know(contact(1), six(2))
    traversal = make(bench)
    traversal.start(bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, id_at(bench, of_ipv4.to), [contact(4)])
    bench.found(bench.sent_one(), 4)
    assert traversal.stats() == SearchStats(hops=2, queries=3, responses=2, timeouts=0)
    bench.found(of_ipv6, id_at(bench, of_ipv6.to))
    assert traversal.stats() == SearchStats(hops=2, queries=3, responses=3, timeouts=0)
    assert traversal.closest() == (contact(4), contact(1), six(2))

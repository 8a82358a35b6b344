"""On a wire that does not say for how long a value is held, only its owner puts it again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import Put
from dhtd.core.records import Value
from tests.core.bench import US, Bench
from tests.core.small import SmallCodec
from tests.core.values.valued import KEY, NEW, OLD, THRICE, begun, converge, near, next_get
from tests.values import hold


class Untold(SmallCodec):
    """The small wire, of which puts are taken to have no seconds."""

    traits = replace(SmallCodec.traits, tells_lasts=False)


def make(tells: bool) -> Bench:
    codec = SmallCodec() if tells else Untold()
    return Bench(Id(127), THRICE, codec)


@pytest.mark.parametrize("tells", [True, False])
def test_only_an_old_copy_is_mended(tells: bool) -> None:
    bench = make(tells)
    bench.know(*near(1, 2, 3))
    _, asked = begun(bench)
    held: dict[int, Value] = {1: NEW, 2: OLD}
    placed = {distance: sent.request for distance, sent in converge(bench, asked, held).items()}
    assert all(isinstance(put, Put) and put.value == NEW for put in placed.values())
    assert sorted(placed) == ([2, 3] if tells else [2])


def test_nobody_hands_a_value_on() -> None:
    for tells in (True, False):
        bench = make(tells)
        hold(bench.node.values.held, KEY, OLD, US, bench.now)
        bench.know(*near(1, 2, 3))
        assert (bench.node.values.handing_on.next_timeout() is not None) == tells


def test_a_holder_never_replicates_without_a_pause() -> None:
    bench = Bench(Id(127), replace(THRICE, replicate=0.0), Untold())
    hold(bench.node.values.held, KEY, OLD, US, bench.now, lasts=7_200)
    bench.know(*near(1, 2, 3))
    with pytest.raises(AssertionError, match="no get"):
        next_get(bench, 7_100.0)
    bench.advance(200.0)
    assert len(bench.node.values.held) == 0

"""The benchmark of crowds compares like with like: the same keys, for nodes that never widen and that always do."""

from __future__ import annotations

from dhtd.core.policy import DEFAULT
from tests.bench.crowding import ALWAYS, NEVER, hidden, honest


def test_widening_finds_more_holders() -> None:
    never, always = (honest(1, 40, 4, policy) for policy in (NEVER, ALWAYS))
    for (published, looked_up), (published_wide, looked_up_wide) in zip(never, always, strict=True):
        assert published.holders == DEFAULT.k < published_wide.holders
        assert published.queries < published_wide.queries
        assert looked_up.queries < looked_up_wide.queries
        assert published.room > 0


def test_attackers_very_near_have_next_to_no_room() -> None:
    assert all(room < 0.1 for room in hidden(1, 30, 4, is_closest=True))

"""Numbers and durations as people read them."""

from __future__ import annotations

import pytest

from dhtd.words import count, duration


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "node", "0 nodes"),
        (1, "node", "1 node"),
        (2, "node", "2 nodes"),
        (1, "query", "1 query"),
        (1234, "query", "1,234 queries"),
        (2, "entry", "2 entries"),
        (None, "node", "- nodes"),
        ("many", "node", "many nodes"),
    ],
)
def test_a_number_agrees_with_its_noun(number: object, noun: str, words: str) -> None:
    assert count(number, noun) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.0, "0 s"),
        (0.25, "250 ms"),
        (1.9, "1 s"),
        (59.9, "59 s"),
        (60.0, "1 min"),
        (61.0, "1 min 1 s"),
        (2700.0, "45 min"),
        (3599.0, "59 min 59 s"),
        (3600.0, "1 h"),
        (7500.0, "2 h 5 min"),
        (86_399.0, "23 h 59 min"),
        (86_400.0, "1 d"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words

"""Numbers and durations as people read them, and the words of this repository."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import pytest

from dhtd.words import about, count, duration

ROOT = Path(__file__).parents[1]


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


# The words of this repository


def names_of_tests() -> list[str]:
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    return [name for text in texts for name in re.findall(r"^ *(?:async )?def (test_\w+)", text, re.MULTILINE)]


def test_names_of_tests_are_short() -> None:
    names = names_of_tests()
    assert median(map(len, names)) <= 45
    assert [name for name in names if len(name) > 60] == []


def test_no_sentence_has_whoever_or_whom() -> None:
    files = [*(ROOT / "dhtd").rglob("*.py"), *(ROOT / "man").iterdir()]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b(?:whoever|whom)\b", line, re.IGNORECASE)
    ]
    assert found == []


def test_an_estimate_has_two_digits() -> None:
    assert [about(number) for number in (0, 1, 7.4, 99, 123, 9_960, 10_400_000)] == [
        "about 0",
        "about 1",
        "about 7",
        "about 99",
        "about 120",
        "about 10,000",
        "about 10,000,000",
    ]

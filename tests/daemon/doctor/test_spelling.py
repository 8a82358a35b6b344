"""Names in sentences and commands, and the name that was meant."""

from __future__ import annotations

import shlex

import pytest

from dhtd.cli.arguments import parse_key
from dhtd.core.ids import NATIVE
from dhtd.core.names import id_of_name
from dhtd.daemon.doctor.spelling import Spelling, similar

NAMES = [
    "wiki",
    "wiki.example.org",
    "cafe",
    "a b",
    "it's",
    "deadbeef",
    "--json",
    "-",
    "é",
    "ab" * 32,
    "x" * 255,
    "$(rm)",
]


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_pasted_means_the_same_id(name: str) -> None:
    id = NATIVE.format(id_of_name(name, NATIVE))
    words = shlex.split(Spelling(id, name).argument())
    is_name = words[0] == "--name"
    assert parse_key(words[-1], name=is_name).id == id
    assert len(words) == 1 + is_name
    assert not words[-1].startswith("-")


def test_an_id_without_a_name_is_its_digits() -> None:
    assert Spelling("ab" * 32, None).argument() == "ab" * 32
    assert str(Spelling("ab" * 32, None)) == "abababab..."


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Wiki", "wiki"),
        ("wiki ", "wiki"),
        ("wkii", "wiki"),
        ("wiki.exmaple.org", "wiki.example.org"),
        ("printer", None),
        ("wiki", None),
    ],
)
def test_a_slip_leads_to_the_name_that_was_meant(name: str, meant: str | None) -> None:
    assert similar(name, ["mail", "wiki", "wiki", "wiki.example.org"]) == meant


def test_another_case_is_found_among_any_number() -> None:
    assert similar("WIKI", [*(f"name-{number}" for number in range(10_000)), "wiki"]) == "wiki"

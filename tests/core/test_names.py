"""A name has one form, and a text that would break a line or a terminal is no name."""

from __future__ import annotations

import re

import pytest

from dhtd.core.ids import NATIVE
from dhtd.core.names import NAME_MAX, clean_name, id_of_name, normal_form
from dhtd.errors import InvalidId


@pytest.mark.parametrize("text", ["wiki", "wiki.example.org", "the garden camera", "caf\xe9", "\u732b", " x ", "1"])
def test_a_plain_name_stays_as_it_is(text: str) -> None:
    assert clean_name(text) == text


def test_an_accent_is_one_however_it_is_typed() -> None:
    assert clean_name("cafe\u0301") == normal_form("cafe\u0301") == "caf\xe9"
    assert id_of_name("caf\xe9", NATIVE) == NATIVE.digest("caf\xe9".encode())


def test_the_length_counts_characters_in_their_form() -> None:
    assert clean_name("e\u0301" * NAME_MAX) == "\xe9" * NAME_MAX
    with pytest.raises(InvalidId, match=r"^the name 'w{77}\.\.\.' has 256 characters, and a name has 255 at most$"):
        clean_name("w" * (NAME_MAX + 1))


@pytest.mark.parametrize("text", ["", " \u3000", "\t"])
def test_a_blank_name_is_none(text: str) -> None:
    with pytest.raises(InvalidId, match="the name is empty"):
        clean_name(text)


@pytest.mark.parametrize("character", "\0\n\t\x1b\x7f\x85\u2028\u2029")
def test_a_name_has_no_control_characters(character: str) -> None:
    with pytest.raises(InvalidId, match=re.escape(f"has the control character {character!a}")):
        clean_name(f"a{character}b")


@pytest.mark.parametrize("text", ["a\udcffb", chr(0xD800), chr(0xDFFF)])
def test_a_name_is_utf_8(text: str) -> None:
    with pytest.raises(InvalidId, match=re.escape(f"the name {text!a} is not UTF-8")):
        clean_name(text)


def test_a_long_name_is_cut_in_a_message() -> None:
    for length, shown in ((80, "a" * 79 + "\\n"), (81, "a" * 77 + "...")):
        with pytest.raises(InvalidId, match=re.escape(f"the name '{shown}' has the control character")):
            clean_name("a" * (length - 1) + "\n")

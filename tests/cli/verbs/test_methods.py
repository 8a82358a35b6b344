"""The verbs against the table of methods: what a user can type is what a method takes."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from dhtd.cli import dht as client
from dhtd.service.info import SECTIONS
from dhtd.service.methods import METHODS
from dhtd.service.params import HOST_PORT, ID

VERBS: dict[str, Any] = typer.main.get_command(client.app).commands  # type: ignore[attr-defined]
BY_ITSELF = {
    *("within_s", "attached"),  # follow from --timeout, and from the command behind --
    *("data", "public_key", "signature", "keep"),  # from TEXT or --file, from ID or --key, and from --once
}


def parameters(verb: str) -> dict[str, Any]:
    return {parameter.name: parameter for parameter in VERBS[verb].params}


@pytest.mark.parametrize("verb", sorted(METHODS.keys() & VERBS.keys()))
def test_a_verb_takes_what_its_method_takes(verb: str) -> None:
    assert {each.name for each in METHODS[verb].parameters} - parameters(verb).keys() <= BY_ITSELF


@pytest.mark.parametrize("verb", sorted(METHODS.keys() & VERBS.keys()))
def test_ids_and_endpoints_complete(verb: str) -> None:
    for each in METHODS[verb].parameters:
        if each.kind in {ID, HOST_PORT}:
            assert parameters(verb)[each.name]._custom_shell_complete is not None, each.name


def test_the_help_of_info_names_the_sections() -> None:
    *others, last = SECTIONS
    assert f"{', '.join(others)} or {last}." in parameters("info")["section"].help

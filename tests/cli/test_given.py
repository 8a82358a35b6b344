"""Commands with options from a table: the command hears of those alone that were given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest
import typer

from dhtd.cli.given import option, takes

NAMES = ("port", "bind")


@takes([option(name, str) for name in NAMES])
def command(context: typer.Context, given: Mapping[str, object], *, json: bool = False) -> None:
    """Do something."""
    context.obj.append((given, json))


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({"port": None, "bind": None}, {}),
        ({"port": "1", "bind": None}, {"port": "1"}),
        ({"port": "", "bind": ["::1"]}, {"port": "", "bind": ["::1"]}),
    ],
)
def test_a_command_hears_what_was_given(
    values: dict[str, object], given: dict[str, object], told: list[object], context: typer.Context
) -> None:
    command(context, **values, json=True)
    assert told == [(given, True)]


def test_typer_sees_the_options_of_the_table() -> None:
    assert list(inspect.signature(command).parameters) == ["context", *NAMES, "json"]
    assert (command.__name__, command.__doc__) == ("command", "Do something.")


@pytest.fixture
def told() -> list[object]:
    return []


@pytest.fixture
def context(told: list[object]) -> typer.Context:
    return typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)), obj=told)

"""`--help` of both programs and of each command: it ends with examples that work."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from dhtd.cli import dht as client
from dhtd.cli import dhtd as daemon
from dhtd.config.settings import SETTINGS, Setting
from tests.cli.conftest import Run

PROGRAMS = {"dht": client.app, "dhtd": daemon.app}


def commands() -> Iterator[tuple[str, str]]:
    """Yield each program, and each command with its program."""
    for program, app in PROGRAMS.items():
        yield program, ""
        for verb in group(app).commands:
            yield program, verb


def group(app: typer.Typer) -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize(("program", "verb"), list(commands()))
def test_help_ends_with_two_or_three_examples(program: str, verb: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(program)
    done = run(*([verb] if verb else []), "--help")
    examples = done.out.partition("\nExamples:\n")[2].splitlines()
    assert 2 <= len(examples) <= 3
    for example in examples:
        assert f"{program} {verb}".strip() in example
        assert example.startswith("  ")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.key))
def test_an_option_is_that_of_its_row(setting: Setting) -> None:
    [option] = [each for each in group(daemon.app).commands["start"].params if f"--{setting.key}" in each.opts]
    assert (option.metavar, option.multiple) == (setting.metavar or None, setting.is_list)
    assert option.help.startswith(f"{setting.help} [env: {setting.variable}")
    assert ("default:" in option.help) == (setting.default not in (None, (), False))


@pytest.mark.parametrize(("program", "verb"), list(commands()))
def test_the_examples_use_existing_commands(program: str, verb: str) -> None:
    top = group(PROGRAMS[program])
    command = top.commands[verb] if verb else top
    for line in str(command.epilog).splitlines():
        for part in re.split(r"\||&&|;|\$\(|\)", line):
            ours, _, _ = part.replace('"', " ").removeprefix("until ").partition(" -- ")
            words = shlex.split(ours)
            if words[:1] != [program]:
                continue
            named = top.commands[words[1]]
            known = {option for each in named.params for option in (*each.opts, *each.secondary_opts)}
            assert {word for word in words if word.startswith("-")} <= known, line

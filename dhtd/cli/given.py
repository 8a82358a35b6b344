"""Commands with options that come from a table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import typer

Command = Callable[..., None]


def takes(options: Sequence[inspect.Parameter]) -> Callable[[Command], Command]:
    """Give a command these options, beside its own. It is called with a mapping of those that were given, by name."""

    def decorate(command: Command) -> Command:
        context, _given, *own = inspect.signature(command, eval_str=True).parameters.values()

        def run(context: typer.Context, **values: Any) -> None:
            found = {option.name: values.pop(option.name) for option in options}
            command(context, {name: value for name, value in found.items() if value is not None}, **values)

        run.__doc__, run.__name__ = command.__doc__, command.__name__
        run.__signature__ = inspect.Signature([context, *options, *own])  # type: ignore[attr-defined]  # typer reads it
        return run

    return decorate


def option(name: str, annotation: Any) -> inspect.Parameter:
    """Return an option of a command; None where it is not given."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)

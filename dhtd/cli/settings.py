"""Makes the options of `dhtd start` from the table of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from dhtd.cli.completion.candidates import complete_cap, complete_file, complete_instance
from dhtd.config.settings import SETTINGS, Setting
from dhtd.config.values import Offers

_COMPLETERS: dict[Offers, Callable[..., Any] | None] = {
    Offers.NOTHING: None,
    Offers.FILES: complete_file,
    Offers.INSTANCES: complete_instance,
    Offers.CAPS: complete_cap,
}


def takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting. The command is called with a mapping of the given ones, by key."""
    context, _given, *own = inspect.signature(command, eval_str=True).parameters.values()
    options = [_parameter(setting) for setting in SETTINGS]

    def run(context: typer.Context, **values: Any) -> None:
        given = {setting.key: values.pop(setting.field) for setting in SETTINGS}
        command(context, {key: value for key, value in given.items() if value not in (None, [])}, **values)

    run.__doc__, run.__name__ = command.__doc__, command.__name__
    run.__signature__ = inspect.Signature([context, *options, *own])  # type: ignore[attr-defined]  # typer reads it
    return run


def _parameter(setting: Setting) -> inspect.Parameter:
    """Return an option that takes any text: `load_settings` checks values from all their sources."""
    offers = setting.kind.offers
    complete = _COMPLETERS[offers] if isinstance(offers, Offers) else _fixed(offers)
    option = typer.Option(
        f"--{setting.key}", metavar=setting.metavar, help=_help(setting), autocompletion=complete, show_default=False
    )
    kind = Annotated[list[str] | None if setting.is_list else str | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(setting.field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help(setting: Setting) -> str:
    default = f"{setting.default:g}" if isinstance(setting.default, float) else setting.default
    where = setting.variable if default in (None, ()) else f"{setting.variable}; default: {default}"
    return f"{setting.help} [env: {where}]"


def _fixed(words: tuple[str, ...]) -> Callable[[], list[str]]:
    return lambda: list(words)

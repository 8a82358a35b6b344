"""Makes the options of `dhtd start` from the table of settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from dhtd.cli.completion.candidates import complete_cap, complete_file, complete_instance
from dhtd.cli.given import Command, option, takes
from dhtd.config.settings import SETTINGS, Setting
from dhtd.config.values import Offers

_COMPLETERS: dict[Offers, Callable[..., Any] | None] = {
    Offers.NOTHING: None,
    Offers.FILES: complete_file,
    Offers.INSTANCES: complete_instance,
    Offers.CAPS: complete_cap,
}


def takes_settings(command: Command) -> Command:
    """Give a command an option for each setting. The command is called with a mapping of the given ones, by key."""
    keys = {setting.field: setting.key for setting in SETTINGS}

    @wraps(command)
    def by_key(context: typer.Context, given: Mapping[str, object], **values: Any) -> None:
        command(context, {keys[field]: value for field, value in given.items()}, **values)

    return takes([_parameter(setting) for setting in SETTINGS])(by_key)


def _parameter(setting: Setting) -> inspect.Parameter:
    """Return an option that takes any text: `load_settings` checks values from all their sources."""
    offers = setting.kind.offers
    complete = _COMPLETERS[offers] if isinstance(offers, Offers) else _fixed(offers)
    if setting.is_flag:
        shown = typer.Option(f"--{setting.key}", help=_help(setting), show_default=False)
        return option(setting.field, Annotated[bool | None, shown])
    how = typer.Option(
        f"--{setting.key}", metavar=setting.metavar, help=_help(setting), autocompletion=complete, show_default=False
    )
    kind = Annotated[list[str] | None if setting.is_list else str | None, how]  # type: ignore[valid-type]
    return option(setting.field, kind)


def _help(setting: Setting) -> str:
    default = f"{setting.default:g}" if isinstance(setting.default, float) else setting.default
    where = setting.variable if default in (None, (), False) else f"{setting.variable}; default: {default}"
    return f"{setting.help} [env: {where}]"


def _fixed(words: tuple[str, ...]) -> Callable[[], list[str]]:
    return lambda: list(words)

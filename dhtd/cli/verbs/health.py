"""`dht health`: whether other nodes find what this node enters."""

from __future__ import annotations

import typer

from dhtd.cli.output import JsonOption, Verb, ask, session
from dhtd.errors import EXIT_NEGATIVE


def health(context: typer.Context, *, json: JsonOption = False) -> None:
    """Tell whether others find this node's entries. Exit status 0 if they do, 1 if not."""
    from dhtd.service.health import HEALTH

    options = session(context, json=json)
    with options.client() as client:
        told = ask(client, HEALTH, within_s=client.answer_within)
        options.show(told, [told.text("message")], client)
    if told.value("healthy") is not True:
        raise typer.Exit(EXIT_NEGATIVE)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(cls=Verb, epilog="dht health\ndht health || systemctl --user restart dhtd")(health)

"""`dht stop`: ends the daemon, and waits until it is gone."""

from __future__ import annotations

import typer

from dhtd.cli.output import JsonOption, Verb, session
from dhtd.cli.told import Told


def stop(context: typer.Context, *, json: JsonOption = False) -> None:
    """Have the daemon save its state and end. Returns when it is gone."""
    options = session(context, json=json)
    with options.client() as client:
        told = Told(client.stop())
    options.show(told, [])
    options.note("the daemon is gone" if told.value("pid") is None else "the daemon has saved its state, and is gone")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(cls=Verb, epilog="dht stop\ndht stop --json")(stop)

"""`dht token`: the token that clients of the HTTP door send."""

from __future__ import annotations

from typing import Annotated

import typer

from dhtd.cli.output import JsonOption, Verb, ask, session


def token(
    context: typer.Context,
    *,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new token; the old one counts no longer.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the token of the HTTP door."""
    from dhtd.service.owner import TOKEN

    options = session(context, json=json)
    with options.client() as client:
        told = ask(client, TOKEN, renew=renew or None)
        options.show(told, [told.text("token")], client)
    if renew:
        options.note("the old token counts no longer")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = 'dht token\ncurl -H "Authorization: Bearer $(dht token)" http://127.0.0.1:8729/v1/status'
    app.command(cls=Verb, epilog=examples)(token)

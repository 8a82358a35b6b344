"""`dht token`: the token that clients of the HTTP door send, and the addresses of its page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, TypedDict

import typer

from dhtd.cli.output import JsonOption, Verb, ask, session
from dhtd.cli.told import Told
from dhtd.errors import ConfigError

SCHEMES: Final = ("http://", "https://")
ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - a browser cannot ask for all addresses


class Printed(TypedDict):
    """What is printed as JSON: `urls` only with --url."""

    token: str
    file: str
    urls: list[str]


def token(
    context: typer.Context,
    *,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new token; the old one counts no longer.")] = False,
    url: Annotated[bool, typer.Option("--url", help="Print the addresses of the page, with the token.")] = False,
    json: JsonOption = False,
) -> None:
    """Print the token of the HTTP door."""
    from dhtd.service.owner import TOKEN

    options = session(context, json=json)
    places = []
    if url:  # first: without a page, an old token is not replaced
        with options.client() as client:
            places = _places(Told(client.info("node")).part("node").texts("doors"))
    with options.client() as client:
        told = ask(client, TOKEN, renew=renew or None)
        lines = [told.text("token")]
        if url:
            lines = [f"{place}/#token={told.text('token')}" for place in places]
            told = Told({**told.body, "urls": lines}, gaps=told.gaps)
        options.show(told, lines, client)
    if renew:
        options.note("the old token counts no longer")


def _places(doors: Iterable[str]) -> list[str]:
    """Return the doors that a browser of this machine can open; raise `ConfigError` for none."""
    places = []
    for door in doors:
        scheme = next((each for each in SCHEMES if door.startswith(each)), None)
        if scheme is not None:
            host, colon, port = door.removeprefix(scheme).rpartition(":")
            places.append(f"{scheme}{ANYWHERE.get(host, host)}{colon}{port}")
    if not places:
        raise ConfigError("this daemon serves no page at an address: start it with --http 127.0.0.1:8729")
    return places


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        'dht token\ndht token --url\ncurl -H "Authorization: Bearer $(dht token)" http://127.0.0.1:8729/v1/status'
    )
    app.command(cls=Verb, epilog=examples)(token)

"""`dht delete`: what this machine serves or keeps no longer.

An ID may have entries and a value: the hash of a file is the ID of both. Without a port or `--value`, all goes.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Annotated

import typer

from dhtd.cli.arguments import Key, parse_port
from dhtd.cli.completion.candidates import complete_own_id, complete_own_port
from dhtd.cli.output import JsonOption, NameOption, Session, Verb, ask, session
from dhtd.cli.public_keys import PREFIX, is_public_key
from dhtd.cli.sought import Sought, parse_sought
from dhtd.cli.told import Told, named
from dhtd.cli.verbs.get import SaltOption
from dhtd.config.networks import MAINLINE, network_of
from dhtd.errors import InvalidId, NotTracked, UsageError
from dhtd.words import count


def delete(
    context: typer.Context,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An ID in hex, a name or a magnet link.",
            autocompletion=complete_own_id,
            show_default=False,
        ),
    ],
    port: Annotated[
        str | None,
        typer.Argument(
            metavar="[PORT]", help="Only the entry on this port.", autocompletion=complete_own_port, show_default=False
        ),
    ] = None,
    *,
    value: Annotated[bool, typer.Option("--value", help="Only the value.")] = False,
    salt: SaltOption = None,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine no longer serves ID, and keeps no value there.

    Prints the ports that were entered. Copies of a value expire by themselves.
    """
    options = session(context, json=json)
    only = None if port is None else parse_port(port)
    places = _places(options, id, salt, name=name, value=value)
    if places and only is not None:
        raise UsageError("a PORT is that of an entry, and a value has none: leave it out")
    told = _drop(options, places) if places else _delete(options, options.key(id, name=name), only)
    removed = told.texts("removed")
    if removed or not told.body.get("value"):
        options.note(f"{named(told)}{_withdrawn(told)}")
    if told.body.get("value"):
        lasts = network_of(told.text("id")).values_last
        options.note(f"the value is kept no longer; its copies expire within {lasts}, unless others keep it")
    for file in told.texts("declared"):
        options.note(
            f"{file} declares it, and enters it again when dhtd starts or reads its files again: remove it there"
        )


def _places(options: Session, id: str, salt: str | None, *, name: bool, value: bool) -> list[Sought]:
    """Return where the value may be that alone is to be deleted, the likeliest first; none if the entries are, too."""
    if name:
        if salt is not None:
            raise UsageError("--salt is for a public key, and --name for a name: give one of them")
        return [Sought(options.key(id, name=True).id)] if value else []
    is_of_value = value or salt is not None or id.startswith(PREFIX)
    # The IDs of the Mainline network are shorter, so 64 digits are a public key there.
    is_of_value = is_of_value or (options.network == MAINLINE.name and is_public_key(id))
    return parse_sought(options, id, salt) if is_of_value else []


def _delete(options: Session, key: Key, port: int | None) -> Told:
    """Delete what is under an ID; if there is nothing, the digits may be a public key, as for `dht get`."""
    from dhtd.service.entries import DELETE

    try:
        with options.client() as client:
            told = ask(client, DELETE, id=key.id, port=port, name=key.name)
            options.show(told, told.texts("removed"), client)
            return told
    except (InvalidId, NotTracked):  # for a daemon of the Mainline network, 64 digits are no ID
        if key.name is None and port is None and is_public_key(key.id):
            with suppress(NotTracked):
                return _drop(options, [Sought(None, bytes.fromhex(key.id))])
        raise


def _drop(options: Session, places: list[Sought]) -> Told:
    """Have the value at the first of these places kept no longer; return what a delete without entries tells.

    Raises `NotTracked` where none is kept.
    """
    from dhtd.service.values import DROP

    place, *others = places
    try:
        with options.client() as client:
            id = ask(client, DROP, **place.parameters()).text("id")
    except (InvalidId, NotTracked):
        if not others:
            raise
        return _drop(options, others)
    counts = {"withdrawn": 0, "pending": 0, "left_behind": [], "declared": [], "kept": None}
    told = Told({"id": id, "name": None, "removed": [], **counts, "value": True})
    options.show(told, [])
    return told


def _withdrawn(told: Told) -> str:
    if told.value("kept") is not None:
        return _kept(told.part("kept"))
    withdrawn = f"withdrawn from {count(told.number('withdrawn'), 'node')}"
    pending = told.number("pending")
    if pending:
        withdrawn += f"; {count(pending, 'node')} did not answer, and will be asked again"
    for left in told.parts("left_behind"):
        expires = left.number("expires_in_s")
        until = "it expires" if expires is None else f"it expires in {_minutes(expires)}"
        withdrawn += f"; {left.text('endpoint')} is found until {until}: this machine has another address now"
    return withdrawn


def _kept(kept: Told) -> str:
    nodes, expires = kept.number("nodes"), kept.number("expires_in_s")
    if nodes == 0:
        return "this network has no withdrawals, but no node holds a copy"
    within = "" if expires is None else f" within {_minutes(expires)}"
    return f"this network has no withdrawals: the copies at {count(nodes, 'node')} expire by themselves{within}"


def _minutes(seconds: float) -> str:
    return f"{max(1, math.ceil(seconds / 60))} min"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dht delete --name wiki.example.org\n"
        "dht delete --name wiki.example.org 8080\n"
        "dht delete --value 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    )
    app.command(cls=Verb, epilog=examples)(delete)

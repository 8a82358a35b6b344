"""`dht enter` and `dht delete`: what this machine serves."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from dhtd.cli.arguments import parse_key, parse_port
from dhtd.cli.completion.candidates import complete_file, complete_id, complete_own_id, complete_own_port
from dhtd.cli.output import Failure, JsonOption, NameOption, Verb, ask, session
from dhtd.cli.told import Told, holders_of, named
from dhtd.cli.verbs.enter_list import enter_list
from dhtd.errors import TooFewReplicas, UsageError
from dhtd.words import count, duration


def enter(
    context: typer.Context,
    id: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="64 hex digits, or a name.", autocompletion=complete_id, show_default=False),
    ] = None,
    port: Annotated[
        str | None, typer.Argument(metavar="PORT", help="The port of the service.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="LIST",
            help="Enter many: a line is a name or an ID, and a port; - is stdin.",
            autocompletion=complete_file,
            show_default=False,
        ),
    ] = None,
    min_replicas: Annotated[
        int | None,
        typer.Option(
            "--min-replicas", metavar="N", help="Fail if fewer nodes than this take the entry.", show_default=False
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the entry is published, or only until it is on disk.")
    ] = True,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine serves ID on PORT. Prints the nodes that hold the entry now."""
    options = session(context, json=json)
    wanted = 0 if min_replicas is None else min_replicas
    if wanted < 0:
        raise UsageError(f"--min-replicas {min_replicas}: give a number from 0 up")
    if file is not None:
        if id is not None or name:
            raise UsageError("give an ID and a PORT, or --file LIST")
        enter_list(options, file, wait=wait, wanted=wanted)
        return
    if id is None or port is None:
        context.fail(f"Missing argument '{'ID' if id is None else 'PORT'}'.")
    with options.client() as client:
        key = parse_key(id, name=name)
        told = Told(client.enter(key.id, parse_port(port), wait=wait, min_replicas=wanted, name=key.name))
        holders = holders_of(told)
        if wait and holders is not None and holders < wanted:
            raise Failure(TooFewReplicas(_too_few(told, holders, wanted)), told.body)
        lines = [f"{replica.text('node_id')} {replica.text('endpoint')}" for replica in told.parts("replicas")]
        options.show(told, lines, client)
    note = _entered(told, holders) if wait else "entered, and kept on disk; dht info tracking tells who holds it"
    options.note(f"{named(told)}{note}")


def delete(
    context: typer.Context,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="64 hex digits, or a name.", autocompletion=complete_own_id, show_default=False
        ),
    ],
    port: Annotated[
        str | None,
        typer.Argument(metavar="[PORT]", help="Only this port.", autocompletion=complete_own_port, show_default=False),
    ] = None,
    *,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine no longer serves ID. Prints the ports that were entered."""
    from dhtd.service.entries import DELETE

    options = session(context, json=json)
    with options.client() as client:
        only = None if port is None else parse_port(port)
        key = parse_key(id, name=name)
        told = ask(client, DELETE, id=key.id, port=only, name=key.name)
        options.show(told, told.texts("removed"), client)
    options.note(f"{named(told)}{_withdrawn(told)}")
    for file in told.texts("declared"):
        options.note(
            f"{file} declares it, and enters it again when dhtd starts or reads its files again: remove it there"
        )


def _entered(told: Told, holders: int | None) -> str:
    if holders == 0:
        return "kept on disk, but no other node holds it yet; published as soon as one is found: see dht bootstrap"
    return f"on {count(holders, 'node')}; {_again(told)}"


def _withdrawn(told: Told) -> str:
    withdrawn = f"withdrawn from {count(told.number('withdrawn'), 'node')}"
    pending = told.number("pending")
    if pending:
        withdrawn += f"; {count(pending, 'node')} did not answer, and will be asked again"
    for left in told.parts("left_behind"):
        expires = left.number("expires_in_s")
        until = "it expires" if expires is None else f"it expires in {max(1, math.ceil(expires / 60))} min"
        withdrawn += f"; {left.text('endpoint')} is found until {until}: this machine has another address now"
    return withdrawn


def _too_few(told: Told, holders: int, wanted: int) -> str:
    again = _again(told)
    if not holders:
        sooner = "published" if told.number("refresh_in_s") == 0 else f"{again}, or"
        again = f"{sooner} as soon as a node is found: see dht bootstrap"
    return f"{count(holders, 'node')} took the entry, of {wanted} wanted. It is kept all the same, and {again}"


def _again(told: Told) -> str:
    """Return when the entry is published again."""
    seconds = told.number("refresh_in_s")
    return "being published" if seconds == 0 else f"published again in {duration(seconds)}"


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    examples = (
        'dht enter wiki.example.org 8080\ndht enter "$(dht hash --file backup.tar)" 8000\ndht enter --file services.txt'
    )
    app.command(cls=Verb, epilog=examples)(enter)
    examples = "dht delete --name wiki.example.org\ndht delete --name wiki.example.org 8080"
    app.command(cls=Verb, epilog=examples)(delete)

"""`dht enter`: what this machine serves."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from dhtd.cli.arguments import parse_port
from dhtd.cli.completion.candidates import complete_file, complete_id
from dhtd.cli.output import CommandVerb, Failure, JsonOption, NameOption, command_of, session
from dhtd.cli.told import Told, holders_of, named
from dhtd.cli.verbs.enter_guarded import guard_of, run
from dhtd.cli.verbs.enter_list import enter_list
from dhtd.errors import TooFewReplicas, UsageError
from dhtd.words import count, duration

_WITHHELD = ("waiting", "failing")  # states of checks


def enter(
    context: typer.Context,
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="An ID in hex, a name or a magnet link.", autocompletion=complete_id, show_default=False
        ),
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
    pid: Annotated[
        int | None, typer.Option("--pid", metavar="N", help="Withdraw when process N ends.", show_default=False)
    ] = None,
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="CHECK",
            help="Published while it passes: tcp, http://127.0.0.1:PORT/PATH, or 'exec COMMAND'.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option("--every", metavar="S", help="Seconds between two checks: 5.", show_default=False),
    ] = None,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """This machine serves ID on PORT. Prints the nodes that hold the entry now.

    With a COMMAND, runs it, and serves ID until it ends.
    """
    options = session(context, json=json)
    wanted = 0 if min_replicas is None else min_replicas
    if wanted < 0:
        raise UsageError(f"--min-replicas {min_replicas}: give a number from 0 up")
    command = command_of(context)
    guard = guard_of(command, pid, check, every)
    if file is not None:
        if id is not None or name:
            raise UsageError("give an ID and a PORT, or --file LIST")
        if guard:
            raise UsageError("--pid, --check and -- COMMAND are for one entry, and --file LIST is for many")
        enter_list(options, file, wait=wait, wanted=wanted)
        return
    if id is None or port is None:
        context.fail(f"Missing argument '{'ID' if id is None else 'PORT'}'.")
    key, number = options.key(id, name=name), parse_port(port)
    entry: dict[str, Any] = {"wait": wait, "min_replicas": wanted, "name": key.name, "guard": guard}
    if command is not None:
        run(
            options, command, number, lambda client: client.enter(key.id, number, **entry), partial(_entered, wait=wait)
        )
    with options.client() as client:
        told = Told(client.enter(key.id, number, **entry))
        holders = holders_of(told)
        if wait and holders is not None and holders < wanted:
            raise Failure(TooFewReplicas(_too_few(told, holders, wanted)), told.body)
        lines = [f"{replica.text('node_id')} {replica.text('endpoint')}" for replica in told.parts("replicas")]
        options.show(told, lines, client)
    options.note(_entered(told, wait=wait))
    if told.body.get("listening") is False:
        options.note(
            f"nothing listens on port {told.text('port')}: is the service running? The entry is there all the same;"
            " --check, --pid or -- COMMAND ties it to the service"
        )


def _entered(told: Told, *, wait: bool) -> str:
    return f"{named(told)}{_how(told, holders_of(told), wait=wait)}"


def _how(told: Told, holders: int | None, *, wait: bool) -> str:
    state = told.text("state")
    if state in _WITHHELD:
        return f"kept on disk, and published as soon as its check passes; {state} now: {told.text('message')}"
    if not wait:
        return "entered, and kept on disk; dht info tracking tells who holds it"
    if holders == 0:
        return "kept on disk, but no other node holds it yet; published as soon as one is found: see dht bootstrap"
    return f"on {count(holders, 'node')}; {_again(told)}"


def _too_few(told: Told, holders: int, wanted: int) -> str:
    if told.text("state") in _WITHHELD:
        why = told.text("message")
        return f"no node took the entry, of {wanted} wanted: {why}. It is kept all the same, until its check passes"
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
    """Add the verb."""
    examples = (
        "dht enter wiki.example.org 8080 --check http://127.0.0.1:8080/\n"
        "dht enter wiki.example.org 8080 -- ./server --port 8080\n"
        "dht enter --file services.txt"
    )
    app.command(cls=CommandVerb, epilog=examples)(enter)

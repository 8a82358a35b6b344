"""`dht enter` and `dht delete`: what this machine serves."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from dhtd.cli.arguments import parse_id, parse_port
from dhtd.cli.completion.candidates import complete_own_id, complete_own_port
from dhtd.cli.output import Failure, JsonOption, NameOption, Verb, ask, session
from dhtd.cli.told import Told
from dhtd.cli.verbs.queries import IdArgument
from dhtd.errors import TooFewReplicas, UsageError
from dhtd.words import count, duration


def enter(
    context: typer.Context,
    id: IdArgument,
    port: Annotated[str, typer.Argument(metavar="PORT", help="The port of the service.", show_default=False)],
    *,
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
    with options.client() as client:
        told = Told(client.enter(parse_id(id, name=name), parse_port(port), wait=wait, min_replicas=wanted))
        holders = _holders(told)
        if wait and holders is not None and holders < wanted:
            raise Failure(TooFewReplicas(_too_few(told, holders, wanted)), told.body)
        lines = [f"{replica.text('node_id')} {replica.text('endpoint')}" for replica in told.parts("replicas")]
        options.show(told, lines, client)
    options.note(_entered(told, holders) if wait else "entered, and kept on disk; dht info tracking tells who holds it")


def delete(
    context: typer.Context,
    id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="64 hex digits; with --name, a name.", autocompletion=complete_own_id, show_default=False
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
        told = ask(client, DELETE, id=parse_id(id, name=name), port=only)
        options.show(told, told.texts("removed"), client)
    options.note(_withdrawn(told))


def _entered(told: Told, holders: int | None) -> str:
    if holders == 0:
        return "kept on disk, but no other node holds it yet; published as soon as one is found: see dht bootstrap"
    return f"on {count(holders, 'node')}; {_again(told)}"


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


def _holders(told: Told) -> int | None:
    """Return how many nodes hold the entry, if that is told: one that was reached by both address families is one."""
    return len({replica.text("node_id") for replica in told.parts("replicas")}) if "replicas" in told.body else None


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    examples = (
        "dht enter --name wiki.example.org 8080\n"
        'dht enter "$(dht hash --file backup.tar)" 8000\n'
        "dht enter --name wiki.example.org 8080 --min-replicas 3 --json"
    )
    app.command(cls=Verb, epilog=examples)(enter)
    examples = "dht delete --name wiki.example.org\ndht delete --name wiki.example.org 8080"
    app.command(cls=Verb, epilog=examples)(delete)

"""`dht lookup`: endpoints as they come in, and on a terminal what is going on meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from dhtd.cli.arguments import parse_key
from dhtd.cli.output import Failure, JsonOption, NameOption, Session, Verb, session
from dhtd.cli.streams import put
from dhtd.cli.told import Told
from dhtd.cli.verbs.queries import IdArgument
from dhtd.errors import DhtdError, NoAnswer, NotFound
from dhtd.words import count


def lookup(
    context: typer.Context,
    id: IdArgument,
    *,
    first: Annotated[bool, typer.Option("--first", help="End with the first answer that has an endpoint.")] = False,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Find who serves ID. Prints one endpoint a line."""
    from dhtd.service.entries import LOOKUP

    options = session(context, json=json)
    with options.client() as client:
        key = parse_key(id, name=name)
        answers = (Told(answer) for answer in client.stream(LOOKUP, id=key.id, name=key.name, first=first or None))
        if options.json:
            *_, told = answers
        elif sys.stdout.isatty():
            from dhtd.cli import render

            told = render.lookup(answers)
        else:
            told = _stream(answers)
        failure = _failure(told)
        if failure is not None:
            raise Failure(failure, told.body)
        options.show(told, [], client)
    _finish(options, told, first=first)


def _stream(answers: Iterator[Told]) -> Told:
    """Print each endpoint once, at once; the last answer is the result and repeats them all."""
    printed: set[str] = set()
    for told in answers:
        for peer in told.texts("peers"):
            if peer not in printed:
                printed.add(peer)
                put(peer)
        sys.stdout.flush()
    return told


def _failure(told: Told) -> DhtdError | None:
    """Return why nobody was found: an outage is no "no"."""
    stats = told.part("stats")
    answered, silent = stats.number("responses"), stats.number("timeouts")
    name = told.body.get("name")
    this = name if isinstance(name, str) else "this ID"
    if told.texts("peers"):
        return None
    if "peers" not in told.body:
        return DhtdError("the daemon does not tell who serves this ID: is it of another version than this dht?")
    if answered == 0:
        asked = f"{count(silent, 'node')} near it {'was' if silent == 1 else 'were'} asked"
        return NoAnswer(f"nobody answers, so whether somebody serves {this} is not known: {asked}. See dht status")
    besides = f", and {silent} did not" if silent else ""
    heard = f"{count(answered, 'node')} near it answered{besides}"
    if told.body.get("complete") is False:
        return NotFound(
            f"nobody was found who serves {this}, but not all nodes that may know somebody were heard: {heard}"
        )
    return NotFound(f"nobody serves {this}: {heard}")


def _finish(options: Session, told: Told, *, first: bool) -> None:
    """Say what there is to say about the endpoints that were printed."""
    stats = told.part("stats")
    answered = stats.number("responses")
    if answered == 0:
        options.note("nobody else answers: this is what this node knows itself. See dht status")
    elif told.body.get("complete") is False and not first:
        options.note("a part only: there may be others, that were not named or that only silent nodes know")
    if not options.json and sys.stderr.isatty():
        options.note(
            f"{len(told.texts('peers'))} found; {count(stats.number('queries'), 'query')}, "
            f"{count(answered, 'node')} answered, {count(stats.number('hops'), 'hop')}, "
            f"{stats.number('elapsed_ms') or 0:.0f} ms"
        )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dht lookup --name wiki.example.org\n"
        "dht lookup --name wiki.example.org --first | head -n 1\n"
        'dht lookup "$(dht hash --file backup.tar)" --json'
    )
    app.command(cls=Verb, epilog=examples)(lookup)

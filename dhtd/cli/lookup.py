"""`dht lookup`: endpoints as they come in, and on a terminal what is going on meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import typer

from dhtd.cli.arguments import parse_id
from dhtd.cli.common import Failure, JsonOption, NameOption, Session, Verb, session
from dhtd.cli.queries import IdArgument
from dhtd.cli.streams import put
from dhtd.errors import NotFound

if TYPE_CHECKING:
    from dhtd.control.protocol import LookupEvent, LookupResult


def lookup(context: typer.Context, id: IdArgument, *, name: NameOption = False, json: JsonOption = False) -> None:
    """Find who serves ID. Prints one endpoint a line."""
    options = session(context, json=json)
    with options.client() as client:
        answers = client.lookup(parse_id(id, name=name))
        if options.json:
            result = _last(answers)
        elif sys.stdout.isatty():
            from dhtd.cli import render

            result = render.lookup(answers)
        else:
            result = _stream(answers)
    if not result["peers"]:
        stats = result["stats"]
        raise Failure(NotFound(f"nobody serves this ID: {stats['responses']} nodes near it were asked"), result)
    _finish(options, result)


def _last(answers: Iterator[LookupEvent | LookupResult]) -> LookupResult:
    *_, result = answers
    return cast("LookupResult", result)


def _stream(answers: Iterator[LookupEvent | LookupResult]) -> LookupResult:
    """Print each endpoint once, at once; the last answer is the result and repeats them all."""
    printed: set[str] = set()
    answer: LookupEvent | LookupResult | None = None
    for answer in answers:
        for peer in answer["peers"]:
            if peer not in printed:
                printed.add(peer)
                put(peer)
        sys.stdout.flush()
    return cast("LookupResult", answer)


def _finish(options: Session, result: LookupResult) -> None:
    if options.json:
        options.show(result, [])
    elif sys.stderr.isatty():
        stats = result["stats"]
        options.note(
            f"{len(result['peers'])} found; {stats['queries']} queries, {stats['responses']} nodes answered, "
            f"{stats['hops']} {'hop' if stats['hops'] == 1 else 'hops'}, {stats['elapsed_ms']:.0f} ms"
        )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(cls=Verb)(lookup)

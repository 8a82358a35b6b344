"""`dht trace`: a lookup, and what becomes of each of its queries."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer

from dhtd.cli.output import Failure, JsonOption, NameOption, Session, Verb, session
from dhtd.cli.streams import put, put_json
from dhtd.cli.told import Told
from dhtd.cli.verbs.lookup import failure_of
from dhtd.cli.verbs.queries import IdArgument


def trace(context: typer.Context, id: IdArgument, *, name: NameOption = False, json: JsonOption = False) -> None:
    """Look ID up, and show how. Each query, its node and round trip, and what its answer led to."""
    from dhtd.cli.traced import sentence
    from dhtd.service.trace import TRACE

    options = session(context, json=json)
    key = options.key(id, name=name)
    with options.client() as client:
        answers = (Told(answer) for answer in client.stream(TRACE, id=key.id, name=key.name))
        if not options.json and sys.stdout.isatty():
            from dhtd.cli import render_trace

            told = render_trace.trace(answers, key.name or key.id)
        else:
            told = _print(options, answers)
        failure = failure_of(told)
        if options.json:
            if failure is not None:
                raise Failure(failure, told.body)
            put_json(told.body)
            return
        put(sentence(told))
        if failure is not None:
            raise failure
        options.show(told, [], client)


def _print(options: Session, answers: Iterator[Told]) -> Told:
    """Print each event at once; the last answer is the result."""
    from dhtd.cli.traced import line

    for told in answers:
        if "step" not in told.body:
            continue
        if options.json:
            put_json(told.body)
        else:
            put(line(told))
        sys.stdout.flush()
    return told


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht trace --name wiki.example.org\ndht trace --name wiki.example.org | grep -w slow"
    app.command(cls=Verb, epilog=examples)(trace)

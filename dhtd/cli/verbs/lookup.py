"""`dht lookup`: endpoints as they come in, and on a terminal what is going on meanwhile."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from dhtd.cli.arguments import Key
from dhtd.cli.completion.candidates import complete_id
from dhtd.cli.output import Failure, JsonOption, NameOption, Session, Verb, session
from dhtd.cli.streams import put, say
from dhtd.cli.told import Told
from dhtd.cli.verbs.queries import IdArgument
from dhtd.config.networks import MAINLINE, network_of
from dhtd.errors import DaemonUnreachable, DhtdError, NetworkFailure, NoAnswer, NotFound, UsageError
from dhtd.words import count

_NUMBER: Final = re.compile(r"[+-]?[0-9.]{1,12}")


class WaitingVerb(Verb):
    """A command with an option `--wait`, which may have a number behind it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return list(super().parse_args(ctx, _with_seconds(args)))


def _with_seconds(words: list[str]) -> list[str]:
    """Return the words with a value for each `--wait`: the number behind it, or for ever."""
    found: list[str] = []
    left = list(words)
    while left and left[0] != "--":
        word = left.pop(0)
        if word == "--wait":
            word = f"--wait={left.pop(0) if left and _NUMBER.fullmatch(left[0]) else math.inf}"
        found.append(word)
    return [*found, *left]


def lookup(
    context: typer.Context,
    id: IdArgument,
    *,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            metavar="[S]",
            help="Wait until somebody serves it, S seconds at most.",
            autocompletion=complete_id,  # what follows may be the ID
            show_default=False,
        ),
    ] = None,
    first: Annotated[bool, typer.Option("--first", help="End with the first answer that has an endpoint.")] = False,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Find who serves ID. Prints one endpoint a line."""
    options = session(context, json=json)
    key = options.key(id, name=name)
    if wait is None:
        _look_up(options, key, first=first)
        return
    if first:
        raise UsageError("--wait ends with the first endpoint as well: give --wait or --first")
    if not wait > 0:
        raise UsageError(f"--wait {wait:g}: give a number of seconds above 0")
    _await(options, key, wait)


def _await(options: Session, key: Key, seconds: float) -> None:
    """Wait until somebody serves an ID, and look it up then."""
    from dhtd.cli.watching import Watching

    until = time.monotonic() + seconds
    with Watching(options.feed, [key], say) as watching:
        [watched] = watching.watched.values()
        for _ in watching.turns(until):
            if not watched.serves(1):
                continue
            try:
                return _look_up(options, key, first=False)
            except (Failure, NetworkFailure, DaemonUnreachable) as error:
                if isinstance(error, Failure) and not isinstance(error.error, NotFound | NetworkFailure):
                    raise
                # It has gone meanwhile, or the daemon has: wait on.
    this, waited = key.name or "this ID", f"{seconds:g} s are over"
    if not watched.is_answered:
        raise NoAnswer(f"nobody answers, so whether somebody serves {this} is not known, and {waited}. See dht status")
    raise NotFound(f"nobody serves {this}, and {waited}")


def _look_up(options: Session, key: Key, *, first: bool) -> None:
    """Ask the daemon, and print endpoints as they come; raise a `Failure` without any."""
    from dhtd.service.entries import LOOKUP

    with options.client() as client:
        answers = (Told(answer) for answer in client.stream(LOOKUP, id=key.id, name=key.name, first=first or None))
        if options.json:
            *_, told = answers
        elif sys.stdout.isatty():
            from dhtd.cli import render

            told = render.lookup(answers)
        else:
            told = _stream(answers)
        failure = failure_of(told)
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


def failure_of(told: Told) -> DhtdError | None:
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
    elif told.body.get("complete") is False and not first and network_of(told.text("id")) is not MAINLINE:
        # An answer of the Mainline network never says that it is whole.
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
        "dht lookup --name wiki.example.org --wait 30\n"
        'dht lookup "$(dht hash --file backup.tar)" --json'
    )
    app.command(cls=WaitingVerb, epilog=examples)(lookup)

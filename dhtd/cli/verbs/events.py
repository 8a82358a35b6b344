"""`dht events`: what the node does, one line an event."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from dhtd.cli import streams
from dhtd.cli.output import JsonOption, Session, Verb, session
from dhtd.cli.streams import put, put_json
from dhtd.errors import UsageError


def complete_kind(incomplete: str) -> Sequence[str]:
    """Offer the kinds of events."""
    from dhtd.service.events import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def events(
    context: typer.Context,
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="KIND", help="Only these events.", autocompletion=complete_kind, show_default=False
        ),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="SERIAL", help="Begin behind this event.", show_default=False),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show what the node does, as it does it. Queries, lookups, contacts, limits; until interrupted."""
    from dhtd.cli.happened import line
    from dhtd.service.events import KINDS
    from dhtd.service.params import SERIAL_MAX

    options = session(context, json=json)
    if kind is not None and kind not in KINDS:
        raise UsageError(f"no kind {kind!r:.80}; there are: {', '.join(KINDS)}")
    if after is not None and not 0 <= after <= SERIAL_MAX:
        raise UsageError(f"--after {after}: give the serial of an event")
    for event in _events(options, kind, after):
        if options.json:
            put_json(event)
        else:
            put(line(event))


def _events(options: Session, kind: str | None, after: int | None) -> Iterator[Mapping[str, Any]]:
    """Yield events until the daemon hangs up, or nobody reads the output; flush it before each wait."""
    output, feed = streams.output(), options.feed()
    try:
        feed.ask("events", {"after": after, "kind": kind})
        while True:
            sys.stdout.flush()
            poll = select.poll()
            poll.register(feed, select.POLLIN)
            if output is not None:
                poll.register(output, 0)  # errors alone: a pipe without a reader is one
            until = feed.silence_ends()
            ready = poll.poll(None if until is None else min(max(0.0, 1000 * (until - time.monotonic())) + 1, 1e6))
            if any(descriptor == output for descriptor, _ in ready):
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            for batch in feed.events():
                told = batch.get("events")
                yield from (each for each in (told if isinstance(told, list) else ()) if isinstance(each, dict))
    finally:
        feed.close()


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = "dht events\ndht events --kind limit\ndht events --json | jq -c .kind"
    app.command(cls=Verb, epilog=examples)(events)

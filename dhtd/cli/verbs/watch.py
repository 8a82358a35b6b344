"""`dht watch`: who serves IDs, now and at each change, and a command that is run at each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from dhtd.cli import streams
from dhtd.cli.arguments import Key
from dhtd.cli.completion.candidates import complete_file, complete_id
from dhtd.cli.output import CommandVerb, JsonOption, NameOption, Session, command_of, is_behind_dashes, session
from dhtd.cli.streams import put, put_json, say
from dhtd.cli.told import word
from dhtd.errors import UsageError

if TYPE_CHECKING:
    from dhtd.cli.watched import Change


def _complete(context: typer.Context, incomplete: str) -> Sequence[str | tuple[str, str]]:
    """Offer IDs, and files to the command: typer takes its words for further IDs."""
    return complete_file(incomplete) if is_behind_dashes(context) else complete_id(context, incomplete)


def watch(
    context: typer.Context,
    ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="An ID in hex, a name or a magnet link.", autocompletion=_complete, show_default=False
        ),
    ],
    *,
    until: Annotated[
        int | None, typer.Option("--until", metavar="N", help="End once N endpoints serve each ID.", show_default=False)
    ] = None,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Tell who serves each ID, now and at each change.

    A line with + is for an endpoint that comes, one with - for an endpoint that goes.

    With a COMMAND, runs it at the start and at each change, with all endpoints on its standard input.
    """
    from dhtd.cli.terminal import tidying

    options = session(context, json=json)
    if until is not None and until < 1:
        raise UsageError(f"--until {until}: give a number from 1 up")
    command = command_of(context)
    keys = [options.key(id, name=name) for id in ids]
    with tidying():
        _watch(options, keys, until, command)


def _watch(options: Session, keys: list[Key], until: int | None, command: list[str] | None) -> None:
    from dhtd.cli.hook import Hook
    from dhtd.cli.terminal import Ended
    from dhtd.cli.wakeups import Wakeups
    from dhtd.cli.watching import Watching

    with Wakeups() as wakeups, Watching(options.feed, keys, say) as watching:
        hook = None if command is None else Hook(command, wakeups, say)
        number = signal.SIGTERM
        try:
            for change in watching.turns(wakeup=wakeups.fileno(), output=streams.output()):
                wakeups.take()
                if change is not None:
                    _show(options, change, is_one=len(watching.watched) == 1)
                if hook is not None:
                    hook.go_on(change)
                if until is not None and all(each.serves(until) for each in watching.watched.values()):
                    break
            if hook is not None:
                hook.finish()
        except KeyboardInterrupt:
            number = signal.SIGINT
            raise
        except Ended as end:
            number = signal.Signals(end.number)
            raise
        finally:
            if hook is not None:
                hook.end(number)


def _show(options: Session, change: Change, *, is_one: bool) -> None:
    if options.json:
        put_json(change.body)
        sys.stdout.flush()
        return
    label = "" if is_one else f" {word(change.name or change.id)}"
    for sign, endpoints in (("+", change.added), ("-", change.removed)):
        for endpoint in endpoints:
            put(f"{sign} {endpoint}{label}")
    sys.stdout.flush()
    note = _note(change)
    if note is not None:
        options.note(note)


def _note(change: Change) -> str | None:
    """Return what there is to say, beside the endpoints."""
    this = change.name or "this ID"
    if change.is_first:
        if not change.is_vouched:
            return f"no other node answers: whether others serve {this} is not known yet. See dht status"
        return None if change.peers else f"nobody serves {this} yet"
    if change.is_vouched == change.was_vouched:
        return None
    if change.is_vouched:
        return f"other nodes tell of changes of {this} again"
    return f"no other node tells of changes of {this} any more; trying again. See dht status"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dht watch wiki.example.org\ndht watch --until 3 db.example.org\ndht watch web.example.org -- ./use-backends"
    )
    app.command(cls=CommandVerb, epilog=examples)(watch)

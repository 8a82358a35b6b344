"""`dht doctor`: what is wrong, in one sentence, and the command that mends it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dhtd.cli.completion.candidates import complete_id
from dhtd.cli.output import JsonOption, NameOption, Session, Verb, session
from dhtd.cli.streams import put, put_json
from dhtd.cli.told import Told
from dhtd.errors import EXIT_NEGATIVE, DaemonUnreachable, SocketForbidden, UnknownMethod

if TYPE_CHECKING:
    from dhtd.cli.arguments import Key
    from dhtd.cli.diagnosed import Diagnosis

Show = Callable[[Told], None]


def doctor(
    context: typer.Context,
    id: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="An ID in hex, a name or a magnet link.", autocompletion=complete_id, show_default=False
        ),
    ] = None,
    *,
    name: NameOption = False,
    json: JsonOption = False,
) -> None:
    """Say what is wrong with this node, or with ID, in a sentence. Then comes the command that mends it.

    Exit status 0 if nothing is wrong, 1 if something is, and 3 without a daemon.
    """
    options = session(context, json=json)
    key = None if id is None else options.key(id, name=name)
    if not options.json and sys.stdout.isatty():
        from dhtd.cli.render_doctor import Steps

        steps = Steps()
        with steps.drawing():
            told, status = _diagnose(options, key, steps.draw)
        steps.end(told, _command(options, told))
    else:
        told, status = _diagnose(options, key, _quiet if options.json else _print)
        _finish(options, told)
    if told.value("healthy") is not True:
        raise typer.Exit(status)


def _diagnose(options: Session, key: Key | None, show: Show) -> tuple[Told, int]:
    """Show each step; return the diagnosis, and the exit status if it is not good."""
    from dhtd.cli.diagnosed import no_daemon

    status = EXIT_NEGATIVE
    try:
        diagnosis = _ask(options, key, show)
    except SocketForbidden:
        raise
    except DaemonUnreachable as error:
        diagnosis, status = no_daemon(error, key, options.instance), error.exit_status
        show(Told(diagnosis.body["steps"][0]))
    return Told(diagnosis.body), status


def _ask(options: Session, key: Key | None, show: Show) -> Diagnosis:
    """Ask the daemon, and look at what only a client sees."""
    from dhtd.cli.diagnosed import Diagnosis
    from dhtd.service.doctor import DOCTOR

    body: dict[str, Any] = {}
    params = {} if key is None else {"id": key.id, "name": key.name}
    with options.client() as client:
        try:
            for answer in client.stream(DOCTOR, **params):
                body = dict(answer)
                if "verdict" not in body:
                    show(Told(body))
        except UnknownMethod:
            with options.client() as another:
                node = Told(another.info("node")).part("node")
            body = {"version": node.text("version"), "steps": []}
    diagnosis = Diagnosis(body)
    for added in _more(diagnosis, key):
        if added is not None:
            show(Told(added))
    return diagnosis


def _more(diagnosis: Diagnosis, key: Key | None) -> Iterator[dict[str, Any] | None]:
    from dhtd.config.networks import NATIVE, network_of

    if key is not None:
        yield diagnosis.look_at_other_networks(key)
        if network_of(key.id) is NATIVE:  # elsewhere, those who serve an ID are strangers
            yield diagnosis.look_at_services(key)
    yield diagnosis.look_at_version()


def _command(options: Session, told: Told) -> str | None:
    command, fault = told.value("command"), told.value("fault")
    if not isinstance(command, str) or fault in ("no-daemon", "other-network"):
        return command if isinstance(command, str) else None
    restart = "dht stop; "
    if command.startswith(restart):
        return f"{options.addressed('dht stop')}; {options.addressed(command[len(restart) :])}"
    return options.addressed(command)


def _quiet(told: Told) -> None:
    pass


def _print(told: Told) -> None:
    from dhtd.cli.diagnosed import line

    put(line(told))
    sys.stdout.flush()


def _finish(options: Session, told: Told) -> None:
    from dhtd.cli.traced import printable

    command = _command(options, told)
    if options.json:
        put_json({**told.body, "command": command})
        return
    put(printable(told.text("verdict")))
    if command is not None:
        put(f"    {printable(command)}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(cls=Verb, epilog="dht doctor\ndht doctor wiki\ndht doctor --json | jq -r .command")(doctor)

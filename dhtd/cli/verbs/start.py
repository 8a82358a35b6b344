"""`dhtd start`: the daemon in the foreground."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from dhtd.cli.completion.candidates import complete_file
from dhtd.cli.output import JsonOption, Verb
from dhtd.cli.settings import takes_settings
from dhtd.cli.streams import discard, is_writable, put, put_json, say
from dhtd.errors import DhtdError, ExtraMissing

if TYPE_CHECKING:
    from dhtd.config.settings import Settings
    from dhtd.daemon.app import Ready
    from dhtd.service.door import Door


@takes_settings
def start(
    context: typer.Context,
    given: Mapping[str, object],
    *,
    change_network: Annotated[
        bool,
        typer.Option("--change-network", help="Take the state file of a private network into another network."),
    ] = False,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Use this configuration file. [env: DHTD_CONFIG]",
            autocompletion=complete_file,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a node in the foreground until SIGTERM or SIGINT. Prints its ID, addresses and socket when it is ready."""
    from dhtd.config.sources import load_settings
    from dhtd.daemon.app import run

    json = json or context.obj

    def load() -> Settings:
        return load_settings({**given, "config": config}, os.environ)

    try:
        settings = load()
        announce = lambda ready: _announce(ready, json=json)  # noqa: E731 - one word for a long line
        run(settings, announce, load, doors=_doors(settings), change_network=change_network)
    except DhtdError as error:
        _say_why(error, given.get("log-format"), json=json)
        raise typer.Exit(error.exit_status) from None


def _doors(settings: Settings) -> list[Door]:
    """Return the doors that the settings ask for. Nothing of the others is imported."""
    doors: list[Door] = []
    if settings.http:
        try:
            from dhtd.http.door import HttpDoor
        except ModuleNotFoundError as error:
            raise ExtraMissing(f"HTTP needs the module {error.name}: pip install 'dhtd[web]'") from None
        doors.append(HttpDoor(settings))
    if settings.dns:
        try:
            from dhtd.dns.door import DnsDoor
        except ModuleNotFoundError as error:
            raise ExtraMissing(f"DNS needs the module {error.name}: pip install 'dhtd[dns]'") from None
        doors.append(DnsDoor(settings))
    return doors


def _announce(ready: Ready, *, json: bool) -> None:
    """Announce that the daemon is ready. A stdout that takes nothing does not matter."""
    try:
        if not is_writable(sys.stdout):
            return
        if json:
            put_json(asdict(ready))
        else:
            put(f"node {ready.node_id}")
            for endpoint in ready.endpoints:
                put(f"address {endpoint}")
            put(f"socket {ready.socket}")
            for door in ready.doors:
                put(f"door {door}")
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def _say_why(error: DhtdError, log_format: object, *, json: bool) -> None:
    """Say why the daemon has ended, or did not start: as a line of the log, be there one already or not."""
    from dhtd.daemon import log

    if json and is_writable(sys.stdout):  # otherwise the end of a daemon would wait for its reader
        with suppress(OSError):
            put_json({"error": {"code": error.code, "message": str(error)}})
    if log.is_set_up():
        logging.getLogger("dhtd").error("%s", error)
        log.flush()
    elif is_writable(sys.stderr):
        say(log.error_line(str(error), str(log_format or wanted_log_format())))


def wanted_log_format() -> str:
    """Return the form of the log where it is not set up yet, and no option says it."""
    return os.environ.get("DHTD_LOG_FORMAT", "text")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    examples = (
        "dhtd start\n"
        "dhtd start --bootstrap 192.168.1.10:1729 --network-key network.key\n"
        "dhtd start --instance test --bind 127.0.0.1 --port 1730"
    )
    app.command("start", cls=Verb, epilog=examples)(start)

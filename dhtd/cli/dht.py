"""`dht`: asks the running daemon. One verb a file where it has substance; the small ones are in `queries`."""

from __future__ import annotations

import math
from typing import Annotated, NoReturn

import typer

from dhtd import __version__
from dhtd.cli import streams
from dhtd.cli.arguments import check_network
from dhtd.cli.completion.candidates import complete_file, complete_instance, complete_network
from dhtd.cli.output import TIMEOUT, JsonOption, Program, Session, run
from dhtd.cli.verbs import (
    backup,
    delete,
    dns_setup,
    doctor,
    entries,
    events,
    get,
    health,
    info,
    keep,
    keys,
    lookup,
    put,
    queries,
    route,
    status,
    stop,
    token,
    trace,
    watch,
)
from dhtd.cli.verbs import completion as completion_verb
from dhtd.errors import UsageError

app = typer.Typer(
    name="dht",
    cls=Program,
    epilog="dht enter --name wiki.example.org 8080\ndht lookup --name wiki.example.org\ndht status && dht info",
    add_completion=False,  # completion scripts are installed; `run` answers them
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        streams.put(f"dht {__version__}")
        raise typer.Exit


@app.callback()
def dht(
    context: typer.Context,
    *,
    socket: Annotated[
        str | None,
        typer.Option(
            "--socket",
            metavar="PATH",
            help="The daemon's control socket. [env: DHTD_SOCKET]",
            autocompletion=complete_file,
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance",
            metavar="NAME",
            help="Which of several daemons to ask. [env: DHTD_INSTANCE]",
            autocompletion=complete_instance,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="NAME",
            help="Ask the daemon of this network: native or mainline. [env: DHTD_NETWORK]",
            autocompletion=complete_network,
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Seconds to wait for the daemon.", show_default=True)
    ] = TIMEOUT,
    json: JsonOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Ask the DHT daemon on this machine: who serves an ID?"""
    if not (timeout > 0 and math.isfinite(timeout)):
        raise UsageError(f"--timeout {timeout:g}: give a number of seconds above 0")
    if network is not None:
        check_network(network)
    context.obj = Session(socket, instance, network, timeout, json=json)


queries.register_first(app)
entries.register(app)
lookup.register(app)
trace.register(app)
watch.register(app)
route.register(app)
delete.register(app)
put.register(app)
get.register(app)
keep.register(app)
keys.register(app)
info.register(app)
status.register(app)
health.register(app)
doctor.register(app)
events.register(app)
queries.register_rest(app)
backup.register(app)
token.register(app)
dns_setup.register(app)
stop.register(app)
completion_verb.register(app, "dht")


def main() -> NoReturn:
    """Run `dht`."""
    run(app, "dht")

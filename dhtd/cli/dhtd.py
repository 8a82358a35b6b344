"""`dhtd`: the daemon, and whole networks of its nodes."""

from __future__ import annotations

import os
from typing import Annotated, NoReturn

import typer

from dhtd import __version__
from dhtd.cli.output import JsonOption, Program, run
from dhtd.cli.simulate import options as simulate
from dhtd.cli.streams import put, say
from dhtd.cli.verbs import completion as completion_verb
from dhtd.cli.verbs import keygen, start, testnet
from dhtd.cli.verbs.start import wanted_log_format

app = typer.Typer(
    name="dhtd",
    cls=Program,
    epilog="dhtd start --bootstrap 192.168.1.10:1729\ndhtd start --network-key network.key\ndhtd simulate --nodes 100",
    add_completion=False,  # completion scripts are installed; `run` answers them
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        put(f"dhtd {__version__}")
        raise typer.Exit


@app.callback()
def dhtd(
    context: typer.Context,
    *,
    json: JsonOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run a DHT daemon on this machine."""
    context.obj = json


start.register(app)
keygen.register(app)
simulate.register(app)
testnet.register(app)
completion_verb.register(app, "dhtd")


def _complain(text: str) -> None:
    """Say what is wrong with the command line: as a line of the log, where the log is read by a machine."""
    from dhtd.daemon import log

    if log.is_journal(os.environ) or wanted_log_format() == "json":
        say(log.error_line(". ".join(line.rstrip(".") for line in text.splitlines()), wanted_log_format()))
    else:
        say(f"dhtd: {text}")


def main() -> NoReturn:
    """Run `dhtd`."""
    run(app, "dhtd", _complain)

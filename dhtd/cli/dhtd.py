"""`dhtd`: the daemon, and whole networks of its nodes."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from dhtd import __version__
from dhtd.cli.completion.candidates import complete_cap, complete_file, complete_instance
from dhtd.cli.output import JsonOption, Program, Verb, run
from dhtd.cli.simulate import options as simulate
from dhtd.cli.streams import discard, is_writable, put, put_json, say
from dhtd.cli.verbs import completion as completion_verb
from dhtd.cli.verbs import keygen
from dhtd.errors import DhtdError

if TYPE_CHECKING:
    from dhtd.config.sources import Settings
    from dhtd.daemon.app import Ready

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


# Every option is text or absent here: `load_settings` checks values from all their sources alike.
@app.command(
    cls=Verb,
    epilog="dhtd start\n"
    "dhtd start --bootstrap 192.168.1.10:1729 --network-key network.key\n"
    "dhtd start --instance test --bind 127.0.0.1 --port 1730",
)
def start(
    context: typer.Context,
    *,
    port: Annotated[
        str | None, typer.Option("--port", metavar="PORT", help="UDP port. [env: DHTD_PORT; default: 1729]")
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option("--bind", metavar="ADDR", help="Address to listen on; repeat for more. [env: DHTD_BIND]"),
    ] = None,
    bootstrap: Annotated[
        list[str] | None,
        typer.Option(
            "--bootstrap", metavar="HOST:PORT", help="Node to join through; repeat for more. [env: DHTD_BOOTSTRAP]"
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="FILE", help="The state file. [env: DHTD_STATE]", autocompletion=complete_file),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option(
            "--socket", metavar="PATH", help="The control socket. [env: DHTD_SOCKET]", autocompletion=complete_file
        ),
    ] = None,
    instance: Annotated[
        str | None,
        typer.Option(
            "--instance",
            metavar="NAME",
            help="Name for state file and socket. [env: DHTD_INSTANCE]",
            autocompletion=complete_instance,
        ),
    ] = None,
    socket_group: Annotated[
        str | None,
        typer.Option(
            "--socket-group",
            metavar="NAME",
            help="Group with access to the control socket. [env: DHTD_SOCKET_GROUP]",
        ),
    ] = None,
    socket_clients: Annotated[
        str | None,
        typer.Option(
            "--socket-clients",
            metavar="N",
            help="Connections to the control socket for each user. [env: DHTD_SOCKET_CLIENTS; default: 64]",
        ),
    ] = None,
    node_id: Annotated[
        str | None,
        typer.Option("--node-id", metavar="HEX", help="This node's new ID. [env: DHTD_NODE_ID]"),
    ] = None,
    network_key: Annotated[
        list[str] | None,
        typer.Option(
            "--network-key",
            metavar="FILE",
            help="Key of a private network; a second one opens, too. [env: DHTD_NETWORK_KEY_FILE]",
            autocompletion=complete_file,
        ),
    ] = None,
    change_network: Annotated[
        bool,
        typer.Option("--change-network", help="Take the state file of a private network into another network."),
    ] = False,
    exempt_network: Annotated[
        list[str] | None,
        typer.Option(
            "--exempt-network",
            metavar="CIDR",
            help="Public network with many nodes of yours; repeat for more. [env: DHTD_EXEMPT_NETWORK]",
        ),
    ] = None,
    rate_limit: Annotated[
        str | None,
        typer.Option(
            "--rate-limit",
            metavar="N",
            help="Queries a second answered to each source; 0 is no limit. [env: DHTD_RATE_LIMIT]",
        ),
    ] = None,
    rate_limit_total: Annotated[
        str | None,
        typer.Option(
            "--rate-limit-total",
            metavar="N",
            help="Queries a second answered in all; 0 is no limit. [env: DHTD_RATE_LIMIT_TOTAL]",
        ),
    ] = None,
    max_entries: Annotated[
        str | None,
        typer.Option("--max-entries", metavar="N", help="Entries held for others. [env: DHTD_MAX_ENTRIES]"),
    ] = None,
    max_operations: Annotated[
        str | None,
        typer.Option("--max-operations", metavar="N", help="Commands under way at once. [env: DHTD_MAX_OPERATIONS]"),
    ] = None,
    cap: Annotated[
        list[str] | None,
        typer.Option(
            "--cap",
            metavar="NAME=N",
            help="Set a cap, see CAPS in dhtd(8); repeat for more. [env: DHTD_CAP]",
            autocompletion=complete_cap,
        ),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="LEVEL",
            help="debug, info, warning or error. [env: DHTD_LOG_LEVEL]",
            autocompletion=lambda: ["debug", "info", "warning", "error"],
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="text or json. [env: DHTD_LOG_FORMAT]",
            autocompletion=lambda: ["text", "json"],
        ),
    ] = None,
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
    from dhtd.daemon.app import run as run_daemon

    given = {
        "port": port,
        "bind": bind,
        "bootstrap": bootstrap,
        "state": state,
        "socket": socket,
        "instance": instance,
        "socket-group": socket_group,
        "socket-clients": socket_clients,
        "node-id": node_id,
        "network-key": network_key,
        "exempt-network": exempt_network,
        "rate-limit": rate_limit,
        "rate-limit-total": rate_limit_total,
        "max-entries": max_entries,
        "max-operations": max_operations,
        "cap": cap,
        "log-level": log_level,
        "log-format": log_format,
        "config": config,
    }
    options = {key: value for key, value in given.items() if value not in (None, [])}

    def load() -> Settings:
        return load_settings(options, os.environ)

    def announce(ready: Ready) -> None:
        _announce(ready, json=json or context.obj)

    try:
        run_daemon(load(), announce, load, change_network=change_network)
    except DhtdError as error:
        _say_why(error, log_format, json=json or context.obj)
        raise typer.Exit(error.exit_status) from None


keygen.register(app)
simulate.register(app)
completion_verb.register(app, "dhtd")


def _announce(ready: Ready, *, json: bool) -> None:
    """Say that the daemon is ready, to whoever still listens: a stdout that takes nothing must not matter."""
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
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def _say_why(error: DhtdError, log_format: str | None, *, json: bool) -> None:
    """Say why the daemon has ended, or did not start: as a line of the log, be there one already or not."""
    from dhtd.daemon import log

    if json and is_writable(sys.stdout):  # else the end of a daemon would wait for whoever does not read it
        with suppress(OSError):
            put_json({"error": {"code": error.code, "message": str(error)}})
    if log.is_set_up():
        logging.getLogger("dhtd").error("%s", error)
        log.flush()
    elif is_writable(sys.stderr):
        say(log.error_line(str(error), log_format or _log_format()))


def _log_format() -> str:
    return os.environ.get("DHTD_LOG_FORMAT", "text")


def _complain(text: str) -> None:
    """Say what is wrong with the command line: as a line of the log, where the log is read by a machine."""
    from dhtd.daemon import log

    if log.is_journal(os.environ) or _log_format() == "json":
        say(log.error_line(". ".join(line.rstrip(".") for line in text.splitlines()), _log_format()))
    else:
        say(f"dhtd: {text}")


def main() -> NoReturn:
    """Run `dhtd`."""
    run(app, "dhtd", _complain)

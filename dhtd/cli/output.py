"""What all commands share: options, the client of the daemon, output, and the end of a failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core
from typer._click.shell_completion import CompletionItem

from dhtd import __version__
from dhtd.cli import streams
from dhtd.cli.streams import put, put_json, say
from dhtd.cli.told import Told
from dhtd.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, DhtdError, InternalError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from dhtd.cli.arguments import Key
    from dhtd.control.client import Client
    from dhtd.control.feed import Feed
    from dhtd.service.method import Method

TIMEOUT = 15.0  # seconds

_COMMAND = "dhtd.command"  # in the `meta` of a context

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NameOption = Annotated[bool, typer.Option("--name", help="ID is a name, even if it looks like an ID.")]


class Program(typer.core.TyperGroup):
    """A program with examples at the end of its help: the lines of its epilog."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_examples(self.epilog, formatter)


class Verb(typer.core.TyperCommand):
    """A command with examples at the end of its help.

    Its usage names arguments as the manual page does, without the braces of typer.
    """

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        _format_examples(self.epilog, formatter)


class CommandVerb(Verb):
    """A command that runs another one: the words behind the `--` that follows its arguments. See `command_of`.

    A `--` before the arguments ends the options, as everywhere.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for at in (at for at, word in enumerate(args) if word == "--"):
            given, _, _ = self.make_parser(ctx).parse_args(args[:at])
            arguments = [given.get(str(each.name)) for each in self.params if each.param_type_name == "argument"]
            if not any(each in (None, ()) for each in arguments):
                ctx.meta[_COMMAND] = args[at + 1 :]
                args = args[:at]
                break
        return list(super().parse_args(ctx, args))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        if _COMMAND in ctx.meta:
            from dhtd.cli.completion.candidates import complete_file

            return [CompletionItem(value, help=kind) for value, kind in complete_file(incomplete)]
        return super().shell_complete(ctx, incomplete)


def command_of(context: typer.Context) -> list[str] | None:
    """Return the words behind `--`, None without it; raise `UsageError` if nothing stands there."""
    command: list[str] | None = context.meta.get(_COMMAND)
    if command is not None and not any(command[:1]):
        raise UsageError("behind -- stands the command to run, such as -- ./server --port 8080")
    return command


def is_behind_dashes(context: typer.Context) -> bool:
    """Whether the last word of the line belongs to the command behind `--`."""
    return _COMMAND in context.meta


def _format_examples(lines: str | None, formatter: Any) -> None:
    """Write each line unwrapped, so that it can be pasted."""
    if lines:
        with formatter.section("Examples"):
            for line in lines.splitlines():
                formatter.write(f"  {line}\n")


class Failure(DhtdError):
    """A failure with a partial result: `--json` prints both."""

    def __init__(self, error: DhtdError, partial: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.partial = partial


class Session:
    """The options of one invocation of `dht`."""

    def __init__(
        self, socket: str | None, instance: str | None, network: str | None, timeout: float, *, json: bool
    ) -> None:
        if socket == "":
            raise UsageError("--socket is empty: give the path of a control socket")
        self._socket = socket
        self._instance = instance
        self._network = network
        self._implied: str | None = None  # the network that the arguments are of
        self._is_checked = False  # whether the daemon is known to be in the network that is named
        self._timeout = timeout
        self.json = json

    @property
    def instance(self) -> str | None:
        """The instance that is asked; None if the path of a socket is given."""
        from dhtd.config.networks import NATIVE, NETWORKS

        if self._socket is not None or os.environ.get("DHTD_SOCKET"):
            return None
        named = NETWORKS[self.network or self._implied or NATIVE.name].instance
        return self._instance or os.environ.get("DHTD_INSTANCE") or named

    @property
    def network(self) -> str | None:
        """The network that is named by an option or a variable, or by the name of its instance; None if none is.

        Raises `ConfigError` for a variable that names no network.
        """
        from dhtd.cli.arguments import named_network

        return named_network(self._network, self._instance, os.environ)

    def key(self, text: str, *, name: bool) -> Key:
        """Return what an argument means, which says as well which daemon is asked; raise `InvalidId`."""
        from dhtd.cli.arguments import parse_key

        key = parse_key(text, name=name, network=self.network)
        self.ask_network_of(key.id)
        return key

    def ask_network_of(self, id: str) -> None:
        """Take note that an ID is of its network; raise `UsageError` if another was of another one."""
        from dhtd.config.networks import network_of

        network = network_of(id).name
        if self._implied not in (None, network):
            raise UsageError(f"{id} is an ID of the {network} network, and another of the {self._implied} network")
        self._implied = network

    def client(self) -> Client:
        """Return a client of the daemon that the options, the environment or the configuration names."""
        from dhtd.control.client import Client

        return Client(*self._where())

    def feed(self) -> Feed:
        """Return a watch at the same daemon."""
        from dhtd.control.feed import Feed

        return Feed(*self._where())

    def addressed(self, command: str) -> str:
        """Return a command line of `dht` or `dhtd start` with the options that name the same daemon as this one."""
        import shlex

        given = {"--socket": self._socket, "--instance": self._instance, "--network": self._network}
        options = [f"{option} {shlex.quote(value)}" for option, value in given.items() if value is not None]
        for program in ("dhtd start", "dht"):
            if command == program or command.startswith(f"{program} "):
                return " ".join([program, *options, *filter(None, [command[len(program) + 1 :]])])
        return command

    def _where(self) -> tuple[Path, float, str]:
        """Return the path of the socket, the timeout, and the command that starts the daemon."""
        from dhtd.config.networks import MAINLINE
        from dhtd.config.sources import client_socket

        path = client_socket(self._socket, self._instance, os.environ, self._network, implied=self._implied)
        start = "dhtd start"
        if MAINLINE.name in (self._network, self._implied):
            start += f" --network {MAINLINE.name}"
        if self._instance is not None:
            start += f" --instance {self._instance}"
        self._check_network(path, start)
        return path, self._timeout, start

    def _check_network(self, path: Path, start: str) -> None:
        """Raise `UsageError` if a socket or an instance names a daemon of another network than the named one.

        Without the check, a value or a name could end up in the wrong network.
        """
        from dhtd.config.networks import MAINLINE, NATIVE, NETWORKS
        from dhtd.control.client import Client
        from dhtd.service.node import STATUS

        named = self._network or os.environ.get("DHTD_NETWORK")
        if not named or self._is_checked or path.stem == NETWORKS[named].instance:
            return
        with Client(path, self._timeout, start) as client:
            told = client.ask(STATUS).get("network")
        self._is_checked = True
        network = MAINLINE.name if told == MAINLINE.name else NATIVE.name
        if network != named:
            by = "DHTD_NETWORK" if self._network is None else "--network"
            raise UsageError(f"the daemon at {path} is in the {network} network, and {by} says {named}")

    def show(self, told: Told, lines: Iterable[str], client: Client | None = None) -> None:
        """Print a result as one JSON object or as lines, and hint at a daemon of another version."""
        if self.json:
            put_json(told.body)
            return
        for line in lines:
            put(line)
        if told.gaps and client is not None:
            self.note(_not_told(told.gaps, client.version()))

    def note(self, text: str) -> None:
        """Write a line for people: it is not data."""
        if not self.json:
            say(text)


def _not_told(gaps: Iterable[str], version: str | None) -> str:
    """Say why the output is incomplete."""
    others = f"it is dhtd {version}, and this dht is {__version__}"
    if version is None or version == __version__:
        others = f"is it of another version than this dht, {__version__}?"
    return f"the daemon does not tell {', '.join(gaps)}: {others}"


def ask(client: Client, method: Method[Any, Any], **params: object) -> Told:
    """Call a method; return the result of a daemon of any version."""
    return Told(client.ask(method, **params))


def session(context: typer.Context, *, json: bool) -> Session:
    """Return this invocation's options; `--json` may stand before the command or after it."""
    found: Session = context.find_root().obj
    found.json = found.json or json
    return found


def run(app: typer.Typer, program: str, complain: Callable[[str], None] | None = None) -> NoReturn:
    """Run a program to its end: every failure becomes a message and an exit status.

    `complain` replaces the usual message on stderr.
    """
    complain = complain or partial(_complain, program)
    streams.prepare()
    completing = f"_{program.upper()}_COMPLETE"
    if completing in os.environ:
        from dhtd.cli.completion.answers import answer

        answer(app, program, completing)
        sys.exit(streams.finish(program, EXIT_DONE))
    # A usage error comes before options are known, so whether it is to be JSON is looked up, not parsed.
    json = "--json" in sys.argv[1:]
    try:
        status = app(prog_name=program, standalone_mode=False)
    except DhtdError as error:
        status = _fail(complain, error, json=json)
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        streams.die_of_broken_pipe()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # what typer makes of it
            streams.die_of_broken_pipe()
        raise
    except OSError as error:
        status = streams.lose_output(program, error, EXIT_DONE) if streams.is_lost(error) else _defect()
    except Exception as error:  # noqa: BLE001 - `_defect` tells all of it
        # The errors that typer shows have a message of their own.
        status = _misused(complain, error, json=json) if hasattr(error, "format_message") else _defect()
    sys.exit(streams.finish(program, status if isinstance(status, int) else EXIT_DONE))


def _complain(program: str, text: str) -> None:
    say(f"{program}: {text}")


def _misused(complain: Callable[[str], None], error: Any, *, json: bool) -> int:
    """Print the usage error that typer found; for an empty command line, print the help instead."""
    message: str = error.format_message()
    if message.startswith("Usage:"):
        say(message)
        return EXIT_USAGE
    if not json and error.ctx is not None:
        message += f"\nTry '{error.ctx.command_path} --help'."
    return _fail(complain, UsageError(message), json=json)


def _defect() -> int:
    """Show the traceback of a defect, as Python would; the exit status does not depend on stderr."""
    import traceback

    say(traceback.format_exc().rstrip())
    return InternalError.exit_status


def _fail(complain: Callable[[str], None], error: DhtdError, *, json: bool) -> int:
    partial: Mapping[str, Any] = {}
    if isinstance(error, Failure):
        partial = error.partial
        error = error.error
    if json:
        with suppress(OSError):  # `finish` meets it again, and says it
            put_json({"error": {"code": error.code, "message": str(error)}, **partial})
    else:
        complain(str(error))
    return error.exit_status

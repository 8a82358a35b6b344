"""What every command shares: options, the way to the daemon, output, and how failures end."""

from __future__ import annotations

import errno
import json as json_module
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from dhtd.errors import EXIT_INTERRUPTED, EXIT_NEGATIVE, EXIT_USAGE, DhtdError, UsageError

if TYPE_CHECKING:
    from dhtd.control.client import Client

TIMEOUT = 15.0  # seconds

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
NameOption = Annotated[bool, typer.Option("--name", help="ID is a name; use the SHA-256 of it.")]


class Verb(typer.core.TyperCommand):
    """A command whose usage names arguments as the manual page does: typer puts braces around them."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Failure(DhtdError):
    """A failure together with the part of a result that there is: `--json` prints both."""

    def __init__(self, error: DhtdError, partial: Mapping[str, Any]) -> None:
        super().__init__(str(error))
        self.error = error
        self.partial = partial


class Session:
    """The options of one invocation of `dht`."""

    def __init__(self, socket: str | None, instance: str | None, timeout: float, *, json: bool) -> None:
        if socket == "":
            raise UsageError("--socket is empty: give the path of a control socket")
        self._socket = None if socket is None else Path(socket)
        self._instance = instance
        self._timeout = timeout
        self.json = json

    def client(self) -> Client:
        """Return a client of the daemon that the options, the environment or the configuration name."""
        from dhtd.control.client import Client
        from dhtd.daemon.config import client_socket

        path = client_socket(self._socket, self._instance, os.environ)
        start = "dhtd start" if self._instance is None else f"dhtd start --instance {self._instance}"
        return Client(path, self._timeout, start)

    def show(self, result: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print a result: as one JSON object, or as lines."""
        if self.json:
            print_json(result)
        else:
            for line in lines:
                typer.echo(line)

    def note(self, text: str) -> None:
        """Say something that is not data."""
        if not self.json:
            typer.echo(text, err=True)


def session(context: typer.Context, *, json: bool) -> Session:
    """Return this invocation's options; `--json` may stand before the command or after it."""
    found: Session = context.find_root().obj
    found.json = found.json or json
    return found


def print_json(body: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    typer.echo(json_module.dumps(body))


def parse_id(text: str, *, name: bool) -> str:
    """Return the ID that an argument means, as the daemon takes it; raise `InvalidId`."""
    from dhtd.core.metric import NATIVE

    id = NATIVE.digest(text.encode("utf-8", "surrogateescape")) if name else NATIVE.parse(text)
    return NATIVE.format(id)


def parse_port(text: str) -> int:
    """Return the port that an argument means; raise `InvalidPort`."""
    from dhtd.core import endpoint

    return endpoint.parse_port(text)


def check_endpoint(text: str) -> str:
    """Return `text`; raise `InvalidEndpoint` or `InvalidPort` where it is not HOST:PORT."""
    from dhtd.core.endpoint import split_host_port

    split_host_port(text)
    return text


def run(app: typer.Typer, program: str) -> NoReturn:
    """Run a program to its end: every failure becomes a message and an exit status."""
    completing = f"_{program.upper()}_COMPLETE"
    if completing in os.environ:
        from dhtd.cli.completion import answer

        answer(app, program, completing)
        sys.exit(0)
    _prepare_output()
    # A usage error comes before options are known, so whether it is to be JSON is looked up, not parsed.
    json = "--json" in sys.argv[1:]
    try:
        status = app(prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except DhtdError as error:
        status = _fail(program, error, json=json)
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except KeyboardInterrupt:
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        _die_of_broken_pipe()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # what typer makes of it
            _die_of_broken_pipe()
        raise
    except OSError as error:
        if error.errno not in _OUTPUT_LOST or error.filename is not None:
            raise
        _discard_output()
        typer.echo(f"{program}: cannot write the output: {error.strerror}", err=True)
        status = EXIT_NEGATIVE
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of the errors that typer shows
            raise
        status = _misused(program, error, json=json)
    sys.exit(status if isinstance(status, int) else 0)


_OUTPUT_LOST = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _prepare_output() -> None:
    """Let nothing that is printed fail for its characters, nor because a stream was closed by who started us."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace" if sys.stdout.isatty() else "backslashreplace")


def _misused(program: str, error: Any, *, json: bool) -> int:
    """Say what typer has found wrong with the command line; without any, there is help instead."""
    message: str = error.format_message()
    if message.startswith("Usage:"):
        typer.echo(message, err=True)
        return EXIT_USAGE
    if not json and error.ctx is not None:
        message += f"\nTry '{error.ctx.command_path} --help'."
    return _fail(program, UsageError(message), json=json)


def _fail(program: str, error: DhtdError, *, json: bool) -> int:
    partial: Mapping[str, Any] = {}
    if isinstance(error, Failure):
        partial = error.partial
        error = error.error
    if json:
        with suppress(OSError):
            print_json({"error": {"code": error.code, "message": str(error)}, **partial})
    else:
        typer.echo(f"{program}: {error}", err=True)
    return error.exit_status


def _discard_output() -> None:
    """Let what is still in the buffer go nowhere when Python flushes it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _die_of_broken_pipe() -> NoReturn:
    """End as other programs do when the reader of their output goes away (`dht info | head -1`)."""
    _discard_output()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    raise AssertionError("SIGPIPE ends a process")

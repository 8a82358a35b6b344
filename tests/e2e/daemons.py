"""Real daemons on loopback, each with its own address, state file and socket."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from unittest.mock import patch

import typer.main

from dhtd.cli import output
from dhtd.cli.dht import app
from dhtd.control.client import Client
from dhtd.service.entries import LOOKUP

BIN = Path(sys.executable).parent
DEADLINE = 60.0  # seconds; only a hang reaches it
PORT = 1729
POLL: Final = 0.02  # seconds between two looks at a daemon

_addresses = count(2)


@cache
def client_command() -> Any:
    """Return the commands of `dht`, which typer makes anew at each call of the program."""
    return typer.main.get_command(app)


@dataclass
class Daemon:
    """One `dhtd start`, running or not."""

    address: str
    state: Path
    socket: Path
    log: Path
    arguments: list[str]
    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def endpoint(self) -> str:
        return f"{self.address}:{PORT}"

    @property
    def node_id(self) -> str:
        return str(self.ready["node_id"])

    def ask(self) -> Client:
        """Return a client of it, which costs a thousandth of a process of `dht`."""
        return Client(self.socket, DEADLINE)

    def look_up(self, id: str) -> list[str]:
        """Return the endpoints that a lookup from it finds."""
        with self.ask() as client:
            *_, result = client.stream(LOOKUP, id=id)
        return list(result["peers"])

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Ask it about itself until the answer `holds`; a network takes a moment to form."""
        deadline = time.monotonic() + DEADLINE
        while True:
            with self.ask() as client:
                about = dict(client.info("node")["node"])
            if holds(about):
                return
            assert time.monotonic() < deadline, about
            time.sleep(POLL)

    def kill(self) -> None:
        """End it like a power cut."""
        self.process.kill()
        self.wait()

    def stop(self) -> int:
        """End it politely; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        status = self.process.wait(DEADLINE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


class Network:
    """Daemons in a directory of their own; leaving it ends them and removes it.

    Each listens on an address of its own in 127/8, so that no port has to be found and no rate limit is shared. In a
    namespace, the first three numbers of the addresses may be others.
    """

    def __init__(self, subnet: str | None = None) -> None:
        high, low = divmod(os.getpid() % 64_516, 254)  # of two runs at once, each has addresses of its own
        self.subnet = subnet or f"127.{1 + high}.{1 + low}"
        self.directory = Path(tempfile.mkdtemp(prefix="dhtd-"))
        self.daemons: list[Daemon] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every daemon that still runs; show the logs if a test has failed."""
        for daemon in self.daemons:
            daemon.kill()
            if error is not None:
                sys.stderr.write(f"--- {daemon.address}\n{daemon.log.read_text(encoding='utf-8')}")
        shutil.rmtree(self.directory)

    def environment(self) -> dict[str, str]:
        """Return an environment that hides this machine's user."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DHTD_", "XDG_"))}
        return {**kept, "HOME": str(self.directory), "XDG_RUNTIME_DIR": str(self.directory), "COLUMNS": "120"}

    def start(self, many: int, *options: str) -> list[Daemon]:
        """Start daemons that join through the first one ever started; return them when all are ready."""
        started = [self._spawn(*options) for _ in range(many)]
        for daemon in started:
            self._wait_ready(daemon)
        return started

    def launch_together(self, many: int, *options: str) -> list[Daemon]:
        """Start daemons that join through the first one ever started, and return them before they are ready."""
        return [self._spawn(*options) for _ in range(many)]

    def launch(self, daemon: Daemon, *options: str) -> Daemon:
        """Start an ended daemon again, with these options instead of those to join."""
        daemon.process = self._popen([*daemon.arguments, *options], daemon.log)
        self._wait_ready(daemon)
        return daemon

    def dht(self, daemon: Daemon, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run `dht` with `--json` against a daemon; return its output, after checking its exit status.

        It runs in this process and in the main thread, which saves its start: most of a command's time.
        """
        out, err = io.StringIO(), io.StringIO()
        argv = ["dht", "--socket", str(daemon.socket), *arguments, "--json"]
        with (
            patch.dict(os.environ, self.environment(), clear=True),
            patch.object(sys, "argv", argv),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                output.run(client_command(), "dht")
            except SystemExit as end:
                found = end.code
        assert found == status, (arguments, found, out.getvalue(), err.getvalue())
        body: dict[str, Any] = json.loads(out.getvalue())
        return body

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program of ours to its end."""
        return subprocess.run(
            [BIN / program, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    def dht_all(self, daemons: Sequence[Daemon], *arguments: str) -> list[tuple[int, dict[str, Any]]]:
        """Run the same `dht` command against several daemons at once; return exit statuses and outputs."""
        running = [
            subprocess.Popen(
                [BIN / "dht", "--socket", str(daemon.socket), *arguments, "--json"],
                env=self.environment(),
                stdout=subprocess.PIPE,
                text=True,
            )
            for daemon in daemons
        ]
        outputs = [process.communicate(timeout=DEADLINE)[0] for process in running]
        return [(process.returncode, json.loads(output)) for process, output in zip(running, outputs, strict=True)]

    def _spawn(self, *options: str) -> Daemon:
        number = next(_addresses)
        address = f"{self.subnet}.{1 + number % 254}"
        state, socket, log = (self.directory / f"{number}.{suffix}" for suffix in ("db", "sock", "log"))
        fixed = [f"--bind={address}", f"--port={PORT}", f"--state={state}", f"--socket={socket}", "--json"]
        join = [f"--bootstrap={self.daemons[0].endpoint}"] if self.daemons else []
        daemon = Daemon(address, state, socket, log, fixed, self._popen([*fixed, *join, *options], log), {})
        self.daemons.append(daemon)
        return daemon

    def _popen(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[str]:
        with log.open("a", encoding="utf-8") as stderr:
            return subprocess.Popen(
                [BIN / "dhtd", "start", *arguments],
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def _wait_ready(self, daemon: Daemon) -> None:
        assert daemon.process.stdout is not None
        line = daemon.process.stdout.readline()  # a daemon that ends instead closes it
        assert line, f"{daemon.address} did not start:\n{daemon.log.read_text(encoding='utf-8')}"
        daemon.ready = json.loads(line)

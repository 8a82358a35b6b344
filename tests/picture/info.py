"""The picture of `dht info` in README: daemons on loopback, a terminal, and the client's drawing on it.

It reads and draws only the output of the client.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 96, 40
NODES = 12
DEADLINE = 60.0  # seconds


def draw(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="dhtd-") as scratch, ExitStack() as stack:
        network(Path(scratch), stack)
        drawn = on_a_terminal([*client(Path(scratch), 0), "info"])
    path.write_text(svg(drawn), encoding="utf-8")


def program(name: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; from dhtd.cli.entry import {name}; sys.exit({name}())"]


def client(scratch: Path, number: int) -> list[str]:
    return [*program("dht"), "--socket", str(scratch / f"{number}.sock")]


def network(scratch: Path, stack: ExitStack) -> None:
    """Start daemons, each on its own address, and have them serve something."""
    for number in range(NODES):
        where = ["--bind", f"127.0.0.{number + 1}", "--port", "1729"]
        files = ["--state", str(scratch / f"{number}.db"), "--socket", str(scratch / f"{number}.sock")]
        others = ["--bootstrap", "127.0.0.1:1729"] if number else []
        command = [*program("dhtd"), "start", *where, *files, *others, "--log-level", "error"]
        daemon = subprocess.Popen(command, cwd=scratch, stdout=subprocess.DEVNULL)
        stack.callback(daemon.wait)
        stack.callback(daemon.terminate)
    for number in range(NODES):
        until(lambda number=number: not subprocess.call([*client(scratch, number), "status", "-q"]))
    for number, name in enumerate(("wiki", "backup", "printer", "wiki")):
        enter = [*client(scratch, number), "enter", "--name", name, str(8_080 + number)]
        subprocess.run(enter, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def until(is_so: object) -> None:
    assert callable(is_so)
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit("the daemons do not come up")
        time.sleep(0.2)


def on_a_terminal(command: list[str]) -> str:
    """Return the output of a command on a terminal."""
    parent, child = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": str(ROWS), "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env={**os.environ, **size}):
        os.close(child)
        printed = bytearray()
        try:
            while some := os.read(parent, 65_536):
                printed += some
        except OSError:  # the terminal of a program that has ended
            pass
    os.close(parent)
    return printed.decode()


def svg(printed: str) -> str:
    """Return the picture of the output. It fetches nothing, so it names no font that must be fetched."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(printed.replace("\r\n", "\n").rstrip()))
    drawn = console.export_svg(title="dht info")
    return re.sub(r"@font-face\s*\{.*?\}", "", drawn, flags=re.DOTALL)

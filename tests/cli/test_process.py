"""`dht` as a process: signals, broken streams, its imports, and its view on a terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake import FakeDaemon, encoded, result
from tests.cli.shells import Terminal
from tests.cli.test_output import ID, INFO, STATS
from tests.e2e.daemons import BIN, DEADLINE

DHT = str(BIN / "dht")
LONG: dict[str, Any] = {
    "store": [{"id": ID, "endpoint": "192.0.2.1:80", "age_s": 1.0, "expires_in_s": 2.0} for _ in range(5_000)]
}


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("answer", [INFO, LONG], ids=["short", "long"])
def test_a_closed_pipe_ends_it_by_sigpipe(answer: dict[str, Any], options: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with FakeDaemon(tmp_path / "s", result(answer)) as fake:
        done = subprocess.run(
            [DHT, "--socket", fake.path, "info", *options],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("arguments", [["hash", "x"], ["hash", "x", "--json"], ["--help"]])
def test_unwritable_output_is_a_failure(arguments: list[str]) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [DHT, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=DEADLINE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "dht: cannot write the output: No space left on device\n"


@pytest.mark.parametrize(("closed", "status"), [("hash x >&-", 0), ("hash x 2>&-", 0), ("lookup abc 2>&-", 2)])
def test_a_closed_stream_changes_nothing(closed: str, status: int) -> None:
    done = subprocess.run(
        ["sh", "-c", f"'{DHT}' {closed}"], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_ends_it_with_130_and_no_traceback(options: list[str], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        process = subprocess.Popen(
            [DHT, "--socket", tmp_path / "s", "lookup", ID, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        connection, _ = listening.accept()
        with connection, connection.makefile("rb") as stream:
            assert stream.readline()  # it has asked, and waits for the answer
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=DEADLINE) == ("", "")
    assert process.returncode == 130


@contextmanager
def looking_up(directory: Path, command: list[str]) -> Iterator[Terminal]:
    """Run a command on a terminal that looks up ID at the socket `s`, until it has one endpoint and waits for more."""
    event = {"event": {"peers": ["192.0.2.1:80"], "stats": STATS}}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(directory / "s"))
        listening.listen()
        with Terminal(command, {**os.environ, "TERM": "xterm"}, directory) as seen:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:
                stream.readline()
                stream.write(encoded(event))
                stream.flush()
                seen.wait("192.0.2.1:80", "1 found; 5 queries, 4 nodes answered, 1 did not; 1 hop")
                yield seen


def is_cursor_shown(drawn: str) -> bool:
    """Whether the cursor was shown after it was hidden."""
    return drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_ctrl_c_on_a_terminal_keeps_the_output(tmp_path: Path) -> None:
    command = ["sh", "-c", f"trap : INT; '{DHT}' --socket s lookup {ID}; echo ended with $?"]
    with looking_up(tmp_path, command) as seen:
        seen.type("\x03")
        drawn = seen.read_to_end()
    assert "Traceback" not in drawn
    assert is_cursor_shown(drawn)
    assert drawn.endswith("ended with 130\r\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_fatal_signal_leaves_the_terminal_clean(number: signal.Signals, tmp_path: Path) -> None:
    with looking_up(tmp_path, [DHT, "--socket", "s", "lookup", ID]) as seen:
        seen.send(number)
        drawn = seen.read_to_end()
        assert os.waitstatus_to_exitcode(seen.end()) == -number
    assert "Traceback" not in drawn
    assert is_cursor_shown(drawn)
    assert drawn.endswith("\x1b[2K")


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    with looking_up(tmp_path, ["sh", "-c", f"trap '' HUP; exec '{DHT}' --socket s lookup {ID}"]) as seen:
        seen.send(signal.SIGHUP)
        seen.send(signal.SIGTERM)
        seen.read_to_end()
        assert os.waitstatus_to_exitcode(seen.end()) == -signal.SIGTERM


def test_a_suspended_lookup_resumes_cleanly(tmp_path: Path) -> None:
    command = f"'{DHT}' --socket s lookup {ID}; echo stop''ped; fg; exit 0"
    with looking_up(tmp_path, ["bash", "--noprofile", "--norc", "-i", "-c", command]) as seen:
        before = len(seen.drawn)
        seen.type("\x1a")
        seen.wait("stopped")
        assert is_cursor_shown("\x1b[?25l" + seen.drawn[before:].partition("stopped")[0])
        seen.wait("1 found")  # it is drawn again and again
        seen.type("\x03")
        assert is_cursor_shown(seen.read_to_end())


NEVER = {"trio", "sqlite3", "msgpack", "dhtd.daemon.app", "dhtd.daemon.state.file", "asyncio"}
SELDOM = {
    "rich",
    "platformdirs",
    "tomllib",
    "dhtd.control.server",
    "dhtd.cli.completion.answers",
    "dhtd.cli.render",
    "dhtd.cli.render_info",
}


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (["ping", "192.0.2.1:1"], {"node_id": ID, "endpoint": "192.0.2.1:1", "rtt_ms": 1.0}),
        (["info"], INFO),
        (["lookup", ID], {"id": ID, "peers": ["192.0.2.1:1"], "stats": STATS}),
    ],
    ids=["ping", "info", "lookup"],
)
def test_a_command_imports_only_what_it_needs(command: list[str], answer: dict[str, Any], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom dhtd.cli.dht import main\ntry:\n    main()\nexcept SystemExit as end:\n"
        "    print(*sys.modules, file=sys.stderr)\n    sys.exit(end.code)\n"
    )
    with FakeDaemon(tmp_path / "s", result(answer)) as fake:
        done = subprocess.run(
            [sys.executable, "-c", script, "--socket", fake.path, *command],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    assert done.returncode == 0, done
    loaded = set(done.stderr.split())
    assert "dhtd.control.client" in loaded
    assert not loaded & (NEVER | SELDOM)


def test_completion_imports_no_rich_and_no_trio() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", DHT, "look"],
        env={**os.environ, "_DHT_COMPLETE": "complete_bash"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout.split("\t")[0]) == (0, "lookup")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & (NEVER | {"rich"})


def draw(answer: dict[str, Any], command: list[str], directory: Path, **variables: str) -> str:
    """Return everything that a command sends to a terminal, with escape sequences."""
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "FORCE_COLOR")}
    with (
        FakeDaemon(directory / "s", result(answer)) as fake,
        Terminal([DHT, "--socket", str(fake.path), *command], {**env, "TERM": "xterm", **variables}, directory) as seen,
    ):
        return seen.read_to_end()


def test_info_on_a_terminal_is_a_view_in_colour(tmp_path: Path) -> None:
    seen = draw(INFO, ["info"], tmp_path)
    assert "\x1b[32m" in seen
    assert "connected" in seen
    assert "node node_id" not in seen


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
@pytest.mark.parametrize("command", ["info", "lookup"])
def test_colour_can_be_switched_off(command: str, variables: dict[str, str], tmp_path: Path) -> None:
    answer = INFO if command == "info" else {"id": ID, "peers": ["192.0.2.1:1"], "stats": STATS}
    arguments = ["info"] if command == "info" else ["lookup", ID]
    seen = draw(answer, arguments, tmp_path, **variables)
    assert not any(f"\x1b[3{colour}m" in seen for colour in range(8))
    if variables.get("TERM") == "dumb":
        assert "\x1b" not in seen


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_the_view_fits_and_cuts_only_ids(columns: str, tmp_path: Path) -> None:
    seen = draw(INFO, ["info"], tmp_path, COLUMNS=columns, LINES="24", NO_COLOR="1", TERM="dumb")  # rich wants both
    lines = [line.rstrip() for line in seen.split("\r\n")]
    assert max(map(len, lines)) <= int(columns)
    words = " ".join(" ".join(lines).split())
    for each in (
        "connected by IPv4 for 3 s",
        "1 contact active 1 s ago",
        "0202020202",
        "192.0.2.2:1729 questionable 12.5 ms never heard, 1 timeout since",
        "abababababa",
        "192.0.2.9:80 expires in 59 min 59 s",
        "port 80 2 replicas again in 1 min",
        "port 81 192.0.2.2:1729 to be confirmed in 20 s",
        "2 values kept here, 1 value held by nobody that answers; 3 held for others, 1234 bytes",
        "the news 100 bytes seq 1700000000000000 8 replicas again in 1 min",
        "1000 bytes never changes 0 replicas being published",
        "2001:db8::/64 5 bytes never changes expires in 1 h",
    ):
        assert each in words


def test_a_terminal_without_unicode_gets_a_view(tmp_path: Path) -> None:
    seen = draw(INFO, ["info"], tmp_path, PYTHONIOENCODING="latin-1")
    assert "connected" in seen
    assert "Traceback" not in seen


def test_json_on_a_terminal_is_plain(tmp_path: Path) -> None:
    seen = draw(INFO, ["info", "--json"], tmp_path)
    assert seen.startswith('{"node": ')
    assert "\x1b" not in seen


@pytest.mark.parametrize("program", ["dht", "dhtd"])
def test_ctrl_c_while_loading_is_silent(program: str) -> None:
    """The signal comes from within the first import that takes long, the best moment for it."""
    script = f"""
import builtins, os, signal, sys
from dhtd.cli import entry
load = builtins.__import__
def interrupted(name, *rest):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest)
builtins.__import__ = interrupted
entry.{program}()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")

"""A daemon that is not there, not ours, silent or broken: what `dht` says, and how it ends."""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dhtd import errors
from dhtd.cli import dht as client
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, error

ID = "ab" * 32
NOBODY = 65_534


def test_without_a_daemon_the_message_helps(dht: Run, home: Path) -> None:
    path = home / "dhtd" / "default.sock"
    done = dht("info")
    assert done == (3, "", f"dht: no daemon is running: there is no socket {path}. Start one: dhtd start\n")
    assert dht("info", "--json").body["error"]["code"] == "daemon-unreachable"


def test_the_start_command_names_the_instance(dht: Run, home: Path) -> None:
    done = dht("--instance", "lab", "node-id")
    assert done.status == 3
    assert f"{home}/dhtd/lab.sock" in done.err
    assert done.err.endswith("dhtd start --instance lab\n")


def test_the_environment_names_the_socket(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHTD_INSTANCE", "blue")
    assert f"{home}/dhtd/blue.sock" in dht("info").err
    monkeypatch.setenv("DHTD_SOCKET", str(home / "own"))
    assert f"no socket {home}/own" in dht("info").err
    assert f"{home}/dhtd/red.sock" in dht("--instance", "red", "info").err


def test_a_left_over_socket_is_called_that(dht: Run, home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "s"))
    done = dht("--socket", home / "s", "info")
    assert (done.status, done.out) == (3, "")
    assert f"nobody listens on {home}/s, it is left over" in done.err


def test_a_socket_path_too_long_is_an_error(dht: Run, home: Path) -> None:
    done = dht("--socket", home / ("x" * 200), "info", "--json")
    assert (done.status, done.body["error"]["code"]) == (1, "socket-unusable")
    assert "--socket" in done.body["error"]["message"]


def test_a_socket_of_another_user_is_forbidden(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "s"))
        listening.listen()
        (home / "s").chmod(0)
        who = "be the user who started the daemon, or a member of its --socket-group"
        assert run_as_nobody("dht", "--socket", str(home / "s"), "info") == (
            3,
            f"dht: the socket {home}/s is not for this user: {who}\n",
        )


def run_as_nobody(*command: str) -> tuple[int, str]:
    """Run `dht` in a child without privileges, which root may give up but not get; return its status and stderr.

    The child is a fork, because others than root may not be able to read this Python.
    """
    for module in ("dhtd.control.client", "dhtd.config.sources"):
        importlib.import_module(module)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            sys.argv = list(command)
            with open(writing, "w", encoding="utf-8") as sys.stderr:  # noqa: PTH123 - a descriptor is no path
                client.main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 98
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8") as stderr:  # noqa: PTH123
        said = stderr.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


@contextmanager
def silent(path: Path) -> Iterator[None]:
    """Listen, and let the system accept; say nothing."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield


@pytest.mark.parametrize("command", [["info"], ["lookup", ID], ["enter", ID, "80"]])
def test_a_hanging_daemon_is_given_the_timeout(command: list[str], dht: Run, home: Path) -> None:
    with silent(home / "s"):
        done = dht("--timeout", "0.05", "--socket", home / "s", *command)
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith(f"dht: the daemon on {home}/s has not answered within 0.05 s: ")
        assert "--timeout" in done.err
        json_done = dht("--timeout", "0.05", "--socket", home / "s", *command, "--json")
    assert json_done.body["error"]["code"] == "daemon-timeout"


@pytest.mark.parametrize("answer", [b"hello\n", b"[]\n", b"{}\n", b'{"result": 1}\n', b"\xff\n", b'{"v":1,"result"\n'])
def test_what_is_not_dhtd_is_said_not_to_be(answer: bytes, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", answer) as fake:
        done = dht("--socket", fake.path, "node-id")
    assert (done.status, done.out) == (3, "")
    assert "is not dhtd" in done.err


@pytest.mark.parametrize("answer", [b"", b'{"v": 1, "resu'])
def test_a_vanishing_daemon_is_called_stopping(answer: bytes, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", answer) as fake:
        done = dht("--socket", fake.path, "info", "--json")
    assert (done.status, done.body["error"]["code"]) == (3, "daemon-unreachable")


def codes() -> dict[str, int]:
    """Return every code that a daemon can send, and its exit status."""
    found = {}
    todo = [errors.DhtdError]
    while todo:
        error = todo.pop()
        if error.__module__ == errors.__name__:
            found[error.code] = error.exit_status
            todo += error.__subclasses__()
    return found


@pytest.mark.parametrize(("code", "status"), sorted(codes().items() - {("too-many-clients", 3)}))  # that is tried again
def test_a_daemon_error_keeps_code_and_status(code: str, status: int, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error(code, "because"), error(code, "because")) as fake:
        assert dht("--socket", fake.path, "ping", "one.example:1") == (status, "", "dht: because\n")
        done = dht("--socket", fake.path, "ping", "one.example:1", "--json")
    assert (done.status, done.err) == (status, "")
    assert done.body == {"error": {"code": code, "message": "because"}}


def test_an_unknown_error_code_is_still_a_failure(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error("moon-phase", "not today")) as fake:
        assert dht("--socket", fake.path, "info") == (1, "", "dht: not today\n")


def test_completion_gives_up_on_a_hanging_daemon(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DHT_COMPLETE", "complete_bash")
    monkeypatch.setattr("dhtd.cli.completion.candidates.PATIENCE", 0.05)
    with silent(home / "s"):
        assert dht("--socket", home / "s", "lookup", "") == (0, "", "")

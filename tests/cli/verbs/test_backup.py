"""`dht backup`: the file is complete or missing, and an old file stays unless it is to be replaced."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dhtd.cli.verbs import backup
from dhtd.daemon.state.file import StateFile
from dhtd.errors import BackupExists
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, Frame, encoded, error
from tests.e2e.daemons import BIN, DEADLINE, Network

COPY = bytes(range(256)) * 5
DHT = str(BIN / "dht")


def pieces(data: bytes = COPY, size: int = 500, said: int | None = None) -> list[Frame]:
    """Return the frames of a daemon that sends a copy."""
    events = [{"event": {"data": b64encode(data[at : at + size]).decode()}} for at in range(0, len(data), size)]
    return [*events, {"result": {"bytes": len(data) if said is None else said}}]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_the_copy_is_written_for_its_owner_alone(dht: Run, home: Path) -> None:
    before = os.umask(0)
    try:
        with FakeDaemon(home / "s", pieces()) as daemon:
            done = dht("--socket", home / "s", "backup", home / "copy.db")
    finally:
        os.umask(before)
    assert (done.status, done.out, done.err) == (0, "", f"{home / 'copy.db'}: 1,280 bytes\n")
    assert (home / "copy.db").read_bytes() == COPY
    assert stat.S_IMODE((home / "copy.db").stat().st_mode) == 0o600
    assert names(home) == {"s", "copy.db"}
    assert daemon.requests == [("backup", {})]


def test_json_says_how_long_it_is(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", pieces()):
        done = dht("--socket", home / "s", "backup", home / "copy.db", "--json")
    assert (done.status, done.body) == (0, {"file": str(home / "copy.db"), "bytes": 1_280})


def test_a_file_is_replaced_only_by_force(dht: Run, home: Path) -> None:
    file = home / "copy.db"
    file.write_text("mine")
    refused = dht("--socket", home / "s", "backup", file)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err == f"dht: {file} is there already, and is left as it is: name another file, or give --force\n"
    assert dht("backup", file, "--json").body["error"]["code"] == "backup-exists"
    assert file.read_text() == "mine"
    with FakeDaemon(home / "s", pieces()):
        assert dht("--socket", home / "s", "backup", "--force", file).status == 0
    assert file.read_bytes() == COPY
    assert names(home) == {"s", "copy.db"}


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_appearing_meanwhile_stays(has_links: bool, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def appearing() -> Iterator[bytes]:
        yield COPY
        (home / "copy.db").write_text("mine")

    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", no_links)
    with pytest.raises(BackupExists):
        backup.write(home / "copy.db", appearing(), force=False)
    assert (home / "copy.db").read_text() == "mine"
    assert names(home) == {"copy.db"}


def test_a_file_system_without_hard_links_does(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_links)
    assert backup.write(home / "copy.db", [COPY], force=False) == len(COPY)
    assert names(home) == {"copy.db"}


def no_links(path: Path, target: Path) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ([*pieces()[:1], *error("state-unusable", "no space left")], 1),
        (pieces()[:2], 3),
        (pieces(said=1_279), 3),
        ([{"event": {"data": "no base64!"}}], 3),
        ([{"event": {}}], 3),
        (error("not-permitted", "only the daemon's own user"), 1),
        (error("unknown-method", "no method 'backup'"), 2),
    ],
    ids=["refused midway", "cut off", "too short", "not base64", "no data", "not permitted", "too old"],
)
def test_a_backup_that_fails_leaves_nothing(answer: list[Frame], status: int, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", answer, b""):
        done = dht("--socket", home / "s", "--timeout", DEADLINE, "backup", home / "copy.db")
    assert (done.status, done.out) == (status, "")
    assert names(home) == {"s"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        process = subprocess.Popen([DHT, "--socket", "s", "backup", "copy.db"], cwd=tmp_path, stderr=subprocess.PIPE)
        connection, _ = listening.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.readline()
            [name] = names(tmp_path) - {"s"}
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
            stream.write(encoded(pieces()[0]))
            stream.flush()
            process.send_signal(number)
            _, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, err) == (130 if number is signal.SIGINT else -number, b"")
    assert names(tmp_path) == {"s"}


def test_a_place_that_takes_no_file_is_said(dht: Run, home: Path) -> None:
    def code(file: object, *options: str) -> tuple[int, str]:
        done = dht("--socket", home / "s", "backup", file, "--json", *options)
        return done.status, done.body["error"]["code"]

    assert code("") == code("backups/") == code("..") == (2, "usage")
    assert code(home / "no" / "copy.db") == (1, "backup-unusable")
    assert code("x" * 300) == (1, "backup-unusable")
    (home / "link").symlink_to(home / "copy.db")
    for odd in (home, home / "link", "/dev/null"):
        assert code(odd, "--force") == (1, "backup-unusable")
    assert names(home) == {"link"}
    assert code(home / "copy.db") == (3, "daemon-unreachable")
    assert names(home) == {"link"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_said_and_leaves_nothing(home: Path, dht: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with FakeDaemon(home / "s", pieces()):
        done = dht("--socket", home / "s", "backup", home / "copy.db")
    assert (done.status, done.err) == (1, f"dht: cannot write {home / 'copy.db'}: No space left on device\n")
    assert names(home) == {"s"}


def test_a_running_daemons_state_file_stays(dht: Run, home: Path) -> None:
    with closing(StateFile.open(home / "state.db")):
        done = dht("--socket", home / "s", "backup", "--force", home / "state.db")
        assert (done.status, "state.db-journal" in done.err) == (1, True)
    assert names(home) == {"state.db"}


def test_a_dash_is_the_standard_output(home: Path, dht: Run) -> None:
    with FakeDaemon(home / "s", pieces()):
        done = subprocess.run(
            [DHT, "--socket", home / "s", "backup", "-"], capture_output=True, timeout=DEADLINE, check=False
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, COPY, b"")
    assert dht("backup", "-", "--json").status == 2


def test_a_terminal_is_no_place_for_a_backup(dht: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    done = dht("backup", "-")
    assert (done.status, done.err) == (2, "dht: a backup is no text for a terminal: name a file\n")


def test_a_node_restarts_from_a_live_backup() -> None:
    with Network() as network:
        (daemon,) = network.start(1)
        for port in ("80", "81"):
            network.dht(daemon, "enter", "--name", "wiki", port)
        copy = network.directory / "copy.db"
        body = network.dht(daemon, "backup", str(copy))
        assert body == {"file": str(copy), "bytes": copy.stat().st_size}
        assert not list(network.directory.glob(".dht*"))
        network.dht(daemon, "delete", "--name", "wiki", "80")
        own_id = daemon.node_id
        assert daemon.stop() == 0
        network.launch(daemon, f"--state={copy}")
        assert daemon.node_id == own_id
        tracking = network.dht(daemon, "info", "tracking")["tracking"]
        assert [entry["port"] for entry in tracking] == [80, 81]
        assert network.dht(daemon, "info", "node")["node"]["state_notices"] == []

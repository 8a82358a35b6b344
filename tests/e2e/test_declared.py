"""Entries that files declare, in a real daemon: at the start, on SIGHUP, and after changes while it was down."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from tests.e2e.daemons import DEADLINE, POLL, Daemon, Network


def tracking(daemon: Daemon) -> dict[str | None, tuple[int, str | None]]:
    """Return the ports and files of own entries, by their names."""
    with daemon.ask() as client:
        found: list[Any] = client.info("tracking")["tracking"]
    return {entry["name"]: (entry["port"], entry["file"]) for entry in found}


def await_names(daemon: Daemon, *names: str) -> dict[str | None, tuple[int, str | None]]:
    deadline = time.monotonic() + DEADLINE
    while (found := tracking(daemon)).keys() != set(names):
        assert time.monotonic() < deadline, found
        time.sleep(POLL)
    return found


def put(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_entries_follow_their_files() -> None:
    with Network() as network:
        directory = network.directory / "entries.d"
        directory.mkdir(mode=0o700)
        a = put(directory, "a.toml", '[[entry]]\nname = "wiki"\nport = 80\n')
        [daemon] = network.start(1, f"--entries={directory}")
        assert await_names(daemon, "wiki") == {"wiki": (80, a)}
        network.dht(daemon, "enter", "camera", "81", "--no-wait")
        # A new file counts on SIGHUP, and a broken one leaves its entries as they were.
        b = put(directory, "b.toml", '[[entry]]\nname = "blog"\nport = 82\n')
        Path(a).write_text('[[entry]]\nname = "wiki"\nport = 0\n')
        daemon.process.send_signal(signal.SIGHUP)
        assert await_names(daemon, "wiki", "camera", "blog") == {"wiki": (80, a), "camera": (81, None), "blog": (82, b)}
        assert f"{a}, entry 1 (line 1): port: 0 is not a port" in daemon.log.read_text()
        # What changes while the daemon is down counts at the next start; names come back from the state file.
        assert daemon.stop() == 0
        Path(b).unlink()
        network.launch(daemon, f"--entries={directory}")
        assert await_names(daemon, "wiki", "camera") == {"wiki": (80, a), "camera": (81, None)}


def test_a_list_is_entered_at_once() -> None:
    with Network() as network:
        daemons = network.start(3)
        for daemon in daemons:
            daemon.wait_until(lambda about: about["contacts"]["good"] == 2)
        listed = network.directory / "list"
        listed.write_text("".join(f"service-{number} {1_000 + number}\n" for number in range(100)))
        done = network.run("dht", "--socket", str(daemons[1].socket), "enter", "--file", str(listed))
        assert (done.returncode, done.stderr) == (0, "entered 100 entries\n")
        rows = [line.split() for line in done.stdout.splitlines()]
        assert [(row[1:3], row[3]) for row in rows] == [
            ([f"{1_000 + number}", "2"], f"service-{number}") for number in range(100)
        ]
        assert daemons[2].look_up(rows[99][0]) == [f"{daemons[1].address}:1099"]

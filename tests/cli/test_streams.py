"""Full, closed and unread streams: output may be lost, the exit status is not."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.fake import FakeDaemon, Frame, error, result
from tests.cli.test_output import ENTERED, ID, STATS, THERE
from tests.e2e.daemons import BIN, DEADLINE

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")

FULL = os.strerror(errno.ENOSPC)
NOBODY = {"id": ID, "peers": [], "stats": STATS}
LOOKED_UP = {"id": ID, "peers": [THERE], "stats": STATS}
DELETED = {"id": ID, "removed": [80], "withdrawn": 3, "pending": 1, "left_behind": [], "kept": None}

# The command, the daemon's answer if it is asked at all, and the exit status.
COMMANDS: dict[str, tuple[str, list[Frame] | None, int]] = {
    "help": ("dht", None, 2),
    "an unknown option": ("dht --bogus", None, 2),
    "an unknown option, as JSON": ("dht --bogus --json", None, 2),
    "a missing argument": ("dht enter", None, 2),
    "a wrong ID": ("dht lookup abc", None, 2),
    "a wrong instance": ("dht --instance ../x info", None, 2),
    "no daemon": ("dht --instance none node-id", None, 3),
    "no daemon, as JSON": ("dht --instance none node-id --json", None, 3),
    "an entry": (f"dht --socket s enter {ID} 80", result(ENTERED), 0),
    "an entry that is not waited for": (f"dht --socket s enter {ID} 80 --no-wait", result(ENTERED), 0),
    "too few replicas": (f"dht --socket s enter {ID} 80 --min-replicas 9", result(ENTERED), 4),
    "a deletion": (f"dht --socket s delete {ID}", result(DELETED), 0),
    "a lookup": (f"dht --socket s lookup {ID}", result(LOOKED_UP), 0),
    "a lookup in vain": (f"dht --socket s lookup {ID}", result(NOBODY), 1),
    "a lookup in vain, as JSON": (f"dht --socket s lookup {ID} --json", result(NOBODY), 1),
    "no pong": (f"dht --socket s ping {THERE}", error("no-pong", "no answer"), 1),
    "a network that fails": (f"dht --socket s bootstrap {THERE}", error("no-peers", "nobody answers"), 4),
    "a daemon that does not start": ("dhtd start --port 0", None, 2),
    "a key that is there": ("dhtd keygen /dev/null", None, 1),
    "a simulation of nothing": ("dhtd simulate --nodes 0", None, 2),
    "a hash of a stdin that is closed": ("dht hash --file - <&-", None, 2),
    "a simulation": ("dhtd simulate --scenario lone-node --nodes 1", None, 0),
}


# Each of these ends in another way; the others end as one of these does.
WAYS = ("an unknown option", "no daemon, as JSON", "an entry", "a lookup in vain", "a daemon that does not start")
EACH_WAY = [case if case in WAYS else pytest.param(case, marks=pytest.mark.slow) for case in COMMANDS]


def run(
    case: str, redirections: str, directory: Path, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run one of the commands in a shell with these redirections."""
    command, answer, _ = COMMANDS[case]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DHTD_", "XDG_"))}
    env |= {"HOME": str(directory), "XDG_RUNTIME_DIR": str(directory), "PATH": f"{BIN}:{env['PATH']}"}
    (directory / "s").unlink(missing_ok=True)
    with FakeDaemon(directory / "s", *([] if answer is None else [answer])):
        return subprocess.run(
            ["sh", "-c", f"exec {command} {redirections}"],
            env=env,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            timeout=DEADLINE,
            check=False,
        )


@pytest.mark.parametrize("case", EACH_WAY)
def test_the_exit_status_ignores_stderr(case: str, tmp_path: Path) -> None:
    _, _, status = COMMANDS[case]
    plain = run(case, "", tmp_path)
    full = run(case, "2>/dev/full", tmp_path)
    closed = run(case, "2>&-", tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    unread = run(case, "", tmp_path, stderr=writing)
    os.close(writing)
    assert [done.returncode for done in (plain, full, closed, unread)] == [status] * 4
    if case != "a simulation":  # which tells how long it took
        assert full.stdout == closed.stdout == unread.stdout == plain.stdout


@pytest.mark.parametrize("case", EACH_WAY)
def test_a_full_stdout_keeps_a_failures_status(case: str, tmp_path: Path) -> None:
    _, _, status = COMMANDS[case]
    done = run(case, ">/dev/full", tmp_path)
    assert done.returncode == (status or 1)
    if status == 0:
        assert done.stderr.endswith(f"{COMMANDS[case][0].split()[0]}: cannot write the output: {FULL}\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("case", ["an entry", "no daemon"])
def test_all_streams_may_be_closed(case: str, tmp_path: Path) -> None:
    _, _, status = COMMANDS[case]
    assert run(case, "<&- >&- 2>&-", tmp_path).returncode == status


def test_a_closed_stdin_is_not_an_empty_one(tmp_path: Path) -> None:
    done = run("a hash of a stdin that is closed", "", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dht: cannot read -: Bad file descriptor\n"

"""Checks by a command, which passes with status 0.

The command gets no shell, no terminal, no output and hardly an environment. It runs in a session of its own, which is
killed as a whole when the time is over.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from dhtd.daemon.guards.outcome import Outcome
from dhtd.errors import InvalidCheck
from dhtd.service.checks import ExecCheck

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_REAPED_WITHIN: Final = 1.0  # seconds; a killed process may be stuck in the kernel


def find(check: ExecCheck) -> str:
    """Return the path of the command; raise `InvalidCheck`."""
    command = check.arguments[0]
    if "/" not in command:
        found = shutil.which(command, path=PATH)
        if found is None:
            raise InvalidCheck(f"no command {command!r:.80} is in {PATH}: give its whole path")
        return found
    path = Path(command)
    if not path.is_absolute():
        raise InvalidCheck(f"the command {command!r:.80} is not the whole path of a program: begin it with /")
    if not path.is_file():
        raise InvalidCheck(f"there is no program {command!r:.80}, or dhtd may not see it")
    if not os.access(path, os.X_OK):
        raise InvalidCheck(f"dhtd may not execute {command!r:.80}: see its mode, and its file system's")
    return command


async def check(check: ExecCheck, id: str, port: int) -> Outcome:
    """Run the command. If this is cancelled, all processes of its session are killed."""
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "DHT_ID": id, "DHT_PORT": str(port)}
    try:
        process = await trio.lowlevel.open_process(
            [find(check), *check.arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    except InvalidCheck as error:
        return Outcome(False, str(error))
    except OSError as error:
        return Outcome(False, f"the command cannot be started: {error.strerror or error}")
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            await _kill(process)
    if status < 0:
        return Outcome(False, f"the command was ended by signal {-status}")
    return Outcome(status == 0, f"the command ended with status {status}")


async def _kill(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with trio.move_on_after(_REAPED_WITHIN, shield=True):
        await process.wait()

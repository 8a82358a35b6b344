"""What to say to the user if no daemon answers on the control socket."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from dhtd.errors import DaemonUnreachable, DhtdError, SocketForbidden, SocketUnusable

if TYPE_CHECKING:
    from pathlib import Path


def cannot_connect(error: OSError, path: Path, start_hint: str, option: str = "--socket") -> DhtdError:
    """Return the error for the user. `option` is the name of the option by which the user gives the path."""
    match error:
        case FileNotFoundError():
            return DaemonUnreachable(f"no daemon is running: there is no socket {path}. Start one: {start_hint}")
        case ConnectionRefusedError():
            if _is_another_file(path):
                return DaemonUnreachable(f"{path} is not a socket: give the path of the daemon's with {option}")
            nobody = f"nobody listens on {path}, it is left over"
            return DaemonUnreachable(f"no daemon is running: {nobody}. Start one: {start_hint}")
        case PermissionError():
            message = f"the socket {path} is not for this user: be the user who started the daemon"
            return SocketForbidden(f"{message}, or a member of its --socket-group")
        case _:
            if error.errno is None:  # Python's error for a path that is too long
                return SocketUnusable(f"{path} is too long a path for a socket: use {option}")
            return DaemonUnreachable(f"cannot reach the daemon on {path}: {error.strerror}. Start one: {start_hint}")


def stranger(path: Path) -> DaemonUnreachable:
    """Return the error where somebody else answers."""
    return DaemonUnreachable(f"what listens on {path} is not dhtd")


def closed(path: Path) -> str:
    """Say that the daemon has hung up."""
    return f"the daemon on {path} has closed the connection: it is stopping"


def _is_another_file(path: Path) -> bool:
    try:
        return not stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False

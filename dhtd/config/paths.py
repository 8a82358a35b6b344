"""The default places of files, by the rules of the platform (platformdirs; XDG on Linux).

The client uses this module, too, so it imports little, and platformdirs only on demand. The directories
follow the environment of the process (XDG_STATE_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, XDG_CONFIG_DIRS, HOME).
"""

from __future__ import annotations

import os
import re
import stat
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Final

from dhtd.errors import ConfigError, SocketUnusable

APP: Final = "dhtd"
DEFAULT_INSTANCE: Final = "default"
CONFIG_NAME: Final = "dhtd.toml"
SYSTEM_ENTRIES: Final = Path("/etc/dhtd/entries.d")

# What fits into sockaddr_un.sun_path with its final zero: unix(7) on Linux, unix(4) on macOS and the BSDs.
SOCKET_PATH_MAX: Final = 107 if sys.platform == "linux" else 103  # bytes

_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def check_instance(name: str) -> str:
    """Return `name`; raise `ConfigError` if it cannot name an instance and its files."""
    if not _INSTANCE.fullmatch(name):
        shown = repr(name if len(name) <= 80 else name[:77] + "...")
        raise ConfigError(
            f"{shown} is not an instance name: 1 to 64 of the characters A-Z a-z 0-9 _ . - not beginning with . or -"
        )
    return name


def state_file(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return the state file of an instance; raise `ConfigError` if there is no place for it."""
    from platformdirs import user_state_path  # noqa: PLC0415 - a client that is told its socket does without

    name = f"{check_instance(instance)}.db"
    try:
        directory = user_state_path(APP)
    except RuntimeError:
        raise ConfigError(
            "there is no home directory for the state file: set HOME or XDG_STATE_HOME to an absolute path, or name the"
            " file with --state"
        ) from None
    _refuse_another_s(directory)
    return directory / name


def control_socket(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return the control socket of an instance; raise `SocketUnusable` if no socket can be there."""
    from platformdirs import user_runtime_path  # noqa: PLC0415

    name = f"{check_instance(instance)}.sock"
    try:
        with warnings.catch_warnings():  # without XDG_RUNTIME_DIR there is a fallback, and nothing to warn of
            warnings.simplefilter("ignore")
            directory = user_runtime_path(APP)
    except PermissionError as error:
        raise SocketUnusable(f"no safe place for the control socket: {error}; or name one with --socket") from error
    except (OSError, RuntimeError) as error:  # not even a temporary directory
        reason = error.strerror if isinstance(error, OSError) else error
        raise SocketUnusable(
            f"no place for the control socket: {reason}; set XDG_RUNTIME_DIR, or name one with --socket"
        ) from error
    return check_socket(directory / name)


def find_control_socket(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return the place where a client finds the control socket of an instance.

    A daemon that cron or a service started may have no XDG_RUNTIME_DIR, or another one. Then its socket is at the
    fallback place, and the client looks there as well. It trusts a socket of its own user only.
    """
    expected = control_socket(instance)
    with suppress(OSError):
        if stat.S_ISSOCK(expected.lstat().st_mode):
            return expected
    import tempfile  # noqa: PLC0415 - only where none is in its place

    user = os.geteuid()
    for directory in (Path(f"/run/user/{user}"), Path(tempfile.gettempdir()) / f"runtime-{user}"):
        other = directory / APP / expected.name
        try:
            status = other.lstat()
        except OSError:
            continue
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == user:
            return other
    return expected


def check_socket(path: Path) -> Path:
    """Return `path`; raise `SocketUnusable` if it is too long for a Unix socket."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        raise SocketUnusable(
            f"the control socket's path {path} has {size} bytes, and a socket's may have {SOCKET_PATH_MAX}: choose a"
            " shorter one with --socket"
        )
    return path


def locate(text: str) -> Path:
    """Return the absolute path that a text means; raise OSError or RuntimeError if there is none.

    Only a text that itself begins with ~ means a home directory: `./~/x` does not, though as a path it is `~/x`.
    """
    path = Path(text)
    return (path.expanduser() if text.startswith("~") else path).absolute()


def user_config(name: str = CONFIG_NAME) -> Path | None:
    """Return the user's configuration file of this name; None for a user without a home directory."""
    from platformdirs import user_config_path  # noqa: PLC0415

    try:
        return user_config_path(APP) / name
    except RuntimeError:
        return None


def entries() -> Path:
    """Return the directory of declared entries: the user's, or the system's for a user without a home directory."""
    config = user_config()
    return SYSTEM_ENTRIES if config is None else config.parent / SYSTEM_ENTRIES.name


def system_config(name: str = CONFIG_NAME) -> Path:
    """Return the system's configuration file of this name."""
    from platformdirs import site_config_path  # noqa: PLC0415

    return site_config_path(APP) / name


def owner(path: Path) -> int:
    """Return the user ID of the owner of a path, or of its nearest parent that we can see."""
    for place in (path, *path.parents):
        try:
            return place.lstat().st_uid
        except OSError:
            continue
    return os.geteuid()


def _refuse_another_s(directory: Path) -> None:
    """Raise if this would make files in another user's directory: sudo, for example, may keep the user's HOME."""
    user = owner(directory)
    if user not in (0, os.geteuid()):
        raise ConfigError(
            f"the state file would lie in {directory}, at user {user}'s, and this is user {os.geteuid()}: set HOME"
            " (sudo does with -H), or name the file with --state"
        )

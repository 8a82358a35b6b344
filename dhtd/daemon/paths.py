"""Where files lie when nobody says otherwise, as the platform wants it (platformdirs; XDG on Linux).

The client asks here, too, so this imports next to nothing, and platformdirs only when it is needed. The directories
follow the environment of the process (XDG_STATE_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, XDG_CONFIG_DIRS, HOME).
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import Final

from dhtd.errors import ConfigError, SocketUnusable

APP: Final = "dhtd"
DEFAULT_INSTANCE: Final = "default"
CONFIG_NAME: Final = "dhtd.toml"

# What fits into sockaddr_un.sun_path with its final zero: unix(7) on Linux, unix(4) on macOS and the BSDs.
SOCKET_PATH_MAX: Final = 107 if sys.platform == "linux" else 103  # bytes

_INSTANCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def check_instance(name: str) -> str:
    """Return `name`; raise `ConfigError` where it cannot name an instance, and with it files."""
    if not _INSTANCE.fullmatch(name):
        shown = repr(name if len(name) <= 80 else name[:77] + "...")
        raise ConfigError(
            f"{shown} is not an instance name: 1 to 64 of the characters A-Z a-z 0-9 _ . - not beginning with . or -"
        )
    return name


def state_file(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return the state file of an instance."""
    from platformdirs import user_state_path  # noqa: PLC0415 - a client that is told its socket does without

    return user_state_path(APP) / f"{check_instance(instance)}.db"


def control_socket(instance: str = DEFAULT_INSTANCE) -> Path:
    """Return the control socket of an instance; raise `SocketUnusable` where no socket can be there."""
    from platformdirs import user_runtime_path  # noqa: PLC0415

    name = f"{check_instance(instance)}.sock"
    try:
        with warnings.catch_warnings():  # without XDG_RUNTIME_DIR there is a fallback, and nothing to warn of
            warnings.simplefilter("ignore")
            directory = user_runtime_path(APP)
    except PermissionError as error:
        raise SocketUnusable(f"no safe place for the control socket: {error}; or name one with --socket") from error
    return check_socket(directory / name)


def check_socket(path: Path) -> Path:
    """Return `path`; raise `SocketUnusable` where it is longer than the path of a Unix socket may be."""
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        raise SocketUnusable(
            f"the control socket's path {path} has {size} bytes, and a socket's may have {SOCKET_PATH_MAX}: choose a"
            " shorter one with --socket"
        )
    return path


def user_config() -> Path:
    """Return the user's configuration file."""
    from platformdirs import user_config_path  # noqa: PLC0415

    return user_config_path(APP) / CONFIG_NAME


def system_config() -> Path:
    """Return the system's configuration file."""
    from platformdirs import site_config_path  # noqa: PLC0415

    return site_config_path(APP) / CONFIG_NAME

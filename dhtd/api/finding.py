"""Finds the daemon to ask, by the rules of `dht`."""

from __future__ import annotations

import math
import os
from typing import Final

from dhtd.api.connection import Daemon
from dhtd.errors import ConfigError, UsageError

TIMEOUT: Final = 15.0  # seconds


def find_daemon(
    socket: str | os.PathLike[str] | None, instance: str | None, network: str | None, timeout: float
) -> Daemon:
    """Return the daemon that is named by arguments, the environment or a configuration file.

    Raises `UsageError`, `ConfigError` or `SocketUnusable`.
    """
    from pathlib import Path  # noqa: PLC0415

    from dhtd.config.networks import MAINLINE, NETWORKS  # noqa: PLC0415 - what reads settings takes 30 ms
    from dhtd.config.sources import client_socket  # noqa: PLC0415

    if not (timeout > 0 and math.isfinite(timeout)):
        raise UsageError(f"timeout={timeout!r}: give a number of seconds above 0")
    if network is not None and network not in NETWORKS:
        raise ConfigError(f"network={network!r:.80} is none of {', '.join(NETWORKS)}")
    if socket is not None and not os.fspath(socket):
        raise UsageError("socket= is empty: give the path of a control socket")
    start = "dhtd start"
    if network == MAINLINE.name:
        start += f" --network {network}"
    if instance is not None:
        start += f" --instance {instance}"
    given = None if socket is None else Path(os.fspath(socket))
    return Daemon(client_socket(given, instance, os.environ, network), float(timeout), start)

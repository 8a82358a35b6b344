"""Reports our state to the service manager, if one listens (sd_notify(3)): `Type=notify` in a systemd unit."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

TIMEOUT = 1.0  # seconds; a manager that does not read must not stop us


def notify(state: str) -> None:
    """Send a state, for example `READY=1`, to the socket of NOTIFY_SOCKET, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(TIMEOUT)
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.send(state.encode())

"""Whether a program listens on a port of this machine, as the kernel lists sockets. The client uses this as well.

Connecting would tell only of TCP, only of loopback, and would disturb the program.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_TABLES: Final = {"tcp": b"0A", "tcp6": b"0A", "udp": b"07", "udp6": b"07"}  # the state of a socket without a peer
_DIRECTORY: Final = Path("/proc/self/net")  # Linux


def is_listening(port: int, tables: Path = _DIRECTORY) -> bool | None:
    """Whether a TCP socket listens on the port, or a UDP socket waits there; None where the kernel does not tell."""
    suffix = b":%04X" % port
    can_tell = False
    for name, wanted in _TABLES.items():
        try:
            lines = (tables / name).read_bytes().splitlines()[1:]
        except OSError:  # another system, or no IPv6
            continue
        can_tell = True
        for line in lines:
            _, local, _, state, *_ = line.split(maxsplit=4)
            if local.endswith(suffix) and state == wanted:
                return True
    return False if can_tell else None

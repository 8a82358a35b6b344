"""Which sockets of this machine listen on a port, as the kernel lists them. The client uses this as well.

Connecting would tell only of TCP, only of loopback, and would disturb the program.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NamedTuple

_TABLES: Final = {"tcp": b"0A", "tcp6": b"0A", "udp": b"07", "udp6": b"07"}  # the state of a socket without a peer
_DIRECTORY: Final = Path("/proc/self/net")  # Linux


class Bound(NamedTuple):
    """A socket that listens."""

    protocol: str  # tcp or udp
    ip: bytes  # the address to which it is bound: all zeros for a wildcard

    @property
    def is_wildcard(self) -> bool:
        """Whether it is bound to all addresses."""
        return not any(self.ip)


def is_listening(port: int, tables: Path = _DIRECTORY) -> bool | None:
    """Whether a TCP socket listens on the port, or a UDP socket waits there; None where the kernel does not tell."""
    bound = bound_on(port, tables)
    return None if bound is None else bool(bound)


def bound_on(port: int, tables: Path = _DIRECTORY) -> frozenset[Bound] | None:
    """Return the sockets that listen on the port; None where the kernel does not tell."""
    suffix = b":%04X" % port
    found: set[Bound] = set()
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
                found.add(Bound(name[:3], _ip(local[: -len(suffix)])))
    return frozenset(found) if can_tell else None


def _ip(digits: bytes) -> bytes:
    """Return the address that the kernel lists: words of four bytes, each in the order of this machine."""
    words = bytes.fromhex(digits.decode())
    if sys.byteorder == "big":
        return words
    return b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))

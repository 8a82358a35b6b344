"""The user at the other end of a Unix socket, with their groups, as the kernel tells.

`SO_PEERCRED` has the user and the *primary* group of the client's process. The group of `--socket-group` is nearly
always a supplementary one. Only `SO_PEERGROUPS` has these (Linux 4.13). Without that option, or with more groups than
Python can receive (256), we ask the user database. It does not see what newgrp(1) or a container has changed.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
import sys
from typing import Any, Final, NamedTuple, Protocol

from dhtd.errors import ConfigError

# From asm-generic/socket.h, which two architectures do not follow. There we ask the database.
_SO_PEERGROUPS: Final = (
    59 if sys.platform == "linux" and not os.uname().machine.startswith(("sparc", "parisc")) else None
)
_OPTION_MAX: Final = 1024  # bytes, of socket.getsockopt()
_CREDENTIALS: Final = struct.Struct("3i")
_GROUP: Final = struct.Struct("I")
_ID_MAX: Final = (1 << 32) - 2  # -1 means "do not change"


class Options(Protocol):
    """The one method of sockets that is needed here, Python's or trio's."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> Any:
        """Return the bytes of a socket option."""


class Peer(NamedTuple):
    """The user of a client, with their primary group."""

    uid: int
    gid: int


def peer_of(connection: Options) -> Peer | None:
    """Return the user of a client, None if the kernel does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return Peer(uid, gid)


def supplementary_groups(connection: Options) -> frozenset[int] | None:
    """Return the groups of the client's process without its primary one, None if the kernel does not tell."""
    if _SO_PEERGROUPS is None:
        return None
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _OPTION_MAX)
    except OSError:  # ENOPROTOOPT: an old kernel. ERANGE: too many
        return None
    return frozenset(gid for (gid,) in _GROUP.iter_unpack(packed))


def groups_by_database(peer: Peer) -> frozenset[int]:
    """Return the groups of the user in the user database. This may ask a directory server, and block."""
    try:
        name = pwd.getpwuid(peer.uid).pw_name
    except KeyError:
        return frozenset({peer.gid})
    return frozenset(os.getgrouplist(name, peer.gid))


def group_id(group: str) -> int:
    """Return the number of a group, from its name or number; raise `ConfigError`."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isascii() and group.isdecimal() and len(group) <= 10 and int(group) <= _ID_MAX:
            return int(group)
    raise ConfigError(
        f"there is no group {group!r:.80} on this machine: make it (groupadd), or give another with --socket-group"
    )

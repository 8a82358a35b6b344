"""Who is at the other end of a Unix socket, by the kernel's word, and in which groups they are.

`SO_PEERCRED` tells the user and the *primary* group of who connected. Membership in a group that was given with
`--socket-group` is nearly always a supplementary one, which only `SO_PEERGROUPS` tells (Linux 4.13): the groups that
the process really has. Where the kernel does not know that option, or there are more groups than Python can receive
(256), the user database says which groups the user is in; it does not see what newgrp(1) or a container has changed.
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

# Of asm-generic/socket.h, which two architectures do not follow; there the database has to do.
_SO_PEERGROUPS: Final = (
    59 if sys.platform == "linux" and not os.uname().machine.startswith(("sparc", "parisc")) else None
)
_OPTION_MAX: Final = 1024  # bytes, of socket.getsockopt()
_CREDENTIALS: Final = struct.Struct("3i")
_GROUP: Final = struct.Struct("I")
_ID_MAX: Final = (1 << 32) - 2  # -1 means "do not change"


class Options(Protocol):
    """A socket as far as it is needed here: Python's own, or trio's."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> Any:
        """Return a socket option's bytes."""


class Peer(NamedTuple):
    """The user who connected, with their primary group."""

    uid: int
    gid: int


def peer_of(connection: Options) -> Peer | None:
    """Return who connected; None where the kernel does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    _, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return Peer(uid, gid)


def supplementary_groups(connection: Options) -> frozenset[int] | None:
    """Return the groups that the process which connected has beside its primary one; None where that is not told."""
    if _SO_PEERGROUPS is None:
        return None
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _OPTION_MAX)
    except OSError:  # ENOPROTOOPT: an old kernel. ERANGE: too many
        return None
    return frozenset(gid for (gid,) in _GROUP.iter_unpack(packed))


def groups_by_database(peer: Peer) -> frozenset[int]:
    """Return the groups that the user database knows the user to be in. This may ask a directory server, and block."""
    try:
        name = pwd.getpwuid(peer.uid).pw_name
    except KeyError:
        return frozenset({peer.gid})
    return frozenset(os.getgrouplist(name, peer.gid))


def group_id(group: str) -> int:
    """Return the number of a group that is given by name, or by number; raise `ConfigError`."""
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        if group.isascii() and group.isdecimal() and len(group) <= 10 and int(group) <= _ID_MAX:
            return int(group)
    raise ConfigError(
        f"there is no group {group!r:.80} on this machine: make it (groupadd), or give another with --socket-group"
    )

"""How many clients the control socket has at once, and who gives way when one more comes.

A connection in which it is the client's turn (it is idle, or in the middle of a frame, or does not read its answer)
costs the client nothing and the daemon a place, so that it is no right: the one that has kept the daemon waiting for
the longest gives way. A connection whose request is being served never does. So a user who holds a thousand connections
open takes no place from their own next request, and none at all from another user.

The daemon's user and root each have places of their own. All other users, members of the socket's group, share theirs:
however many they are, together they cannot use up the daemon's file descriptors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dhtd.control.frames import FRAME_MAX
from dhtd.errors import TooManyClients


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take; `frame` is in bytes with the newline, `frame_deadline` in seconds."""

    clients: int = 64  # connections of one user: the setting `socket-clients`
    others: int = 128  # connections of all users together who are neither the daemon's nor root
    frame: int = FRAME_MAX
    frame_deadline: float = 10.0  # from a frame's first byte to its newline


@dataclass(slots=True)
class ControlCounters:
    """How often clients of the control socket met a limit."""

    control_forbidden: int = 0  # connections of users who are not served
    control_refused: int = 0  # connections for which there was no place
    control_displaced: int = 0  # connections that gave their place up
    control_frames_refused: int = 0  # requests that were too large, or too slow to come


class Occupant(Protocol):
    """A connection that has a place."""

    @property
    def uid(self) -> int:
        """Whose it is."""

    @property
    def waiting_since(self) -> float | None:
        """Since when it is the client's turn; None while it is the daemon's."""


C = TypeVar("C", bound=Occupant)


class Places(Generic[C]):
    """Who has a place. Every call is linear in their number, some hundreds at most."""

    def __init__(self, limits: Limits, own_uid: int) -> None:
        self._limits = limits
        self._own = {0, own_uid}
        self._taken: dict[C, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        """Return how many places are taken."""
        return len(self._taken)

    def take(self, connection: C) -> C | None:
        """Give a place; return who has lost it, if anybody has. Raise `TooManyClients` where nobody can."""
        victim = self._victim(connection.uid)
        if victim is not None:
            del self._taken[victim]
        self._taken[connection] = None
        return victim

    def leave(self, connection: C) -> None:
        """The connection is over. To leave twice, or after having given way, does nothing."""
        self._taken.pop(connection, None)

    def take_back(self) -> C | None:
        """Take a place back that nobody asked for, for want of file descriptors; return who had it."""
        victim = _longest_waiting(self._taken)
        if victim is not None:
            del self._taken[victim]
        return victim

    def _victim(self, uid: int) -> C | None:
        limits = self._limits
        same = [each for each in self._taken if each.uid == uid]
        if len(same) >= limits.clients:
            victim = _longest_waiting(same)
            if victim is None:
                raise TooManyClients(
                    f"user {uid} has as many connections to this daemon as socket-clients allows ({limits.clients}),"
                    " each with a request that is being served: try again"
                )
            return victim
        others = [each for each in self._taken if each.uid not in self._own]
        if uid in self._own or len(others) < limits.others:
            return None
        many = Counter(each.uid for each in others)
        for count in sorted(set(many.values()), reverse=True):  # who has most gives one up, if they can
            victim = _longest_waiting(each for each in others if many[each.uid] == count)
            if victim is not None:
                return victim
        raise TooManyClients(
            f"the members of the socket's group have as many connections to this daemon as they may have"
            f" ({limits.others}), each with a request that is being served: try again"
        )


def _longest_waiting(connections: Iterable[C]) -> C | None:
    since = {each: since for each in connections if (since := each.waiting_since) is not None}
    return min(since, key=since.__getitem__, default=None)

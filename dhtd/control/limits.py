"""The places of the control socket, and which client gives way when there is none left.

A connection keeps the daemon waiting while it is idle, in the middle of a frame, or does not read its answer. That
costs the client nothing, and the daemon a place. So the connection that has waited for the longest time gives way. One
whose request is being served never does. A user with a thousand open connections takes no place from their own next
request, and none from another user.

A connection with attached entries keeps its place, too, and so does one that watches and reads what it is told. These
are lasting. They may take three quarters of a user's places, and leave the rest to requests.

The daemon's user and root have places of their own. All members of the socket's group share theirs, so that together
they cannot use up the daemon's file descriptors.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dhtd.control.frames import FRAME_MAX
from dhtd.errors import Busy, TooManyClients


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of clients; `frame` is in bytes with the newline, `frame_deadline` in seconds."""

    clients: int = 64  # connections of one user: the setting `socket-clients`
    others: int = 128  # connections of all users together, without the daemon's user and root
    frame: int = FRAME_MAX
    frame_deadline: float = 10.0  # from a frame's first byte to its newline

    def lasting(self, places: int) -> int:
        """Return how many of these places lasting connections may take."""
        return max(1, 3 * places // 4)


@dataclass(slots=True)
class ControlCounters:
    """Counts of clients that met a limit."""

    control_forbidden: int = 0  # connections of users without access
    control_refused: int = 0  # connections without a place
    control_displaced: int = 0  # connections that gave way
    control_frames_refused: int = 0  # requests that were too large or too slow


class Occupant(Protocol):
    """A connection with a place."""

    @property
    def uid(self) -> int:
        """The user."""

    @property
    def waiting_since(self) -> float | None:
        """The time since when it is the client's turn; None while it is the daemon's, or entries are attached."""

    @property
    def is_lasting(self) -> bool:
        """Whether the connection watches, or entries live as long as it."""


C = TypeVar("C", bound=Occupant)


class Places(Generic[C]):
    """The connections with a place. Every call is linear in their number, some hundreds at most."""

    def __init__(self, limits: Limits, own_uid: int) -> None:
        self._limits = limits
        self._own = {0, own_uid}
        self._taken: dict[C, None] = {}  # in the order in which they came

    def __len__(self) -> int:
        """Return the number of taken places."""
        return len(self._taken)

    def take(self, connection: C) -> C | None:
        """Give a place; return the connection that lost one, if any. Raise `TooManyClients` if none can."""
        victim = self._victim(connection.uid)
        if victim is not None:
            del self._taken[victim]
        self._taken[connection] = None
        return victim

    def leave(self, connection: C) -> None:
        """Give the place of a connection back. A connection without one changes nothing."""
        self._taken.pop(connection, None)

    def check_lasting(self, uid: int) -> None:
        """Raise `Busy` if no further connection of a user may be a lasting one."""
        limits = self._limits
        lasting = [each for each in self._taken if each.is_lasting]
        same = sum(each.uid == uid for each in lasting)
        others = sum(each.uid not in self._own for each in lasting)
        advice = "watch several IDs by one connection, and use --check or --pid for entries"
        if same >= limits.lasting(limits.clients):
            raise Busy(
                f"user {uid} has {same} connections that watch, or have entries that live as long as these, three"
                f" quarters of what socket-clients allows ({limits.clients}): raise it, or {advice}"
            )
        if uid not in self._own and others >= limits.lasting(limits.others):
            raise Busy(
                f"the members of the socket's group have {others} connections that watch, or have entries that live as"
                f" long as these, three quarters of what they may have ({limits.others}): {advice}"
            )

    def take_back(self) -> C | None:
        """Take a place back, for its file descriptor; return the connection that had it."""
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
        for count in sorted(set(many.values()), reverse=True):  # the user with the most connections gives one up
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

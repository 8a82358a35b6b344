"""The daemon's end of the control socket: it accepts clients, and gives each one a place or turns it away.

A client must be the daemon's user, root, or a member of the socket's group. The number of clients is limited, and a
slow one delays nobody else: see `dhtd.control.limits`. A defect in a conversation ends that conversation alone.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import trio

from dhtd.control.connection import Connection, Farewell, Terms, send_at_once
from dhtd.control.limits import ControlCounters, Limits, Places
from dhtd.control.peer import Peer, groups_by_database, peer_of, supplementary_groups
from dhtd.control.threads import in_thread
from dhtd.core.ids import NATIVE, Keyspace
from dhtd.errors import DhtdError, NoThread, SocketForbidden, TooManyClients
from dhtd.service.method import Handler

LIMITS = Limits()
ACCEPT_PAUSE = 0.25  # seconds, when there is no file descriptor for a connection
COMPLAIN_INTERVAL = 60.0  # seconds between log lines about the same limit

log = logging.getLogger("dhtd.control")


class Listening:
    """The listening socket. Another one can replace it at any time, and connections stay."""

    def __init__(self, listening: socket.socket) -> None:
        self.replaced = trio.Event()  # set, and replaced, when there is another socket
        self._socket = listening
        self._is_taken = False

    def take(self) -> socket.socket:
        """Return the socket to listen on; the caller closes it."""
        self._is_taken = True
        return self._socket

    def replace(self, listening: socket.socket) -> None:
        """Listen on this socket from now on."""
        if not self._is_taken:
            self._socket.close()
        self._socket, self._is_taken = listening, False
        was, self.replaced = self.replaced, trio.Event()
        was.set()


def _note(kind: str) -> None:
    log.error("%s", kind, exc_info=sys.exception())


async def serve(
    listening: Listening,
    handler: Handler,
    *,
    group: int | None = None,
    limits: Limits = LIMITS,
    counters: ControlCounters | None = None,
    stop: Callable[[Farewell], None] | None = None,
    note: Callable[[str], None] = _note,
    keyspace: Keyspace = NATIVE,
) -> None:
    """Serve connections until cancelled: those of the daemon's user, of root, and of the members of `group`."""
    counters = ControlCounters() if counters is None else counters
    server = _Server(Terms(handler, limits, counters, stop, note, keyspace), group)
    async with trio.open_nursery() as nursery:
        while True:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening.take()))
            async with listener, trio.open_nursery() as accepting:
                accepting.start_soon(_cancel_when, listening.replaced, accepting.cancel_scope)
                await server.welcome(listener, nursery)


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class _Server:
    """The doors and the places of a server."""

    def __init__(self, terms: Terms, group: int | None) -> None:
        self._terms = terms
        self._group = group
        self._places = Places[Connection](terms.limits, os.geteuid())
        self._complain_at: dict[type[Exception], float] = {}

    async def welcome(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        """Start a conversation in `nursery` for each client, until cancelled."""
        while True:
            try:
                stream = await self.accept(listener)
            except Exception:  # noqa: BLE001 - noted
                self._terms.note("a client could not be accepted")
                await trio.sleep(ACCEPT_PAUSE)
                continue
            try:
                connection = await self.admit(stream)
            except Exception:  # noqa: BLE001 - noted
                self._terms.note("a client could not be let in")
                await trio.aclose_forcefully(stream)
                continue
            if connection is not None:
                nursery.start_soon(self.serve, connection)

    async def accept(self, listener: trio.SocketListener) -> trio.SocketStream:
        """Return the next connection. Without a free file descriptor, an idle client gives one up."""
        while True:
            try:
                return await listener.accept()
            except OSError as error:
                if error.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    raise
                if self._is_news(OSError):
                    log.error("clients have to wait: %s", error.strerror)
                victim = self._places.take_back()
                if victim is None:
                    await trio.sleep(ACCEPT_PAUSE)
                else:
                    self._displace(victim)
                    await victim.ended.wait()

    async def admit(self, stream: trio.SocketStream) -> Connection | None:
        """Give a connection a place. Without one, tell the client why, and return None."""
        try:
            uid = await self._user(stream)
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        except SocketForbidden as error:
            self._terms.counters.control_forbidden += 1
            await self._turn_away(stream, error)
            return None
        except NoThread as error:  # no thread to look up the groups of the user
            self._terms.counters.control_refused += 1
            await self._turn_away(stream, error)
            return None
        connection = Connection(uid, stream, self._terms, self._places.check_lasting)
        try:
            victim = self._places.take(connection)
        except TooManyClients as error:
            self._terms.counters.control_refused += 1
            await self._turn_away(stream, error)
            return None
        if victim is not None:
            self._displace(victim)
        return connection

    async def serve(self, connection: Connection) -> None:
        """Serve one connection to its end."""
        try:
            async with connection.stream:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError), connection.scope:
                    await connection.serve()
        except Exception:  # noqa: BLE001 - noted
            self._terms.note("a conversation with a client failed")
        finally:
            self._places.leave(connection)
            connection.ended.set()

    async def _turn_away(self, stream: trio.SocketStream, error: DhtdError) -> None:
        self._complain(error)
        send_at_once(stream, error)
        await trio.aclose_forcefully(stream)

    def _displace(self, victim: Connection) -> None:
        self._terms.counters.control_displaced += 1
        refusal = TooManyClients(
            f"this connection was idle, and another client needs its place: user {victim.uid} can have"
            f" {self._terms.limits.clients} (socket-clients), if the system has as many"
        )
        self._complain(refusal)
        victim.displace(refusal)

    async def _user(self, stream: trio.SocketStream) -> int:
        """Return the user of a connection; raise `SocketForbidden`."""
        peer = peer_of(stream.socket)
        own = os.geteuid()
        if peer is None:
            return own  # then the modes of socket and directory are the guard
        if peer.uid in {0, own} or (self._group is not None and await self._is_member(stream, peer)):
            return peer.uid
        raise SocketForbidden(
            f"this daemon belongs to user {own}, and user {peer.uid} is not "
            + ("in the group that it serves" if self._group is not None else "among those that it serves")
        )

    async def _is_member(self, stream: trio.SocketStream, peer: Peer) -> bool:
        if peer.gid == self._group:
            return True
        groups = supplementary_groups(stream.socket)
        if groups is None:
            groups = await in_thread(lambda: groups_by_database(peer))
        return self._group in groups

    def _complain(self, error: DhtdError) -> None:
        """Log that a client met a limit, but not each time: clients may meet it very often."""
        if self._is_news(type(error)):
            log.warning("a client is turned away: %s", error)

    def _is_news(self, kind: type[Exception]) -> bool:
        """Whether to log an error of this kind now: at most once in `COMPLAIN_INTERVAL`."""
        now = trio.current_time()
        if now < self._complain_at.get(kind, -math.inf):
            return False
        self._complain_at[kind] = now + COMPLAIN_INTERVAL
        return True

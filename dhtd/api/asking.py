"""Asks a daemon: one connection for each request, in one of the client's places."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from weakref import WeakSet

from dhtd.api.connection import COMES_BACK, Connection, Daemon, Gone, Pauses
from dhtd.api.names import Key, Target, key_of, network_of
from dhtd.api.places import Places
from dhtd.api.waits import Waits
from dhtd.control.conversation import Event, Failure
from dhtd.errors import ConfigError, TooManyClients

R = TypeVar("R")

ANSWER_WITHIN: Final = 0.9  # of the timeout: the daemon answers before with what there is


class Asker:
    """The open connections to a daemon."""

    def __init__(self, daemon: Daemon, waits: Waits, network: str | None) -> None:
        self.daemon = daemon
        self.waits = waits
        self.places = Places(waits)
        self._wanted_network = network
        self._network: str | None = None
        self._connections: WeakSet[Connection] = WeakSet()
        self._is_open = False

    async def __aenter__(self) -> Self:
        """Ask the daemon for its ID; raise `DaemonUnreachable` if there is none."""
        if self._is_open:
            raise RuntimeError("this client of dhtd is in use already")
        self._is_open = True
        self.places = Places(self.waits)  # of this loop, which may be another one than the last time
        try:
            body = await self.answer("node-id", {}, is_patient=False)
            self._network = network_of(str(body.get("node_id")))
            if self._wanted_network not in (None, self._network):
                raise ConfigError(
                    f"the daemon on {self.daemon.path} is in the {self._network} network, and not in the"
                    f" {self._wanted_network} network"
                )
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections; the daemon stops what it does for them."""
        self._close()

    def _close(self) -> None:
        self._is_open = False
        for connection in self._all_connections():
            connection.close()

    def _all_connections(self) -> list[Connection]:
        while True:
            try:
                return list(self._connections)
            except RuntimeError:  # another thread has just made one
                continue

    @property
    def network(self) -> str:
        """The network of the daemon: `native` or `mainline`."""
        if self._network is None:
            raise RuntimeError("this client of dhtd is not connected: use it in an `async with` block")
        return self._network

    @property
    def answer_within(self) -> float:
        """The seconds within which the daemon is to answer with what there is."""
        return ANSWER_WITHIN * self.daemon.timeout

    def key(self, target: Target) -> Key:
        """Return what a checked target means in the network of the daemon."""
        return key_of(target, self.network)

    def connection(self, waits: Waits | None = None) -> Connection:
        """Return a new connection, which is closed with this client at the latest."""
        if not self._is_open:
            raise RuntimeError("this client of dhtd is not connected: use it in an `async with` block")
        connection = Connection(self.daemon, waits or self.waits)
        self._connections.add(connection)
        return connection

    def patience(self, *, wait: bool = True, min_replicas: int = 0) -> dict[str, object]:
        """Return the parameters of a request that waits for holders, or does not."""
        more = {} if wait else {"wait": False}
        return {"min_replicas": min_replicas or None, "within_s": self.answer_within if wait else None, **more}

    async def ask(self, result: type[R], method: str, params: Mapping[str, object], *, is_repeatable: bool = True) -> R:
        """Return the result of a method. A request that is not repeatable is not sent twice."""
        body = await self.answer(method, params, is_repeatable=is_repeatable)
        from dhtd.api.reading import read  # noqa: PLC0415

        return read(result, body)

    async def answer(
        self, method: str, params: Mapping[str, object], *, is_repeatable: bool = True, is_patient: bool = True
    ) -> dict[str, Any]:
        """Return the result as the daemon sends it. Only a patient request waits for a daemon that is gone."""
        *_, body = await self.answers(method, params, is_repeatable=is_repeatable, is_patient=is_patient)
        return body

    async def answers(
        self,
        method: str,
        params: Mapping[str, object],
        *,
        is_repeatable: bool = True,
        is_patient: bool = True,
        runs_long: bool = False,
    ) -> list[dict[str, Any]]:
        """Return the events and the result. The timeout is for each of them if the method `runs_long`."""
        await self.places.take()
        try:
            pauses, give_up_at = Pauses(), self.waits.now() + self.daemon.timeout
            while True:
                connection = self.connection()
                was_sent = False
                try:
                    await connection.ask(method, params, give_up_at)
                    was_sent = True
                    return await self._hear(connection, give_up_at, runs_long=runs_long)
                except COMES_BACK as error:
                    connection.close()
                    pause = pauses.next()
                    is_lost = was_sent and not is_repeatable and isinstance(error, Gone)
                    is_hopeless = not is_patient and not isinstance(error, TooManyClients)
                    if is_lost or is_hopeless or self.waits.now() + pause >= give_up_at:
                        raise
                    await self.waits.sleep(pause)
                finally:
                    connection.close()
        finally:
            self.places.leave()

    async def _hear(self, connection: Connection, until: float, *, runs_long: bool) -> list[dict[str, Any]]:
        found = []
        while isinstance(answer := await connection.answer(until), Event):
            found.append(answer.body)
            if runs_long:
                until = self.waits.now() + self.daemon.timeout
        if isinstance(answer, Failure):
            raise answer.error
        return [*found, answer.body]

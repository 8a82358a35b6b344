"""An entry for as long as a block runs: attached to a connection, and entered again by each daemon that comes back.

1. Enter, and keep the connection. If that fails, the block does not begin.
2. If the daemon hangs up, for example to be restarted, enter again as soon as one is there, ever more seldom.
3. At the end of the block, end the connection in our direction. The daemon hangs up once the entry is withdrawn.

However the program ends, the kernel closes the connection, and the daemon withdraws the entry.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from dhtd.api.connection import COMES_BACK, LEAVE_WITHIN, Connection, Pauses
from dhtd.api.names import Target
from dhtd.api.waits import Background, Waits
from dhtd.control.conversation import Event, Failure
from dhtd.errors import DhtdError

if TYPE_CHECKING:
    from logging import Logger

    from dhtd.api.asking import Asker
    from dhtd.api.results import Entry


@cache
def _log() -> Logger:
    from logging import getLogger  # noqa: PLC0415 - a tenth of the time that the whole API takes to import

    return getLogger("dhtd.api")


class Serving:
    """`async with` it. The block has the entry, with the nodes that held it first."""

    def __init__(self, dht: Asker, target: Target, port: int, *, min_replicas: int) -> None:
        self._dht = dht
        self._target = target
        self._port = port
        self._min_replicas = min_replicas
        self._connection: Connection | None = None
        self._keeping: Background | None = None

    async def __aenter__(self) -> Entry:
        """Enter."""
        waits = self._dht.waits
        try:
            entry = await self._enter_in_time(waits)
            self._keeping = await waits.begin(self._keep)
        except BaseException:
            self._hang_up()
            raise
        return entry

    async def __aexit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """Withdraw. A block that was cancelled does not wait for that."""
        assert self._keeping is not None
        try:
            await self._keeping.end()
            if self._connection is None:  # a daemon that is just back may have the entry by its state file
                with suppress(DhtdError):
                    await self._enter(self._dht.waits, wait=False, within=LEAVE_WITHIN)
            if self._connection is not None:
                await self._connection.leave(self._dht.waits)
        finally:
            self._hang_up()

    async def _enter_in_time(self, waits: Waits) -> Entry:
        """Enter; try again until the timeout while the daemon has no place, or has just gone away."""
        give_up_at = waits.now() + self._dht.daemon.timeout
        pauses = Pauses()
        while True:
            try:
                return await self._enter(waits)
            except COMES_BACK:
                pause = pauses.next()
                if waits.now() + pause >= give_up_at:
                    raise
                await waits.sleep(pause)

    async def _enter(self, waits: Waits, *, wait: bool = True, within: float = math.inf) -> Entry:
        from dhtd.api.reading import read  # noqa: PLC0415
        from dhtd.api.results import Entry  # noqa: PLC0415

        connection = self._connection = self._dht.connection(waits)
        until = waits.now() + min(within, self._dht.daemon.timeout)
        key = self._dht.key(self._target)
        params = {
            "id": key.id,
            "name": key.name,
            "port": self._port,
            "attached": True,
            **self._dht.patience(wait=wait, min_replicas=self._min_replicas),
        }
        try:
            await connection.ask("enter", params, until)
            while isinstance(answer := await connection.answer(until), Event):
                pass
            if isinstance(answer, Failure):
                raise answer.error
            return read(Entry, answer.body)
        except DhtdError:  # and not an interruption: at the end of the block, the connection is left as any other
            self._hang_up()
            raise

    async def _keep(self, waits: Waits) -> None:
        """Enter again whenever the daemon has gone away, until interrupted."""
        while True:
            if self._connection is not None:
                await self._connection.ended(waits)
                self._hang_up()
                _log().info("the daemon has gone away; entering %s again as soon as it is back", self._target)
            pauses, complaint = Pauses(), ""
            while self._connection is None:
                await waits.sleep(pauses.next())
                try:
                    await self._enter(waits, wait=False)  # nobody waits for holders
                except DhtdError as error:
                    if not isinstance(error, COMES_BACK) and str(error) != complaint:
                        complaint = str(error)
                        _log().warning("%s is not entered: %s; trying again", self._target, complaint)
            _log().info("entered %s again", self._target)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

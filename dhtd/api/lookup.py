"""A lookup: the endpoints of an ID, as they come in."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from dhtd.api.connection import COMES_BACK, Connection, Pauses
from dhtd.api.names import Endpoint, Target
from dhtd.control.conversation import Event, Failure, Result
from dhtd.errors import DhtdError, NoAnswer

if TYPE_CHECKING:
    from dhtd.api.asking import Asker
    from dhtd.api.results import Stats


class Lookup(AsyncIterator[Endpoint]):
    """An iterator over endpoints, each once, which ends with the lookup. Leaving the loop early cancels the lookup.

    If it ends without an endpoint, nobody serves the ID. Raises `NoAnswer` if nobody has answered, so that nobody
    knows. `stats` and `is_complete` are None before the end.
    """

    def __init__(self, dht: Asker, target: Target, *, first: bool) -> None:
        self.stats: Stats | None = None
        self.is_complete: bool | None = None  # whether all nodes that may know an endpoint have answered in full
        self._dht = dht
        self._target = target
        self._first = first
        self._connection: Connection | None = None
        self._told: set[str] = set()
        self._found: deque[Endpoint] = deque()
        self._failure: DhtdError | None = None  # raised once all is told that was found
        self._is_over = False
        self._turn = dht.waits.turn()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Endpoint:
        """Return the next endpoint."""
        waits = self._dht.waits
        self._dht.places.resumed(self)
        self._turn.acquire()
        try:
            await waits.checkpoint()
            if not self._found:
                await self._await_more()
            if self._found:
                return self._found.popleft()
        except BaseException:
            self._end()
            raise
        finally:
            self._turn.release()
            if self._connection is not None:
                self._dht.places.park(self)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """End the lookup now."""
        self._end()

    def drain(self) -> bool:
        if not self._turn.acquire(False):
            return False
        try:
            while self._connection is not None:
                answer = self._connection.arrived()
                if answer is None:
                    return False
                self._take(answer)
        except (*COMES_BACK, RuntimeError):
            self._hang_up()  # the owner asks again
        except DhtdError as error:
            self._failure = error
            self._end()
        finally:
            self._turn.release()
        return True

    async def _await_more(self) -> None:
        """Wait until there is an endpoint, or the lookup is over. If the daemon goes away, ask the next one again."""
        waits, pauses = self._dht.waits, Pauses()
        give_up_at = waits.now() + self._dht.daemon.timeout
        while not self._found and not self._is_over:
            try:
                connection = self._connection or await self._ask()
                self._take(await connection.answer(waits.now() + self._dht.daemon.timeout))
            except COMES_BACK:
                self._hang_up()
                pause = pauses.next()
                if waits.now() + pause >= give_up_at:
                    raise
                await waits.sleep(pause)

    async def _ask(self) -> Connection:
        await self._dht.places.take()
        self._connection = self._dht.connection()
        until = self._dht.waits.now() + self._dht.daemon.timeout
        key = self._dht.key(self._target)
        await self._connection.ask("lookup", {"id": key.id, "name": key.name, "first": self._first or None}, until)
        return self._connection

    def _take(self, answer: Event | Result | Failure) -> None:
        if isinstance(answer, Failure):
            if not isinstance(answer.error, COMES_BACK):
                self._end()
            raise answer.error
        for text in answer.body.get("peers", ()):
            if text not in self._told:
                self._told.add(text)
                self._found.append(Endpoint.parse(text))
        if isinstance(answer, Result):
            self._finish(answer.body)
            self._end()

    def _finish(self, body: Mapping[str, Any]) -> None:
        from dhtd.api.reading import read  # noqa: PLC0415 - it takes some ms, and the first endpoint is there
        from dhtd.api.results import Stats  # noqa: PLC0415

        self.stats = read(Stats, body.get("stats", {}))
        self.is_complete = body.get("complete") is True
        if not self._told and self.stats.responses == 0:
            self._failure = NoAnswer(
                f"nobody answers, so whether somebody serves {self._target} is not known:"
                f" {self.stats.timeouts} nodes near it were asked"
            )

    def _end(self) -> None:
        self._is_over = True
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._dht.places.resumed(self)
            self._dht.places.leave()

    def __del__(self) -> None:
        """Hang up where a consumer has left its loop early: nobody refers to the lookup any more."""
        if self._connection is not None:
            self._connection.drop()
            self._dht.places.left_behind(self)

"""A watch: who serves some IDs, now and at each change, over ends and restarts of the daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from dhtd.api.connection import Connection, Pauses
from dhtd.api.names import Id, Target
from dhtd.api.watched import Watched
from dhtd.control.conversation import Event, Failure
from dhtd.errors import DhtdError, TooManyClients, UsageError

if TYPE_CHECKING:
    from dhtd.api.asking import Asker
    from dhtd.api.results import Change


class Watch(AsyncIterator["Change"]):
    """An iterator over changes that does not end by itself. Leaving the loop ends the watch.

    If the daemon goes away, the watch goes on with the next one. What the new one does not know yet is no removal.
    Raises the daemon's error if the watch cannot begin.
    """

    def __init__(self, dht: Asker, targets: Sequence[Target]) -> None:
        self._dht = dht
        self._targets = targets
        self._watched: dict[str, Watched] = {}
        self._names: dict[str, str | None] = {}
        self._connection: Connection | None = None
        self._changes: deque[Change] = deque()
        self._has_begun = False
        self._is_heard = False  # an event has come by this connection
        self._is_over = False
        self._pauses = Pauses()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        """Wait for the next change."""
        if self._is_over:
            raise StopAsyncIteration
        try:
            await self._dht.waits.checkpoint()
            while not self._changes:
                await self._await_more()
            return self._changes.popleft()
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        """End the watch now."""
        self._end()

    async def _await_more(self) -> None:
        """Wait for an event, or for a daemon."""
        waits = self._dht.waits
        begin_by = waits.now() + self._dht.daemon.timeout
        try:
            connection = self._connection or await self._ask(begin_by)
            answer = await connection.answer(float("inf") if self._is_heard else begin_by)
            if isinstance(answer, Failure):
                raise answer.error
            if isinstance(answer, Event):
                self._hear(answer.body)
        except DhtdError as error:
            self._hang_up()
            pause = self._pauses.next()
            may_begin = isinstance(error, TooManyClients) and waits.now() + pause < begin_by
            if isinstance(error, UsageError) or not (self._has_begun or may_begin):
                raise
            await waits.sleep(pause)

    async def _ask(self, until: float) -> Connection:
        keys = [self._dht.key(target) for target in self._targets]
        for key in keys:
            self._watched.setdefault(key.id, Watched()).resume()
            self._names[key.id] = self._names.get(key.id) or key.name
        self._connection = self._dht.connection()
        ids = [{"id": id, **({"name": name} if name else {})} for id, name in self._names.items()]
        await self._connection.ask("watch", {"ids": ids}, until)
        return self._connection

    def _hear(self, body: Mapping[str, Any]) -> None:
        from dhtd.api.reading import endpoints_in  # noqa: PLC0415 - the request is on its way meanwhile
        from dhtd.api.results import Change  # noqa: PLC0415

        self._has_begun = self._is_heard = True
        self._pauses = Pauses()
        watched = self._watched.get(str(body.get("id")))
        if watched is None:
            return
        new = watched.learn(map(str, body.get("peers", ())), is_vouched=body.get("holders") != 0)
        if new is None:
            return
        id, name = str(body["id"]), body.get("name")
        known = self._names[id] or (name if isinstance(name, str) else None)
        added, removed, all = (endpoints_in(list(each)) for each in (new.added, new.removed, new.endpoints))
        self._changes.append(Change(Id(id), known, added, removed, all, new.is_vouched))

    def _end(self) -> None:
        self._is_over = True
        self._hang_up()

    def _hang_up(self) -> None:
        self._is_heard = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        """Hang up where a consumer has left its loop early."""
        if self._connection is not None:
            self._connection.drop()

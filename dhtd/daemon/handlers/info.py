"""Serves the methods that may look at many entries: info and complete."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from typing import Final, TypeVar

import trio

from dhtd.core.ids import unpacked
from dhtd.core.names import id_of_name
from dhtd.core.records import RecordKey
from dhtd.daemon.driver import Driver
from dhtd.daemon.guards.guards import Guards
from dhtd.daemon.handlers.calls import Call, Handlers, answer, stream
from dhtd.daemon.report import NodeReport
from dhtd.service.info import COMPLETE, INFO, CompleteRequest, CompleteResult, InfoRequest, InfoResult
from dhtd.service.method import Emit, Event, Result

SCAN: Final = 1024  # words that are looked at in a row
WORDS_MAX: Final = 100  # words to choose from

P = TypeVar("P", bound=Event)
R = TypeVar("R", bound=Result)


class Inside(Handlers):
    """Looks step by step. Between two steps other tasks run, with any number of clients."""

    def __init__(self, driver: Driver, guards: Guards, report: NodeReport) -> None:
        super().__init__(driver)
        self._guards = guards
        self._report = report
        self._reading = trio.Lock()

    def calls(self) -> tuple[Call, ...]:
        return stream(INFO, self._info), answer(COMPLETE, self._complete)

    async def _info(self, request: InfoRequest, emit: Emit[InfoResult]) -> InfoResult:
        """Emit each part when the client has read the one before."""
        return await self._read(self._report.info(request.section), emit)

    async def _complete(self, request: CompleteRequest) -> CompleteResult:
        return await self._read(self._chosen(request))

    async def _read(self, steps: Generator[P | None, None, R], emit: Emit[P] | None = None) -> R:
        while True:
            async with self._reading:
                try:
                    part = next(steps)
                except StopIteration as end:
                    result: R = end.value
                    return result
            if part is not None:
                assert emit is not None
                await emit(part)

    def _chosen(self, request: CompleteRequest) -> Generator[None, None, CompleteResult]:
        """Return up to `WORDS_MAX` words with the prefix of the request; yield to let other tasks run.

        If there are more, the least and the greatest are among them. So the common beginning of the chosen words is the
        common beginning of all.
        """
        found: dict[str, None] = {}
        least = greatest = ""
        is_complete = True
        words = self._words(request)
        while some := list(islice(words, SCAN)):
            for word in some:
                if word.startswith(request.prefix) and word not in found:
                    least = min(least or word, word)
                    greatest = max(greatest, word)
                    if len(found) < WORDS_MAX:
                        found[word] = None
                    else:
                        is_complete = False
            yield
        chosen = list(found)
        if not is_complete:
            chosen = list(dict.fromkeys([least, greatest, *chosen]))[:WORDS_MAX]
        return {"words": sorted(chosen), "complete": is_complete}

    def _words(self, request: CompleteRequest) -> Iterator[str]:
        match request.what:
            case "endpoint":
                contacts = [contact for overlay in self._node.overlays for contact in overlay.state.table]
                yield from (self.text(contact.endpoint) for contact in contacts)
            case "own-name":
                keyspace = self._node.codec.traits.keyspace
                for record_key, name in self._driver.labels.names():
                    if id_of_name(name, keyspace) == record_key.key:
                        yield name
            case "own-port":
                yield from (str(each.port) for each in self._own() if request.entry in {None, each.key})
            case "value-id":
                yield from self._own_values()
                keys = self._node.values.held.keys()
                yield from (self.format(unpacked(key)) for key in keys)
            case _:
                yield from (self.format(each.key) for each in self._own())
                if request.what == "own-id":
                    yield from self._own_values()
                else:
                    keys = list(self._node.store.keys())
                    yield from (self.format(unpacked(key)) for key in keys)

    def _own_values(self) -> list[str]:
        """Return the IDs of the values that this node keeps."""
        return [self.format(own.key) for own in self._node.values.own]

    def _own(self) -> list[RecordKey]:
        """Return the own entries, and those that their guards keep from being published."""
        return [*(entry.record_key for entry in self._node.own_records), *self._guards.withheld()]

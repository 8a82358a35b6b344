"""The latest events, each written once, and read by any number of clients at their own pace.

A client that is slower than the events, or comes back after a while, is told how many it has missed. Nothing is kept
for a client, so one that reads nothing costs nothing.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Final, NamedTuple

import trio

from dhtd.service.written import Written

KEPT: Final = 1_000  # events
BATCH: Final = 65_536  # characters of events that are sent at once
SHARED: Final = 32  # batches


class _Entry(NamedTuple):
    serial: int
    kind: str
    text: str  # the JSON of the event


class Batch(NamedTuple):
    """Events for a client."""

    told: Written
    after: int  # the serial to go on after
    is_empty: bool


class Ring:
    """Numbers events and keeps the latest ones. `first` is the least serial of this run."""

    def __init__(self, first: int) -> None:
        self.last = first - 1  # the serial of the latest event
        self._since = first  # no event is missing from this serial on, except for those that had to give way
        self._entries: deque[_Entry] = deque(maxlen=KEPT)
        self._news = trio.Event()
        self._batches: dict[tuple[int, str | None], Batch] = {}  # that were read since the latest event

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._entries)

    def add(self, at: float, kind: str, fields: Mapping[str, object]) -> None:
        """Keep an event that has happened at a time of the wall clock."""
        self.last += 1
        text = _dumped({"serial": self.last, "at": round(at, 3), "kind": kind, **fields})
        self._entries.append(_Entry(self.last, kind, text))
        self._batches.clear()
        if not self._news.is_set():
            self._news.set()

    def interrupt(self) -> None:
        """Take note that an unknown number of events will not be told, and keep none."""
        self._entries.clear()
        self._batches.clear()
        self.last += 1  # a client that has read all so far has missed something
        self._since = self.last + 1

    async def wait(self, after: int) -> None:
        """Wait for an event behind this serial."""
        while self.last <= after:
            if self._news.is_set():
                self._news = trio.Event()
            await self._news.wait()

    def read(self, after: int, kind: str | None, at: float) -> Batch:
        """Return the next events behind a serial, of one kind or all. Clients that are equally far get the same object.

        So many places at most are remembered for that: clients choose them at will.
        """
        batch = self._batches.get((after, kind))
        if batch is None:
            if len(self._batches) >= SHARED:
                self._batches.clear()
            batch = self._batches[after, kind] = self._read(after, kind, at)
        return batch

    def _read(self, after: int, kind: str | None, at: float) -> Batch:
        texts: list[str] = []
        oldest = self._entries[0].serial if self._entries else self.last + 1
        if after > self.last:  # a serial of an earlier run, before the clock was set back: nothing is known of it
            after = -1
        # 1. What is gone?
        if after < oldest - 1:
            count = oldest - 1 - after if after >= self._since - 1 else None
            texts.append(_dumped({"serial": oldest - 1, "at": round(at, 3), "kind": "missed", "count": count}))
            after = oldest - 1
        # 2. The next events, up to a size.
        room = BATCH
        for entry in islice(self._entries, after + 1 - oldest, None):
            if room <= 0:
                break
            after = entry.serial
            if kind is None or entry.kind == kind:
                texts.append(entry.text)
                room -= len(entry.text)
        return Batch(Written(f'{{"last":{after},"events":[{",".join(texts)}]}}'), after, not texts)


def _dumped(body: Mapping[str, object]) -> str:
    return json.dumps(body, separators=(",", ":"))

"""What has happened in a run, each event written once: the latest of them, as many as there is room for.

Readers go on behind a serial, as a stream does, or ask for a span of virtual time, as the slider does.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Final, NamedTuple

ROOM: Final = 48_000_000  # characters of events that are kept
BATCH: Final = 262_144  # characters that a reader is given at once
SPAN: Final = 4_000_000  # characters that are given for a span of time
DIGITS: Final = 6  # of a second of virtual time: what is told has the time by which it can be asked for


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Batch(NamedTuple):
    """Events behind a serial."""

    texts: list[str]
    last: int  # the serial to go on behind


class Span(NamedTuple):
    """Events of a span of time."""

    texts: list[str]
    is_cut: bool  # some of its events are gone, or there are more


class Log:
    """The latest events. Their times never go back."""

    def __init__(self, room: int = ROOM) -> None:
        self.last = 0  # the serial of the latest event
        self._room = room
        self._used = 0
        self._first = 0  # the index of the oldest event that is kept
        self._times: list[float] = []
        self._texts: list[str] = []
        self._gone_until = float("-inf")  # the time of the latest event that was dropped

    def add(self, at: float, kind: str, fields: Mapping[str, object]) -> None:
        """Keep an event."""
        self.last += 1
        at = round(at, DIGITS)
        text = dumped({"serial": self.last, "at": at, "kind": kind, **fields})
        self._times.append(at)
        self._texts.append(text)
        self._used += len(text)
        while self._used > self._room:
            self._used -= len(self._texts[self._first])
            self._gone_until = self._times[self._first]
            self._texts[self._first] = ""
            self._first += 1
        if 2 * self._first > len(self._texts):
            del self._times[: self._first], self._texts[: self._first]
            self._first = 0

    def read(self, after: int) -> Batch:
        """Return the next events behind a serial. What is gone is told by an event `missed`.

        A serial that is yet to come is of another run. Its reader goes on with what happens from now on.
        """
        oldest = self.last + 1 - (len(self._texts) - self._first)
        texts = []
        if not oldest - 1 <= after <= self.last:
            count, after = (None, self.last) if after > self.last else (oldest - 1 - after, oldest - 1)
            texts.append(dumped({"serial": after, "at": None, "kind": "missed", "count": count}))
        room, index = BATCH, self._first + after + 1 - oldest
        while room > 0 and index < len(self._texts):
            texts.append(self._texts[index])
            room -= len(self._texts[index])
            index += 1
            after += 1
        return Batch(texts, after)

    def between(self, begin: float, end: float) -> Span:
        """Return the events of a span of virtual time, both ends included: the first ones, where they are many."""
        index = bisect_left(self._times, begin, self._first)
        beyond = bisect_right(self._times, end, self._first)
        texts: list[str] = []
        room = SPAN
        while room > 0 and index < beyond:
            texts.append(self._texts[index])
            room -= len(self._texts[index])
            index += 1
        return Span(texts, index < beyond or self._gone_until >= begin)


def dumped(body: Mapping[str, object]) -> str:
    """Return an object as JSON on one line."""
    return _encode(body)

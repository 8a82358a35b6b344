"""Who serves an ID, from now on: watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.errors import Busy, TooManyWatches
from dhtd.service.method import Request, Stream
from dhtd.service.params import WATCHED_IDS, WatchedId


@dataclass(frozen=True, slots=True)
class WatchRequest(Request):
    """Who serves each of `ids`? Events tell it now and at each change, until the client hangs up.

    Events of a client that does not read wait for it, one for each ID, and each tells all that has changed meanwhile.
    """

    ids: Annotated[tuple[WatchedId, ...], WATCHED_IDS]


class WatchEvent(TypedDict):
    """The endpoints of an ID: the first time all of them are added. `holders` other nodes tell this one of changes.

    If there are none, nobody answers, and `peers` has what was known before and what this node knows itself.
    """

    id: str
    name: str | None
    peers: list[str]
    added: list[str]
    removed: list[str]
    holders: int


class WatchResult(TypedDict):
    """Nothing, since there is no end."""


WATCH: Final = Stream(
    "watch",
    "Tells who serves IDs, now and at each change.",
    WatchRequest,
    WatchEvent,
    WatchResult,
    errors=(Busy, TooManyWatches),
    runs_long=True,
)

METHODS: Final = (WATCH,)

"""A client of the HTTP door, as methods see it: the owner, since only the owner can read the token."""

from __future__ import annotations

import os
from typing import Final, Self

from dhtd.errors import Busy, NotPermitted
from dhtd.service.method import Leave

STREAMS_MAX: Final = 192  # at once, of 256 connections: see `connections`


class Streams:
    """The streams without an end that are being told."""

    def __init__(self, most: int = STREAMS_MAX) -> None:
        self._most = most
        self._count = 0

    def take(self) -> None:
        """Begin one; raise `Busy` if there are too many."""
        if self._count >= self._most:
            raise Busy(f"{self._count} clients are being told of events by HTTP, as many as can be: end one of them")
        self._count += 1

    def leave(self) -> None:
        """End one."""
        self._count -= 1


class HttpCaller:
    """One request. Leaving the context ends its stream, if it had one."""

    uid = os.geteuid()
    is_owner = True

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._is_watching = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._is_watching:
            self._streams.leave()

    def attach(self, leave: Leave) -> None:
        raise NotPermitted("an entry lives as long as a connection to the control socket, and not by HTTP")

    def watch(self) -> None:
        if not self._is_watching:
            self._streams.take()
            self._is_watching = True

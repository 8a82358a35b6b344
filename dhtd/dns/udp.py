"""Serves one UDP address. What is kept is answered in the loop; what takes the network has a task of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import trio

from dhtd.dns.limits import Limits, Verdict
from dhtd.dns.responder import Asked, Responder

QUESTION_MAX: Final = 4_096  # bytes; what is longer is cut, and then no question
BATCH: Final = 64  # questions in a row, before others of the daemon have their turn
WAITING_MAX: Final = 512  # questions that wait for the network, of one address


class UdpService:
    """The questions that come to one socket."""

    def __init__(
        self, bound: socket.socket, responder: Responder, limits: Limits | None, note: Callable[[str], None]
    ) -> None:
        """Without `limits` everybody gets every answer."""
        self.waiting = 0
        self._bound = bound
        self._responder = responder
        self._limits = limits
        self._note = note

    async def serve(self) -> None:
        """Answer until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._bound)
                for _ in range(BATCH):
                    try:
                        data, source = self._bound.recvfrom(QUESTION_MAX)
                    except BlockingIOError:
                        break
                    except OSError:  # of an answer before, that could not be delivered
                        continue
                    try:
                        self._take(data, source, nursery)
                    except Exception:  # noqa: BLE001 - noted
                        self._note("a question by DNS could not be answered")

    def _take(self, data: bytes, source: Any, nursery: trio.Nursery) -> None:
        if self._limits is not None:
            match self._limits.verdict(source[0].partition("%")[0], trio.current_time()):
                case Verdict.CUT:
                    self._send(self._responder.cut(data), source)
                    return
                case Verdict.DROPPED:
                    return
                case Verdict.ANSWERED:
                    pass
        found = self._responder.respond(data)
        if not isinstance(found, Asked):
            self._send(found, source)
        elif self.waiting >= WAITING_MAX:
            self._send(self._responder.fail(found), source)
        else:
            self.waiting += 1
            nursery.start_soon(self._find, found, source)

    async def _find(self, asked: Asked, source: Any) -> None:
        try:
            self._send(await self._responder.find(asked), source)
        except Exception:  # noqa: BLE001 - noted
            self._note("a question by DNS could not be answered")
        finally:
            self.waiting -= 1

    def _send(self, answer: bytes | None, source: Any) -> None:
        """Send an answer. One that the kernel does not take is lost, and its asker comes again."""
        if answer is not None:
            with suppress(OSError):
                self._bound.sendto(answer, source)

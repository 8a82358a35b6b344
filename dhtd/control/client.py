"""The blocking client of the control socket. It imports no trio, which would take longer than most requests."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from dhtd import __version__
from dhtd.control.conversation import Event, Failure, Result
from dhtd.control.frames import batches
from dhtd.control.link import Link
from dhtd.errors import BadRequest, DaemonUnreachable, DhtdError, ShuttingDown
from dhtd.service import method as service
from dhtd.service.method import Method, Stream

if TYPE_CHECKING:
    from dhtd.service.entries import EnterResult
    from dhtd.service.info import InfoResult
    from dhtd.service.owner import StopResult

R = TypeVar("R", bound=service.Result)
E = TypeVar("E", bound=service.Event)

ANSWER_WITHIN = 0.9  # of the timeout: the daemon answers before with what there is
VERSION_PATIENCE = 0.5  # seconds for a daemon to say what version it is


class Client:
    """One request to the daemon behind a control socket. Use it as a context manager.

    `timeout` is in seconds, for the whole request, or for each answer of a method that runs long. `start_hint` is the
    command that starts the daemon, for messages. Raises `DaemonUnreachable` (or a class below it) where no daemon
    answers, and what the daemon says otherwise.
    """

    def __init__(self, path: Path, timeout: float, start_hint: str = "dhtd start") -> None:
        self._link = Link(path, timeout, start_hint)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the connection; the daemon stops what it does for us."""
        self._link.close()

    @property
    def answer_within(self) -> float:
        """The seconds within which the daemon is to answer with what there is."""
        return ANSWER_WITHIN * self._link.timeout

    def ask(self, method: Method[Any, R], **params: object) -> R:
        """Call a method; return its result."""
        for answer in self._answers(method, params):
            if isinstance(answer, Result):
                return cast("R", answer.body)
        raise AssertionError("a method ends with a result or an error")

    def stream(self, method: Stream[Any, E, R], **params: object) -> Iterator[E | R]:
        """Call a method; yield its events, and at last its result."""
        for answer in self._answers(method, params):
            yield cast("E | R", answer.body)

    def enter(
        self,
        id: str,
        port: int,
        *,
        wait: bool,
        min_replicas: int = 0,
        name: str | None = None,
        guard: Mapping[str, object] | None = None,
    ) -> EnterResult:
        """Enter this machine under an ID. The result comes before the timeout, with the holders so far.

        `guard` has the parameters `check` and `every`, or `pid`, or `attached`.
        """
        from dhtd.service.entries import ENTER  # noqa: PLC0415 - rows that are not needed cost `dht` some ms

        known = {"id": id, "port": port, "wait": wait, **(guard or {})}
        within = self.answer_within if wait else None
        new = {"min_replicas": min_replicas or None, "within_s": within, "name": name}
        deadline = self._link.deadline
        try:
            return self.ask(ENTER, **known, **new)
        except BadRequest:
            if not any(new.values()):
                raise
        # A daemon that is older than these parameters has done nothing yet, and knows the others.
        self._link.deadline = deadline
        self._link.renew()
        return self.ask(ENTER, **known)

    def enter_many(
        self, entries: Iterable[Mapping[str, object]], *, wait: bool, min_replicas: int = 0
    ) -> Iterator[EnterResult]:
        """Enter this machine under many IDs; yield each entry, with its holders so far before the timeout.

        The daemon takes as many as fit into a request, all or none, and then the next ones.
        """
        from dhtd.service.entries import ENTER_MANY  # noqa: PLC0415

        more = {"wait": wait, "min_replicas": min_replicas or None, "within_s": self.answer_within}
        for some in batches(entries):
            for answer in self._answers(ENTER_MANY, {"entries": some, **more}):
                if isinstance(answer, Event):
                    yield cast("EnterResult", answer.body)
            self._link.renew()
            self._link.begin_time()

    def stay(self) -> None:
        """Keep the connection, to which an entry is attached, until the daemon closes it."""
        self._link.stay()

    def leave(self) -> None:
        """End the connection in our direction. The daemon closes it once attached entries are withdrawn."""
        self._link.leave()

    def info(self, section: str | None) -> InfoResult:
        """Return all sections, or one."""
        from dhtd.service.info import INFO, whole  # noqa: PLC0415

        return whole(self.stream(INFO, section=section))

    def backup(self) -> Iterator[bytes]:
        """Yield the pieces of a copy of the daemon's state file. The copy is whole if the end is reached."""
        from dhtd.service.owner import BACKUP  # noqa: PLC0415

        size = 0
        for answer in self._answers(BACKUP, {}):
            if isinstance(answer, Result):
                if answer.body.get("bytes") != size:
                    raise self._link.stranger()
                return
            piece = self._decoded(answer.body.get("data"))
            size += len(piece)
            yield piece

    def _decoded(self, data: object) -> bytes:
        try:
            return b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise self._link.stranger() from None

    def stop(self) -> StopResult:
        """Have the daemon save its state and end; return when it is gone.

        If it is stopping already, wait for that. Then the result cannot tell whether it saved.
        """
        from dhtd.service.owner import STOP  # noqa: PLC0415

        try:
            result = self.ask(STOP)
        except ShuttingDown:
            self._link.await_removal()
            return {"pid": None}
        self._link.await_end()
        return result

    def version(self) -> str | None:
        """Return the version of the daemon that just answered, None if it does not tell."""
        with suppress(DaemonUnreachable):
            self._link.begin_time(VERSION_PATIENCE)
            self._link.send(self._link.conversation.ask("info", {"section": "node"}))
            answer = self._link.receive()
            node = answer.body.get("node") if isinstance(answer, Result) else None
            version = node.get("version") if isinstance(node, dict) else None
            return version if isinstance(version, str) else None
        return None

    def _answers(self, method: Method[Any, Any], params: dict[str, object]) -> Iterator[Event | Result]:
        """Yield events, and then the result; raise the error that comes instead of one."""
        answer = self._link.ask(self._link.conversation.ask(method.name, params))
        while isinstance(answer, Event):
            yield answer
            if method.runs_long:
                self._link.begin_time()
            answer = self._link.receive()
        if isinstance(answer, Failure):
            raise self._explained(answer.error)
        yield answer

    def _explained(self, error: DhtdError) -> DhtdError:
        """Add both versions to an error of misunderstanding between different ones."""
        if type(error) is not DhtdError and not isinstance(error, BadRequest):
            return error
        version = self.version()
        if version in (None, __version__):
            return error
        return type(error)(
            f"{error} (the daemon is dhtd {version}, and this client {__version__}: renew the older one)"
        )

"""A stand-in for the daemon: it listens on a Unix socket and sends what a test wrote for it."""

from __future__ import annotations

import io
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Frame = dict[str, Any]


def result(body: Any) -> list[Frame]:
    """Return the frames of an answer without events."""
    return [{"result": body}]


def error(code: str, message: str) -> list[Frame]:
    """Return the frames of a failure."""
    return [{"error": {"code": code, "message": message}}]


class FakeDaemon:
    """Answers the one request of each connection with its next answer, given as frames or as plain bytes."""

    def __init__(self, path: Path, *answers: list[Frame] | bytes) -> None:
        self.path = path
        self.requests: list[tuple[str, dict[str, Any]]] = []  # method and parameters
        self._answers = answers
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(len(self._answers) - len(self.requests)):  # unused answers
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.path))
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        for answer in self._answers:
            connection, _ = self._listening.accept()
            # A client leaves once it knows enough: after `--until`, or after a frame that it cannot read.
            with suppress(BrokenPipeError, ConnectionResetError), connection, connection.makefile("rwb") as stream:
                line = stream.readline()
                if line:
                    request = json.loads(line)
                    self.requests.append((request["method"], request["params"]))
                    self._answer(answer, stream)

    def _answer(self, answer: list[Frame] | bytes, stream: io.BufferedRWPair) -> None:
        frames = [answer] if isinstance(answer, bytes) else [encoded(frame) for frame in answer]
        for frame in frames:
            stream.write(frame)
            stream.flush()


def encoded(frame: Frame) -> bytes:
    """Return a frame as it is sent: one line."""
    return json.dumps({"v": 1, "id": None, **frame}).encode() + b"\n"

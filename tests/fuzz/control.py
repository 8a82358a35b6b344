"""The control framing: any bytes, in any pieces, are lines; any line is a request or an error on one line."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Final

import trio
from trio.testing import MockClock

from dhtd.control.frames import encode, error_body
from dhtd.control.limits import Limits
from dhtd.control.lines import lines_of
from dhtd.control.requests import decode_frame
from dhtd.errors import FrameTooLarge, UsageError
from dhtd.service.method import Request
from tests.control.test_requests import VALID
from tests.fuzz.reader import Reader
from tests.fuzz.target import Target

LIMITS: Final = Limits(frame=64)  # so that small inputs meet it


def check(data: bytes) -> None:
    """Read the first bytes as sizes of pieces, and the rest as a client's input."""
    reader = Reader(data)
    sizes = [1 + reader.number() for _ in range(reader.number() % 4)]
    sent = reader.rest()
    _check_lines(sent, sizes)
    for line in sent.split(b"\n"):
        check_line(line)


def check_line(line: bytes) -> None:
    """Check that one line is a request, or an error that says so."""
    id: object = None
    try:
        id, parse = decode_frame(line)
        request = parse()
    except UsageError as error:
        answer = encode({"id": id, "error": error_body(error)})
    else:
        assert isinstance(request, Request)
        answer = encode({"id": id, "result": {}})
    assert len(answer) < 2_000 + 6 * len(line), "an error that is longer than what it is about"
    assert answer.isascii()
    assert answer.count(b"\n") == 1
    assert answer.endswith(b"\n")
    told = json.loads(answer)["id"]
    assert (type(told), told) == (type(id), id)


def read_lines(data: bytes) -> None:
    """Parse a client's input, like the daemon."""
    for line in data.split(b"\n"):
        with suppress(UsageError):
            decode_frame(line)[1]()


def _check_lines(sent: bytes, sizes: list[int]) -> None:
    *whole, _ = sent.split(b"\n")
    expected = []
    for line in whole:
        if len(line) >= LIMITS.frame:
            break
        if line.strip():
            expected.append(line)
    is_too_long = any(len(line) >= LIMITS.frame for line in sent.split(b"\n"))
    for receive in (_pieces(sent, sizes), _pieces(sent, [])):
        lines, failed = trio.run(_collect, receive, clock=MockClock())
        assert lines == expected
        assert failed == is_too_long


async def _collect(receive: Callable[[int], Awaitable[bytes]]) -> tuple[list[bytes], bool]:
    found = []
    try:
        async for line in lines_of(receive, LIMITS):
            found.append(line)  # noqa: PERF401 - those before the error count
    except FrameTooLarge:
        return found, True
    return found, False


def _pieces(sent: bytes, sizes: list[int]) -> Callable[[int], Awaitable[bytes]]:
    """Return a reader of pieces of these sizes, over and over; without sizes, of pieces as asked for."""
    at, turn = 0, 0

    async def receive(size: int) -> bytes:
        nonlocal at, turn
        await trio.lowlevel.checkpoint()
        if sizes:
            size = min(size, sizes[turn % len(sizes)])
        turn += 1
        piece = sent[at : at + size]
        at += len(piece)
        return piece

    return receive


def _seeds() -> Iterator[bytes]:
    yield b"\0"
    for method, (params, _) in VALID.items():
        line = json.dumps({"v": 1, "id": 7, "method": method, "params": params}).encode()
        yield b"\0" + line + b"\n"
        yield b"\2\5\x40" + line + b"\n" + line[:9]
    yield b"\0" + b'{"id":1.5e300,"method":"info","params":{"section":"node"}}\n[]\n{}\n\r\n \n'
    yield b"\1\3" + b"x" * 63 + b"\n" + b"y" * 64 + b"\n" + b"z" * 200


TARGET: Final = Target("control", "frames and requests of the control socket", check, _seeds, 4_096, read=read_lines)

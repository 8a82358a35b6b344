"""Connections end with their clients, and no state of one lasts longer than it may."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.http import connections
from dhtd.service.method import Caller, Emit, Request, Result
from tests.http.doors import ID, Asked, Place, opened, sent

UPGRADE = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: "
WEBSOCKET = UPGRADE + b"websocket\r\nSec-WebSocket-Version: 13\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BODY = b"1\r\na\r\n" * 60 + b"0\r\n\r\n"
CHUNKED = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


class Slow:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.begun, self.go, self.ended = trio.Event(), trio.Event(), trio.Event()

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        self.begun.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()
        return {"healthy": True}


@pytest.fixture
def one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.Places.__init__, "__defaults__", (1,))


async def place_is_free(door: Place, pause: float = 0.0) -> None:
    """Wait until a client finds a place; `pause` is for a virtual clock."""
    head = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with trio.fail_after(60):
        while not (await sent(door, head)).startswith(b"HTTP/1.1 401"):  # noqa: ASYNC110 - nothing tells of it
            await trio.sleep(pause)


@pytest.mark.parametrize(
    "data",
    [
        WEBSOCKET + b"\r\n",
        WEBSOCKET + KEY + b"\r\n",
        WEBSOCKET + KEY + b"\r\n" + os.urandom(200),
        WEBSOCKET + b"Sec-WebSocket-Key: A\r\nSec-WebSocket-Extensions: \xff;;\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        UPGRADE + b"h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        PREFACE,
        PREFACE + b"\0\0\0\4\0\0\0\0\0",
        PREFACE + os.urandom(200),
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["no key", "websocket", "frames", "bad headers", "h2c", "preface", "settings", "frames of 2", "tunnel"],
)
async def test_nothing_but_http_1_is_spoken(tmp_path: Path, autojump_clock: MockClock, data: bytes) -> None:
    asked = Asked()
    async with opened(tmp_path, asked) as door:
        answer = await sent(door, data)
        assert trio.current_time() < 2 * connections.IDLE_FOR
    assert answer.startswith((b"HTTP/1.1 401", b"HTTP/1.1 421"))
    assert asked.requests == []
    assert door.notes == []


async def test_an_upgrade_that_is_ignored_is_a_request(tmp_path: Path) -> None:
    request = UPGRADE + b"h2c\r\nAuthorization: Bearer the-token\r\n\r\n"
    last = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with opened(tmp_path, Asked({"state": "joined"})) as door:
        answer = await sent(door, request + last)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 401" in answer


@pytest.mark.usefixtures("one_place")
async def test_a_body_that_nobody_reads_holds_no_place(tmp_path: Path) -> None:
    slow = Slow()
    async with opened(tmp_path, slow) as door:
        async with await door.raw() as stream:
            await stream.send_all(b"GET /healthz HTTP/1.1\r\n" + CHUNKED + BODY)
            await slow.begun.wait()
            await wait_all_tasks_blocked(0.01)
        slow.go.set()
        await place_is_free(door)
    assert door.notes == []


async def test_a_body_that_nobody_reads_is_passed_over(tmp_path: Path) -> None:
    slow = Slow()
    async with opened(tmp_path, slow) as door, await door.raw() as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\n" + CHUNKED + BODY)
        await slow.begun.wait()
        await wait_all_tasks_blocked(0.01)
        slow.go.set()
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    assert door.notes == []


@pytest.mark.usefixtures("one_place")
async def test_a_client_that_vanished_holds_no_place(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Behind a stream another request waits, so nothing is read, and only a failed send tells of the end."""

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await trio.sleep_forever()
        raise AssertionError

    watch = f"GET /v1/watch/{ID} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token\r\n"
    async with opened(tmp_path, handler) as door:
        async with await door.raw() as stream:
            request = f"{watch}Accept: text/event-stream\r\n\r\n".encode()
            await stream.send_all(request + b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with trio.fail_after(600):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        await place_is_free(door, pause=1.0)
    assert door.notes == []


async def test_a_refusal_reaches_a_client_that_sends(tmp_path: Path) -> None:
    asked = Asked()
    async with opened(tmp_path, asked) as door, door.client() as client:
        for _ in range(5):
            answer = await client.put("/v1/values", content=b"x" * 10_000_000)
            assert answer.status_code == 413
    assert asked.requests == []
    assert door.notes == []


async def test_a_lack_of_descriptors_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    accept, lacks = trio.SocketListener.accept, iter([errno.EMFILE, errno.ENFILE, errno.ENOBUFS])

    async def lacking(self: trio.SocketListener) -> trio.SocketStream:
        number = next(lacks, None)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return await accept(self)

    monkeypatch.setattr(trio.SocketListener, "accept", lacking)
    async with opened(tmp_path, Asked({})) as door, door.client() as client:
        assert (await client.get("/v1/node-id")).status_code == 200


@pytest.mark.parametrize(("files", "most"), [(100, 25), (1_024, 256), (3, 1), (resource.RLIM_INFINITY, 256)])
def test_connections_leave_files_for_others(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert connections.Places().most == most

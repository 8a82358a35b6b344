"""Streams of events by HTTP, and clients that do not read them."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from dhtd.errors import Busy, NoPeers, TooManyWatches
from dhtd.http import caller, connections, watch_memory
from dhtd.http.event_stream import SILENT_FOR
from dhtd.http.watch_memory import WatchMemory
from dhtd.service.events import EventsRequest
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.watch import WatchEvent, WatchRequest
from dhtd.service.written import Written
from tests.http.doors import ID, STATS, Asked, Place, events, opened

EVENTS = {"Accept": "text/event-stream"}
WATCH = b"GET /v1/watch/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token\r\n" % ID.encode()


class Watching:
    """A handler whose watches tell what the test says."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[WatchEvent](100)
        self.requests: list[Request] = []
        self.ended = 0

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        caller.watch()
        self.requests.append(request)
        try:
            async for event in self._receive.clone():
                await emit(event)
        finally:
            self.ended += 1
        return {}

    async def all_ended(self) -> None:
        with trio.fail_after(60):
            while self.ended < len(self.requests):
                await trio.lowlevel.checkpoint()


def told(*peers: str, added: list[str] | None = None, removed: list[str] | None = None, holders: int = 1) -> WatchEvent:
    return {
        "id": ID,
        "name": None,
        "peers": list(peers),
        "added": list(peers) if added is None else added,
        "removed": removed or [],
        "holders": holders,
    }


async def test_a_lookup_is_told_as_it_goes(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"peers": ["192.0.2.1:80"], "stats": STATS})
        return {"id": ID, "peers": ["192.0.2.1:80"], "complete": True}

    async with opened(tmp_path, handler) as door, door.client() as client:
        async with events(door, f"/v1/lookup/{ID}") as answer:
            found = [event async for event in answer]
        whole = await client.get(f"/v1/lookup/{ID}")
        streamed = await client.get(f"/v1/lookup/{ID}", headers=EVENTS)
    assert streamed.headers["content-type"] == "text/event-stream"
    assert [event["event"] for event in found] == ["event", "result"]
    assert found[0]["data"] == {"peers": ["192.0.2.1:80"], "stats": STATS}
    assert found[1]["data"] == whole.json()


async def test_an_error_before_events_has_a_status(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked(NoPeers("alone"))) as door, door.client() as client:
        answer = await client.get(f"/v1/lookup/{ID}", headers=EVENTS)
    assert answer.status_code == 503
    assert answer.json()["code"] == "no-peers"


async def test_an_error_after_events_is_the_last_one(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"peers": [], "stats": STATS})
        raise TooManyWatches("no more")

    async with opened(tmp_path, handler) as door, events(door, f"/v1/lookup/{ID}") as answer:
        *_, last = [event async for event in answer]
    assert last["event"] == "error"
    assert (last["data"]["code"], last["data"]["status"]) == ("too-many-watches", 429)


async def test_a_defect_in_a_stream_is_noted(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"peers": [], "stats": STATS})
        raise ZeroDivisionError

    async with opened(tmp_path, handler) as door, events(door, f"/v1/lookup/{ID}") as answer:
        *_, last = [event async for event in answer]
    assert last["data"]["code"] == "internal-error"
    assert door.notes == ["request lookup by HTTP failed"]


async def test_several_ids_are_watched_at_once(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("192.0.2.1:80"))
        async with events(door, f"/v1/watch/{ID},name:wiki") as answer:
            event = await anext(answer)
    assert event["data"]["peers"] == ["192.0.2.1:80"]
    [request] = watching.requests
    assert isinstance(request, WatchRequest)
    assert [each.name for each in request.ids] == [None, "wiki"]


async def test_a_slash_and_a_comma_can_be_in_a_name(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("192.0.2.1:80"))
        async with events(door, "/v1/watch/name:a%2Cb,name:c%2Fd") as answer:
            await anext(answer)
    [request] = watching.requests
    assert isinstance(request, WatchRequest)
    assert [each.name for each in request.ids] == ["a,b", "c/d"]


@pytest.mark.parametrize("path", [f"/v1/watch/{ID}", "/v1/events"])
async def test_the_head_of_a_stream_has_an_end(tmp_path: Path, path: str) -> None:
    asked = Asked()
    async with opened(tmp_path, asked) as door, door.client() as client:
        for _ in range(2):
            answer = await client.head(path, headers=EVENTS)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
    assert asked.requests == []


async def test_an_old_token_is_told_no_more(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("a:1"))
        async with events(door, f"/v1/watch/{ID}") as answer:
            await anext(answer)
            door.tokens.clear()
            await watching.send.send(told("b:2"))
            rest = [event async for event in answer]
        await watching.all_ended()
    assert [(event["event"], event["data"]["status"]) for event in rest] == [("error", 401)]
    assert door.notes == []


async def resumed(door: Place, watching: Watching, last: str) -> dict[str, Any]:
    """Return the first event for a client with this Last-Event-ID."""
    async with events(door, f"/v1/watch/{ID}", Last_Event_ID=last) as answer:
        event = await anext(answer)
    await watching.all_ended()
    return event


async def test_a_client_that_returns_is_told_the_rest(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("a:1", "b:2"))
        first = await resumed(door, watching, "")
        await watching.send.send(told("b:2", "c:3"))
        second = await resumed(door, watching, first["id"])
    assert second["data"]["added"] == ["c:3"]
    assert second["data"]["removed"] == ["a:1"]
    assert second["data"]["peers"] == ["b:2", "c:3"]


async def test_a_client_that_missed_nothing_is_told_nothing(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("a:1"))
        first = await resumed(door, watching, "")
        await watching.send.send(told("a:1"))
        await watching.send.send(told(added=[], removed=["a:1"]))
        second = await resumed(door, watching, first["id"])
    assert second["data"]["removed"] == ["a:1"]


async def test_an_unknown_last_id_begins_anew(tmp_path: Path) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        await watching.send.send(told("a:1"))
        event = await resumed(door, watching, "of-another-daemon")
    assert event["data"]["added"] == ["a:1"]


async def test_the_memory_of_watches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_memory, "KEPT_MAX", 3)
    ids = iter("abcdef")
    memory = WatchMemory(lambda: next(ids))
    found: list[WatchEvent] = []

    async def tell(kind: str, event: object, id: str) -> None:
        found.append(event)  # type: ignore[arg-type]

    for number in range(4):
        await memory.resume(None, tell).emit(told(f"x:{number}"))
    await memory.resume("a", tell).emit(told("y:1"))
    assert found[-1]["removed"] == []
    await memory.resume("d", tell).emit(told("y:1"))
    assert found[-1]["removed"] == ["x:3"]


@pytest.mark.parametrize(
    ("url", "last", "after"),
    [
        ("/v1/events", "7", 7),
        ("/v1/events?after=3", "7", 7),
        ("/v1/events?after=3", "", 3),
        ("/v1/events", "of-a-watch", None),
        ("/v1/events", "9" * 30, None),
    ],
)
async def test_events_go_on_behind_the_last_one(tmp_path: Path, url: str, last: str, after: int | None) -> None:
    requests: list[Request] = []

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        requests.append(request)
        await emit(Written('{"last":8,"events":[{"kind":"joined"}]}'))
        await trio.sleep_forever()
        raise AssertionError

    async with opened(tmp_path, handler) as door, events(door, url, Last_Event_ID=last) as answer:
        event = await anext(answer)
    assert requests == [EventsRequest(after)]
    assert (event["event"], event["id"]) == ("event", "8")
    assert event["data"] == {"last": 8, "events": [{"kind": "joined"}]}


async def test_a_silent_stream_is_kept_alive(tmp_path: Path, autojump_clock: MockClock) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door, await door.raw() as stream:
        began = trio.current_time()
        await stream.send_all(WATCH + b"Accept: text/event-stream\r\n\r\n")
        data = b""
        while b":\n\n" not in data:
            data += await stream.receive_some()
        assert trio.current_time() - began == pytest.approx(SILENT_FOR, abs=1)


async def test_a_stream_without_reader_is_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    watching = Watching()
    async with opened(tmp_path, watching) as door:
        stream = await door.raw()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        async with stream:
            await stream.send_all(WATCH + b"Accept: text/event-stream\r\n\r\n")
            endpoints = [f"192.0.2.1:{port}" for port in range(1, 2_000)]
            with trio.fail_after(connections.READ_WITHIN * 10):
                while not watching.ended:
                    with suppress(trio.WouldBlock):
                        watching.send.send_nowait(told(*endpoints))
                    await trio.sleep(0.01)
    assert door.notes == []


async def test_a_reader_that_stalls_ends_with_the_door(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Hypercorn shields what it sends: without an end of its own, a client that does not read would hold the daemon."""
    watching = Watching()
    endpoints = [f"192.0.2.1:{port}" for port in range(1, 2_000)]
    async with opened(tmp_path, watching) as door:
        stream = await door.raw()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        await stream.send_all(WATCH + b"Accept: text/event-stream\r\n\r\n")
        with trio.move_on_after(connections.READ_WITHIN / 2):
            while True:
                await watching.send.send(told(*endpoints))
        began = trio.current_time()
    assert trio.current_time() == began
    await stream.aclose()


async def test_streams_leave_places_for_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller.Streams.__init__, "__defaults__", (1,))
    watching, url = Watching(), f"/v1/watch/{ID}"
    async with opened(tmp_path, watching) as door, door.client() as client:
        await watching.send.send(told("a:1"))
        async with events(door, url) as answer:
            assert answer.status == 200
            refused = await client.get(url, headers=EVENTS)
        assert (refused.status_code, refused.json()["code"]) == (429, Busy.code)
        await watching.all_ended()
        await watching.send.send(told("a:1"))
        async with events(door, url) as answer:
            assert answer.status == 200


async def test_an_entry_cannot_be_tied_to_a_request(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        async def leave() -> None:
            raise AssertionError

        caller.attach(leave)
        return {}

    async with opened(tmp_path, handler) as door, door.client() as client:
        answer = await client.put(f"/v1/entries/{ID}/80")
    assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")


async def test_a_connection_without_a_place_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections.Places.__init__, "__defaults__", (1,))
    async with opened(tmp_path, Asked({})) as door:
        async with door.client() as first:
            assert (await first.get("/v1/node-id")).status_code == 200
            async with door.client() as second:
                full = await second.get("/v1/node-id")
            assert (full.status_code, full.json()["code"]) == (503, "too-many-clients")
            assert full.headers["retry-after"] == "1"
            assert (await first.get("/v1/node-id")).status_code == 200
        async with door.client() as third:
            with trio.fail_after(60):
                while (await third.get("/v1/node-id")).status_code != 200:
                    await trio.lowlevel.checkpoint()


async def test_a_head_that_never_ends_is_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, Asked({})) as door, await door.raw() as stream:
        began = trio.current_time()
        with trio.fail_after(600):
            try:
                while True:
                    await stream.send_all(b"G")
                    with trio.move_on_after(1.0):
                        if await stream.receive_some() == b"":
                            break
            except trio.BrokenResourceError:
                pass
        assert trio.current_time() - began <= connections.IDLE_FOR + 2


async def test_a_head_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked({})) as door, await door.raw() as stream:
        await stream.send_all(b"GET /" + b"x" * connections.HEAD_MAX)
        answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 431")

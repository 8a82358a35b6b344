"""The daemon's end of the control socket, on real sockets, with a handler that does what each test wants."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from dhtd.control import connection, server
from dhtd.control.connection import LINGER, SHUTDOWN_GRACE, Farewell, Terms
from dhtd.control.frames import FRAME_MAX
from dhtd.control.limits import ControlCounters
from dhtd.control.lines import lines_of
from dhtd.control.server import LIMITS
from dhtd.errors import FrameTooLarge, NoPong, StateError
from dhtd.service.info import InfoRequest
from dhtd.service.method import Caller, Emit, Request, Result
from tests.control.serving import DONE, NODE_ID, STATS, Handler, Peer, done, forever, serving

# Frames


async def test_a_request_is_answered_with_its_id(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"v":1,"id":"seven","method":"node-id","params":{}}\n')
        assert await peer.line() == {"id": "seven", "result": DONE}
        await peer.send(NODE_ID + b"\n")
        assert await peer.line() == {"id": None, "result": DONE}


async def test_a_frame_may_be_split_at_any_byte(autojump_clock: MockClock, tmp_path: Path) -> None:
    frame = NODE_ID + b"\r\n"
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        for at in range(1, len(frame)):
            await peer.send(frame[:at])
            await wait_all_tasks_blocked()
            await peer.send(frame[at:])
            assert "result" in await peer.line()


async def test_frames_come_byte_by_byte_or_all_at_once(autojump_clock: MockClock, tmp_path: Path) -> None:
    frames = b"".join(b'{"id":%d,"method":"node-id"}\n' % number for number in range(40))
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(frames)
        assert [(await peer.line())["id"] for _ in range(40)] == list(range(40))
        for byte in frames:
            await peer.send(bytes([byte]))
        assert [(await peer.line())["id"] for _ in range(40)] == list(range(40))


async def test_pipelined_requests_are_served_in_order(autojump_clock: MockClock, tmp_path: Path) -> None:
    running = 0

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(5)
        running -= 1
        return DONE

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"id":1,"method":"node-id"}\n{"id":2,"method":"node-id"}\n{"id":3')
        await peer.send(b',"method":"node-id"}\n')
        assert [(await peer.line())["id"] for _ in range(3)] == [1, 2, 3]


async def test_empty_lines_are_no_requests(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b"\n\r\n  \n\t\n" + NODE_ID + b"\n\n\n")
        assert "result" in await peer.line()
        await peer.stream.send_eof()
        assert await peer.rest() == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1",
        b"\0\xff\xfe",
        b'{"method":"\xc3\x28"}',
        b"[" * 60_000,
        b'{"v":' + b"[" * 900 + b"]" * 900 + b"}",
        b"null",
        b'{"method":"node-id"} {"method":"node-id"}',
    ],
)
async def test_garbage_keeps_the_connection(autojump_clock: MockClock, tmp_path: Path, garbage: bytes) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(garbage + b"\n")
        assert await peer.code() == "bad-request"
        await peer.send(NODE_ID + b"\n")
        assert "result" in await peer.line()


async def test_an_error_about_a_request_carries_its_id(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"id":9,"method":"fly"}\n')
        answer = await peer.line()
        assert (answer["id"], answer["error"]["code"]) == (9, "unknown-method")


async def test_a_frame_of_the_largest_size_is_taken(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        for size in (FRAME_MAX - 1, FRAME_MAX):
            await peer.send(NODE_ID.ljust(size - 1) + b"\n")
            assert "result" in await peer.line()
        await peer.send(NODE_ID.ljust(FRAME_MAX) + b"\n")
        assert await peer.code() == "frame-too-large"
        with suppress(trio.BrokenResourceError):
            assert await peer.rest() == b""


@pytest.mark.parametrize("end", [b"", b"\n", NODE_ID + b"\n"])
async def test_ten_megabytes_are_refused_with_a_reason(autojump_clock: MockClock, tmp_path: Path, end: bytes) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b"x" * 10_000_000 + end)
        assert await peer.code() == "frame-too-large"
        other = await daemon.peer()
        await other.send(NODE_ID + b"\n")
        assert "result" in await other.line()


async def go_on(peer: Peer) -> None:
    for _ in range(100):
        await peer.send(b"x" * 100)
        await trio.sleep(LINGER / 10)


async def test_a_client_sending_endlessly_is_cut_off(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(b"x" * FRAME_MAX)
        with pytest.raises(trio.BrokenResourceError):
            await go_on(peer)


# Clients that go away, or do not


async def test_a_half_closed_client_gets_its_answer(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"peers": [], "stats": STATS})
        await trio.sleep(300)
        return DONE

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.stream.send_eof()
        assert "event" in await peer.line()
        assert "result" in await peer.line()
        assert await peer.rest() == b""


async def test_an_unfinished_line_is_no_request(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID)
        await peer.stream.send_eof()
        assert await peer.rest() == b""


@pytest.mark.parametrize("behind", [b"", b'{"method":"node-id"}\n', b"half"])
@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_leaving_client_cancels_its_request(
    autojump_clock: MockClock, tmp_path: Path, behind: bytes, half_closed: bool
) -> None:
    started, cancelled = trio.Event(), trio.Event()

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n" + behind)
        await started.wait()
        if half_closed:
            await peer.stream.send_eof()
            await trio.sleep(10)
            assert not cancelled.is_set()
        await peer.close()
        with trio.fail_after(60):
            await cancelled.wait()


async def test_leaving_during_events_is_no_defect(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = trio.Event()

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        try:
            while True:
                await emit({"peers": ["192.0.2.1:80"] * 1_000, "stats": STATS})
        finally:
            ended.set()

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        await peer.line()
        await peer.close()
        await ended.wait()
        await wait_all_tasks_blocked()
    assert not caplog.records


async def test_a_client_that_never_reads_blocks_nobody(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        return {"node_id": "0" * (10_000_000 if isinstance(request, InfoRequest) else 64), "endpoints": []}

    async with serving(tmp_path, handler) as daemon:
        deaf = await daemon.peer()
        await deaf.send(b'{"method":"info"}\n')
        await wait_all_tasks_blocked()
        other = await daemon.peer()
        await other.send(NODE_ID + b"\n")
        assert "result" in await other.line()
        assert len((await deaf.line())["result"]["node_id"]) == 10_000_000


async def test_every_ended_connection_frees_its_place(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        for number in range(3 * LIMITS.clients):
            peer = await daemon.peer()
            await peer.send([NODE_ID + b"\n", b"", NODE_ID, b"x" * FRAME_MAX][number % 4])
            await peer.close()
        peer = await daemon.peer()
        await peer.send(NODE_ID + b"\n")
        assert "result" in await peer.line()


def gate() -> server._Server:
    return server._Server(Terms(done, LIMITS, ControlCounters(), None, server._note), None)


async def test_clients_wait_for_file_descriptors(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    stream = cast("trio.SocketStream", object())

    class Listener:
        failures = 50

        async def accept(self) -> trio.SocketStream:
            self.failures -= 1
            if self.failures:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return stream

    assert await gate().accept(cast("trio.SocketListener", Listener())) is stream
    assert [record.getMessage() for record in caplog.records] == ["clients have to wait: Too many open files"]


async def test_a_lack_of_descriptors_is_logged_rarely(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    stream = cast("trio.SocketStream", object())

    class Listener:
        calls = 0

        async def accept(self) -> trio.SocketStream:
            self.calls += 1
            if self.calls % 2:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return stream

    doors, listener = gate(), cast("trio.SocketListener", Listener())
    for _ in range(20):
        assert await doors.accept(listener) is stream
    assert len(caplog.records) == 1
    await trio.sleep(server.COMPLAIN_INTERVAL)
    assert await doors.accept(listener) is stream
    assert len(caplog.records) == 2


async def test_a_broken_listener_is_given_up(autojump_clock: MockClock) -> None:
    class Listener:
        async def accept(self) -> trio.SocketStream:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with pytest.raises(OSError, match="Invalid argument"):
        await gate().accept(cast("trio.SocketListener", Listener()))


# Handlers


async def test_events_precede_the_result_with_its_id(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        for number in range(3):
            await emit({"peers": [str(number)], "stats": STATS})
        return DONE

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"id":5,"method":"node-id"}\n')
        lines = [await peer.line() for _ in range(4)]
    assert [line["id"] for line in lines] == [5] * 4
    assert [line["event"]["peers"] for line in lines[:3]] == [["0"], ["1"], ["2"]]
    assert lines[3]["result"] == DONE


async def test_a_handler_error_keeps_the_connection(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        if isinstance(request, InfoRequest):
            raise NoPong("no answer")
        return DONE

    async with serving(tmp_path, handler) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"id":1,"method":"info"}\n{"id":2,"method":"node-id"}\n')
        assert await peer.line() == {"id": 1, "error": {"code": "no-pong", "message": "no answer"}}
        assert await peer.line() == {"id": 2, "result": DONE}


async def _raise(request: Request, emit: Emit[Any], caller: Caller) -> Result:
    raise KeyError("a defect")


async def _raise_group(request: Request, emit: Emit[Any], caller: Caller) -> Result:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_raise, request, emit, caller)
        await trio.sleep_forever()
    raise AssertionError


async def _raise_after_event(request: Request, emit: Emit[Any], caller: Caller) -> Result:
    await emit({"peers": [], "stats": STATS})
    raise KeyError("a defect")


async def _return_no_json(request: Request, emit: Emit[Any], caller: Caller) -> Any:
    return {"node_id": b"bytes"}


@pytest.mark.parametrize("handler", [_raise, _raise_group, _raise_after_event, _return_no_json])
async def test_a_defect_is_an_internal_error_and_logged(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture, handler: Handler
) -> None:
    async def sometimes(request: Request, emit: Emit[Any], caller: Caller) -> Any:
        return await handler(request, emit, caller) if isinstance(request, InfoRequest) else DONE

    async with serving(tmp_path, sometimes) as daemon:
        peer = await daemon.peer()
        await peer.send(b'{"id":1,"method":"info"}\n')
        answer = await peer.line()
        if "event" in answer:
            answer = await peer.line()
        assert answer["error"]["code"] == "internal-error"
        await peer.send(NODE_ID + b"\n")
        assert "result" in await peer.line()
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.getMessage() == "request info failed"


# The end


async def test_clients_are_told_when_the_daemon_stops(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path, forever) as daemon:
        waiting, idle = await daemon.peer(), await daemon.peer()
        await waiting.send(b'{"id":4,"method":"node-id"}\n')
        await wait_all_tasks_blocked()
        daemon.stop()
        with trio.CancelScope(shield=True):
            for peer, id in ((waiting, 4), (idle, None)):
                answer = await peer.line()
                assert (answer["id"], answer["error"]["code"]) == (id, "shutting-down")
                assert await peer.rest() == b""


async def test_a_client_that_never_reads_delays_no_stop(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"peers": ["x" * 200_000], "stats": STATS})
        await emit({"peers": ["y" * 10_000_000], "stats": STATS})
        return DONE

    async with serving(tmp_path, handler) as daemon:
        deaf = await daemon.peer()
        await deaf.send(NODE_ID + b"\n")
        await wait_all_tasks_blocked()
        stopped_at = trio.current_time()
    assert trio.current_time() - stopped_at <= SHUTDOWN_GRACE


async def test_nothing_is_said_in_the_middle_of_a_line(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        return {"node_id": "0" * 10_000_000, "endpoints": []}

    async with serving(tmp_path, handler) as daemon:
        slow = await daemon.peer()
        await slow.send(NODE_ID + b"\n")
        await wait_all_tasks_blocked()
        daemon.stop()
        with trio.CancelScope(shield=True):
            got = await slow.rest()
    assert got.startswith(b'{"v":1,"id":null,"result":{"node_id":"000')
    assert got.endswith(b"000")


async def test_an_overlong_line_is_refused_to_its_end() -> None:
    client, daemon = memory_stream_pair()

    async def receive(size: int) -> bytes:
        return bytes(await daemon.receive_some(size))

    lines = lines_of(receive, LIMITS)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await client.send_all(b"x" * (FRAME_MAX - 1))
            await wait_all_tasks_blocked()
            await client.send_all(b"xx\n")

        nursery.start_soon(send)
        with pytest.raises(FrameTooLarge):
            await anext(lines)
    await lines.aclose()


# Failures and replacements


async def test_a_conversation_that_fails_ends_alone(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr(connection, "decode_frame", lambda line: {}[line])
        async with serving(tmp_path, note=noted.append) as daemon:
            first = await daemon.peer()
            await first.send(NODE_ID + b"\n")
            assert await first.rest() == b""
            broken.undo()
            second = await daemon.peer()
            await second.send(NODE_ID + b"\n")
            assert "result" in await second.line()
    assert noted == ["a conversation with a client failed"]


@pytest.mark.parametrize(
    ("method", "kind"), [("accept", "a client could not be accepted"), ("admit", "a client could not be let in")]
)
async def test_a_failed_accept_spares_the_next_client(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, kind: str
) -> None:
    noted: list[str] = []
    works, fails = getattr(server._Server, method), [True, False]

    async def fail_once(self: object, what: object) -> object:
        if fails and fails.pop():
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EIO, "no clients today")
        return await works(self, what)

    fails.reverse()
    monkeypatch.setattr(server._Server, method, fail_once)
    async with serving(tmp_path, note=noted.append) as daemon:
        peers = [await daemon.peer() for _ in range(2)]
        await peers[1].send(NODE_ID + b"\n")
        assert "result" in await peers[1].line()
    assert noted == [kind]


async def test_a_remade_socket_keeps_open_connections(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        before = await daemon.peer()
        await wait_all_tasks_blocked()
        for _ in range(2):
            daemon.path.unlink()
            daemon.control.renew()
            daemon.listening.replace(daemon.control.listening)
        for peer in (before, await daemon.peer()):
            await peer.send(NODE_ID + b"\n")
            assert "result" in await peer.line()


# Clients that end the daemon


STOP = b'{"id":5,"method":"stop"}\n'


async def test_stop_is_told_when_done_and_when_gone(autojump_clock: MockClock, tmp_path: Path) -> None:
    farewells: list[Farewell] = []
    async with serving(tmp_path, stop=farewells.append) as daemon:
        peer = await daemon.peer()
        await peer.send(STOP)
        await wait_all_tasks_blocked()
        [farewell] = farewells
        daemon.stop()
        await wait_all_tasks_blocked()
        farewell.say({"pid": 7})
        assert await peer.line() == {"id": 5, "result": {"pid": 7}}
        with trio.move_on_after(10) as waiting:
            await peer.rest()
        assert waiting.cancelled_caught  # the end comes with that of the process
        os.close(farewell._descriptor)
        assert await peer.rest() == b""


async def test_stop_is_told_why_nothing_was_saved(autojump_clock: MockClock, tmp_path: Path) -> None:
    farewells: list[Farewell] = []
    async with serving(tmp_path, stop=farewells.append) as daemon:
        peer = await daemon.peer()
        await peer.send(STOP)
        await wait_all_tasks_blocked()
        farewells[0].say(StateError("no space left"))
        assert await peer.code() == "state-unusable"
        await peer.close()
        farewells[0].say({"pid": 7})  # to nobody
        os.close(farewells[0]._descriptor)


async def test_only_the_owner_may_stop_the_daemon(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    farewells: list[Farewell] = []
    async with serving(tmp_path, stop=farewells.append) as daemon:
        monkeypatch.setattr(server._Server, "_user", member)
        peer = await daemon.peer()
        await peer.send(STOP + NODE_ID + b"\n")
        assert await peer.code() == "not-permitted"
        assert "result" in await peer.line()
    assert not farewells


async def test_members_of_the_group_get_no_backup(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as daemon:
        monkeypatch.setattr(server._Server, "_user", member)
        peer = await daemon.peer()
        await peer.send(b'{"method":"backup"}\n' + NODE_ID + b"\n")
        assert await peer.code() == "not-permitted"
        assert "result" in await peer.line()


async def member(self: object, stream: object) -> int:
    """Have access as a member of the socket's group."""
    await trio.lowlevel.checkpoint()
    return os.geteuid() + 1

"""Checks of real services on loopback: those that answer, refuse, hang, redirect, or say too much."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from dhtd.daemon.guards import checks, http, places
from dhtd.daemon.guards.outcome import Outcome
from dhtd.errors import InvalidCheck
from dhtd.service.checks import Check, ExecCheck, HttpCheck, TcpCheck, parse_check

DEADLINE = 60.0  # seconds that only a hang reaches
EVERY = 50.0  # seconds, so that nothing but a hang is too slow
ID = "07" * 32

Talk = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve on a port of loopback."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):  # the other end has had enough
                await talk(stream)

    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host=host))
            yield listeners[0].socket.getsockname()[1]
            nursery.cancel_scope.cancel()


def says(*pieces: bytes) -> Talk:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        for piece in pieces:
            await stream.send_all(piece)

    return talk


async def hangs(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def made(check: Check, port: int = 80, every: float = EVERY) -> Outcome:
    return await checks.make(check, ID, port, every)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_port_that_accepts_passes(host: str) -> None:
    async with listening(hangs, host) as port:
        assert await made(TcpCheck(), port) == (True, f"port {port} accepts connections")


async def test_a_port_that_refuses_fails() -> None:
    port = free_port()
    assert await made(TcpCheck(), port) == (False, f"port {port} accepts no connection: Connection refused")


async def test_a_socket_connected_to_itself_is_refused() -> None:
    """The kernel does this where a client's own port happens to be the one that it connects to."""

    class Itself:
        def __init__(self, *_: object) -> None:
            self.is_closed = False

        async def connect(self, _: object) -> None:
            await trio.lowlevel.checkpoint()

        def getsockname(self) -> object:
            return "127.0.0.1", 80

        getpeername = getsockname

        def close(self) -> None:
            closed.append(self)

    closed: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trio.socket, "socket", Itself)
        with pytest.raises(ConnectionRefusedError):
            await places.connect("127.0.0.1", 80)
    assert len(closed) == 1


# HTTP


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", (True, "answered 200")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (True, "answered 204")),
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", (True, "answered 200")),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (True, "answered 200")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(1_000_000), (True, "answered 200")),
        (b"HTTP/1.1 299 Fine\r\nContent-Length: 0\r\n\r\n", (True, "answered 299")),
        (b"HTTP/1.1 400 Odd\r\nContent-Length: 0\r\n\r\n", (False, "answered 400")),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", (False, "answered 404")),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", (False, "answered 503")),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n",
            (False, "answered 302, a redirect, which is not followed"),
        ),
        *(
            (
                b"HTTP/1.1 %d Elsewhere\r\nContent-Length: 0\r\n\r\n" % status,
                (False, f"answered {status}, a redirect, which is not followed"),
            )
            for status in (300, 399)
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", (False, "AT gave no complete answer of HTTP")),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * http.HEAD_MAX * 2, (False, "AT gave no complete answer of HTTP")),
        (b"SSH-2.0-OpenSSH\r\n", (False, "AT gave no complete answer of HTTP")),
        (b"", (False, "AT gave no complete answer of HTTP")),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_an_answer_decides(answer: bytes, outcome: tuple[bool, str]) -> None:
    async with listening(says(answer)) as port:
        at = f"127.0.0.1:{port}"
        assert await made(HttpCheck("127.0.0.1", port, "/")) == (outcome[0], outcome[1].replace("AT", at))


async def test_a_request_is_plain() -> None:
    heard = bytearray()

    async def talk(stream: trio.SocketStream) -> None:
        while b"\r\n\r\n" not in heard:
            heard.extend(await stream.receive_some(4096))
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with listening(talk) as port:
        await made(HttpCheck("127.0.0.1", port, "/up?a=b"))
    first, *headers = heard.decode().split("\r\n")
    assert first == "GET /up?a=b HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in headers
    assert "Connection: close" in headers


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_localhost_is_either_loopback(host: str) -> None:
    async with listening(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), host) as port:
        assert (await made(HttpCheck("localhost", port, "/"))).passed


async def test_a_web_server_that_is_gone_fails() -> None:
    port = free_port()
    assert await made(HttpCheck("127.0.0.1", port, "/")) == (False, f"127.0.0.1:{port}: Connection refused")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1"])
async def test_a_hanging_answer_is_too_late(begun: bytes) -> None:
    async def talk(stream: trio.SocketStream) -> None:
        await stream.send_all(begun)
        await trio.sleep_forever()

    async with listening(talk) as port:
        outcome = await made(HttpCheck("127.0.0.1", port, "/"), every=0.5)
    assert outcome == (False, "no answer within 0.5 s")


async def test_a_connection_that_breaks_fails() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset at the end

    async with listening(talk) as port:
        outcome = await made(HttpCheck("127.0.0.1", port, "/"))
    assert not outcome.passed


async def test_an_address_that_is_lost_is_not_asked() -> None:
    outcome = await made(HttpCheck("203.0.113.77", 80, "/"))
    assert outcome == (False, "203.0.113.77 is no address of this machine any more")


def test_own_addresses_are_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel lists some, and uses others towards themselves."""
    monkeypatch.setattr(places, "source_towards", lambda endpoint: "192.0.2.3")
    monkeypatch.setattr(places, "local_addresses", lambda: frozenset({bytes([192, 0, 2, 1]), bytes(15) + b"\7"}))
    ours = ["localhost", "127.9.9.9", "::1", "192.0.2.1", "::7", "192.0.2.3"]
    assert [host for host in (*ours, "192.0.2.2", "::8") if places.is_here(host)] == ours
    assert list(places.own_hosts()) == ["127.0.0.1", "::1", "192.0.2.1", "::7"]
    monkeypatch.setattr(places, "local_addresses", lambda: None)
    assert not places.is_here("192.0.2.1")
    assert list(places.own_hosts()) == ["127.0.0.1", "::1"]


# Commands


def script(directory: Path, text: str, mode: int = 0o755) -> Path:
    path = directory / "check"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(mode)
    return path


def command(*arguments: object) -> ExecCheck:
    return ExecCheck("", tuple(map(str, arguments)))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("exit 0", (True, "the command ended with status 0")),
        ("exit 3", (False, "the command ended with status 3")),
        ("kill -9 $$", (False, "the command was ended by signal 9")),
        ("kill -1 $$", (False, "the command was ended by signal 1")),
    ],
)
async def test_a_status_decides(tmp_path: Path, text: str, outcome: tuple[bool, str]) -> None:
    with trio.fail_after(DEADLINE):
        assert await made(command(script(tmp_path, text))) == outcome


async def test_a_command_is_found_by_its_name() -> None:
    with trio.fail_after(DEADLINE):
        assert await made(command("sh", "-c", "exit 3")) == (False, "the command ended with status 3")


async def test_a_command_gets_hardly_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of the daemon")
    told = tmp_path / "told"
    check = script(
        tmp_path, f'env > {told}; pwd >> {told}; echo "$1" >> {told}; cat >> {told}; echo lost; echo lost >&2'
    )
    with trio.fail_after(DEADLINE):
        assert (await made(command(check, "a b; $(x)"), port=80)).passed
    lines = set(told.read_text().splitlines())
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert lines >= {f"DHT_ID={ID}", "DHT_PORT=80", "LANG=C.UTF-8", path, "/", "a b; $(x)"}
    assert {line.partition("=")[0] for line in lines if "=" in line} <= {
        "DHT_ID",
        "DHT_PORT",
        "LANG",
        "PATH",
        "PWD",
        "_",
        "SHLVL",
    }


async def test_a_hanging_command_is_killed_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    check = script(tmp_path, f"sleep 600 & echo $! $$ > {pids}.new; mv {pids}.new {pids}; sleep 601")
    with trio.fail_after(DEADLINE):
        outcomes: list[Outcome] = []

        async def run() -> None:
            outcomes.append(await made(command(check)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            while not pids.exists():  # noqa: ASYNC110
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert outcomes == []
        for pid in map(int, pids.read_text().split()):
            while is_running(pid):  # noqa: ASYNC110 - the kernel takes a moment
                await trio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_slow_command_is_too_late(tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE):
        outcome = await made(command(script(tmp_path, "sleep 600")), every=0.5)
    assert outcome == (False, "no answer within 0.5 s")


async def test_a_command_that_is_no_program_fails(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    path.write_bytes(b"\x7fELF, but not really")
    with trio.fail_after(DEADLINE):
        assert await made(command(path)) == (False, "the command cannot be started: Exec format error")
        path.unlink()
        assert await made(command(path)) == (False, f"there is no program {str(path)!r:.80}, or dhtd may not see it")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no-such-command", r"no command 'no-such-command' is in .*: give its whole path"),
        ("./check", "is not the whole path of a program"),
        ("DIR/nothing", "there is no program"),
        ("DIR", "there is no program"),
        ("DIR/check", "dhtd may not execute"),
    ],
)
def test_a_command_that_cannot_run_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    script(tmp_path, "", 0o644)
    with pytest.raises(InvalidCheck, match=reason):
        checks.verify(command(name.replace("DIR", str(tmp_path))))


def test_good_checks_are_not_refused(tmp_path: Path) -> None:
    for check in (
        TcpCheck(),
        HttpCheck("localhost", 80, "/"),
        command(script(tmp_path, "")),
        parse_check("exec sh -c x"),
    ):
        checks.verify(check)

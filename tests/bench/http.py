"""HTTP lookups of a known key a CPU-second, beside a bare starlette on hypercorn.

Run it with `python3 dev.py bench http` (Linux). Three daemons on loopback are a network, and one of them serves HTTP.
Clients with a connection each ask it in a closed loop. Rounds are interleaved: lookups, the ID of the daemon, and a
"hello" of starlette on hypercorn, as their documentation begins.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import trio

from tests.e2e.daemons import Network

HELLO = """
import sys, trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def hello(request):
    return JSONResponse({"hello": "world"})
config = Config()
config.bind, config.accesslog, config.errorlog = [sys.argv[1]], None, None
trio.run(serve, Starlette(routes=[Route("/", hello)]), config)
"""
TICKS = os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with Network() as network:
        place, bare = f"{network.subnet}.250:8729", f"{network.subnet}.250:8730"
        [daemon] = network.start(1, f"--http={place}")
        network.start(2)
        network.dht(daemon, "enter", "--name", "wiki", "8080")
        token = network.dht(daemon, "token")["token"]
        with _hello(bare) as hello:
            targets = {
                "hello": (bare, "/", "", hello),
                "node-id": (place, "/v1/node-id", token, daemon.process.pid),
                "lookup": (place, "/v1/lookup/name:wiki", token, daemon.process.pid),
            }
            rates: dict[str, list[float]] = {name: [] for name in targets}
            for _ in range(options.rounds):
                for name, (at, path, own, pid) in targets.items():
                    rates[name].append(_rate(at, path, own, pid, options.clients, options.seconds))
    print(f"{options.clients} clients, {options.rounds} rounds of {options.seconds:g} s")
    for name, found in rates.items():
        ratio = median(mine / base for mine, base in zip(found, rates["hello"], strict=True))
        print(f"{name:<10} {median(found):>8.0f} per CPU-second   {ratio:.2f} of hello")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py bench http", description="Measure lookups by HTTP.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    return parser


@contextmanager
def _hello(place: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", HELLO, place])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _rate(place: str, path: str, token: str, pid: int, clients: int, seconds: float) -> float:
    """Return the answers a CPU-second of the process that gives them."""
    host, _, port = place.rpartition(":")
    own = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{own}\r\n".encode()
    answers = 0

    async def ask(until: float) -> None:
        nonlocal answers
        while trio.current_time() < until:
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                for _ in range(900):  # hypercorn closes a connection after a thousand requests
                    if trio.current_time() >= until:
                        return
                    await stream.send_all(request)
                    await _answer(stream)
                    answers += 1

    async def all_clients() -> None:
        async with trio.open_nursery() as nursery:
            until = trio.current_time() + seconds
            for _ in range(clients):
                nursery.start_soon(ask, until)

    _wait_for(host, int(port))
    before = _cpu(pid)
    trio.run(all_clients)
    return answers / (_cpu(pid) - before)


async def _answer(stream: trio.SocketStream) -> None:
    """Read a whole answer, which must be one of success."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), data
    [length] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(length.partition(b":")[2]) - len(body)
    while missing > 0:
        missing -= len(await stream.receive_some(missing))


def _wait_for(host: str, port: int) -> None:
    async def connect() -> None:
        while True:
            try:
                await (await trio.open_tcp_stream(host, port)).aclose()
            except OSError:
                await trio.sleep(0.05)
            else:
                return

    trio.run(connect)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    sys.exit(main())

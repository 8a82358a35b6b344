"""Frames a second of the page, and its memory, with a network of thousands and many lookups.

Run it with `python3 dev.py bench page` (Linux, as root, with chromium and its driver). A headless Chromium without a
GPU shows the page of a simulated network. A server of its own plays events of 10,000 nodes and 50 lookups a second in
a loop, so that the simulator takes no time of the browser's. Frames are those of `requestAnimationFrame`. Memory is the
proportional set size of the page's process, and the JavaScript heap. A frame that is late while the cores have nothing
to spare is late by other programs: the pressure on them (Linux's PSI) is told beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

import trio
from starlette.types import Receive, Scope, Send

from dhtd.control.bound_socket import bind
from dhtd.http.assets import Assets
from dhtd.http.connections import Places, serve
from dhtd.http.event_stream import EventStream
from dhtd.http.exchange import Exchange
from tests.bench.page_traffic import Event, Traffic
from tests.http.browsers import browser, chromedriver

PLACE: Final = "127.0.0.1:8750"
LOOP: Final = 20.0  # seconds of events, played again and again
TICK: Final = 0.05  # seconds between two parts of the stream
STATE_EVERY: Final = 0.25
FRAMES = """
const [seconds, done] = arguments, times = []
const frame = at => { times.push(at); at - times[0] < 1000 * seconds ? requestAnimationFrame(frame) : done(times) }
requestAnimationFrame(frame)
"""


class Player:
    """The application: the page, and the events of a network in a loop."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._events = traffic.events(LOOP)
        self._assets = Assets("simulation")
        self._paths = self._assets.paths()
        self._begun = 0.0
        self.told = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        if exchange.path in self._paths:
            await self._assets.serve(exchange, self._paths[exchange.path])
        elif exchange.path == "/v1/simulation":
            await exchange.answer_json(self._state(0.0))
        elif exchange.path == "/v1/simulation/nodes":
            await exchange.answer_json({"at": 0.0, "nodes": self._traffic.rows()})
        elif exchange.path == "/v1/events":
            await self._stream(EventStream(exchange))
        else:
            await exchange.answer(404, b"{}", "application/json")

    def _state(self, now: float) -> Event:
        lookups = int(now * self._traffic.rate)
        return {
            "overlay": "kademlia",
            "bits": 256,
            "command": "dev.py bench page",
            "seed": self._traffic.seed,
            "planned": self._traffic.nodes,
            "phase": "measured",
            "now": now,
            "ends": 3600.0,
            "speed": 1.0,
            "reached": 1.0,
            "goal": None,
            "progress": 1.0,
            "stands_at": 0.0,
            "asks_at": 0.0,
            "touched": 0,
            "running": True,
            "failed": None,
            "kept_from": 0.0,
            "live": self._traffic.nodes,
            "events": self.told,
            "datagrams": 0,
            "bytes": 0,
            "asked": lookups,
            "found": lookups,
            "p50_ms": None,
            "p99_ms": None,
            "hops": {},
            "queries_s": None,
        }

    async def _stream(self, stream: EventStream) -> None:
        serial, begun, place, turn, state_at = 0, trio.current_time(), 0, 0, 0.0
        while True:
            now = trio.current_time() - begun
            due: list[Event] = []
            while self._events[place]["at"] + turn * LOOP <= now:
                event = self._events[place]
                serial += 1
                op = event["op"] + turn * 1_000_000
                due.append({**event, "serial": serial, "at": event["at"] + turn * LOOP, "op": op})
                place, turn = (place + 1, turn) if place + 1 < len(self._events) else (0, turn + 1)
            self.told += len(due)
            if now >= state_at:
                state_at = now + STATE_EVERY
                due.append({"serial": serial, "at": now, "kind": "state", **self._state(now)})
            await stream.tell("event", {"last": serial, "events": due}, str(serial))
            await trio.sleep(TICK)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    traffic = Traffic(options.nodes, options.lookups)
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="dhtd-") as scratch, chromedriver(Path(scratch)) as (driver, pid):
        measured = trio.run(_measure, traffic, driver, Path(scratch), pid, width, height, options)
    print(json.dumps(measured) if options.json else _told(options, measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py bench page", description="Measure the page of the lab.")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--lookups", type=float, default=50.0, help="a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--size", default="1280x800")
    parser.add_argument("--view", choices=("ring", "tree", "both"), default="ring")
    parser.add_argument("--shot", type=Path, help="write a picture of the page")
    parser.add_argument("--json", action="store_true")
    return parser


async def _measure(
    traffic: Traffic, driver: str, scratch: Path, pid: int, width: int, height: int, options: argparse.Namespace
) -> dict[str, Any]:
    player = Player(traffic)
    async with trio.open_nursery() as nursery:
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(bind(PLACE, "--bind")))
        nursery.start_soon(serve, listener, player, Places(), lambda what: print(what, file=sys.stderr))
        async with browser(driver, scratch) as window:
            await window.cdp(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            await window.go(f"http://{PLACE}/")
            await window.until(f"document.querySelector('.pane').dataset.drawn >= {traffic.nodes}")
            await window.run("document.querySelector(`button[data-view=${arguments[0]}]`).click()", options.view)
            await trio.sleep(5)  # lookups begin everywhere
            told, waited = player.told, _waited()
            times = await window.wait_for(FRAMES, options.seconds)
            told, waited = player.told - told, _waited() - waited
            heap = await window.run("return performance.memory.usedJSHeapSize")
            memory = _renderer(pid)
            logged = await window.logged()
            if options.shot:
                await trio.Path(options.shot).write_bytes(await window.shot())
        nursery.cancel_scope.cancel()
    rates = sorted(1000 / (after - before) for before, after in pairwise(times) if after > before)
    seconds = (times[-1] - times[0]) / 1000
    return {
        "frames_s": round(len(rates) / seconds, 1),
        "median": round(median(rates), 1),
        "p5": round(rates[len(rates) // 20], 1),
        "worst": round(rates[0], 1),
        "pressure": round(waited / seconds, 3),
        "events_s": round(told / seconds),
        "pss_mb": round(memory / 1e6, 1),
        "heap_mb": round(heap / 1e6, 1),
        "logged": logged,
    }


def _waited() -> float:
    """Return for how many seconds so far some program waited for a core."""
    some = Path("/proc/pressure/cpu").read_text(encoding="ascii").splitlines()[0]
    return int(some.rpartition("total=")[2]) / 1e6


def _renderer(driver: int) -> int:
    """Return the proportional set size of the page's process, in bytes: the largest renderer below the driver."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
        except OSError:
            continue  # it has ended meanwhile

    def is_below(pid: int) -> bool:
        while pid not in {0, driver}:
            pid = parents.get(pid, 0)
        return pid == driver

    sizes = [0]
    for pid in filter(is_below, parents):
        if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes():
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            sizes.append(1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:"))))
    return max(sizes)


def _told(options: argparse.Namespace, measured: dict[str, Any]) -> str:
    rates = f"median {measured['median']}, p5 {measured['p5']}, worst {measured['worst']}"
    lines = [
        f"{options.nodes} nodes, {options.lookups:g} lookups and {measured['events_s']} events a second",
        f"{options.size}, {options.view}, without a GPU, for {options.seconds:g} s",
        f"frames a second: {measured['frames_s']} in all; {rates}",
        f"some program waited for a core for {measured['pressure']:.0%} of the time",
        f"memory: {measured['pss_mb']} MB (PSS of the page's process), {measured['heap_mb']} MB of them JavaScript",
        *(f"console: {line}" for line in measured["logged"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

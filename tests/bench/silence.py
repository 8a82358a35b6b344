"""How long a full daemon is silent towards other nodes while clients look at everything that it has.

Run it with `python3 dev.py bench silence` (Linux). Another process pings the daemon every millisecond; the figure is
the longest time between two answers. The first line shows the machine's own share. If other programs want the
processors as well, the CPU time of the daemon between two answers tells more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection

from dhtd.control.client import Client
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Ping
from dhtd.core.records import Peer
from dhtd.daemon.state.file import AddOwn, SavedRecord, StateFile
from dhtd.service.info import COMPLETE
from dhtd.service.node import STATUS
from dhtd.wire.native import NativeCodec
from tests.bench.idle import resident
from tests.bench.load import cpu_seconds
from tests.e2e.daemons import Daemon, Network
from tests.records import KEPT, own_key

INTERVAL = 0.001  # seconds between pings
IDLE = 5.0  # seconds
PATIENCE = 600.0  # seconds for an answer, or for a full daemon to start
DEAF = 60  # clients that ask and do not read
LISTENING = 8  # clients that ask at once and read


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with Network() as network:
        [daemon] = network.start(1, "--rate-limit=0", "--rate-limit-total=0")
        daemon.stop()
        fill(daemon, options.entries)
        network.launch(daemon, "--rate-limit=0", "--rate-limit-total=0")
        await_restored(daemon, options.entries)
        print(f"{options.entries} held and {options.entries} own entries; {resident(daemon.process.pid):.0f} MiB")
        print("while                          longest silence      of its CPU  lasts     memory")
        tasks: dict[str, Callable[[], None]] = {
            "nothing is asked": lambda: time.sleep(IDLE),
            "dht info store": lambda: _info(daemon, "store"),
            "dht info tracking": lambda: _info(daemon, "tracking"),
            "dht info": lambda: _info(daemon, None),
            "TAB on an ID": lambda: _complete(daemon),
            f"{LISTENING} times dht info store": lambda: _at_once(lambda: _info(daemon, "store")),
            f"{DEAF} clients do not read": lambda: _ask_and_do_not_read(daemon),
        }
        for name, task in tasks.items():
            silence, used, lasted = silent_while(daemon, task)
            memory = resident(daemon.process.pid)
            times = f"{1000 * silence:>12.1f} ms  {1000 * used:>11.1f} ms  {lasted:>4.1f} s"
            print(f"{name:<29}  {times}  {memory:>5.0f} MiB", flush=True)
    return 0


def fill(daemon: Daemon, entries: int) -> None:
    """Write as many held and own entries into a daemon's state file."""
    keys = [Id(int.from_bytes(number.to_bytes(4, "big") * 8, "big")) for number in range(entries)]
    held = {
        key: [
            SavedRecord(
                key, Peer(Endpoint.of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 80)), 3_600, KEPT
            )
        ]
        for number, key in enumerate(keys)
    }
    with closing(StateFile.open(daemon.state)) as file:
        file.save_held(held.items())
        file.apply(AddOwn(own_key(key, 80)) for key in keys)


def await_restored(daemon: Daemon, entries: int) -> None:
    """Wait until a daemon has read everything that `fill` wrote."""
    while True:
        with Client(daemon.socket, PATIENCE) as client:
            status = client.ask(STATUS)
        if status["held_entries"] == status["own_entries"] == entries:
            return


def silent_while(daemon: Daemon, task: Callable[[], None]) -> tuple[float, float, float]:
    """Return the longest time without an answer during a task, with its CPU time, and the time of the task."""
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=probe, args=(daemon.endpoint, daemon.process.pid, theirs))
    prober.start()
    ours.recv()  # it is answered
    began = time.monotonic()
    task()
    lasted = time.monotonic() - began
    ours.send(None)
    silence, used = ours.recv()
    prober.join()
    return silence, used, lasted


def probe(endpoint: str, pid: int, orders: Connection) -> None:
    """Ping until told to end; report the first answer, and in the end the longest times without one."""
    host, port = endpoint.split(":")
    ping = NativeCodec().encode_query(b"12345678", NATIVE.parse("ab" * 32), Ping())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
        source.connect((host, int(port)))
        source.settimeout(INTERVAL)
        longest, most, last = 0.0, 0.0, None
        while not orders.poll():
            with suppress(TimeoutError, ConnectionRefusedError):
                source.send(ping)
                source.recv(2048)
                now = time.monotonic(), cpu_seconds(pid)
                if last is None:
                    orders.send(None)
                else:
                    longest, most = max(longest, now[0] - last[0]), max(most, now[1] - last[1])
                last = now
                time.sleep(INTERVAL)
        orders.send((longest, most))


def _info(daemon: Daemon, section: str | None) -> None:
    with Client(daemon.socket, PATIENCE) as client:
        client.info(section)


def _complete(daemon: Daemon) -> None:
    with Client(daemon.socket, PATIENCE) as client:
        client.ask(COMPLETE, what="id", prefix="")


def _at_once(task: Callable[[], None]) -> None:
    threads = [threading.Thread(target=task) for _ in range(LISTENING)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _ask_and_do_not_read(daemon: Daemon) -> None:
    clients = [socket.socket(socket.AF_UNIX) for _ in range(DEAF)]
    for client in clients:
        client.connect(str(daemon.socket))
        client.sendall(b'{"method":"info"}\n')
    time.sleep(IDLE)
    for client in clients:
        client.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py bench silence", description=__doc__)
    parser.add_argument("--entries", type=int, default=65_536, help="held, and own, entries")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

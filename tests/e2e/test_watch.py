"""`dht watch` with real daemons: services that come and go, and the watcher's own daemon restarted."""

from __future__ import annotations

import signal
import subprocess

from dhtd.service.entries import DELETE
from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

ID = "1a" * 32


def enter(daemon: Daemon, port: int) -> None:
    with daemon.ask() as client:
        client.enter(ID, port, wait=False)


def test_a_watch_sees_changes_and_survives_a_restart() -> None:
    with Network() as network:
        one, two, watcher = network.start(3)
        for daemon in network.daemons:
            daemon.wait_until(lambda node: bool(node["connected"]))
        with subprocess.Popen(
            [BIN / "dht", "--socket", str(watcher.socket), "watch", ID],
            env=network.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            assert watch.stderr.readline() == "nobody serves this ID yet\n"
            enter(one, 80)
            assert watch.stdout.readline() == f"+ {one.address}:80\n"
            # The same watch goes on with the next daemon, and tells what has changed meanwhile.
            watcher.kill()
            assert watch.stderr.readline() == "the daemon has gone away; watching again as soon as it is back\n"
            enter(two, 81)
            network.launch(watcher)
            assert watch.stderr.readline() == "the daemon is back\n"
            assert watch.stdout.readline() == f"+ {two.address}:81\n"
            found = network.dht(watcher, "lookup", ID, "--wait", str(DEADLINE))
            assert sorted(found["peers"]) == [f"{one.address}:80", f"{two.address}:81"]
            with one.ask() as client:
                client.ask(DELETE, id=ID)
            assert watch.stdout.readline() == f"- {one.address}:80\n"
            watch.send_signal(signal.SIGINT)
            assert watch.wait(DEADLINE) == 130

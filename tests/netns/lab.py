"""Machines as network namespaces: with wires, routers and NAT between them, and real daemons on them.

Nothing is visible outside: every address is in a namespace. Everything is removed at the end, also after a failure; the
next run removes the remains of a killed one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from dhtd.control.client import Client
from tests.e2e.daemons import BIN, DEADLINE, PORT

POLL: Final = 0.02  # seconds between two looks at a node

_PREFIX: Final = "dhtd-lab-"


class LabError(Exception):
    """This machine cannot do it; the message says why."""


class Machine:
    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, command: str, given: str | None = None) -> None:
        """Run a command in it; raise `LabError` on failure."""
        run("ip", "netns", "exec", self.name, *command.split(), given=given)


class Node:
    """A daemon on a machine."""

    def __init__(self, address: str, socket: Path, log: Path, process: subprocess.Popen[str]) -> None:
        self.address = address
        self.socket = socket
        self.log = log
        self.process = process
        self._is_ready = False

    @property
    def endpoint(self) -> str:
        return f"[{self.address}]:{PORT}" if ":" in self.address else f"{self.address}:{PORT}"

    def ask(self) -> Client:
        """Return a client: its socket is a file, which all namespaces share."""
        return Client(self.socket, DEADLINE)

    def wait_ready(self) -> None:
        """Wait until it can be asked."""
        assert self.process.stdout is not None
        if not self._is_ready:
            line = self.process.stdout.readline()  # a daemon that ends instead closes it
            assert "node_id" in json.loads(line or "{}"), self.log.read_text(encoding="utf-8")
            self._is_ready = True

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Ask the node about itself until the answer `holds`."""
        deadline = time.monotonic() + DEADLINE
        while True:
            with self.ask() as client:
                about = dict(client.info("node")["node"])
            if holds(about):
                return
            assert time.monotonic() < deadline, about
            time.sleep(POLL)


class Lab:
    """Machines, and the network between them."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="dhtd-lab-"))
        self.machines: list[Machine] = []
        self.nodes: list[Node] = []
        self._numbers = count(1)

    def __enter__(self) -> Self:
        """Return the lab, after removing the remains of dead processes."""
        try:
            for name in run("ip", "-json", "netns", "list", parse=True) or []:
                pid = str(name["name"]).removeprefix(_PREFIX).partition("-")[0]
                if str(name["name"]).startswith(_PREFIX) and not Path(f"/proc/{pid}").exists():
                    run("ip", "netns", "delete", name["name"])
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all daemons and remove all machines; show the logs if a test has failed."""
        for node in self.nodes:
            node.process.kill()
            node.process.communicate()
            if error is not None:
                sys.stderr.write(f"--- {node.address}\n{node.log.read_text(encoding='utf-8')}")
        failures = []
        for machine in self.machines:
            try:
                run("ip", "netns", "delete", machine.name)
            except LabError as failure:
                failures.append(failure)
        shutil.rmtree(self.directory)
        if failures:
            raise ExceptionGroup("some machines are left over", failures)

    def machine(self) -> Machine:
        made = Machine(f"{_PREFIX}{os.getpid()}-{next(self._numbers)}")
        run("ip", "netns", "add", made.name)
        self.machines.append(made)
        made.run("ip link set lo up")
        return made

    def wire(self, one: Machine, address: str, other: Machine, other_address: str) -> tuple[str, str]:
        """Lay a cable; addresses have the length of their prefix. Return the names of its ends."""
        ends = (f"w{next(self._numbers)}", f"w{next(self._numbers)}")
        self.plug(ends, one, address, other, other_address)
        return ends

    def plug(self, ends: tuple[str, str], one: Machine, address: str, other: Machine, other_address: str) -> None:
        """Lay a cable with these names for its ends. `ip link delete` of one end pulls it out."""
        run(
            *("ip", "link", "add", ends[0], "netns", one.name, "type", "veth"),
            *("peer", "name", ends[1], "netns", other.name),
        )
        for machine, end, given in ((one, ends[0], address), (other, ends[1], other_address)):
            machine.run(f"ip address add {given} dev {end}")
            machine.run(f"ip link set {end} up")

    def start(self, machine: Machine, *addresses: str) -> list[Node]:
        """Start daemons, one on each address, to join through the first one ever started; they may not be ready yet."""
        return [self._start(machine, address) for address in addresses]

    def _start(self, machine: Machine, address: str) -> Node:
        return self.start_bound(machine, [address], address, [node.endpoint for node in self.nodes[:1]])

    def start_bound(self, machine: Machine, bound: list[str], address: str, bootstrap: list[str]) -> Node:
        """Start one daemon that is bound to all of `bound`, or by default; others reach it at `address`."""
        stem = self.directory / address
        command = [
            *("ip", "netns", "exec", machine.name, str(BIN / "dhtd"), "start", "--json"),
            *(f"--bind={each}" for each in bound),
            *(f"--port={PORT}", f"--state={stem}.db", f"--socket={stem}.sock"),
            *(f"--bootstrap={endpoint}" for endpoint in bootstrap),
        ]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DHTD_", "XDG_"))}
        with Path(f"{stem}.log").open("w", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                command,
                env={**kept, "HOME": str(self.directory)},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        node = Node(address, Path(f"{stem}.sock"), Path(f"{stem}.log"), process)
        self.nodes.append(node)
        return node

    def wait_ready(self) -> None:
        """Wait until every daemon can be asked."""
        for node in self.nodes:
            node.wait_ready()


def run(*command: str, given: str | None = None, parse: bool = False) -> Any:
    """Run a command; raise `LabError` if it is missing or fails."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed") from None
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout or "null") if parse else None

"""Real daemons on one link, with link-local addresses only: three network namespaces on a bridge.

Needs root and the tools of iproute2; skipped where namespaces cannot be made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.daemons import BIN, DEADLINE, Daemon, Network

ID = "c0ffee" + "00" * 28 + "1d"
PORT = 1729


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=DEADLINE)


@contextmanager
def namespace(name: str) -> Iterator[str]:
    try:
        ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@contextmanager
def link(many: int) -> Iterator[list[str]]:
    """Make so many namespaces on one link, each with an interface `lan0` and the address fe80::1, fe80::2, ..."""
    if shutil.which("ip") is None:
        pytest.skip("no iproute2 here")
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces")
    with ExitStack() as stack:
        tag = f"dhtd{os.getpid()}"
        hub = stack.enter_context(namespace(f"{tag}-hub"))
        try:
            ip("-n", hub, "link", "add", "bridge", "type", "bridge")
            ip("-n", hub, "link", "set", "bridge", "up")
            ends = []
            for number in range(1, many + 1):
                end = stack.enter_context(namespace(f"{tag}-{number}"))
                ip("-n", hub, "link", "add", f"port{number}", "type", "veth", "peer", "name", "lan0", "netns", end)
                ip("-n", hub, "link", "set", f"port{number}", "master", "bridge", "up")
                ip("-n", end, "link", "set", "lan0", "addrgenmode", "none")
                ip("-n", end, "link", "set", "lan0", "up")
                ip("-n", end, "address", "add", f"fe80::{number}/64", "dev", "lan0", "nodad")
                ends.append(end)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no virtual links here: {error.stderr.strip()}")
        yield ends


class OnLink(Network):
    """Daemons in namespaces. Their control sockets are files, so they can be reached from here."""

    def run_in(self, end: str, *options: str) -> Daemon:
        number = len(self.daemons)
        state, control, log = (self.directory / f"{number}.{suffix}" for suffix in ("db", "sock", "log"))
        arguments = [f"--port={PORT}", f"--state={state}", f"--socket={control}", "--json", *options]
        with log.open("a", encoding="utf-8") as stderr:
            process = subprocess.Popen(
                ["ip", "netns", "exec", end, BIN / "dhtd", "start", *arguments],
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        daemon = Daemon(end, state, control, log, arguments, process, {})
        self.daemons.append(daemon)
        self._wait_ready(daemon)
        return daemon

    def wait_for(self, daemon: Daemon, many: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while self.dht(daemon, "info", "node")["node"]["contacts"]["good"] < many:
            assert time.monotonic() < deadline, self.dht(daemon, "info")


@pytest.mark.slow
def test_link_local_daemons_find_each_other() -> None:
    with link(3) as ends, OnLink() as network:
        first = network.run_in(ends[0], "--bind=fe80::1%lan0")
        assert first.ready["endpoints"] == [f"[fe80::1%lan0]:{PORT}"]
        second = network.run_in(ends[1], "--bind=fe80::2%lan0", f"--bootstrap=[fe80::1%lan0]:{PORT}")
        # This one hears of the second from the first alone, and is bound to no link.
        third = network.run_in(ends[2], "--bind=::", f"--bootstrap=[fe80::1%lan0]:{PORT}")
        for daemon in (first, second, third):
            network.wait_for(daemon, 2)

        pong = network.dht(first, "ping", f"[fe80::2%lan0]:{PORT}")
        assert (pong["node_id"], pong["endpoint"]) == (second.node_id, f"[fe80::2%lan0]:{PORT}")
        entered = network.dht(second, "enter", ID, "3000")
        assert {replica["endpoint"] for replica in entered["replicas"]} == {
            f"[fe80::1%lan0]:{PORT}",
            f"[fe80::3%lan0]:{PORT}",
        }
        for daemon in (first, third):
            assert network.dht(daemon, "lookup", ID)["peers"] == ["[fe80::2%lan0]:3000"]
        assert network.dht(second, "node-id")["endpoints"] == [f"[fe80::2%lan0]:{PORT}"]

        refused = network.dht(first, "ping", f"[fe80::2%eth9]:{PORT}", status=2)
        assert "on a link that is not here" in refused["error"]["message"]
        unanswered = network.dht(first, "ping", f"[fe80::9%lan0]:{PORT}", status=1)
        assert f"[fe80::9%lan0]:{PORT}" in unanswered["error"]["message"]

        assert network.dht(second, "delete", ID)["withdrawn"] == 2
        assert network.dht(third, "lookup", ID, status=1)["peers"] == []


def test_a_link_local_address_must_be_ours() -> None:
    with link(1) as (end,), OnLink() as network:
        for address, reason in (
            ("fe80::7%lan0", "Cannot assign"),
            ("fe80::1%nowhere", "is on a link that is not here"),
        ):
            error = network.run_in(end, f"--bind={address}").ready["error"]
            assert error["code"] == "address-unavailable"
            assert f"cannot bind [{address}]:1729: " in error["message"]
            assert reason in error["message"]

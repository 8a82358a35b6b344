"""A node whose cable is pulled is not healthy, and is again once it is back: in real time, by the real command."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.e2e.daemons import BIN, DEADLINE
from tests.netns.lab import Lab, Machine, Node
from tests.netns.test_netns import knows, lab

__all__ = ["lab"]

UNHEALTHY_WITHIN = 90.0  # seconds
HEALTHY_WITHIN = 60.0


def health(node: Node) -> tuple[int, str]:
    """Run `dht health`; return its exit status and its sentence."""
    command = [str(BIN / "dht"), "--socket", str(node.socket), "health"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.stderr == ""
    return done.returncode, done.stdout


def seconds_until(node: Node, status: int, within: float) -> float:
    began = time.monotonic()
    while health(node)[0] != status:
        assert time.monotonic() - began <= within, health(node)
        time.sleep(1)
    return time.monotonic() - began


@pytest.fixture
def pair(lab: Lab) -> tuple[Machine, str, Node]:
    """A node on a machine, with the end of its cable, and another node behind that."""
    one, other = lab.machine(), lab.machine()
    end, _ = lab.wire(one, "10.77.3.1/24", other, "10.77.3.2/24")
    lab.start(other, "10.77.3.2")
    [node] = lab.start(one, "10.77.3.1")
    lab.wait_ready()
    node.wait_until(knows(1))
    return one, end, node


@pytest.mark.slow
def test_a_pulled_cable_is_seen_and_its_return(pair: tuple[Machine, str, Node]) -> None:
    machine, end, node = pair
    status, sentence = health(node)
    assert (status, sentence[:8]) == (0, "healthy:")
    machine.run(f"ip link set {end} down")
    assert seconds_until(node, 1, UNHEALTHY_WITHIN) > 20
    assert health(node)[1].startswith("not healthy: none of the nodes that this node knows (1) answers any more")
    machine.run(f"ip link set {end} up")
    seconds_until(node, 0, HEALTHY_WITHIN)

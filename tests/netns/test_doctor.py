"""`dht doctor` on machines with addresses of their own: NAT, firewalls, a pulled cable, a service on loopback alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.daemons import BIN, DEADLINE
from tests.netns.lab import Lab, LabError, Machine, Node
from tests.netns.test_netns import knows, lab, masquerade

__all__ = ["lab"]

SERVER = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listening = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("ready", flush=True)
while True:
    listening.accept()[0].close()
"""


@contextmanager
def service(machine: Machine, address: str, port: int) -> Iterator[None]:
    """Listen on a port of a machine by TCP."""
    command = ["ip", "netns", "exec", machine.name, str(BIN / "python"), "-c", SERVER, address, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield
        finally:
            process.kill()


def doctor(machine: Machine, node: Node, *arguments: str) -> dict[str, Any]:
    command = ["ip", "netns", "exec", machine.name, str(BIN / "dht"), "--socket", str(node.socket), "doctor", "--json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE)
    body: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0 if body["healthy"] else 1, "")
    return body


def enter(machine: Machine, node: Node, port: int) -> None:
    machine.run(f"{BIN / 'dht'} --socket {node.socket} enter wiki {port}")


@pytest.fixture
def pair(lab: Lab) -> tuple[Machine, Machine, str, Node, Node]:
    """Two machines with a cable between them, and a node on each."""
    one, other = lab.machine(), lab.machine()
    end, _ = lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    [second] = lab.start(other, "10.77.8.2")
    [first] = lab.start(one, "10.77.8.1")
    lab.wait_ready()
    for node in (first, second):
        node.wait_until(knows(1))
    return one, other, end, first, second


def test_a_service_on_the_lan_is_well(pair: tuple[Machine, Machine, str, Node, Node]) -> None:
    one, other, _, first, second = pair
    with service(one, "0.0.0.0", 8080):
        enter(one, first, 8080)
        assert (
            doctor(one, first, "wiki")["verdict"] == "nothing is wrong: 1 node holds wiki, and 10.77.8.1:8080 answers"
        )
        assert doctor(other, second, "wiki")["verdict"].endswith(", and 10.77.8.1:8080 answers")
        assert doctor(other, second)["healthy"]


def test_a_service_on_loopback_alone_is_named(pair: tuple[Machine, Machine, str, Node, Node]) -> None:
    one, other, _, first, second = pair
    with service(one, "127.0.0.1", 8080):
        enter(one, first, 8080)
        told = doctor(one, first, "wiki")
        assert told["fault"] == "bound-elsewhere"
        assert "holds wiki at 10.77.8.1:8080, but its service listens on 127.0.0.1 only" in told["verdict"]
        assert doctor(other, second, "wiki")["fault"] == "service-unreachable"


def test_a_pulled_cable_is_named(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    end, _ = lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    one.run(f"ip link set {end} down")
    node = lab.start_bound(one, [], "10.77.8.1", ["10.77.8.2:1729"])
    node.wait_ready()
    told = doctor(one, node)
    assert (told["fault"], told["command"]) == ("no-route", "ip route get 10.77.8.2")
    assert told["verdict"].startswith("this machine has no way to 10.77.8.2:1729: its network is down")


@pytest.mark.slow
def test_a_machine_that_is_off_is_named(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    node = lab.start_bound(one, [], "10.77.8.1", ["10.77.8.99:1729"])
    node.wait_ready()
    told = doctor(one, node)
    assert (told["fault"], told["command"]) == ("bootstrap-silent", "ping -c 3 10.77.8.99")
    assert told["verdict"].startswith("no machine is at 10.77.8.99: it is off")


@pytest.mark.slow
def test_a_firewall_before_the_bootstrap_is_named(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    drop(other, "udp dport 1729 drop")
    node = lab.start_bound(one, [], "10.77.8.1", ["10.77.8.2:1729"])
    node.wait_ready()
    told = doctor(one, node)
    assert told["fault"] == "bootstrap-silent"
    assert told["verdict"].startswith("nobody answers at 10.77.8.2:1729: a firewall drops UDP")


def drop(machine: Machine, rule: str) -> None:
    table = f"table ip filter {{ chain in {{ type filter hook input priority 0; {rule}; }}; }}"
    try:
        machine.run("nft -f -", given=table)
    except LabError as error:
        pytest.skip(f"no firewall here: {error}")


def test_a_socket_on_loopback_joins_nobody(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    lab.start(other, "10.77.8.2")
    node = lab.start_bound(one, ["127.0.0.1"], "10.77.8.1", ["10.77.8.2:1729"])
    lab.wait_ready()
    told = doctor(one, node)
    assert (told["fault"], told["verdict"]) == (
        "bound-to-loopback",
        "this node listens on 127.0.0.1 only, so it reaches no other machine: it is to join through 10.77.8.2:1729",
    )
    assert (
        told["command"]
        == f"dht --socket {node.socket} stop; dhtd start --socket {node.socket} --bootstrap 10.77.8.2:1729"
    )


def test_behind_a_router_the_port_must_be_forwarded(lab: Lab) -> None:
    outside, router, home = lab.machine(), lab.machine(), lab.machine()
    _, outer = lab.wire(outside, "10.77.9.1/24", router, "10.77.9.254/24")
    lab.wire(router, "192.168.77.1/24", home, "192.168.77.2/24")
    home.run("ip route add default via 192.168.77.1")
    router.run("sysctl -q -w net.ipv4.ip_forward=1")
    masquerade(router, "192.168.77.0/24", outer)
    [first] = lab.start(outside, "10.77.9.1")
    [hidden] = lab.start(home, "192.168.77.2")
    lab.wait_ready()
    hidden.wait_until(knows(1))
    told = doctor(home, hidden)
    assert told["healthy"], told  # a node without entries is well behind a router
    assert "which is no address of this machine" in " ".join(step["message"] for step in told["steps"])
    with service(home, "0.0.0.0", 8080):
        enter(home, hidden, 8080)
        told = doctor(home, hidden, "wiki")
        assert told["fault"] == "behind-nat"
        assert "holds wiki at 10.77.9.254:8080, the address of a router" in told["verdict"]
        assert "forwards port 8080 to 192.168.77.2" in told["verdict"]
        assert doctor(outside, first, "wiki")["fault"] == "service-unreachable"
        forward(router, "10.77.9.254", "192.168.77.2")
        assert doctor(home, hidden, "wiki")["verdict"].endswith("10.77.9.254:8080 answers")
        assert doctor(outside, first, "wiki")["healthy"]


def forward(router: Machine, outer: str, inner: str) -> None:
    """Forward port 8080, also for those inside, as most routers do."""
    rules = f"""table ip forward8080 {{
        chain in {{ type nat hook prerouting priority -100; ip daddr {outer} tcp dport 8080 dnat to {inner}; }}
        chain out {{ type nat hook postrouting priority 99; ip saddr {inner} ip daddr {inner} masquerade; }}
    }}"""
    router.run("nft -f -", given=rules)


def test_a_link_without_other_addresses_is_well(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    ends = lab.wire(one, "fe80::1/64", other, "fe80::2/64")
    second = lab.start_bound(other, [], "second", [])
    first = lab.start_bound(one, [], "first", [f"[fe80::2%{ends[0]}]:1729"])
    lab.wait_ready()
    for node in (first, second):
        node.wait_until(knows(1))
    with service(one, "::", 8080):
        enter(one, first, 8080)
        assert doctor(one, first, "wiki")["verdict"].endswith(f"%{ends[0]}]:8080 answers")
        assert doctor(other, second, "wiki")["verdict"].endswith(f"%{ends[1]}]:8080 answers")
        assert doctor(other, second)["healthy"]


@pytest.mark.slow
def test_a_swarm_with_dead_nodes_is_well(lab: Lab) -> None:
    one, other = lab.machine(), lab.machine()
    _, end = lab.wire(one, "10.77.8.1/24", other, "10.77.8.2/24")
    for number in range(3, 10):
        other.run(f"ip address add 10.77.8.{number}/24 dev {end}")
    swarm = lab.start(other, *(f"10.77.8.{number}" for number in range(2, 10)))
    [node] = lab.start(one, "10.77.8.1")
    lab.wait_ready()
    node.wait_until(knows(5))
    with service(one, "0.0.0.0", 8080):
        enter(one, node, 8080)
        for dead in swarm[1:6]:
            dead.process.kill()
            dead.process.wait()
        for _ in range(3):
            told = doctor(one, node, "wiki")
            assert told["healthy"], told
            told = doctor(other, swarm[6], "wiki")
            assert told["healthy"], told

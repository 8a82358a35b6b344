"""`dht doctor` against real daemons: each fault is made, and healthy nodes are not called ill."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.daemons import DEADLINE, POLL, PORT, Daemon, Network
from tests.e2e.test_dual_stack import Stacks, at


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as net:
        yield net


@contextmanager
def service(address: str, port: int = 0) -> Iterator[int]:
    """Listen on a port by TCP; yield the port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((address, port))
        listening.listen()
        yield int(listening.getsockname()[1])


def doctor(network: Network, daemon: Daemon, *arguments: str) -> dict[str, Any]:
    """Return the diagnosis of a healthy node."""
    return network.dht(daemon, "doctor", *arguments)


def fault(network: Network, daemon: Daemon, *arguments: str) -> tuple[str, str, str]:
    """Return the fault, the sentence, and the command without the options that name the daemon."""
    body = network.dht(daemon, "doctor", *arguments, status=1)
    assert body["fault"] in [step["fault"] for step in body["steps"]]
    return body["fault"], body["verdict"], body["command"].replace(f" --socket {daemon.socket}", "")


def pair(network: Network, *options: str) -> tuple[Daemon, Daemon]:
    one, other = network.start(2, *options)
    for daemon in (one, other):
        daemon.wait_until(lambda about: bool(about["connected"]))
    return one, other


def enter(network: Network, daemon: Daemon, port: int, *options: str) -> None:
    network.dht(daemon, "enter", "wiki", str(port), *options)


# Healthy networks


def test_two_nodes_are_well(network: Network) -> None:
    one, other = pair(network)
    assert doctor(network, other)["verdict"].endswith("1 other node gave what this node has entered, as a test")
    with service(one.address) as port:
        enter(network, one, port)
        there = f"{one.address}:{port}"
        assert doctor(network, one, "wiki")["verdict"] == f"nothing is wrong: 1 node holds wiki, and {there} answers"
        found = doctor(network, other, "wiki")
        assert (
            found["verdict"] == f"nothing is wrong: 1 node holds wiki, which another node serves, and {there} answers"
        )
        assert found["served"] == [there]
        assert "1 entry of this machine is held" in doctor(network, one)["verdict"]


def test_a_sealed_network_is_well(network: Network) -> None:
    key = network.directory / "key"
    assert network.run("dhtd", "keygen", str(key)).returncode == 0
    one, other = pair(network, f"--network-key={key}")
    for daemon in (one, other):
        assert doctor(network, daemon)["healthy"]


def test_a_network_of_ipv6_alone_is_well() -> None:
    with Stacks() as network:
        one = network.run_on("::1")
        other = network.run_on("::1", join=at(one, "ipv6"))
        network.wait_for(other, ipv6=1)
        network.wait_for(one, ipv6=1)
        with service("::1") as port:
            enter(network, one, port)
            assert doctor(network, one, "wiki")["verdict"].endswith(f"holds wiki, and [::1]:{port} answers")
        assert doctor(network, other)["healthy"]


@pytest.mark.slow
def test_a_family_without_nodes_is_no_fault() -> None:
    with Stacks() as network:
        one = network.run_on("127.0.0.1", "::1")
        other = network.run_on("::1", join=at(one, "ipv6"))
        for daemon in (one, other):
            network.wait_for(daemon, ipv6=1)
        [said] = [each["message"] for each in doctor(network, one)["steps"] if each["step"] == "network"]
        assert said.endswith(", by IPv6 only")


def test_a_first_node_is_told_how_others_join(network: Network) -> None:
    [one] = network.start(1)
    found, verdict, command = fault(network, one)
    assert (found, command) == ("alone", "dht bootstrap HOST:PORT")
    assert "If it is the first of its network, nothing is wrong" in verdict


# The network


def test_a_host_that_does_not_answer_is_named(network: Network) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind((f"{network.subnet}.1", PORT))  # receives all, and answers nothing, as behind a firewall
        [one] = network.start(1, f"--bootstrap={network.subnet}.1:{PORT}")
        found, verdict, command = fault(network, one, "wiki")
        assert (found, command) == ("bootstrap-silent", "dht bootstrap HOST:PORT")
        assert verdict.startswith(f"nobody answers at {network.subnet}.1:{PORT}: a firewall drops UDP")


def test_a_wrong_port_leads_to_the_right_one(network: Network) -> None:
    [one] = network.start(1)
    [other] = network.launch_together(1)
    other.kill()
    network.launch(other, f"--bootstrap={one.address}:{PORT + 1}")
    found, verdict, command = fault(network, other)
    assert (found, command) == ("bootstrap-silent", f"dht bootstrap {one.endpoint}")
    assert verdict == (
        f"no dhtd runs at {one.address}:{PORT + 1}: the port is closed there, but one answers at {one.endpoint}"
    )
    network.dht(other, *command.split()[1:])  # which mends it
    other.wait_until(lambda about: bool(about["connected"]))
    assert doctor(network, other)["healthy"]


@pytest.mark.slow
def test_another_key_is_found_out_on_either_side(network: Network) -> None:
    key = network.directory / "key"
    assert network.run("dhtd", "keygen", str(key)).returncode == 0
    [first] = network.start(1)
    [sealed] = network.start(1, f"--network-key={key}")
    found, verdict, _ = fault(network, sealed)
    assert (found, verdict) == (
        "other-key",
        f"this node has a network key, and {first.endpoint} has none: they are two networks",
    )
    [late] = network.launch_together(1)
    late.kill()
    network.launch(late, f"--bootstrap={sealed.endpoint}")
    assert "a network key, and this one none" in fault(network, late)[1]
    found, verdict, _ = fault(network, sealed)
    assert found == "other-key"


# Entries


def test_an_entry_without_its_service_is_named(network: Network) -> None:
    one, _ = pair(network)
    with service(one.address) as port:
        enter(network, one, port)
    found, verdict, command = fault(network, one, "wiki")
    assert (found, command) == ("not-listening", f"dht delete wiki {port}")
    assert verdict.startswith(f"nothing listens on port {port} of this machine, with which wiki is entered")
    network.dht(one, *command.split()[1:])
    assert doctor(network, one)["healthy"]


def test_a_service_on_loopback_alone_is_named(network: Network) -> None:
    one, other = pair(network)
    with service("127.0.0.1") as port:
        enter(network, one, port)
        found, verdict, command = fault(network, one, "wiki")
        assert (found, command) == ("bound-elsewhere", f"ss -lntup 'sport = :{port}'")
        assert f"holds wiki at {one.address}:{port}, but its service listens on 127.0.0.1 only" in verdict
        found, verdict, _ = fault(network, other, "wiki")
        assert found == "service-unreachable"
        assert f"({one.address}:{port}: Connection refused)" in verdict


def test_a_service_of_udp_is_well(network: Network) -> None:
    one, _ = pair(network)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waiting:
        waiting.bind((one.address, 0))
        enter(network, one, waiting.getsockname()[1])
        assert "where a program waits for UDP" in doctor(network, one, "wiki")["verdict"]


def test_a_check_that_fails_is_named(network: Network) -> None:
    one, _ = pair(network)
    with service(one.address) as port:
        pass
    enter(network, one, port, "--check", "tcp", "--every", "0.5")
    wait_for_state(one, "failing")
    found, verdict, command = fault(network, one, "wiki")
    assert (found, command) == ("check-fails", f"ss -lntp 'sport = :{port}'")
    assert f"wiki on port {port} is not published, because of its check (tcp): port {port} accepts no" in verdict


def wait_for_state(daemon: Daemon, state: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        with daemon.ask() as client:
            [entry] = client.info("tracking")["tracking"]
        if entry["state"] == state:
            return
        assert time.monotonic() < deadline, entry
        time.sleep(POLL)


def test_a_slip_in_the_name_is_named(network: Network) -> None:
    one, other = pair(network)
    with service(one.address) as port:
        enter(network, one, port)
        assert fault(network, one, "Wiki")[::2] == ("not-entered", "dht lookup wiki")
        assert fault(network, other, "Wiki")[::2] == ("not-entered", "dht enter Wiki PORT")


def test_a_damaged_state_file_is_told(network: Network) -> None:
    one, other = pair(network)
    other.stop()
    other.state.write_bytes(b"no database" * 1_000)
    network.launch(other, f"--bootstrap={one.endpoint}")
    other.wait_until(lambda about: bool(about["connected"]))
    found, verdict, command = fault(network, other)
    assert (found, command) == ("state-damaged", "dht info tracking")
    assert str(other.state) in verdict

"""Networks beyond loopback: NAT, a router, delay and loss. They need root, ip of iproute2, and nft for the NAT.

A test that lacks something says so and is skipped. Tests with delay and loss take long; all of them run with

    python3 dev.py test tests/netns -m "slow or not slow"
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from dhtd.core.ids import NATIVE
from dhtd.service.entries import DELETE, LOOKUP
from dhtd.service.queries import PING
from tests.e2e.daemons import DEADLINE
from tests.netns.lab import Lab, LabError, Machine, Node, run
from tests.netns.link import DELAY, by_hand, by_kernel

ID = "0b5e55ed" + "00" * 28
OTHER_ID = "0b5e55ee" + "00" * 28


@pytest.fixture
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        with Lab() as probe:
            probe.machine()
    except LabError as error:
        pytest.skip(f"no network namespaces here: {error}")
    with Lab() as made:
        yield made


def knows(many: int) -> Callable[[dict[str, Any]], bool]:
    return lambda about: about["contacts"]["good"] >= many


def enter(node: Node, id: str, port: int) -> int:
    """Enter, and return how many nodes took it."""
    with node.ask() as client:
        return len(client.enter(id, port, wait=True)["replicas"])


def look_up(node: Node, id: str) -> list[str]:
    with node.ask() as client:
        *_, result = client.stream(LOOKUP, id=id)
    return list(result["peers"])


def masquerade(router: Machine, inside: str, outside_end: str) -> None:
    """Let a router hide its inside behind its outside address, by nftables or iptables."""
    rule = f"ip saddr {inside} oifname {outside_end} masquerade"
    table = f"table ip nat {{ chain out {{ type nat hook postrouting priority 100; {rule}; }}; }}"
    try:
        router.run("nft -f -", given=table)
    except LabError as error:
        try:
            router.run(f"iptables -t nat -A POSTROUTING -s {inside} -o {outside_end} -j MASQUERADE")
        except LabError as other:
            pytest.skip(f"no NAT here: {error}; {other}")


@pytest.mark.slow
def test_nat_nodes_find_and_are_found(lab: Lab) -> None:
    outside, router, home = lab.machine(), lab.machine(), lab.machine()
    _, outer = lab.wire(outside, "10.77.1.1/24", router, "10.77.1.254/24")
    for number in (2, 3):
        outside.run(f"ip address add 10.77.1.{number}/24 dev {_end(outside)}")
    lab.wire(router, "192.168.77.1/24", home, "192.168.77.2/24")
    home.run("ip route add default via 192.168.77.1")
    router.run("sysctl -q -w net.ipv4.ip_forward=1")
    masquerade(router, "192.168.77.0/24", outer)

    first, *others = lab.start(outside, "10.77.1.1", "10.77.1.2", "10.77.1.3")
    [hidden] = lab.start(home, "192.168.77.2")
    lab.wait_ready()
    hidden.wait_until(knows(3))
    for node in others:
        node.wait_until(knows(2))

    assert enter(hidden, ID, 8080) == 3
    assert enter(others[0], OTHER_ID, 80) >= 2
    # They see the router, and the port as it was entered: it must be forwarded there to be reached.
    assert [look_up(node, ID) for node in (first, *others)] == [["10.77.1.254:8080"]] * 3
    assert look_up(hidden, OTHER_ID) == ["10.77.1.2:80"]


def _end(machine: Machine) -> str:
    """Return the name of a machine's only cable."""
    found = run("ip", "-json", "-netns", machine.name, "link", parse=True)
    [name] = [link["ifname"] for link in found if link["ifname"] != "lo"]
    return str(name)


def test_two_routed_sites_are_one_network(lab: Lab) -> None:
    router, sites = lab.machine(), [lab.machine(), lab.machine()]
    router.run("sysctl -q -w net.ipv4.ip_forward=1")
    for number, site in enumerate(sites, 1):
        end, _ = lab.wire(site, f"10.77.{number}.1/24", router, f"10.77.{number}.254/24")
        site.run(f"ip address add 10.77.{number}.2/24 dev {end}")
        site.run(f"ip route add default via 10.77.{number}.254")
        lab.start(site, f"10.77.{number}.1", f"10.77.{number}.2")
    lab.wait_ready()
    nodes = lab.nodes
    for node in nodes:
        node.wait_until(knows(3))
    assert enter(nodes[0], ID, 80) == 3
    assert enter(nodes[3], OTHER_ID, 443) == 3
    assert [look_up(node, ID) for node in nodes[1:]] == [["10.77.1.1:80"]] * 3
    assert [look_up(node, OTHER_ID) for node in nodes[:3]] == [["10.77.2.2:443"]] * 3
    with nodes[3].ask() as client:
        assert client.ask(DELETE, id=OTHER_ID)["withdrawn"] == 3
    assert look_up(nodes[0], OTHER_ID) == []


Link = Callable[[Lab, Machine, str, Machine, str], AbstractContextManager[tuple[str, str]]]


@pytest.mark.slow
@pytest.mark.parametrize("link", [by_kernel, by_hand], ids=["netem", "tun"])
def test_a_slow_lossy_link_still_finds_entries(lab: Lab, link: Link) -> None:
    here, there = lab.machine(), lab.machine()
    joined = link(lab, here, "10.77.1.1/24", there, "10.77.2.1/24")
    try:
        ends = joined.__enter__()
    except LabError as error:
        pytest.skip(f"no such link here: {error}")
    try:
        nodes = lab.nodes
        for number, (machine, end, other) in enumerate(((here, ends[0], 2), (there, ends[1], 1)), 1):
            machine.run(f"ip route add 10.77.{other}.0/24 dev {end}")
            addresses = [f"10.77.{number}.{host}" for host in (1, 2, 3)]
            for address in addresses[1:]:
                machine.run(f"ip address add {address}/24 dev {end}")
            lab.start(machine, *addresses)
        lab.wait_ready()
        for node in nodes:
            node.wait_until(knows(3))
        with nodes[0].ask() as client:
            assert client.ask(PING, endpoint=nodes[3].endpoint)["rtt_ms"] >= 2 * DELAY * 1000
        entered = [NATIVE.format(NATIVE.digest(b"%d" % number)) for number in range(4)]
        assert all(enter(nodes[number % 6], id, 80) >= 3 for number, id in enumerate(entered))
        for number, id in enumerate(entered):
            assert look_up(nodes[(number + 3) % 6], id) == [f"{nodes[number % 6].address}:80"]
    finally:
        joined.__exit__(None, None, None)


def fail_in(lab: Lab) -> None:
    with lab:
        assert lab.machine().name in names()
        raise ZeroDivisionError


LEFT_OVER = """
import os, signal
from tests.netns.lab import Lab
with Lab() as lab:
    print(lab.machine().name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_machines_are_removed_after_any_failure(lab: Lab) -> None:
    del lab  # it skips without namespaces
    failing = Lab()
    with pytest.raises(ZeroDivisionError):
        fail_in(failing)
    assert failing.machines[0].name not in names()
    killed = subprocess.run(
        [sys.executable, "-c", LEFT_OVER],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.strip() in names()
    with Lab():
        assert killed.stdout.strip() not in names()


def names() -> set[str]:
    return {str(each["name"]) for each in run("ip", "-json", "netns", "list", parse=True) or []}

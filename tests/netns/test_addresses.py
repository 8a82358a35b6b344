"""Machines with several addresses, and with addresses that come and go. They need root and ip of iproute2."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from dhtd.errors import DhtdError
from dhtd.service.queries import PING
from tests.e2e.daemons import DEADLINE
from tests.netns.lab import POLL, Lab, Node
from tests.netns.test_netns import ID, enter, knows, lab, look_up

__all__ = ["lab"]  # the fixture


def pinged(node: Node, endpoint: str) -> dict[str, Any]:
    with node.ask() as client:
        return dict(client.ask(PING, endpoint=endpoint))


@pytest.mark.parametrize(
    ("first", "second", "other"), [("10.79.1.1", "10.79.1.5", "10.79.1.9"), ("fd79::1", "fd79::5", "fd79::9")]
)
def test_an_answer_leaves_from_the_asked_address(lab: Lab, first: str, second: str, other: str) -> None:
    """The asker would not believe an answer from the first address, since it knows no such node."""
    length, quiet = ("/64", " nodad") if ":" in first else ("/24", "")
    many, one = lab.machine(), lab.machine()
    end, _ = lab.wire(many, first + length + quiet, one, other + length + quiet)
    many.run(f"ip address add {second}{length}{quiet} dev {end}")
    many_node = lab.start_bound(many, [], first, [])
    one_node = lab.start_bound(one, [], other, [])
    lab.wait_ready()
    for at in (first, second):
        shown = f"[{at}]:1729" if ":" in at else f"{at}:1729"
        assert pinged(one_node, shown)["endpoint"] == shown
    assert pinged(many_node, one_node.endpoint)


def test_a_query_leaves_by_its_networks_socket(lab: Lab) -> None:
    between, one, other = lab.machine(), lab.machine(), lab.machine()
    lab.wire(between, "10.78.1.1/24", one, "10.78.1.2/24")
    lab.wire(between, "10.78.2.1/24", other, "10.78.2.2/24")
    ends = lab.start_bound(one, ["10.78.1.2"], "10.78.1.2", []), lab.start_bound(other, ["10.78.2.2"], "10.78.2.2", [])
    lab.wait_ready()
    middle = lab.start_bound(between, ["10.78.1.1", "10.78.2.1"], "10.78.1.1", [end.endpoint for end in ends])
    lab.wait_ready()
    for end in ends:
        assert pinged(middle, end.endpoint)["endpoint"] == end.endpoint
    middle.wait_until(knows(2))
    assert enter(middle, ID, 80) == 2
    assert [look_up(end, ID)[0] for end in ends] == ["10.78.1.1:80", "10.78.2.1:80"]


@pytest.mark.slow
@pytest.mark.parametrize("wildcard", [False, True])
def test_a_remade_link_brings_its_peers_back(lab: Lab, wildcard: bool) -> None:
    one, other = lab.machine(), lab.machine()
    addresses = "fe80::1/64 nodad", "fe80::2/64 nodad"
    for machine in (one, other):
        machine.run("sysctl -q -w net.ipv6.conf.default.addr_gen_mode=1")
    ends = lab.wire(one, addresses[0], other, addresses[1])
    bound = ["::"] if wildcard else [f"fe80::1%{ends[0]}"]
    here = lab.start_bound(one, bound, "fe80::1", [])
    lab.start_bound(other, [f"fe80::2%{ends[1]}"], "fe80::2", [])
    lab.wait_ready()
    there = f"[fe80::2%{ends[0]}]:1729"
    assert pinged(here, there)["endpoint"] == there

    one.run(f"ip link delete {ends[0]}")
    lab.plug(ends, one, addresses[0], other, addresses[1])
    wait_until(lambda: answers(here, there))
    assert pinged(here, there)["endpoint"] == there


def answers(node: Node, endpoint: str) -> bool:
    try:
        return bool(pinged(node, endpoint))
    except DhtdError:
        return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(POLL)


@pytest.mark.slow
def test_a_late_public_address_joins_its_lan(lab: Lab) -> None:
    lan, late = lab.machine(), lab.machine()
    end, late_end = lab.wire(lan, "203.0.113.1/24", late, "192.168.9.9/24")
    late.run(f"ip address delete 192.168.9.9/24 dev {late_end}")
    for number in range(2, 10):
        lan.run(f"ip address add 203.0.113.{number}/24 dev {end}")
    lab.start(lan, *(f"203.0.113.{number}" for number in range(1, 10)))
    newcomer = lab.start_bound(late, [], "203.0.113.99", ["203.0.113.1:1729"])
    lab.wait_ready()
    late.run(f"ip address add 203.0.113.99/24 dev {late_end}")
    newcomer.wait_until(knows(8))
    assert enter(newcomer, ID, 80) == 8


@pytest.mark.slow
def test_a_machine_with_a_new_address_is_found(lab: Lab) -> None:
    others, laptop = lab.machine(), lab.machine()
    end, laptop_end = lab.wire(others, "10.76.1.1/16", laptop, "10.76.2.1/16")
    others.run(f"ip address add 10.76.1.2/16 dev {end}")
    nodes = lab.start(others, "10.76.1.1", "10.76.1.2")
    moving = lab.start_bound(laptop, [], "10.76.2.1", [nodes[0].endpoint])
    lab.wait_ready()
    moving.wait_until(knows(2))
    assert enter(moving, ID, 80) == 2
    assert look_up(nodes[1], ID) == ["10.76.2.1:80"]

    laptop.run(f"ip address delete 10.76.2.1/16 dev {laptop_end}")
    laptop.run(f"ip address add 10.76.3.1/16 dev {laptop_end}")
    wait_until(lambda: all("10.76.3.1:80" in look_up(node, ID) for node in nodes))

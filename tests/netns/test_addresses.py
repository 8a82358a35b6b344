"""Machines with several addresses, and with addresses that come and go. They need root and ip of iproute2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.netns.lab import Lab, Node
from tests.netns.test_netns import ID, enter, knows, lab, look_up

__all__ = ["lab"]  # the fixture


def pinged(node: Node, endpoint: str) -> dict[str, Any]:
    with node.ask() as client:
        return dict(client.ping(endpoint))


@pytest.mark.parametrize(
    ("first", "second", "other"), [("10.79.1.1", "10.79.1.5", "10.79.1.9"), ("fd79::1", "fd79::5", "fd79::9")]
)
def test_an_answer_leaves_from_the_address_that_the_query_came_to(
    lab: Lab, first: str, second: str, other: str
) -> None:
    """One that left from the first address would not be believed: the one who asks knows no such node."""
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


def test_a_query_leaves_by_the_socket_of_the_network_that_it_goes_to(lab: Lab) -> None:
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

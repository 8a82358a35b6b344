"""What the daemon tells of each address family: its ID there, and whether that suits the address (BEP 42)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import MAINLINE
from dhtd.core.node import Node
from dhtd.daemon.driver import Driver
from dhtd.daemon.report_families import FamiliesReport, largest
from dhtd.service.info import FamilyInfo
from tests.core.bench import Bench
from tests.core.mainline import make
from tests.core.test_renamed import told


def family(node: Node) -> FamilyInfo:
    driver = cast("Driver", SimpleNamespace(node=node, clock=lambda: 0.0, turned_at={}))
    [found] = FamiliesReport(driver).all(1.0)
    return found


def test_an_id_follows_once_networks_agree() -> None:
    node = make()
    first = family(node)
    assert (first["node_id"], first["id_suits"]) == (MAINLINE.format(node.own_id), None)
    told(node, 7)
    assert family(node)["id_suits"] is False
    told(node, 8)
    then = family(node)
    assert then["id_suits"] is True
    assert then["node_id"] == MAINLINE.format(node.own_id) != first["node_id"]
    assert (then["family"], then["since_s"]) == ("ipv4", 1.0)


@pytest.mark.parametrize("where", ["127.0.0.1:6881", "192.168.1.9:6881"])
def test_a_private_address_asks_for_no_id(where: str) -> None:
    node = make()
    told(node, 8, Endpoint.parse(where))
    assert family(node)["id_suits"] is None


def test_our_own_network_has_no_such_rule() -> None:
    assert family(Bench().node)["id_suits"] is None


def test_the_largest_network_counts() -> None:
    known = family(Bench().node)
    assert known["network_size"] is None
    sizes: list[int | None] = [None, 7, 3]
    assert largest([{**known, "network_size": size} for size in sizes]) == 7
    assert largest([known]) is None

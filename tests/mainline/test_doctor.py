"""`dht doctor` in a Mainline network with libtorrent: a node that is well is called so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.daemons import Network
from tests.e2e.test_doctor import doctor, fault, service

torrents = pytest.importorskip("tests.mainline.torrents", reason="libtorrent is not installed")

MAINLINE = "--network=mainline"
OURS, THEIRS, NOBODYS = "aa" * 20, "bb" * 20, "cc" * 20


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as net:
        yield net


def test_nodes_among_those_of_libtorrent_are_well(network: Network) -> None:
    first, second = network.start(2, MAINLINE)
    with torrents.Torrents(f"{network.subnet}.201") as theirs:
        theirs.join(first.endpoint)
        theirs.wait_for_nodes(2)
        for daemon in (first, second):
            assert doctor(network, daemon)["healthy"]
        with service(second.address) as port:
            network.dht(second, "enter", OURS, str(port))
            assert doctor(network, second, OURS)["verdict"].endswith(f"{second.address}:{port} answers")
            assert doctor(network, first, OURS)["served"] == [f"{second.address}:{port}"]
        theirs.announce(THEIRS, 4_444)
        assert doctor(network, first, OURS)["healthy"]  # nobody tries a stranger's port there
        assert fault(network, first, NOBODYS)[0] == "not-entered"


def test_a_read_only_node_says_so(network: Network) -> None:
    [_] = network.start(1, MAINLINE)
    [quiet] = network.start(1, MAINLINE, "--read-only=yes")
    quiet.wait_until(lambda about: bool(about["connected"]))
    told = doctor(network, quiet)
    [said] = [step["message"] for step in told["steps"] if step["step"] == "reach"]
    assert said.endswith("; it is read-only, and answers nobody")

"""The node of a daemon asks for contacts of each family that it speaks."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from dhtd.config.networks import NETWORKS
from dhtd.config.sources import load_settings
from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import FindNode
from dhtd.daemon.make_driver import make_driver
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.daemon.state.file import StateFile

IPV4, IPV6 = Family


def query_of(name: str, families: tuple[Family, ...], directory: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return a search's query as the node of a daemon sends it."""
    monkeypatch.setattr("random.SystemRandom", lambda: Random(1))
    places = {"state": directory / "state.db", "socket": directory / "s", "config": os.devnull}
    udp = SimpleNamespace(families=families, local=tuple, counters=None, zones=Zones())
    with closing(StateFile.open(directory / f"{len(families)}.db", NETWORKS[name].keyspace)) as file:
        settings = load_settings({"network": name, **places}, {})
        codec = make_driver(settings, [], file, cast("UdpSockets", udp), ()).node.codec
        return codec.encode_query(bytes(codec.traits.tid_size), Id(1), FindNode(Id(2)))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_node_of_both_families_asks_for_both(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = NETWORKS[name]
    asked = []
    for families in ((IPV4, IPV6), (IPV4,)):
        codec = network.codec(dual_stack=len(families) > 1)
        asked.append(query_of(name, families, tmp_path, monkeypatch))
        assert asked[-1] == codec.encode_query(bytes(codec.traits.tid_size), Id(1), FindNode(Id(2)))
    assert asked[0] != asked[1]

"""A node whose ID follows from its address: the state file has the new one, so a restart begins with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dhtd.config.sources import load_settings
from dhtd.core.endpoint import Family
from dhtd.core.ids import MAINLINE, Id
from dhtd.daemon.make_driver import make_driver
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.zones import Zones
from dhtd.daemon.state.file import StateFile
from dhtd.daemon.state.saver import Saver
from tests.core.mainline import make

CLOCK, WALL = 10.0, 1_700_000_000.0


async def test_the_new_id_is_in_the_file(tmp_path: Path) -> None:
    file = StateFile.open(tmp_path / "state.db", MAINLINE)
    node = make()
    file.set_node_id(node.own_id)
    saver = Saver(file, lambda: CLOCK, lambda: WALL)
    saver.restore(node)
    await saver.save(node)
    assert file.node_id() == node.own_id
    node.overlays.rename(Family.IPV4, Id(42), CLOCK)
    await saver.save(node)
    assert file.node_id() == node.own_id == Id(42)
    file.close()


@pytest.mark.parametrize("families", [(Family.IPV4, Family.IPV6), (Family.IPV4,), (Family.IPV6,)])
async def test_each_family_begins_with_its_own(
    families: tuple[Family, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS"):
        monkeypatch.setenv(variable, str(tmp_path))
    settings, udp = (
        load_settings({"network": "mainline"}, {}),
        SimpleNamespace(families=families, local=tuple, counters=None, zones=Zones()),
    )
    ids: list[tuple[Id, ...]] = []
    for _ in range(2):
        file = StateFile.open(tmp_path / "state.db", MAINLINE)
        node = make_driver(settings, [], file, cast("UdpSockets", udp), ()).node
        ids.append(node.overlays.own_ids)
        saver = Saver(file, lambda: CLOCK, lambda: WALL)
        saver.restore(node)
        for number, family in enumerate(families):
            node.overlays.rename(family, Id(42 + number), CLOCK)
        await saver.save(node)
        file.close()
    assert ids[1] == (Id(42), Id(43))[: len(families)]


def test_an_id_that_cannot_be_one_is_none(tmp_path: Path) -> None:
    file = StateFile.open(tmp_path / "state.db", MAINLINE)
    assert file.node_id6() is None
    for value in (b"short", 5, "text"):
        file.set_fact("node_id6", value)
        assert file.node_id6() is None
    file.close()

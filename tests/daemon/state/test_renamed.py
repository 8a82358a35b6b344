"""A node whose ID follows from its address: the state file has the new one, so a restart begins with it."""

from __future__ import annotations

from pathlib import Path

from dhtd.core.endpoint import Family
from dhtd.core.ids import MAINLINE, Id
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

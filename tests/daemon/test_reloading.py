"""What a running daemon does with another configuration."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dhtd.config.sources import load_settings
from dhtd.daemon.reloading import Reloading


async def nothing(*_: object) -> None:
    pass


@pytest.mark.parametrize(("network", "other"), [("mainline", "native"), ("native", "mainline")])
async def test_another_network_changes_no_limits(
    network: str, other: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The limits of one network by default are none that suit a node which stays in another."""
    places = {"state": tmp_path / "state.db", "socket": tmp_path / "s"}
    limits: list[Any] = []
    gate = SimpleNamespace(limit_rate=lambda *rates: limits.append(rates))
    driver: Any = SimpleNamespace(node=SimpleNamespace(gate=gate), seal=None)
    unused: Any = None
    declaring: Any = SimpleNamespace(read=nothing)
    settings = load_settings({"network": network, **places}, {})
    reloading = Reloading(settings, driver, unused, unused, declaring)
    caplog.set_level(logging.INFO)
    await reloading.reload(lambda: load_settings({"network": other, **places}, {}))
    assert limits == []
    reason = f"network is now {other}, and was {network}: restart dhtd for this to take effect"
    assert caplog.messages == [f"the configuration is left as it was: {reason}"]

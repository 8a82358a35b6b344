"""A daemon that is made and does not run: what it would do in its network, with the settings as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dhtd.config.networks import MAINLINE
from dhtd.config.sources import load_settings
from dhtd.core.serving.gate import Serves
from dhtd.daemon import app
from dhtd.daemon.serving import Serving

_numbers = count(1)


@contextmanager
def opened(directory: Path, monkeypatch: pytest.MonkeyPatch, **options: object) -> Iterator[dict[str, Any]]:
    """Yield what the parts of a daemon were given that look at the network. None of them runs."""
    given: dict[str, Any] = {}

    class Hosts:
        def __init__(self, driver: object, hosts: tuple[str, ...], routers: tuple[str, ...] = ()) -> None:
            given.update(hosts=hosts, routers=routers)

    class Watched(Serving):
        def __init__(self, driver: Any, read_only: str) -> None:
            super().__init__(driver, read_only)
            given.update(node=driver.node, read_only=read_only)

    monkeypatch.setattr(app, "BootstrapHosts", Hosts)
    monkeypatch.setattr(app, "Serving", Watched)
    pid = os.getpid()
    fixed = {
        "bind": [f"127.{1 + pid % 254}.{1 + pid // 254 % 100}.{100 + next(_numbers)}"],
        "state": directory / "state.db",
        "socket": directory / "s",
        "config": os.devnull,
    }
    with app.opened(load_settings({**fixed, **options}, {})):
        yield given


@pytest.mark.parametrize(
    ("options", "hosts", "routers"),
    [
        ({}, (), ()),
        ({"network": "mainline"}, (), ()),
        ({"network": "mainline", "bootstrap": ["192.0.2.1:1"]}, ("192.0.2.1:1",), ()),
        ({"network": "mainline", "public-bootstrap": True}, (), MAINLINE.routers),
        (
            {"network": "mainline", "public-bootstrap": True, "bootstrap": ["192.0.2.1:1"]},
            ("192.0.2.1:1",),
            MAINLINE.routers,
        ),
    ],
)
def test_routers_are_asked_only_where_that_is_wanted(
    options: dict[str, Any],
    hosts: tuple[str, ...],
    routers: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with opened(tmp_path, monkeypatch, **options) as given:
        assert (given["hosts"], given["routers"]) == (hosts, routers)


@pytest.mark.parametrize(
    ("options", "read_only", "serves"),
    [
        ({}, "no", Serves.ALL),
        ({"network": "mainline"}, "auto", Serves.ALL),
        ({"network": "mainline", "read-only": "no"}, "no", Serves.ALL),
        ({"network": "mainline", "read-only": "yes"}, "yes", Serves.NOBODY),
    ],
)
def test_a_node_serves_as_the_setting_says(
    options: dict[str, Any], read_only: str, serves: Serves, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path, monkeypatch, **options) as given:
        assert (given["read_only"], given["node"].gate.serves) == (read_only, serves)

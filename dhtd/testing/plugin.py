"""The plugin of pytest: the fixture `dhtd_testnet`. Nothing else is imported until a test asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dhtd.testing.networks import BlockingNetwork


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, by which a test chooses its network."""
    config.addinivalue_line(
        "markers", "dhtd_testnet(size=8, network='native'): the network that the fixture dhtd_testnet makes"
    )


@pytest.fixture
def dhtd_testnet(request: pytest.FixtureRequest) -> Iterator[BlockingNetwork]:
    """A network of 8 real nodes on loopback, for this test alone."""
    from dhtd.testing.networks import testnet_blocking  # noqa: PLC0415 - the daemon takes 200 ms

    marker = request.node.get_closest_marker("dhtd_testnet")
    arguments, keywords = ((), {}) if marker is None else (marker.args, marker.kwargs)
    with testnet_blocking(*arguments, **keywords) as network:
        yield network

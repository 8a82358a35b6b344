"""The measurement of entries whose daemons end works. Its figures are not tested."""

from __future__ import annotations

from random import Random

import pytest

from tests.bench import goodbye
from tests.e2e.daemons import Network


@pytest.mark.slow
def test_lookups_go_on_while_daemons_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goodbye, "AWAY", 0.0)
    monkeypatch.setattr(goodbye, "OWNERS", 2)
    with Network() as network:
        daemons = network.start(4)
        goodbye.settle(daemons, 3)
        watched = goodbye.restarted(network, daemons, Random(1), 1.0)
        missed, lookups = goodbye.count(watched)
    assert len(watched) == 2
    assert missed == 0
    assert lookups > 10
    assert all(each.found[-1] > each.ended_at for each in watched)

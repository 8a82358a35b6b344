"""Keys surrounded by attackers: lookups find their entries, wherever and whenever the attackers come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import NATIVE
from dhtd.core.policy import DEFAULT
from dhtd.sim import warm
from dhtd.sim.eclipse import Eclipse
from dhtd.sim.network import Network
from dhtd.sim.report import Lookups
from dhtd.sim.scenarios import SCENARIOS
from dhtd.sim.simulation import Simulation

SMALL: dict[str, Any] = {"nodes": 80, "entries": 2, "lookups": 24, "duration": 120.0}


def lookups(**given: Any) -> Lookups:
    plan = SCENARIOS["eclipse"].vary(**{**SMALL, **given})
    simulation = Simulation(plan)
    report = simulation.run()
    assert simulation._eclipse.attackers * plan.entries == sum(host.lie is not None for host in simulation.net.hosts)
    assert report.nodes == 80
    return report.lookups


@pytest.mark.parametrize(
    "given",
    [
        {"eclipse": 4, "closest": True},
        pytest.param({"eclipse": 24, "entries": 1}, marks=pytest.mark.slow),
        pytest.param({"eclipse": 24, "entries": 1, "closest": True, "late": True}, marks=pytest.mark.slow),
        {"eclipse": 8, "late": True, "site": True},
    ],
)
@pytest.mark.slow
def test_a_key_with_attackers_around_it_is_found(given: dict[str, Any], figure: Callable[[str, object], None]) -> None:
    outcome = lookups(**given)
    figure("lookups that found the entry", f"{outcome.found} of {outcome.total}")
    assert outcome.success_rate >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"eclipse": 4}, {"eclipse": 8, "closest": True, "site": True}])
def test_without_the_region_it_would_be_hidden(given: dict[str, Any], figure: Callable[[str, object], None]) -> None:
    outcome = lookups(**given, undefended=True)
    figure("lookups that found the entry", f"{outcome.found} of {outcome.total}")
    assert outcome.success_rate <= 0.5


def test_in_peace_few_entries_exceed_k_holders(figure: Callable[[str, object], None]) -> None:
    """The nearest nodes of some keys crowd by chance, 6 % of them in the long run: see `bench crowding`."""
    replicas = []
    for seed in range(3):
        net = Network(seed)
        warm.acquaint(net, [net.add(start=False) for _ in range(60)])
        for owner in net.rng.sample(net.hosts, 40):
            replicas += [len(net.enter(owner, NATIVE.random(net.rng), 80).replicas)]
    more = sum(many > DEFAULT.k for many in replicas)
    figure("entries with more holders than K", f"{more} of {len(replicas)}")
    assert min(replicas) == DEFAULT.k
    assert more < 0.1 * len(replicas)


def test_each_keys_attackers_have_own_networks() -> None:
    for site in (False, True):
        simulation = Simulation(SCENARIOS["eclipse"].vary(**SMALL, site=site))
        net = simulation.net
        simulation.advance(2)
        before = len(net.hosts)
        eclipse = Eclipse(net, 4, closest=False, site=site)
        parties = []
        for name in (b"one", b"other"):
            eclipse.attack(net.codec.traits.keyspace.digest(name))
            gang = net.hosts[before:]
            before = len(net.hosts)
            assert len(gang) == 16
            parties.append({host.endpoint[: 8 if site else 3] for host in gang})
            assert all(host.endpoint.family is (Family.IPV6 if site else Family.IPV4) for host in gang)
        assert [len(networks) for networks in parties] == [4, 4]
        assert not parties[0] & parties[1]

"""Real daemons on loopback: the promises of README, with killed processes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.daemons import Daemon, Network

ID = "c0ffee" + "00" * 28 + "1d"


def found_from(daemons: list[Daemon]) -> list[list[str]]:
    """Return the endpoints that a lookup from each daemon finds; all look at once."""
    with ThreadPoolExecutor(len(daemons)) as pool:
        return list(pool.map(lambda daemon: daemon.look_up(ID), daemons))


def knows(many: int) -> Callable[[dict[str, object]], bool]:
    def holds(node: dict[str, object]) -> bool:
        contacts = node["contacts"]
        assert isinstance(contacts, dict)
        return int(contacts["good"]) >= many

    return holds


@pytest.mark.parametrize("many", [2, *(pytest.param(many, marks=pytest.mark.slow) for many in (3, 24))])
def test_an_entry_survives_many_deaths(many: int) -> None:
    with Network() as network:
        daemons = network.start(1) + network.start(many - 1)
        for daemon in daemons:
            daemon.wait_until(knows(min(many - 1, 8)))
        owner, others = daemons[0], daemons[1:]
        entered = network.dht(owner, "enter", ID, "3000")
        assert len(entered["replicas"]) == min(many - 1, 8)
        expected = [f"{owner.address}:3000"]
        assert network.dht(others[0], "lookup", ID)["peers"] == expected
        assert found_from(others) == [expected] * len(others)

        killed = others[: many // 3]
        for daemon in killed:
            daemon.kill()
        survivors = others[len(killed) :]
        assert found_from(survivors) == [expected] * len(survivors)

        # No grace and no second try: nobody finds a deleted entry from then on.
        assert network.dht(owner, "delete", ID)["removed"] == [3000]
        assert found_from(survivors) == [[]] * len(survivors)


@pytest.mark.parametrize("many", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_small_network_survives_any_restart(many: int) -> None:
    with Network() as network:
        daemons = network.start(1) + network.start(many - 1)
        for daemon in daemons:
            daemon.wait_until(knows(many - 1))
        for number, daemon in enumerate(daemons):
            entered = network.dht(daemon, "enter", ID, str(3000 + number))
            assert len(entered["replicas"]) == many - 1  # a lone node keeps its entry for later nodes
        everything = {f"{daemon.address}:{3000 + number}" for number, daemon in enumerate(daemons)}
        for daemon in daemons:
            before = network.dht(daemon, "info")
            assert daemon.stop() == 0
            node_id = daemon.node_id
            network.launch(daemon)
            assert daemon.node_id == node_id
            after = network.dht(daemon, "info")
            assert contacts(after) == contacts(before)
            assert [entry["port"] for entry in after["tracking"]] == [entry["port"] for entry in before["tracking"]]
            assert {entry["endpoint"] for entry in after["store"]} == {entry["endpoint"] for entry in before["store"]}
            daemon.wait_until(knows(many - 1))
            assert [set(peers) for peers in found_from(daemons)] == [everything] * many


def contacts(info: dict[str, object]) -> set[str]:
    table = info["routing_table"]
    assert isinstance(table, dict)
    return {member["id"] for bucket in table["buckets"] for member in bucket["members"]}

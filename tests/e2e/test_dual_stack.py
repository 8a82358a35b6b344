"""Real daemons on ::1, on 127/8 and on both: which of them find each other, directly or through others."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.e2e.daemons import Daemon, Network

ID = "c0ffee" + "00" * 28 + "1d"


def free_port() -> int:
    """Return a free UDP port of ::1; skip without ::1."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        pytest.skip(f"no ::1 here: {error}")


class Stacks(Network):
    """Daemons of either family or of both."""

    def run_on(self, *addresses: str, join: str | None = None) -> Daemon:
        """Start a daemon that is bound to ::1, to its own address in 127/8, or to both."""
        number, port = len(self.daemons), free_port()
        state, control, log = (self.directory / f"{number}.{suffix}" for suffix in ("db", "sock", "log"))
        arguments = [f"--port={port}", f"--state={state}", f"--socket={control}", "--json"]
        arguments += [f"--bind={address}" for address in addresses] + ([f"--bootstrap={join}"] if join else [])
        process = self._popen(arguments, log)
        daemon = Daemon(addresses[0], state, control, log, arguments, process, {})
        self.daemons.append(daemon)
        self._wait_ready(daemon)
        return daemon

    def wait_for(self, daemon: Daemon, **contacts: int) -> None:
        """Wait until a daemon has so many good contacts of each family."""

        def are_known(node: dict[str, Any]) -> bool:
            good = {each["family"]: each["contacts"]["good"] for each in node["families"]}
            return all(good.get(family, 0) >= many for family, many in contacts.items())

        daemon.wait_until(are_known)


def at(daemon: Daemon, family: str) -> str:
    (endpoint,) = [each for each in daemon.ready["endpoints"] if each.startswith("[") == (family == "ipv6")]
    return str(endpoint)


@pytest.mark.parametrize(("first", "second"), [("::1", "::1"), ("127.77.0.1", "127.77.0.2")], ids=["IPv6", "IPv4"])
def test_a_pair_of_one_family_finds_its_entries(first: str, second: str) -> None:
    family = "ipv6" if ":" in first else "ipv4"
    with Stacks() as network:
        one = network.run_on(first)
        two = network.run_on(second, join=at(one, family))
        network.wait_for(one, **{family: 1})
        network.wait_for(two, **{family: 1})
        assert network.dht(one, "ping", at(two, family))["node_id"] == two.node_id
        network.dht(two, "enter", ID, "3000")
        shown = f"[{second}]:3000" if family == "ipv6" else f"{second}:3000"
        assert set(one.look_up(ID)) == {shown}
        network.dht(two, "delete", ID)
        assert set(one.look_up(ID)) == set()


@pytest.mark.slow
def test_a_dual_daemon_leads_between_families() -> None:
    with Stacks() as network:
        both = network.run_on("127.77.0.3", "::1")
        four = network.run_on("127.77.0.4", join=at(both, "ipv4"))
        six = network.run_on("::1", join=at(both, "ipv6"))
        network.wait_for(both, ipv4=1, ipv6=1)
        # It is told of nobody but one that speaks IPv4 alone.
        newcomer = network.run_on("127.77.0.5", "::1", join=at(four, "ipv4"))
        network.wait_for(newcomer, ipv4=2, ipv6=2)

        entered = network.dht(newcomer, "enter", ID, "3000")
        assert {replica["node_id"] for replica in entered["replicas"]} == {each.node_id for each in (both, four, six)}
        assert len(entered["replicas"]) == 4
        assert "127.77.0.5:3000" in set(four.look_up(ID))
        assert "[::1]:3000" in set(six.look_up(ID))
        assert set(both.look_up(ID)) == {"127.77.0.5:3000", "[::1]:3000"}
        network.dht(newcomer, "delete", ID)
        assert [set(daemon.look_up(ID)) for daemon in (both, four, six)] == [set()] * 3

        network.dht(six, "enter", ID, "3001")
        assert set(newcomer.look_up(ID)) == {"[::1]:3001"}

        buckets = network.dht(newcomer, "info", "routing_table")["routing_table"]["buckets"]
        members = {(bucket["family"], member["id"]) for bucket in buckets for member in bucket["members"]}
        assert members == {
            (family, daemon.node_id)
            for family, daemon in (("ipv4", both), ("ipv4", four), ("ipv6", both), ("ipv6", six))
        }

        refused = network.dht(four, "ping", at(six, "ipv6"), status=2)
        assert refused["error"]["code"] == "invalid-endpoint"
        assert "IPv4 only" in refused["error"]["message"]

        # A restart, from the state file alone, is one in both families.
        newcomer.stop()
        newcomer.arguments = [each for each in newcomer.arguments if not each.startswith("--bootstrap")]
        network.launch(newcomer)
        network.wait_for(newcomer, ipv4=2, ipv6=2)

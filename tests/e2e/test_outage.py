"""What a user hears while every other node is dead."""

from __future__ import annotations

import pytest

from tests.e2e.daemons import Network
from tests.e2e.test_network import knows

MINE, THEIRS, NOBODYS = "ab" * 32, "cd" * 32, "ef" * 32


@pytest.mark.slow
def test_an_outage_differs_from_a_negative_answer() -> None:
    with Network() as network:
        first, *others = network.start(3)
        first.wait_until(knows(2))
        assert network.run("dht", "--socket", str(first.socket), "status").stdout.count("\n") == 6
        network.dht(first, "enter", MINE, "80")
        network.dht(others[0], "enter", THEIRS, "81")
        assert network.dht(first, "lookup", NOBODYS, status=1)["error"]["code"] == "not-found"
        assert network.dht(first, "lookup", THEIRS)["complete"]
        for other in others:
            other.kill()
        told = network.dht(first, "lookup", NOBODYS, status=4)
        assert (told["error"]["code"], told["peers"], told["complete"]) == ("no-answer", [], False)
        assert told["stats"]["responses"] == 0
        assert network.dht(first, "status", status=4)["state"] in ("doubtful", "silent")
        assert network.dht(first, "info", "node")["node"]["contacts"]["good"] == 0
        for known in (MINE, THEIRS):  # its own entry, and one that it holds for another
            found = network.dht(first, "lookup", known)
            assert (len(found["peers"]), found["complete"]) == (1, False)
        quiet = network.run("dht", "--socket", str(first.socket), "status", "-q")
        assert (quiet.returncode, quiet.stdout, quiet.stderr) == (4, "", "")

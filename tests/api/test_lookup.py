"""Lookups: endpoints as they come, the end, and all the ways to leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.api.lookup import Lookup
from dhtd.api.names import Endpoint, Id
from dhtd.api.places import PLACES
from dhtd.api.waits import finish
from dhtd.errors import DaemonTimeout, NoAnswer, NoPeers
from tests.api.fakes import STATS, asking, error, event, goes_away, hangs, hangs_up, result, says

ONE, TWO = "192.0.2.1:80", "[2001:db8::2]:80"
SILENT = {**STATS, "responses": 0, "timeouts": 3}


def found(lookup: Lookup) -> list[str]:
    endpoints = []
    while True:
        try:
            endpoints.append(str(finish(lookup.__anext__())))
        except StopAsyncIteration:
            return endpoints


def test_endpoints_come_once_and_in_their_order(tmp_path: Path) -> None:
    answers = event(peers=[ONE], stats=STATS), event(peers=[ONE, TWO], stats=STATS)
    last = result(id="5a" * 32, name="wiki", peers=[TWO, ONE], stats=STATS, complete=True)
    with asking(tmp_path, says(*answers, last)) as (dht, daemon, _):
        lookup = dht.lookup("wiki")
        assert finish(lookup.__anext__()) == Endpoint("192.0.2.1", 80)
        assert (lookup.stats, lookup.is_complete) == (None, None)
        assert found(lookup) == [TWO]
        assert lookup.stats is not None
        assert (lookup.stats.responses, lookup.is_complete) == (1, True)
        assert found(lookup) == []
        [request] = daemon.requests
        assert request["params"] == {"id": Id.of_name("wiki").hex, "name": "wiki"}


def test_an_id_is_looked_up_as_it_is(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(peers=[], stats=STATS, complete=False))) as (dht, daemon, _):
        lookup = dht.lookup(Id("AB" * 32), first=True)
        assert (found(lookup), lookup.is_complete) == ([], False)
        assert daemon.requests[0]["params"] == {"id": "ab" * 32, "first": True}


def test_a_name_of_64_hex_digits_is_a_name(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(peers=[], stats=STATS))) as (dht, daemon, _):
        found(dht.lookup("ab" * 32))
        assert daemon.requests[0]["params"] == {"id": Id.of_name("ab" * 32).hex, "name": "ab" * 32}


def test_silence_is_no_no(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(peers=[], stats=SILENT, complete=False))) as (dht, _, _):
        lookup = dht.lookup("wiki")
        with pytest.raises(NoAnswer, match="whether somebody serves wiki is not known: 3 nodes near it"):
            finish(lookup.__anext__())
        assert found(lookup) == []


def test_what_this_node_knows_itself_is_told_in_silence(tmp_path: Path) -> None:
    with asking(tmp_path, says(result(peers=[ONE], stats=SILENT, complete=False))) as (dht, _, _):
        assert found(dht.lookup("wiki")) == [ONE]


def test_an_error_ends_the_lookup(tmp_path: Path) -> None:
    with asking(tmp_path, says(error("no-peers", "alone"))) as (dht, _, _):
        lookup = dht.lookup("wiki")
        with pytest.raises(NoPeers, match="alone"):
            finish(lookup.__anext__())
        assert found(lookup) == []


def test_a_lookup_goes_on_with_the_next_daemon(tmp_path: Path) -> None:
    last = result(peers=[ONE, TWO], stats=STATS, complete=True)
    with asking(tmp_path, goes_away(event(peers=[ONE], stats=STATS)), says(last)) as (dht, daemon, waits):
        waits.at_sleep.append(daemon.start)
        assert found(dht.lookup("wiki")) == [ONE, TWO]
        assert len(daemon.requests) == 2


def test_a_daemon_that_shuts_down_is_waited_for(tmp_path: Path) -> None:
    last = says(result(peers=[ONE], stats=STATS, complete=True))
    with asking(tmp_path, hangs_up(error("shutting-down")), last) as (dht, _, waits):
        assert found(dht.lookup("wiki")) == [ONE]
        assert waits.slept == [0.05]


def test_a_lookup_of_a_daemon_that_hangs_times_out(tmp_path: Path) -> None:
    with asking(tmp_path, hangs) as (dht, _, waits):
        with pytest.raises(DaemonTimeout):
            finish(dht.lookup("wiki").__anext__())
        assert waits.now() == 10.0


def test_leaving_the_loop_cancels_the_lookup_at_once(tmp_path: Path) -> None:
    with asking(tmp_path, says(event(peers=[ONE, TWO], stats=STATS))) as (dht, daemon, _):
        lookup: Lookup | None = dht.lookup("wiki")
        assert lookup is not None
        assert str(finish(lookup.__anext__())) == ONE
        del lookup  # as the end of a loop does
        daemon.turn()
        assert daemon.clients == []


def test_closing_a_lookup_cancels_it(tmp_path: Path) -> None:
    with asking(tmp_path, says(event(peers=[ONE], stats=STATS))) as (dht, daemon, _):
        lookup = dht.lookup("wiki")
        finish(lookup.__anext__())
        finish(lookup.aclose())
        daemon.turn()
        assert (daemon.clients, found(lookup)) == ([], [])


def test_places_of_lookups_that_were_left_are_used_again(tmp_path: Path) -> None:
    script = [says(event(peers=[ONE], stats=STATS))] * (3 * PLACES)
    with asking(tmp_path, *script) as (dht, daemon, _):
        for _ in range(3 * PLACES):
            assert str(finish(dht.lookup("wiki").__anext__())) == ONE
        assert daemon.most < PLACES


def test_consumers_that_nest_lookups_do_not_starve(tmp_path: Path) -> None:
    """All places are taken by lookups whose consumers are in their loops; one of these looks up something else."""
    both = says(event(peers=[ONE], stats=STATS), result(peers=[ONE, TWO], stats=STATS, complete=True))
    with asking(tmp_path, *[both] * (2 * PLACES)) as (dht, daemon, _):
        outer = [dht.lookup("wiki") for _ in range(PLACES)]
        assert [str(finish(each.__anext__())) for each in outer] == [ONE] * PLACES
        inner = [dht.lookup("wiki") for _ in range(PLACES)]
        assert [found(each) for each in inner] == [[ONE, TWO]] * PLACES
        assert [found(each) for each in outer] == [[TWO]] * PLACES
        assert daemon.most <= PLACES + 1


def test_an_error_that_came_meanwhile_is_raised_in_its_turn(tmp_path: Path) -> None:
    both = says(event(peers=[ONE, TWO], stats=STATS), error("internal-error", "oh"))
    with asking(tmp_path, *[both] * (PLACES + 1)) as (dht, _, _):
        outer = [dht.lookup("wiki") for _ in range(PLACES)]
        for each in outer:
            finish(each.__anext__())
        with pytest.raises(Exception, match="oh"):
            found(dht.lookup("wiki"))
        for each in outer:
            assert str(finish(each.__anext__())) == TWO
            with pytest.raises(Exception, match="oh"):
                finish(each.__anext__())

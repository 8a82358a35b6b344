"""Introductions: which nodes are shown a token, so that they get to know us, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id
from dhtd.core.messages import ERROR_SERVER, FindNode, Ping
from dhtd.core.policy import DEFAULT
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import contact, endpoint

STEADY = replace(QUIET, good_for=1e9, bucket_refresh=1e9, probe_interval=1e9)
SHOWN = FindNode(Id(0), b"token")


def join(bench: Bench, *, token: bytes = b"token") -> list[Sent]:
    """Join through one node, which names nobody; return the queries after the lookup of our own ID."""
    bench.node.start([endpoint(9)], bench.now)
    bench.advance(0)
    bench.pong(bench.sent_one(), 9)
    lookup = bench.sent_one()
    assert lookup.request == FindNode(Id(0))
    bench.found(lookup, 9, token=token)
    return bench.sent()


def test_joining_shows_the_nearest_their_tokens() -> None:
    bench = Bench(policy=STEADY)
    (shown,) = join(bench)
    assert (shown.to, shown.request) == (endpoint(9), SHOWN)
    bench.found(shown, 9)
    bench.advance(DEFAULT.introduction - 1)
    assert bench.sent() == []
    bench.advance(1)
    lookup = bench.sent_one()
    assert lookup.request == FindNode(Id(0))  # the hour after it, some may have dropped us
    bench.found(lookup, 9)
    assert bench.sent_one().request == SHOWN


def test_a_node_without_token_is_not_asked_again() -> None:
    assert join(Bench(policy=STEADY), token=b"") == []


@pytest.mark.parametrize("refuses", [True, False])
def test_nobody_waits_for_the_answer(refuses: bool) -> None:
    bench = Bench(policy=STEADY)
    (shown,) = join(bench)
    if refuses:
        bench.refuse(shown, 9, ERROR_SERVER)
    else:
        bench.advance(10 * DEFAULT.query_timeout)
        assert all(sent.request == Ping() for sent in bench.sent())  # is the network down?
    assert not bench.node.handles.running
    assert not bench.node.handles.open


def test_a_lookup_of_another_id_shows_nothing() -> None:
    bench = Bench(policy=STEADY)
    bench.know(contact(9))
    bench.node.memberships.first.refresh(Id(5), bench.now)
    bench.found(bench.sent_one(), 9)
    assert bench.sent() == []


def test_only_a_users_bootstrap_shows_tokens() -> None:
    bench = Bench(policy=STEADY)
    bench.know(contact(9))
    bench.node.commands.bootstrap([endpoint(9)], bench.now)
    bench.pong(bench.sent_one(), 9)
    bench.found(bench.sent_one(), 9)
    assert bench.sent_one().request == SHOWN
    bench.node.memberships.first.join.bootstrap = (endpoint(9),)
    bench.node.memberships.first._probe(bench.now)
    bench.pong(bench.sent_one(), 9)
    bench.found(bench.sent_one(), 9)
    assert bench.sent() == []


def test_an_unstable_address_is_introduced_rarely() -> None:
    bench = Bench(policy=STEADY)
    (shown,) = join(bench)
    bench.found(shown, 9)
    overlay = bench.node.overlays.first
    assert overlay.family is Family.IPV4
    for _ in range(3):
        overlay.has_moved(bench.now)
        assert overlay.next_introduction() == 60.0
    bench.advance(59.0)
    assert not overlay.is_introduction_due(bench.now)
    bench.advance(1.0)
    assert [sent.request for sent in bench.sent()].count(FindNode(Id(0))) == 1

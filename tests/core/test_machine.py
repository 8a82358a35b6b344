"""What happens to the machine, and which parts are told; a pause makes everything known older than it seems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.machine import Machine
from dhtd.core.messages import NO_OPTIONS, FindNode, Options
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.standing import Standing
from dhtd.core.serving.gate import Serves
from tests.core.bench import Bench
from tests.core.part import Part
from tests.core.small import contact
from tests.core.test_node import joined
from tests.records import hold_peer

NETWORKS = (bytes((192, 0, 2)),)


class House:
    """A machine with all its neighbours, which note what they are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        overlays: Any = [Part("ipv4", self.calls), Part("ipv6", self.calls)]
        self.requester = cast("Any", Part("requester", self.calls))
        self.requester.policy = DEFAULT
        self.responder = cast("Any", Part("responder", self.calls))
        memberships: Any = Part("memberships", self.calls)
        publisher: Any = Part("publisher", self.calls)
        pings: Any = Part("pings", self.calls)
        values: Any = Part("values", self.calls)
        self.gate = cast("Any", Part("gate", self.calls))
        news: Any = Part("news", self.calls)
        self.machine = Machine(
            self.requester, overlays, memberships, publisher, self.responder, pings, values, self.gate, news
        )


def test_other_networks_are_told_before_news_settle() -> None:
    house = House()
    house.machine.live_in(NETWORKS, 7.0)
    assert house.requester.policy == replace(DEFAULT, own_networks=NETWORKS)
    expected = [
        ("responder.live_in", NETWORKS),
        ("pings.live_in", NETWORKS),
        ("memberships.live_in", NETWORKS, 7.0),
        ("news.settle", 7.0),
    ]
    assert house.calls == expected


def test_a_move_is_news() -> None:
    house = House()
    house.machine.moved(7.0)
    assert house.calls == [("news.moved", 7.0)]


def test_a_pause_is_told_to_all_that_grows_old() -> None:
    house = House()
    house.machine.slept(100.0, 7.0)
    assert house.calls == [
        ("ipv4.slept", 100.0),
        ("ipv6.slept", 100.0),
        ("responder.slept", 100.0),
        ("publisher.slept", 100.0, 7.0),
        ("values.slept", 100.0, 7.0),
    ]


def test_contacts_and_buckets_age_by_the_pause() -> None:
    bench = joined(1)
    assert bench.node.state.standing(contact(1), bench.now) is Standing.GOOD
    bench.node.overlays.restore(contact(3))  # which was never heard
    bench.node.machine.slept(DEFAULT.good_for, bench.now)
    assert bench.node.state.standing(contact(1), bench.now) is Standing.QUESTIONABLE
    bench.sent()
    bench.node.handle_timeout(bench.now)
    assert any(isinstance(sent.request, FindNode) for sent in bench.sent())


def test_held_entries_keep_their_time() -> None:
    bench = Bench()
    hold_peer(bench.node.store, Id(5), Endpoint.of("192.0.2.1", 80), bench.now)
    bench.node.machine.slept(10 * DEFAULT.store_expiry, bench.now)
    assert bench.node.store.get(Id(5), bench.now) == [Endpoint.of("192.0.2.1", 80)]


def test_tokens_from_before_the_pause_are_invalid() -> None:
    bench = Bench()
    tokens = bench.node.responder._tokens
    token = tokens.issue(b"ip", b"key", bench.now)
    assert tokens.is_valid(token, b"ip", b"key", bench.now)
    bench.node.machine.slept(2 * DEFAULT.token_rotation, bench.now)
    assert not tokens.is_valid(token, b"ip", b"key", bench.now)


def test_queries_say_where_not_all_are_served() -> None:
    house = House()
    for serves, options in ((Serves.NOBODY, Options(is_read_only=True)), (Serves.ALL, NO_OPTIONS)):
        house.machine.serve(serves)
        assert (house.gate.serves, house.requester.options) == (serves, options)

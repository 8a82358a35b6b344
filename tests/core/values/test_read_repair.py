"""Whom a get sends the value that it has found: nodes near the key that lack it, and one on the way there."""

from __future__ import annotations

import pytest

from dhtd.core.ids import Id
from dhtd.core.messages import VALUE_LASTS, Contact, Get, Put
from dhtd.core.records import Mutable
from dhtd.core.routing.overlay import Overlay
from dhtd.core.values.reading import _UNHEARD
from tests.core.values.valued import (
    KEY,
    OLD,
    THRICE,
    TIMEOUT,
    VALUE,
    at,
    begun,
    converge,
    done,
    got,
    knowing,
    near,
    puts,
    read,
    take,
)
from tests.values import LASTS


@pytest.mark.parametrize("seconds", [(600, 900), (900, 600)])
def test_a_repair_lasts_as_long_as_the_copies(seconds: tuple[int, int]) -> None:
    bench = knowing(1, 2, 3, 4)
    _, asked = begun(bench)
    got(bench, asked[1], VALUE, lasts=seconds[0])
    got(bench, asked[2], VALUE, lasts=seconds[1], token=b"two")
    got(bench, asked[3], OLD, lasts=80_000, token=b"three")
    got(bench, asked[4], token=b"four")
    requests = {distance: sent.request for distance, sent in puts(bench).items()}
    assert requests == {
        3: Put(KEY, b"three", VALUE, None, 900),
        4: Put(KEY, b"four", VALUE, None, 900),
    }


def test_no_copy_is_said_to_last_for_ever() -> None:
    bench = knowing(1, 2)
    _, asked = begun(bench)
    reading = next(iter(bench.node.commands._asking.values()))
    got(bench, asked[1], VALUE, lasts=VALUE_LASTS)
    reading._take(VALUE, 10 * VALUE_LASTS, bench.now)  # type: ignore[union-attr]
    got(bench, asked[2])
    (sent,) = puts(bench).values()
    assert isinstance(sent.request, Put)
    assert sent.request.lasts == VALUE_LASTS


@pytest.mark.parametrize(("lasts", "repaired"), [(59, False), (60, True)])
def test_what_soon_expires_is_not_spread(lasts: int, repaired: bool) -> None:
    bench = knowing(1, 2)
    _, asked = begun(bench)
    got(bench, asked[1], VALUE, lasts=lasts)
    got(bench, asked[2])
    assert (puts(bench).keys() == {2}) is repaired


def test_a_full_node_is_sent_nothing() -> None:
    bench = knowing(1, 2, 3)
    _, asked = begun(bench)
    assert converge(bench, asked, {1: VALUE}, full=[2]).keys() == {3}


def test_a_repair_that_is_refused_is_nobodys_business() -> None:
    bench = knowing(1, 2, 3, 4)
    _, placed = read(bench, {1: VALUE})
    bench.refuse(placed[2], at(2), 302)
    take(bench, placed[3])
    bench.advance(2 * TIMEOUT)
    assert bench.events() == []


def test_a_repair_is_given_up_in_peace() -> None:
    _UNHEARD.give_up(0.0)


def ring(far: tuple[int, ...], held: dict[int, Mutable]) -> dict[int, int]:
    """Get a value by way of nodes that are `far`. Return for how many seconds others are to hold it, by distance."""
    bench = knowing(*far, policy=THRICE)
    _, asked = begun(bench)
    found: dict[int, int] = {}
    queries = list(asked.values())
    while queries:
        for sent in queries:
            distance = sent.to[3] ^ KEY
            if isinstance(sent.request, Get):
                got(bench, sent, held.get(distance), near(1, 2, 3))
            elif isinstance(sent.request, Put):
                found[distance] = sent.request.lasts
        queries = bench.sent()
    return found


@pytest.fixture
def sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of sixteen nodes: every eighth ID is one, on average."""
    monkeypatch.setattr(Overlay, "estimated_size", 16)


NEAREST = dict.fromkeys((1, 2, 3), VALUE)


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize(("cached", "lasts"), [(39, LASTS // 2), (40, LASTS // 4), (48, LASTS // 8)])
def test_one_node_beyond_the_nearest_caches_it(cached: int, lasts: int) -> None:
    """About four nodes are nearer than 39: the three nearest, and one more."""
    assert ring((cached, 80), NEAREST) == {cached: lasts}


@pytest.mark.usefixtures("sixteen")
def test_who_has_it_cached_is_passed_over() -> None:
    assert ring((40, 48), NEAREST | {40: VALUE}) == {48: LASTS // 8}
    assert ring((40, 48), NEAREST | {48: VALUE}) == {40: LASTS // 4}


@pytest.mark.usefixtures("sixteen")
def test_what_would_soon_expire_is_not_cached() -> None:
    assert ring((72, 80), NEAREST) == {}  # LASTS // 64
    assert ring((71, 80), NEAREST) == {71: LASTS // 32}


@pytest.mark.usefixtures("sixteen")
def test_all_in_the_room_of_the_nearest_are_sent_it() -> None:
    assert ring((25, 31), NEAREST) == {25: LASTS, 31: LASTS}


@pytest.mark.usefixtures("sixteen")
def test_a_node_with_another_id_counts_as_itself() -> None:
    """A liar has named it under an ID near the key: it is told as what it is, and nobody to repair."""
    bench = knowing(1, 2, 3, policy=THRICE)
    _, asked = begun(bench)
    got(bench, asked[1], VALUE, id=at(90))
    got(bench, asked[2], id=at(120))
    got(bench, asked[3])
    assert done(bench).copies == (Contact(Id(at(90)), asked[1].to),)
    assert puts(bench).keys() == {3}


@pytest.mark.usefixtures("sixteen")
def test_a_stale_copy_beyond_the_nearest_is_replaced() -> None:
    """Else it would be served for as long as it lasts."""
    assert ring((40, 80), NEAREST | {40: OLD, 80: OLD}) == {40: LASTS // 4, 80: 60}
    assert ring((40, 48, 80), NEAREST | {80: OLD}) == {40: LASTS // 4, 80: 60}

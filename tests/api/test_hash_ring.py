"""The ring over the endpoints of a service: who is responsible, what moves, and how the load is shared."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from hashlib import blake2s

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import dhtd
from dhtd.api.hash_ring import KEYS, HashRing

ENDPOINTS = [f"192.0.2.{number}:80" for number in range(10)]
RINGS = st.lists(st.sampled_from([f"10.0.0.{number}:80" for number in range(40)]), min_size=1, max_size=8, unique=True)
TEXTS = st.text(max_size=20)
SAMPLE = [f"key:{number}" for number in range(5_000)]


def by_hand(endpoints: list[str], vnodes: int, key: str) -> list[str]:
    """Return all endpoints from a key on, by looking at every place: the definition."""

    def places(text: str) -> list[int]:
        digest = blake2s(text.encode()).digest()
        return [int.from_bytes(digest[start : start + 4]) for start in range(0, 32, 4)]

    own = places(key)[0]
    stands = [
        ((place - own) % (1 << 32), endpoint)
        for endpoint in endpoints
        for number in range(vnodes)
        for place in places(f"{endpoint}#{number}")
    ]
    return list(dict.fromkeys(endpoint for _, endpoint in sorted(stands)))


@given(RINGS, st.integers(1, 5), TEXTS)
def test_the_next_on_the_ring_is_responsible(endpoints: list[str], vnodes: int, key: str) -> None:
    ring, wanted = HashRing(endpoints, vnodes), by_hand(endpoints, vnodes, key)
    assert ring.node(key) == ring.node(key.encode()) == wanted[0]
    assert ring.nodes(key, len(endpoints)) == wanted
    for n in range(len(endpoints) + 2):
        assert ring.nodes(key, n) == wanted[:n]


@given(RINGS, st.integers(0, 7))
def test_only_a_newcomer_takes_keys(endpoints: list[str], which: int) -> None:
    newcomer = endpoints[which % len(endpoints)]
    before = [each for each in endpoints if each != newcomer]
    if not before:
        return
    small, large = HashRing(before, 20), HashRing(endpoints, 20)
    for key in SAMPLE[:300]:
        assert large.node(key) in {small.node(key), newcomer}
        assert [each for each in large.nodes(key, 9) if each != newcomer] == small.nodes(key, 9)


def test_a_newcomer_takes_its_share() -> None:
    small, large = HashRing(ENDPOINTS[:9]), HashRing(ENDPOINTS)
    moved = sum(small.node(key) != large.node(key) for key in SAMPLE)
    assert moved / len(SAMPLE) == pytest.approx(0.1, abs=0.02)


@given(RINGS, st.randoms())
def test_the_order_of_endpoints_does_not_matter(endpoints: list[str], random: object) -> None:
    other = sorted(endpoints, reverse=True)
    one, two = HashRing(endpoints, 10), HashRing(other, 10)
    assert [one.node(key) for key in SAMPLE[:100]] == [two.node(key) for key in SAMPLE[:100]]


def test_other_processes_find_the_same() -> None:
    code = f"import dhtd; print(*map(dhtd.HashRing({ENDPOINTS!r}).node, {SAMPLE[:50]!r}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert [line.split() for line in found] == [[HashRing(ENDPOINTS).node(key) for key in SAMPLE[:50]]]


def test_a_key_stays_where_it_is_from_version_to_version() -> None:
    ring = dhtd.HashRing(ENDPOINTS)
    assert [ring.node(key) for key in ("user:123", "", "ключ")] == ["192.0.2.0:80", "192.0.2.3:80", "192.0.2.2:80"]


@pytest.mark.parametrize("subnet", range(20))
def test_ten_endpoints_share_evenly(subnet: int) -> None:
    found = HashRing([f"10.{subnet}.0.{number}:80" for number in range(10)]).balance(SAMPLE * 4)
    assert sum(found.counts.values()) == found.keys == 4 * len(SAMPLE)
    assert found.most <= 1.15
    assert found.deviation <= 0.07


def test_the_figure_of_the_documentation_holds() -> None:
    found = HashRing(ENDPOINTS).balance()
    assert found.keys == KEYS == 100_000
    assert found.most <= 1.15


def test_weights_are_kept_to() -> None:
    ring = HashRing(ENDPOINTS, weights={ENDPOINTS[0]: 3.0})
    found = ring.balance(SAMPLE)
    assert found.counts[ENDPOINTS[0]] / len(SAMPLE) == pytest.approx(0.25, abs=0.03)
    assert found.most <= 1.2


@given(st.lists(TEXTS, max_size=60), st.sampled_from([1.01, 1.25, 2.0]), RINGS)
def test_no_endpoint_gets_more_than_its_bound(keys: list[str], bound: float, endpoints: list[str]) -> None:
    ring, loads = HashRing(endpoints, 10), Counter[str]()
    for key in keys:
        loads[ring.node(key, loads=loads, bound=bound)] += 1
    assert max(loads.values(), default=0) <= bound * len(keys) / len(endpoints) + 1


@example([0.5] * 8, 1.25, ENDPOINTS[:8])
@given(st.lists(st.floats(0, 9), min_size=8, max_size=8), st.sampled_from([1.01, 1.25, 2.0]), RINGS)
def test_loads_between_numbers_leave_room(values: list[float], bound: float, endpoints: list[str]) -> None:
    loads = dict(zip(endpoints, values, strict=False))
    chosen = HashRing(endpoints, 10).node("key", loads=loads, bound=bound)
    assert loads[chosen] < bound * (sum(loads.values()) + 1) / len(endpoints) + 1


def test_a_hot_key_goes_down_the_line() -> None:
    ring, loads = HashRing(ENDPOINTS), Counter[str]()
    for _ in range(100):
        loads[ring.node("hot", loads=loads)] += 1
    line = ring.nodes("hot", 10)
    assert [loads[each] for each in line] == [13, 13, 13, 13, 12, 12, 12, 12, 0, 0]


def test_an_endpoint_with_room_keeps_its_keys() -> None:
    ring = HashRing(ENDPOINTS)
    assert all(ring.node(key, loads={}) == ring.node(key) for key in SAMPLE[:100])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HashRing([]), "a ring needs an endpoint"),
        (lambda: HashRing(["a:1", "a:1"]), "an endpoint is there twice"),
        (lambda: HashRing(["a:1"], 0), "give 1 at least"),
        (lambda: HashRing(["a:1"], 10**9), "100000 in all at most"),
        (lambda: HashRing(["a:1"], weights={"a:1": 0.0}), "a weight is a number above 0, not 0.0"),
        (lambda: HashRing(["a:1"], weights={"a:1": float("nan")}), "a weight is a number above 0"),
        (lambda: HashRing(["a:1"], weights={"a:1": float("inf")}), "a weight is a number above 0"),
        (lambda: HashRing(["a:1"]).nodes("k", -1), "-1 endpoints cannot be found"),
        (lambda: HashRing(["a:1"]).node("k", loads={}, bound=1.0), "leaves no room"),
        (lambda: HashRing(["a:1"]).node("k", loads={"a:1": -1.0}), "a load is a number from 0, not -1.0"),
        (lambda: HashRing(["a:1"]).node("k", loads={"b:1": float("nan")}), "a load is a number from 0, not nan"),
        (lambda: HashRing(["a:1"]).balance([]), "there are no keys to try"),
    ],
)
def test_misuse_is_told(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()


def test_endpoints_of_the_api_make_a_ring() -> None:
    endpoints = [dhtd.Endpoint("192.0.2.1", port) for port in (80, 81)]
    ring = dhtd.HashRing(endpoints)
    assert {ring.node(key) for key in SAMPLE} == set(endpoints)

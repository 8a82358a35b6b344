"""Too many endpoints for an answer: one of each source goes first, and over time all of them go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.serving.endpoint_sample import _KEYS, EndpointSample

KEY = packed(Id(7))


def of(source: int, port: int) -> Endpoint:
    """Return an endpoint of one of many sources: of three, one is a /64, and one an address of a site's own /64."""
    hosts = (f"10.0.{source >> 8}.{source & 255}", f"2001:db8:0:{source:x}::{port:x}", f"fd00::{source:x}")
    return Endpoint.of(hosts[source % 3], 1 + port)


def sources_of(endpoints: list[Endpoint]) -> set[bytes]:
    return {source_group(endpoint.ip) for endpoint in endpoints}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, unique=True),
    st.integers(1, 100),
    st.floats(0, 1, exclude_max=True),
)
def test_a_sample_has_one_of_each_source_in_front(pairs: list[tuple[int, int]], count: int, lot: float) -> None:
    endpoints = [of(*pair) for pair in pairs]
    count = min(count, len(endpoints))
    chosen = EndpointSample().of(KEY, endpoints, count, lot)
    assert len(set(chosen)) == len(chosen) == count
    assert set(chosen) <= set(endpoints)
    sources = sources_of(endpoints)
    in_front = chosen[: len(sources)]
    assert len(sources_of(in_front)) == len(in_front)


def test_in_time_everything_is_sampled() -> None:
    shapes = [(1, 300), (300, 1), (30, 10), (2, 150), (150, 2)]
    for sources, ports in shapes:
        choice = EndpointSample()
        endpoints = [of(source, port) for source in range(sources) for port in range(ports)]
        lots = [number / 400 for number in range(400)]
        seen = {endpoint for lot in lots for endpoint in choice.of(KEY, endpoints, 100, lot)}
        assert seen == set(endpoints), (sources, ports)


def test_what_is_known_of_a_key_follows_it() -> None:
    choice = EndpointSample()
    before, now = [of(1, 1), of(1, 2), of(2, 1)], [of(1, 1), of(1, 2), of(4, 1)]
    assert of(2, 1) in choice.of(KEY, before, 2, 0.0)
    assert of(4, 1) in choice.of(KEY, now, 2, 0.0)
    assert set(choice.of(KEY, now[:2], 2, 0.0)) == set(now[:2])
    assert len(choice._known) == 1


def test_few_keys_are_remembered() -> None:
    choice = EndpointSample()
    endpoints = [of(source, port) for source in range(10) for port in range(10)]
    for key in range(3 * _KEYS):
        choice.of(packed(Id(key)), endpoints, 10, 0.5)
    assert list(map(unpacked, choice._known)) == list(range(2 * _KEYS, 3 * _KEYS))
    remembered = choice._known[packed(Id(3 * _KEYS - 1))][1]
    choice.of(packed(Id(3 * _KEYS - 1)), list(endpoints), 10, 0.5)
    assert choice._known[packed(Id(3 * _KEYS - 1))][1] is remembered

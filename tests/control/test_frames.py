"""Long arrays go into as many requests as it takes, and none is longer than the daemon reads."""

from __future__ import annotations

import pytest

from dhtd.control.frames import FRAME_MAX, batches, encode, encode_event
from dhtd.service.written import Written

ENTRY = {"id": "ab" * 32, "port": 65_535, "name": 255 * "\xe9"}


@pytest.mark.parametrize("count", [0, 1, 39, 40, 41, 1_000])
def test_a_batch_fits_into_a_request(count: int) -> None:
    some = list(batches([ENTRY] * count))
    assert sum(map(len, some)) == count
    assert all(some)
    for entries in some:
        params = {"entries": entries, "wait": True, "min_replicas": 10**9, "within_s": 1e300 / 3}
        assert len(encode({"id": 10**9, "method": "enter-many", "params": params})) <= FRAME_MAX


def test_few_requests_take_many_entries() -> None:
    plain = [{"id": "ab" * 32, "port": 8080, "name": f"service-{number}.example.org"} for number in range(1_000)]
    assert len(list(batches(plain))) == 2


def test_an_event_that_is_json_already_is_sent_as_it_is() -> None:
    event = Written('{"last":3,"events":[]}')
    assert encode_event(["an id"], event) == encode({"id": ["an id"], "event": dict(event)})
    assert (len(event), list(event)) == (2, ["last", "events"])

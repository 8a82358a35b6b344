"""The ring of events: numbers, what a slow client is told, and what is shared."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd.daemon.events.ring import BATCH, KEPT, SHARED, Ring


def ring(events: int = 0, first: int = 100) -> Ring:
    made = Ring(first)
    for number in range(events):
        made.add(1.5, "limit" if number % 2 else "served", {"number": number})
    return made


def read(ring: Ring, after: int, kind: str | None = None) -> tuple[list[dict[str, Any]], int]:
    told, last, is_empty = ring.read(after, kind, 2.0)
    body = json.loads(told.text)
    assert body["last"] == last
    assert dict(told) == body
    assert is_empty == (not body["events"])
    return body["events"], last


def test_events_have_numbers_times_and_kinds() -> None:
    events, last = read(ring(2), 99)
    assert events == [
        {"serial": 100, "at": 1.5, "kind": "served", "number": 0},
        {"serial": 101, "at": 1.5, "kind": "limit", "number": 1},
    ]
    assert last == 101
    assert read(ring(2), 100) == (events[1:], 101)
    assert read(ring(2), 101) == ([], 101)


def test_one_kind_is_read_past_the_others() -> None:
    events, last = read(ring(4), 99, "served")
    assert [event["number"] for event in events] == [0, 2]
    assert last == 103


def test_a_slow_reader_is_told_how_many_it_missed() -> None:
    made = ring(KEPT + 10)
    assert len(made) == KEPT
    events, last = read(made, 104)
    assert events[0] == {"serial": 109, "at": 2.0, "kind": "missed", "count": 5}
    assert events[1]["serial"] == 110
    assert last < made.last or len(events) == KEPT + 1


@pytest.mark.parametrize("after", [0, 50])
def test_a_serial_of_an_earlier_run_missed_unknown_many(after: int) -> None:
    events, _ = read(ring(2), after)
    assert [event["kind"] for event in events] == ["missed", "served", "limit"]
    assert events[0]["count"] is None


def test_a_serial_from_the_future_missed_unknown_many() -> None:
    events, last = read(ring(2), 10**9)
    assert [event["kind"] for event in events] == ["missed", "served", "limit"]
    assert (events[0]["count"], last) == (None, 101)


def test_an_interruption_is_missed_by_all_who_come_back() -> None:
    made = ring(2)
    made.interrupt()
    assert len(made) == 0
    assert [event["count"] for event in read(made, 101)[0]] == [None]
    made.add(3.0, "served", {})
    events, last = read(made, 101)
    assert [event["kind"] for event in events] == ["missed", "served"]
    assert read(made, last) == ([], last)


def test_a_batch_has_a_limited_size() -> None:
    made = Ring(1)
    for _ in range(100):
        made.add(0.0, "served", {"long": "x" * 2_000})
    after, batches = 0, 0
    while after < made.last:
        told, after, _ = made.read(after, None, 0.0)
        assert len(told.text) < BATCH + 3_000
        batches += 1
    assert batches == 4


def test_few_batches_are_remembered() -> None:
    made = ring(5)
    for after in range(1_000):
        made.read(after, None, 0.0)
    assert len(made._batches) <= SHARED


def test_clients_as_far_as_each_other_share_the_text() -> None:
    made = ring(5)
    assert made.read(99, None, 1.0)[0] is made.read(99, None, 2.0)[0]
    assert made.read(99, None, 1.0)[0] is not made.read(99, "served", 1.0)[0]
    before = made.read(99, None, 1.0)[0]
    made.add(0.0, "served", {})
    assert made.read(99, None, 1.0)[0] is not before


async def test_a_reader_waits_for_what_is_new(autojump_clock: MockClock) -> None:
    made = ring(1)
    heard: list[int] = []

    async def wait() -> None:
        await made.wait(100)
        heard.append(made.last)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert heard == []
        made.add(0.0, "served", {})
        await wait_all_tasks_blocked()
        assert heard == [101, 101]
        await made.wait(100)

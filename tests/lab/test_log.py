"""The log: what is kept, what a reader has missed, and spans of time."""

from __future__ import annotations

import json
from typing import Any

from dhtd.lab import log as module
from dhtd.lab.log import Log


def filled(count: int, room: int = 10**6) -> Log:
    log = Log(room)
    for number in range(count):
        log.add(number / 2, "kind", {"number": number})
    return log


def read(texts: list[str]) -> list[dict[str, Any]]:
    return [json.loads(text) for text in texts]


def test_events_have_serials_times_and_fields() -> None:
    log = Log()
    log.add(1.23456789, "node-up", {"n": 3})
    assert read(log.read(0).texts) == [{"serial": 1, "at": 1.234568, "kind": "node-up", "n": 3}]
    assert log.last == 1


def test_a_reader_goes_on_behind_its_serial() -> None:
    log = filled(5)
    texts, last = log.read(3)
    assert [event["serial"] for event in read(texts)] == [4, 5]
    assert last == 5
    assert log.read(5) == ([], 5)


def test_a_reader_is_told_how_much_it_missed() -> None:
    log = filled(1_000, room=1_000)
    texts, last = log.read(10)
    missed, *events = read(texts)
    assert missed["kind"] == "missed"
    assert missed["serial"] == events[0]["serial"] - 1
    assert missed["count"] == missed["serial"] - 10
    assert [event["serial"] for event in events] == list(range(missed["serial"] + 1, 1_001))
    assert last == 1_000


def test_a_serial_of_another_run_is_known_as_such() -> None:
    log = filled(3)
    texts, last = log.read(77)
    (missed,) = read(texts)
    assert (missed["kind"], missed["count"], missed["serial"]) == ("missed", None, 3)
    assert last == 3  # nobody wants the whole past of a run that began meanwhile
    log.add(9.0, "kind", {})
    assert [event["serial"] for event in read(log.read(last).texts)] == [4]


def test_a_batch_has_a_bound(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "BATCH", 100)
    log = filled(10)
    texts, last = log.read(0)
    assert 1 < len(texts) < 10
    assert last == len(texts)


def test_room_bounds_what_is_kept() -> None:
    log = filled(10_000, room=5_000)
    assert sum(map(len, log.between(0, 10**6).texts)) <= 5_000
    assert len(log._texts) < 500


def test_a_span_has_both_its_ends() -> None:
    log = filled(10)
    span = log.between(1.0, 2.0)
    assert [event["number"] for event in read(span.texts)] == [2, 3, 4]
    assert not span.is_cut
    assert log.between(7.0, 9.0) == ([], False)


def test_a_span_says_that_its_beginning_is_gone() -> None:
    log = filled(1_000, room=1_000)
    assert log.between(0.0, 499.5).is_cut
    kept = read(log.between(0.0, 499.5).texts)[0]["at"]
    assert not log.between(kept, 499.5).is_cut


def test_a_long_span_is_cut_at_its_end(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "SPAN", 100)
    span = filled(10).between(0.0, 5.0)
    assert span.is_cut
    assert read(span.texts)[0]["number"] == 0

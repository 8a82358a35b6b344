"""Trouble in the log: each cap by its name, without a flood of lines."""

from __future__ import annotations

import logging

import pytest

from dhtd.core.counters import CAPS, OPERATIONS, RATE_LIMIT, REPLACEMENTS, STORE_ENTRIES, Counters
from dhtd.daemon.counter_log import INTERVAL, ORDINARY, CounterLog


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return lines


def test_caps_are_named_once_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dhtd")
    counters = Counters()
    hits = counters.caps_hit
    hits[OPERATIONS] = 7  # before
    log = CounterLog(counters)
    log.look(0.0)
    assert said(caplog) == []
    for second in range(int(10 * INTERVAL)):  # a flood
        hits[RATE_LIMIT] += 1_000
        hits[STORE_ENTRIES] += 1
        log.look(float(second))
    lines = said(caplog)
    assert len(lines) == 9
    assert lines[0] == (logging.WARNING, f"caps hit: rate_limit {61 * 1_000}, store_entries 61")
    assert lines[1] == (logging.WARNING, f"caps hit: rate_limit {60 * 1_000}, store_entries 60")


def test_ordinary_events_are_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dhtd")
    counters = Counters()
    hits = counters.caps_hit
    log = CounterLog(counters)
    hits[REPLACEMENTS] = hits[OPERATIONS] = 1
    log.look(0.0)
    assert said(caplog) == [(logging.WARNING, "caps hit: operations 1"), (logging.DEBUG, "caps hit: replacements 1")]
    log.look(2 * INTERVAL)
    assert said(caplog) == []
    assert set(CAPS) >= ORDINARY


def test_use_of_our_id_is_logged_once_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    counters.own_id_claimed = 3  # before
    log = CounterLog(counters)
    log.look(0.0)
    assert said(caplog) == []
    for second in range(int(3 * INTERVAL)):
        counters.own_id_claimed += 2
        log.look(float(second))
    said_of = "this node's ID was used by others, {}: does another node run on a copy of its state file?"
    assert said(caplog) == [
        (logging.WARNING, said_of.format(f"{2 * 61} times")),
        (logging.WARNING, said_of.format(f"{2 * 60} times")),
    ]

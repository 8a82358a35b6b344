"""One record is one line of text or JSON, whatever strangers have put into it."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from dhtd.daemon.log import set_up

log = logging.getLogger("dhtd.test")


class Stderr:
    """What has been written to stderr since it was last asked."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def getvalue(self) -> str:
        return self._capsys.readouterr().err


@pytest.fixture
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """Catch what is logged, and leave logging as it was."""
    ours = logging.getLogger("dhtd")
    before = ours.handlers[:], ours.propagate, ours.level
    yield Stderr(capsys)
    ours.handlers[:], ours.propagate, level = before
    ours.setLevel(level)


def test_a_text_line_has_the_time_in_utc_the_level_and_the_message(stderr: Stderr) -> None:
    set_up("info", "text")
    record = logging.LogRecord("dhtd.x", logging.WARNING, __file__, 1, "%d of %s", (3, "INFO"), None)
    record.created = 1_769_860_800.25
    logging.getLogger("dhtd").handle(record)
    assert stderr.getvalue() == "2026-01-31T12:00:00Z warning: 3 of INFO\n"


def test_a_json_line_has_time_level_logger_and_message(stderr: Stderr) -> None:
    set_up("info", "json")
    record = logging.LogRecord("dhtd.x", logging.ERROR, __file__, 1, "full\n%s", ("é",), None)
    record.created = 12.3456
    logging.getLogger("dhtd").handle(record)
    line = stderr.getvalue()
    assert line.count("\n") == 1
    assert json.loads(line) == {
        "time": 12.346,
        "level": "error",
        "logger": "dhtd.x",
        "message": "full\né",
    }


EVIL = "a\nb\r\n2026-01-31T12:00:00Z error: forged\x1b[31m\x00\x7f\x85\u2028\u202e\ud800é"


@pytest.mark.parametrize("style", ["text", "json"])
def test_no_stranger_can_make_a_line_or_move_the_cursor(stderr: Stderr, style: str) -> None:
    set_up("debug", style)
    log.info("from %s", EVIL)
    line = stderr.getvalue()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()
    assert "é" in line or "\\u00e9" in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_is_there_and_forges_no_record(stderr: Stderr, style: str) -> None:
    set_up("info", style)
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("failed")
    lines = stderr.getvalue().splitlines()
    if style == "json":
        [line] = lines
        assert "ValueError" in json.loads(line)["error"]
    else:
        assert lines[0].endswith(" error: failed")
        assert lines[1] == "  Traceback (most recent call last):"
        assert all(line.startswith("  ") for line in lines[1:])
        assert all(line.isprintable() for line in lines)


def test_what_is_below_the_level_is_not_logged(stderr: Stderr) -> None:
    set_up("warning", "text")
    log.warning("trouble")
    log.info("chatter")
    assert stderr.getvalue().endswith("Z warning: trouble\n")


def test_setting_up_again_changes_level_and_style_and_doubles_nothing(stderr: Stderr) -> None:
    set_up("error", "text")
    set_up("debug", "json")
    log.debug("once")
    assert [json.loads(line)["message"] for line in stderr.getvalue().splitlines()] == ["once"]


def test_nothing_is_printed_where_there_is_no_stderr(monkeypatch: pytest.MonkeyPatch, stderr: Stderr) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    set_up("info", "text")
    log.info("into the void")

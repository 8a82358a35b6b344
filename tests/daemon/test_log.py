"""One record is one line of text or JSON, whatever strangers put into it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest

from dhtd.daemon.log import (
    OUTLET,
    catch_the_rest,
    counters,
    error_line,
    is_journal,
    is_set_up,
    say_at_once,
    set_up,
)
from tests.e2e.daemons import DEADLINE

log = logging.getLogger("dhtd.test")


class Stderr:
    """The text on stderr since the last look."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def getvalue(self) -> str:
        assert OUTLET.flush(DEADLINE)
        return self._capfd.readouterr().err


@pytest.fixture
def stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """Catch the log, and restore logging afterwards."""
    ours = logging.getLogger("dhtd")
    before = ours.handlers[:], ours.propagate, ours.level
    ours.handlers.clear()
    yield Stderr(capfd)
    ours.handlers[:], ours.propagate, level = before
    ours.setLevel(level)


def test_a_text_line_has_time_level_and_message(stderr: Stderr) -> None:
    set_up("info", "text")
    record = logging.LogRecord("dhtd.x", logging.WARNING, __file__, 1, "%d of %s", (3, "INFO"), None)
    record.created = 1_769_860_800.25
    logging.getLogger("dhtd").handle(record)
    assert stderr.getvalue() == "2026-01-31T12:00:00Z warning: 3 of INFO\n"


def test_a_json_line_has_all_fields(stderr: Stderr) -> None:
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
def test_no_stranger_forges_a_line(stderr: Stderr, style: str) -> None:
    set_up("debug", style)
    log.info("from %s", EVIL)
    line = stderr.getvalue()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()
    assert "é" in line or "\\u00e9" in line


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_traceback_forges_no_record(stderr: Stderr, style: str) -> None:
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


def test_a_second_set_up_doubles_nothing(stderr: Stderr) -> None:
    set_up("error", "text")
    set_up("debug", "json")
    log.debug("once")
    assert [json.loads(line)["message"] for line in stderr.getvalue().splitlines()] == ["once"]


def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have journald read stderr."""
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")


def test_journald_is_told_levels_and_no_time(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(monkeypatch)
    set_up("debug", "text")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "line")
    assert stderr.getvalue() == "<7>line\n<6>line\n<4>line\n<3>line\n<2>line\n"
    try:
        raise ValueError(EVIL)
    except ValueError:
        log.exception("failed")
    first, second, *rest = stderr.getvalue().splitlines()
    assert (first, second) == ("<3>failed", "<3>  Traceback (most recent call last):")
    assert all(line.startswith("<3>  ") for line in rest)


def test_journald_is_told_an_objects_level(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    journal(monkeypatch)
    set_up("info", "json")
    log.warning("trouble")
    line = stderr.getvalue()
    assert line.startswith("<4>{")
    assert json.loads(line[3:])["message"] == "trouble"


@pytest.mark.parametrize("stream", ["", "1:2", ":", "8:x", "no"])
def test_a_journal_that_is_another_s_is_none(stderr: Stderr, monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    set_up("info", "text")
    log.info("line")
    assert stderr.getvalue().endswith("Z info: line\n")


def test_a_closed_descriptor_is_no_journal() -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    assert not is_journal({"JOURNAL_STREAM": "1:2"}, descriptor)


def test_an_impossible_record_is_counted(stderr: Stderr) -> None:
    set_up("info", "text")
    before = counters().log_dropped
    log.info("%d", "no number")
    assert counters().log_dropped == before + 1
    log.info("behind")
    first, second = stderr.getvalue().splitlines()
    assert first.endswith("info: behind")
    assert "1 line of the log was dropped" in second


@pytest.mark.filterwarnings("always:old:RuntimeWarning")
def test_what_python_itself_would_print_is_logged(stderr: Stderr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(logging, "_warnings_showwarning", None)
    set_up("info", "json")
    catch_the_rest()

    class Finalized:
        def __del__(self) -> None:
            raise KeyError("in a finalizer")

    del_me = Finalized()
    del del_me
    thread = threading.Thread(target={}.popitem)
    thread.start()
    thread.join()
    warnings.warn("old", RuntimeWarning, stacklevel=1)
    finalizer, in_thread, warning = map(json.loads, stderr.getvalue().splitlines())
    assert (warning["level"], "RuntimeWarning: old" in warning["message"]) == ("warning", True)
    assert "in a finalizer" in finalizer["error"]
    assert (in_thread["level"], "KeyError" in in_thread["error"]) == ("error", True)


def test_last_words_overtake_the_queue(stderr: Stderr) -> None:
    set_up("info", "text")
    say_at_once("stopping at %s", "once")
    assert stderr.getvalue().endswith("Z warning: stopping at once\n")


def test_an_early_error_looks_as_in_the_log(stderr: Stderr) -> None:
    assert not is_set_up()
    assert error_line("no\nport", "text").endswith("Z error: no\\nport")
    assert json.loads(error_line("no port", "json"))["level"] == "error"
    set_up("info", "text")
    assert is_set_up()


def test_without_stderr_nothing_is_printed(monkeypatch: pytest.MonkeyPatch, stderr: Stderr) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    set_up("info", "text")
    log.info("into the void")

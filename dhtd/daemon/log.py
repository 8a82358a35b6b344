"""The log, on stderr: text for people, text for journald, or one JSON object a line for machines.

Logging never blocks: see `dhtd.daemon.outlet`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from dhtd.daemon.outlet import Outlet

FLUSH: Final = 1.0  # seconds to wait for the reader at the end
STDERR: Final = 2

_WARNINGS: Final = "py.warnings"  # the logger of `logging.captureWarnings`

# sd-daemon(3): the priorities of syslog, in front of a line.
_PRIORITIES: Final = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}


@dataclass(frozen=True, slots=True)
class LogCounters:
    log_dropped: int = 0  # lines that were not read in time, or could not be written


class _TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z info: joined the network: 8 contacts`, on one line, whatever a stranger put into it.

    Only a traceback adds lines. They are indented, so none looks like a record.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{self._start(record)}{record.getMessage()}"]
        if record.exc_info:
            lines += [f"  {line}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(map(_escaped, lines))

    def _start(self, record: logging.LogRecord) -> str:
        return f"{self.formatTime(record, self.datefmt)} {record.levelname.lower()}: "


class _JournalFormatter(_TextFormatter):
    """The same for journald, which adds the time itself, and takes the level from the start of the line."""

    def _start(self, record: logging.LogRecord) -> str:
        return ""


class _JsonFormatter(logging.Formatter):
    """Keys: time (seconds since the epoch), level, logger, message, and error with the traceback, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        body = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            body["error"] = self.formatException(record.exc_info)
        return json.dumps(body)


class _Handler(logging.Handler):
    """Hands lines to the outlet. A failure here costs one line, and is counted."""

    def __init__(self, style: str, *, to_journal: bool) -> None:
        super().__init__()
        self._to_journal = to_journal
        text = _JournalFormatter() if to_journal else _TextFormatter()
        self.setFormatter(_JsonFormatter() if style == "json" else text)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.line(record)
        except Exception:  # noqa: BLE001 - too little memory, or arguments that do not fit: the line is counted
            OUTLET.drop()
        else:
            OUTLET.put(line)

    def line(self, record: logging.LogRecord) -> bytes:
        text = self.format(record)
        if self._to_journal:
            priority = f"<{_PRIORITIES[record.levelname.lower()]}>"
            text = "\n".join(priority + line for line in text.splitlines())
        return f"{text}\n".encode("utf-8", "backslashreplace")


def _escaped(line: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in line
    )


def _record(level: int, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("dhtd.log", level, __file__, 0, message, args, None)


def _dropped_line(count: int) -> bytes:
    lines = "1 line of the log was" if count == 1 else f"{count} lines of the log were"
    return _handler.line(_record(logging.WARNING, "%s dropped: the reader did not keep up, or writing failed", lines))


OUTLET: Final = Outlet(STDERR, _dropped_line)  # one for the process, like stderr
_handler = _Handler("text", to_journal=False)


def is_journal(environ: Mapping[str, str], descriptor: int = STDERR) -> bool:
    """Whether journald reads this descriptor: JOURNAL_STREAM names its file by device and inode."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def set_up(level: str, style: str) -> None:
    """Log to stderr at `level` (debug, info, warning, error) in `style` (text, json). May be called again."""
    global _handler  # noqa: PLW0603 - one log for the process, as in `logging` itself
    _handler = _Handler(style, to_journal=is_journal(os.environ))
    OUTLET.start()
    logger = logging.getLogger("dhtd")
    logger.handlers[:] = [_handler]
    logger.propagate = False
    logger.setLevel(level.upper())
    logging.getLogger(_WARNINGS).handlers[:] = [_handler]


def catch_the_rest() -> None:
    """Log what Python would print on stderr itself, and block on: warnings, exceptions in finalizers and threads."""
    logger = logging.getLogger("dhtd")
    logging.captureWarnings(True)

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        logger.error("%s", what.err_msg or "an exception was ignored", exc_info=_exc_info(what.exc_value))

    def in_thread(what: threading.ExceptHookArgs) -> None:
        logger.error("a thread failed", exc_info=_exc_info(what.exc_value))

    sys.unraisablehook = unraisable
    threading.excepthook = in_thread


def _exc_info(error: BaseException | None) -> tuple[Any, Any, TracebackType | None] | None:
    return None if error is None else (type(error), error, error.__traceback__)


def counters() -> LogCounters:
    return LogCounters(OUTLET.dropped)


def say_at_once(message: str, *args: object) -> None:
    """Log a warning ahead of all waiting lines, as far as there is room: the process is about to end."""
    OUTLET.put_at_once(_handler.line(_record(logging.WARNING, message, *args)))


def flush() -> None:
    """Wait briefly for the reader of the log."""
    OUTLET.flush(FLUSH)


def is_set_up() -> bool:
    return _handler in logging.getLogger("dhtd").handlers


def error_line(message: str, style: str) -> str:
    """Return the line of an error, without the newline, for when there is no log yet."""
    handler = _Handler(style, to_journal=is_journal(os.environ))
    return handler.line(_record(logging.ERROR, "%s", message)).decode().rstrip("\n")

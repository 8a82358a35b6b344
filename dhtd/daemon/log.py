"""The log, on stderr: for people, or (`json`) one object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
import time


class _TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z info: joined the network: 8 contacts`, on one line whatever a stranger had put into it.

    Only a traceback adds lines, and those are indented, so that none looks like a record.
    """

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(datefmt="%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        lines = [f"{self.formatTime(record, self.datefmt)} {record.levelname.lower()}: {record.getMessage()}"]
        if record.exc_info:
            lines += [f"  {line}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(map(_escaped, lines))


class _JsonFormatter(logging.Formatter):
    """Keys: time (seconds since the epoch), level, logger, message, and error with a traceback where there is one."""

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


def _escaped(line: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in line
    )


def set_up(level: str, style: str) -> None:
    """Log to stderr at `level` (debug, info, warning, error) in `style` (text, json). May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    logger = logging.getLogger("dhtd")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())

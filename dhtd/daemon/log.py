"""The log, on stderr: for people, or (`json`) one object a line for machines."""

from __future__ import annotations

import json
import logging
import sys
import time


class _TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00Z info: joined the network: 8 contacts`; control characters of strangers are escaped."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace(record.levelname, record.levelname.lower(), 1)
        return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


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


def set_up(level: str, style: str) -> None:
    """Log to stderr at `level` (debug, info, warning, error) in `style` (text, json). May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    logger = logging.getLogger("dhtd")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level.upper())

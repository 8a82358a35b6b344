"""Unit files of systemd, as far as ours go: sections, repeated keys, and no continued lines."""

from __future__ import annotations

from pathlib import Path


class Unit:
    def __init__(self, path: Path) -> None:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        self.settings = [
            (key, value)
            for line in lines
            if line and line[0] not in "#;["
            for key, equals, value in [line.partition("=")]
            if equals
        ]

    def all(self, key: str) -> list[str]:
        """Return the values of a key, in their order."""
        return [value for name, value in self.settings if name == key]

    def one(self, key: str) -> str:
        """Return the value of a key that stands there once."""
        [value] = self.all(key)
        return value

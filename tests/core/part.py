"""A stand-in for any part of a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Part:
    """Stands in for a part: notes each call of a method, with its name and arguments."""

    def __init__(self, name: str, calls: list[tuple[Any, ...]]) -> None:
        self._name = name
        self._calls = calls

    def __getattr__(self, method: str) -> Callable[..., None]:
        def call(*arguments: object, **named: object) -> None:
            self._calls.append((f"{self._name}.{method}", *arguments, *named.items()))

        return call

"""The steps that are due at one time: if one fails, the others still have their turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")


class Attempts:
    """Takes steps, and keeps what they raise."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures: list[Exception] = []

    def do(self, act: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Take a step now; `conclude` raises what it raises."""
        try:
            act(*args, **kwargs)
        except Exception as failure:  # noqa: BLE001 - see above
            self._failures.append(failure)

    def conclude(self) -> None:
        """Raise an `ExceptionGroup` of what the steps since the last call have raised, if any has."""
        if self._failures:
            failures, self._failures = self._failures, []
            raise ExceptionGroup("not all that was due could be done", failures)

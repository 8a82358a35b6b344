"""The outcome of a check."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """Whether a check has passed, and why."""

    passed: bool
    message: str

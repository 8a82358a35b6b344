"""Other users than the daemon's: real ones, where the tests run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NOBODY = 65_534


@contextmanager
def other_user() -> Iterator[None]:
    """Be nobody, if we are root; else we are somebody without privileges already."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)


@contextmanager
def seem_other_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the daemon take us for another user than its own."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: NOBODY)
        yield

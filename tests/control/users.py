"""Users other than the daemon's: real ones if the tests run as root."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

NOBODY = 65_534

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")


@contextmanager
def other_user(uid: int = NOBODY, gid: int | None = None, groups: Sequence[int] | None = None) -> Iterator[None]:
    """Be nobody, if we are root, or a user with this primary group and these others; else be ourselves."""
    if os.geteuid() != 0:
        yield
        return
    own_group, own_groups = os.getegid(), os.getgroups()
    if groups is not None:
        os.setgroups(groups)
    if gid is not None:
        os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(own_group)
        os.setgroups(own_groups)


@contextmanager
def seem_other_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the daemon take us for another user."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: NOBODY)
        yield

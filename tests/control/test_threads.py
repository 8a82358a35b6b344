"""Work in threads, on a system that starts no more of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import trio

from dhtd.control.threads import in_thread
from dhtd.errors import NoThread


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without further threads, as Python reports it."""

    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("trio._core._thread_cache.THREAD_CACHE._idle_workers", {})
    monkeypatch.setattr(threading.Thread, "start", refuse)
    return iter(())


async def test_work_returns_its_result_from_a_thread() -> None:
    assert await in_thread(threading.get_ident) != threading.get_ident()


async def test_an_unstartable_thread_is_its_own_error(no_threads: None) -> None:
    limiter = trio.CapacityLimiter(1)
    done: list[int] = []
    for _ in range(2):
        with pytest.raises(NoThread, match=r"no further thread \(can't start new thread; this process has \d+\)"):
            await in_thread(lambda: done.append(1), limiter)
    assert (done, limiter.borrowed_tokens) == ([], 0)


async def test_a_defect_is_no_lack_of_threads() -> None:
    def fail() -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(RuntimeError, match="can't start new thread"):
        await in_thread(fail)

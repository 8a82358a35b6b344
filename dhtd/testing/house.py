"""A thread with a loop of trio, in which a swarm lives, whatever the rest of the program runs on.

The thread owns the directory of the swarm. However it ends, the directory is removed.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from dhtd.testing.swarm import Member, Swarm

T = TypeVar("T")

NODES_MAX: Final = 128  # each has some file descriptors, and a process often has 1,024
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory in memory, on Linux

logging.getLogger("dhtd").addHandler(logging.NullHandler())  # what nodes log is for those who want it


class House:
    """A swarm in a thread of its own, from `begin` to `end`."""

    def __init__(self, size: int, network: str) -> None:
        self._size = size
        self._network = network
        self._inside: Future[tuple[trio.lowlevel.TrioToken, trio.Nursery, Swarm]] = Future()
        self._scope = trio.CancelScope()
        self._started: Future[list[Member]] = Future()
        self._thread = threading.Thread(target=self._run, name="dhtd-testnet", daemon=True)

    def begin(self) -> Future[list[Member]]:
        """Start it; the members come once all have joined. Raises `RuntimeError` if it was started before."""
        self._thread.start()
        return self._started

    def order(self, work: Callable[[Swarm], Awaitable[T]]) -> Future[T]:
        """Have work done in the thread; raise `RuntimeError` if it does not run."""
        if self._thread.ident is None:
            raise RuntimeError("this network has not begun: use it in a `with` block")
        token, nursery, swarm = self._inside.result()
        done: Future[T] = Future()

        async def obey() -> None:
            try:
                done.set_result(await work(swarm))
            except Exception as error:  # noqa: BLE001 - raised in the thread that waits
                done.set_exception(error)
            finally:
                _fail(done, _ended())

        def begin() -> None:
            try:
                nursery.start_soon(obey)
            except RuntimeError:  # it is just ending
                _fail(done, _ended())

        try:
            token.run_sync_soon(begin)
        except trio.RunFinishedError:
            raise _ended() from None
        return done

    def end(self) -> None:
        """Have it end, without waiting for that."""
        if self._thread.ident is None:
            return
        with suppress(BaseException):  # it did not even start, or has ended
            token, *_ = self._inside.result()
            token.run_sync_soon(self._scope.cancel)

    def join(self) -> None:
        """Wait until it has ended, and its files are removed."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            directory = _directory()
            removal = weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)  # also at exit
            try:
                trio.run(self._live, directory)
            finally:
                removal()
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            _fail(self._started, error)
            _fail(self._inside, error)
        else:
            _fail(self._started, _ended())

    async def _live(self, directory: Path) -> None:
        failure: Exception | None = None
        with self._scope:
            async with trio.open_nursery() as nursery:
                swarm = Swarm(directory, self._network, nursery)
                self._inside.set_result((trio.lowlevel.current_trio_token(), nursery, swarm))
                try:
                    self._started.set_result(await swarm.grow(self._size))
                    await trio.sleep_forever()
                except Exception as error:  # noqa: BLE001 - raised below
                    failure = error
                finally:
                    with trio.CancelScope(shield=True):
                        await swarm.kill(*swarm.members)
                    nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


def check_size(size: object) -> int:
    """Return the size of a network; raise `TypeError` or `ValueError`."""
    if type(size) is not int:
        raise TypeError(f"the size of a network is a whole number, not {type(size).__name__}")
    if not 1 <= size <= NODES_MAX:
        raise ValueError(f"a network has 1 to {NODES_MAX} nodes, not {size}")
    return size


def _directory() -> Path:
    """Make a directory: in memory, unless TMPDIR says where. Nodes sync their files, which takes a disk 0.1 s each."""
    in_memory = not os.environ.get("TMPDIR") and MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK)
    return Path(tempfile.mkdtemp(prefix="dhtd-", dir=MEMORY if in_memory else None))


def _fail(future: Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _ended() -> RuntimeError:
    return RuntimeError("this network has ended")

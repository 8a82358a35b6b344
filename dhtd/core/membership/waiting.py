"""Operations that wait for the network to be reached: begun too early, they would find no nodes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from dhtd.core.querying.operations import Startable, start


class Patience(IntEnum):
    """How long an operation waits while we are not connected."""

    LITTLE = 1  # while no contact is known, and an attempt to join is under way or about to be
    SOME = 2  # the same, and while endpoints are pinged again and again that may not be ready yet
    ENDLESS = 3  # until we are connected


class Waiting:
    """The operations that wait. `must_wait` says for which patience that is so."""

    __slots__ = ("_must_wait", "_operations")

    def __init__(self, must_wait: Callable[[Patience, float], bool]) -> None:
        self._must_wait = must_wait
        self._operations: dict[Startable, Patience] = {}  # in the order in which they came

    def __len__(self) -> int:
        """How many there are."""
        return len(self._operations)

    def __contains__(self, operation: object) -> bool:
        """Whether this one waits."""
        return operation in self._operations

    def begin(self, operation: Startable, patience: Patience, now: float) -> None:
        """Start an operation; later, if it has to wait."""
        if self._must_wait(patience, now):
            self._operations[operation] = patience
        else:
            start(operation, now)

    def set_patience(self, operation: Startable, patience: Patience) -> None:
        """Have an operation wait for longer, or not so long, if it waits."""
        if operation in self._operations:
            self._operations[operation] = patience

    def forget(self, operation: Startable) -> None:
        """Start an operation never, if it still waits."""
        self._operations.pop(operation, None)

    def settle(self, now: float) -> None:
        """Start those that need not wait any longer."""
        if not self._operations:
            return
        for operation, patience in list(self._operations.items()):
            if operation in self._operations and not self._must_wait(patience, now):
                del self._operations[operation]
                start(operation, now)

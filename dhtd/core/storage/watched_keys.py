"""The keys that somebody watches, and those of them under which something may have changed.

The parts that hold endpoints note here what they change. `dhtd.core.watching` finds out what that means for each watch.
"""

from __future__ import annotations


class WatchedKeys:
    """Packed keys. To note a key that nobody watches costs a look into a dictionary."""

    __slots__ = ("_stirred", "watches")

    def __init__(self) -> None:
        self.watches: dict[bytes, int] = {}  # by key: how many there are, ours among them; read by others
        self._stirred: dict[bytes, None] = {}  # something may have changed there

    def __len__(self) -> int:
        """How many keys are watched."""
        return len(self.watches)

    def watch(self, key: bytes) -> None:
        """There is one more watch of this key."""
        self.watches[key] = self.watches.get(key, 0) + 1

    def leave(self, key: bytes) -> None:
        """There is one watch less."""
        self.watches[key] -= 1
        if not self.watches[key]:
            del self.watches[key]
            self._stirred.pop(key, None)

    def note(self, key: bytes) -> None:
        """The endpoints under this key may have changed."""
        if key in self.watches:
            self._stirred[key] = None

    def note_all(self) -> None:
        """The endpoints under all keys may have changed."""
        self._stirred = dict.fromkeys(self.watches)

    @property
    def are_stirred(self) -> bool:
        """Whether `take` returns any."""
        return bool(self._stirred)

    def take(self) -> list[bytes]:
        """Take and return the keys where something may have changed, in the order in which it did."""
        keys, self._stirred = list(self._stirred), {}
        return keys

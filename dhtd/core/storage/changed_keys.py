"""The keys with held records that have changed: since they were saved, and under the eyes of watchers."""

from __future__ import annotations

from dhtd.core.storage.watched_keys import WatchedKeys

_SLACK = 64  # more keys are remembered than may be held at once: some have no records any more


class ChangedKeys:
    """Packed keys to be saved, `most` or so of them. With more, saving all held records is easier.

    `watched` is told of each change as well.
    """

    __slots__ = ("_keys", "_most", "watched")

    def __init__(self, most: int) -> None:
        self._most = most + _SLACK
        self._keys: set[bytes] | None = set()  # None: more than these
        self.watched = WatchedKeys()

    def __len__(self) -> int:
        """How many keys `take` would return; 0 if it would return None."""
        return 0 if self._keys is None else len(self._keys)

    def note(self, key: bytes) -> None:
        """The records under this key have changed."""
        self.watched.note(key)
        if self._keys is not None:
            self._keys.add(key)
            if len(self._keys) > self._most:
                self._keys = None

    def take(self, most: int | None = None) -> set[bytes] | None:
        """Take and return the keys: `most` of them, if given. None means that all held records are to be saved."""
        if most is not None and self._keys is not None and len(self._keys) > most:
            return {self._keys.pop() for _ in range(most)}
        keys, self._keys = self._keys, set()
        return keys

    def put_back(self, keys: set[bytes] | None) -> None:
        """Have these keys among the next ones again: they could not be saved."""
        if keys is None:
            self._keys = None
        for key in keys or ():
            self.note(key)

"""Values in the answers of other nodes are believed if they prove themselves.

The K holders of a value all send the same, so the latest ones are remembered: each is verified once.
"""

from __future__ import annotations

from typing import Final

from dhtd.core.codec import Codec
from dhtd.core.counters import Counters
from dhtd.core.ids import Id, packed
from dhtd.core.records import Value

_REMEMBERED: Final = 64


class Verifier:
    """Tells whether a value belongs under a key."""

    __slots__ = ("_codec", "_counters", "_genuine")

    def __init__(self, codec: Codec, counters: Counters) -> None:
        self._codec = codec
        self._counters = counters
        self._genuine: dict[tuple[bytes, Value], None] = {}

    def accepts(self, key: Id, value: Value) -> bool:
        """Whether the value has this key, and a good signature if it needs one."""
        found = packed(key), value
        if found in self._genuine:
            return True
        if self._codec.key_of(value) != key or not self._codec.is_genuine(value):
            self._counters.forged += 1
            return False
        if len(self._genuine) >= _REMEMBERED:
            self._genuine.clear()
        self._genuine[found] = None
        return True

"""Values that this node holds for others: one under each key.

A put is looked at in this order, and the first refusal is the answer:

1. What is held stays, unless the new value supersedes it. The same bytes again let it live longer.
2. Quotas bound the values and their bytes, of a source and in all.
3. The signature is verified, which takes longer than all else.

A full store evicts what is farthest from this node, and of that what was heard of longest ago. A newcomer that is
farther than all that is held is refused. A value never lives shorter by a put: else everybody could end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from dhtd.core.counters import VALUE_KIB, VALUE_KIB_PER_SOURCE, VALUES, VALUES_PER_SOURCE
from dhtd.core.endpoint import source_group
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, Put
from dhtd.core.policy import Policy
from dhtd.core.records import Immutable, Mutable, Value, supersedes
from dhtd.core.storage.changed_keys import ChangedKeys
from dhtd.core.storage.outcomes import EVICTED_BY, REFUSED_BY, STORED, QuotaReached, Refused, Stored
from dhtd.core.storage.packed_value import pack, unpack
from dhtd.core.storage.wheel import Wheel

if TYPE_CHECKING:
    from random import Random

SWEPT: Final = 256  # values that one `sweep` looks at, at most
_KIB: Final = 1_024
_JITTER: Final = 0.25  # of the time after which a value is replicated: of K holders one comes first

Verify = Callable[[Value], Refused | QuotaReached | None]


class HeldValue(NamedTuple):
    """A held value, as others see it: for the disk, and for the owner of the node. Times are `now` times."""

    key: Id
    value: Value
    source: bytes  # an IPv4 address, or a network of IPv6: see `source_group`
    expires_at: float


class _Held:
    """A held value, in little memory."""

    __slots__ = ("expires_at", "key", "packed", "replicate_at", "source")

    def __init__(self, key: bytes, packed: bytes, source: bytes, expires_at: int, replicate_at: int) -> None:
        self.key = key
        self.packed = packed
        self.source = source
        self.expires_at = expires_at
        self.replicate_at = replicate_at


class _Share:
    """What one source has here."""

    __slots__ = ("size", "values")

    def __init__(self) -> None:
        self.values = 0
        self.size = 0  # bytes


class HeldValues:
    """The held values, by packed key."""

    __slots__ = (
        "_by_distance",
        "_held",
        "_own_id",
        "_policy",
        "_rng",
        "_sources",
        "_wheel",
        "changed",
        "size",
    )

    def __init__(self, own_id: Id, policy: Policy, rng: Random) -> None:
        self._own_id = own_id
        self._policy = policy
        self._rng = rng
        self._held: dict[bytes, _Held] = {}
        self._by_distance: dict[int, dict[bytes, _Held]] = {}  # by the bits of the distance; the last heard of last
        self._sources: dict[bytes, _Share] = {}
        self._wheel: Wheel[_Held] = Wheel()
        self.size = 0  # bytes
        self.changed = ChangedKeys(2 * policy.values)  # to be saved

    def __len__(self) -> int:
        """How many values are held, with expired ones that are not swept yet."""
        return len(self._held)

    def __iter__(self) -> Iterator[HeldValue]:
        """Yield each held value."""
        return (_shown(held) for held in self._held.values())

    def keys(self) -> list[bytes]:
        """Return the packed keys with held values."""
        return list(self._held)

    def held(self, key: bytes) -> HeldValue | None:
        """Return the value under a packed key, expired or not."""
        held = self._held.get(key)
        return None if held is None else _shown(held)

    def get(self, key: Id, now: float) -> tuple[Value, int] | None:
        """Return the value under `key`, and for how many seconds it is held yet."""
        held = self._held.get(packed(key))
        if held is None or held.expires_at <= now:
            return None
        return unpack(held.packed), int(held.expires_at - now)

    # Puts

    def put(self, request: Put, ip: bytes, now: float, verify: Verify) -> Stored | QuotaReached | Refused:
        """Hold a value for a machine at this address; `verify` is asked last, and may refuse it."""
        key, value, lasts = packed(request.key), request.value, request.lasts
        held = self._held.get(key)
        if held is not None and held.expires_at <= now:
            self._drop(held)
            held = None
        whole = pack(value)
        if held is not None:
            # The same again is as good as new.
            if held.packed == whole:
                self._prolong(held, lasts, now)
                return STORED
            refused = _refused(unpack(held.packed), request)
            if refused is not None:
                return refused
        # Is there room for it? What it replaces makes some.
        source = source_group(ip)
        victims = self._room_for(key, whole, source, held, now)
        if isinstance(victims, QuotaReached):
            return victims
        forged = verify(value)
        if forged is not None:
            return forged
        # There is: hold it for as long as what it replaces, at least.
        expires_at = int(now) + lasts
        if held is not None:
            expires_at = max(expires_at, held.expires_at)
            self._drop(held)
        for victim in victims:
            self._drop(victim)
        self._hold(_Held(key, whole, source, expires_at, self._replicate_at(now)), now)
        if not victims:
            return STORED
        return EVICTED_BY[VALUES if len(self._held) >= self._policy.values else VALUE_KIB]

    def restore(self, value: HeldValue, now: float) -> bool:
        """Hold a value of an earlier run, if there is room, and no other one; return whether."""
        key, whole = packed(value.key), pack(value.value)
        if key in self._held or value.expires_at <= now:
            return False
        if isinstance(self._room_for(key, whole, value.source, None, now), QuotaReached):
            self.changed.note(key)
            return False
        self._hold(_Held(key, whole, value.source, int(value.expires_at), self._replicate_at(now)), now, restored=True)
        return True

    def drop(self, key: Id) -> None:
        """Hold the value under `key` no longer."""
        held = self._held.get(packed(key))
        if held is not None:
            self._drop(held)

    def supersede(self, key: Id, value: Value, now: float) -> None:
        """Hold what this node has found under `key`, for as long as what it supersedes, if that is held yet."""
        held = self._held.get(packed(key))
        if held is not None and supersedes(value, unpack(held.packed)):
            self._drop(held)
            self._hold(_Held(held.key, pack(value), held.source, held.expires_at, self._replicate_at(now)), now)

    def refuses_newcomer(self, key: Id) -> bool:
        """Whether the store is full of what is nearer than this key."""
        if len(self._held) < self._policy.values and self.size < self._policy.value_kib * _KIB:
            return False
        return not self._by_distance or self._bits(packed(key)) > max(self._by_distance)

    # Time

    def sweep(self, now: float) -> list[HeldValue]:
        """Look at some values: drop what has expired, and return those that nobody has put for long."""
        silent = []
        for _ in range(SWEPT):
            held = self._wheel.pop(now)
            if held is None:
                break
            # It was dropped, or replaced.
            if self._held.get(held.key) is not held:
                continue
            if held.expires_at <= now:
                self._drop(held)
                continue
            if held.replicate_at <= now:
                held.replicate_at = self._replicate_at(now)
                silent.append(_shown(held))
            self._wheel.file(held, min(held.expires_at, held.replicate_at), now)
        return silent

    # Inside

    def _room_for(
        self, key: bytes, whole: bytes, source: bytes, replaced: _Held | None, now: float
    ) -> list[_Held] | QuotaReached:
        """Return what gives way to a value, or the quota that leaves no room for it. Changes nothing."""
        policy = self._policy
        share = self._sources.get(source)
        # 1. What its source has.
        if share is not None:
            is_own = replaced is not None and replaced.source == source
            if share.values - is_own >= policy.values_per_source:
                return REFUSED_BY[VALUES_PER_SOURCE]
            freed = len(replaced.packed) if replaced is not None and is_own else 0
            if share.size - freed + len(whole) > policy.value_kib_per_source * _KIB:
                return REFUSED_BY[VALUE_KIB_PER_SOURCE]
        # 2. What there is in all: evict until it fits, the farthest first, and of these the oldest.
        count, size = len(self._held) + (replaced is None), self.size + len(whole)
        size -= 0 if replaced is None else len(replaced.packed)
        victims: list[_Held] = []
        bits = self._bits(key)
        for held in self._farthest_first():
            is_over = count > policy.values, size > policy.value_kib * _KIB
            if not any(is_over):
                break
            if self._bits(held.key) < bits:
                return REFUSED_BY[VALUES if is_over[0] else VALUE_KIB]
            if held is not replaced:
                victims.append(held)
                count -= 1
                size -= len(held.packed)
        if count > policy.values or size > policy.value_kib * _KIB:
            return REFUSED_BY[VALUES if count > policy.values else VALUE_KIB]
        return victims

    def _farthest_first(self) -> Iterator[_Held]:
        if len(self._held) < self._policy.values and self.size + _LARGEST <= self._policy.value_kib * _KIB:
            return
        for bits in sorted(self._by_distance, reverse=True):
            yield from self._by_distance[bits].values()

    def _hold(self, held: _Held, now: float, *, restored: bool = False) -> None:
        self._held[held.key] = held
        self._by_distance.setdefault(self._bits(held.key), {})[held.key] = held
        share = self._sources.setdefault(held.source, _Share())
        share.values += 1
        share.size += len(held.packed)
        self.size += len(held.packed)
        self._wheel.file(held, min(held.expires_at, held.replicate_at), now)
        if not restored:
            self.changed.note(held.key)

    def _prolong(self, held: _Held, lasts: int, now: float) -> None:
        expires_at = int(now) + lasts
        held.replicate_at = self._replicate_at(now)
        near = self._by_distance[self._bits(held.key)]
        near[held.key] = near.pop(held.key)
        if expires_at > held.expires_at:
            held.expires_at = expires_at
            self.changed.note(held.key)

    def _drop(self, held: _Held) -> None:
        del self._held[held.key]
        bits = self._bits(held.key)
        del self._by_distance[bits][held.key]
        if not self._by_distance[bits]:
            del self._by_distance[bits]
        share = self._sources[held.source]
        share.values -= 1
        share.size -= len(held.packed)
        if not share.values:
            del self._sources[held.source]
        self.size -= len(held.packed)
        self.changed.note(held.key)

    def _bits(self, key: bytes) -> int:
        return (self._own_id ^ unpacked(key)).bit_length()

    def _replicate_at(self, now: float) -> int:
        return int(now + self._policy.replicate * (1 + _JITTER * self._rng.random()))


def _refused(held: Value, request: Put) -> Refused | None:
    """Return why a put does not replace what is held, if it does not."""
    value = request.value
    if isinstance(held, Mutable) and isinstance(value, Immutable):
        return Refused(ERROR_SEQ, "a signed value is held")
    if isinstance(held, Mutable) and request.cas is not None and request.cas != held.seq:
        return Refused(ERROR_CAS, f"the seq is {held.seq}")
    if not supersedes(value, held):
        return Refused(ERROR_SEQ, "a newer value is held" if _is_older(value, held) else "another value is held")
    return None


def _is_older(value: Value, held: Value) -> bool:
    return isinstance(value, Mutable) and isinstance(held, Mutable) and value.seq < held.seq


def _shown(held: _Held) -> HeldValue:
    return HeldValue(unpacked(held.key), unpack(held.packed), held.source, float(held.expires_at))


_LARGEST: Final = 1_200  # bytes of a value in memory, and a little more

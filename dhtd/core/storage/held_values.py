"""Values that this node holds for others: one under each key.

A put is looked at in this order, and the first refusal is the answer:

1. What is held stays, unless the new value supersedes it. The same bytes again let it live longer.
2. Quotas bound the values and their bytes, of a source and in all. A full store evicts values of a source that has
   more; see `value_shares`.
3. The signature is verified, which takes longer than all else.

A refused put changes nothing. A value never lives shorter by a put: else everybody could end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

from dhtd.core.counters import VALUE_KIB, VALUE_KIB_PER_SOURCE, VALUES, VALUES_PER_SOURCE
from dhtd.core.endpoint import source_group
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.latest import Latest
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, Put
from dhtd.core.policy import Policy
from dhtd.core.records import Immutable, Mutable, Value, supersedes
from dhtd.core.storage.changed_keys import ChangedKeys
from dhtd.core.storage.outcomes import EVICTED_BY, REFUSED_BY, STORED, QuotaReached, Refused, Stored
from dhtd.core.storage.packed_value import pack, unpack
from dhtd.core.storage.value_shares import KeptValue, ValueShares, size_of, weight
from dhtd.core.storage.wheel import Wheel

if TYPE_CHECKING:
    from random import Random

SWEPT: Final = 256  # values that one `sweep` looks at, at most
_KIB: Final = 1_024
_READ: Final = 256  # values that are kept unpacked as well: those that were read last
_NEVER: Final = 2**62  # seconds
_JITTER: Final = 0.25  # of the time after which a value is replicated: of K holders one comes first

Verify = Callable[[Value], Refused | QuotaReached | None]


class HeldValue(NamedTuple):
    """A held value, as others see it: for the disk, and for the owner of the node. Times are `now` times."""

    key: Id
    value: Value
    source: bytes  # an IPv4 address, or a network of IPv6: see `source_group`
    expires_at: float


class Silent(NamedTuple):
    """A held value that nobody has put for long. It is heard of again where `replicate_at` is another."""

    key: bytes  # packed
    replicate_at: int


class HeldValues:
    """The held values, by packed key."""

    __slots__ = (
        "_own_id",
        "_policy",
        "_read",
        "_rng",
        "_shares",
        "_wheel",
        "by_key",
        "changed",
        "is_full",
        "size",
    )

    def __init__(self, own_id: Id, policy: Policy, rng: Random) -> None:
        self._own_id = own_id
        self._policy = policy
        self._rng = rng
        self.by_key: dict[bytes, KeptValue] = {}  # packed; read by others
        self._shares = ValueShares()
        self._wheel: Wheel[KeptValue] = Wheel()
        self._read: Latest[bytes, tuple[KeptValue, Value]] = Latest(_READ)
        self.size = 0  # bytes, as the quotas count them
        self.changed = ChangedKeys(2 * policy.values)  # to be saved
        self.is_full = False  # whether `refuses_newcomer` is worth a call
        self._note_room()

    def __len__(self) -> int:
        """How many values are held, with expired ones that are not swept yet."""
        return len(self.by_key)

    def __iter__(self) -> Iterator[HeldValue]:
        """Yield each held value."""
        return (_shown(held) for held in self.by_key.values())

    def keys(self) -> list[bytes]:
        """Return the packed keys with held values."""
        return list(self.by_key)

    def held(self, key: bytes) -> HeldValue | None:
        """Return the value under a packed key, expired or not."""
        held = self.by_key.get(key)
        return None if held is None else _shown(held)

    def get(self, key: Id, now: float) -> tuple[Value, int] | None:
        """Return the value under `key`, and for how many seconds it is held yet."""
        held = self.by_key.get(found_by := packed(key))
        if held is None or held.expires_at <= now:
            return None
        read = self._read.get(found_by)
        if read is None or read[0] is not held:
            read = self._read[found_by] = held, unpack(held.packed)
        return read[1], int(held.expires_at - now)

    def renamed(self, own_id: Id) -> None:
        """We have another ID: other values are far from it."""
        self._own_id = own_id
        for held in self.by_key.values():
            self._shares.drop(held)
            held.bits = self._bits(held.key)
            self._shares.add(held)

    # Puts

    def put(self, request: Put, ip: bytes, now: float, verify: Verify) -> Stored | QuotaReached | Refused:
        """Hold a value for a machine at this address; `verify` is asked last, and may refuse it."""
        key, value, lasts = packed(request.key), request.value, request.lasts
        held = self.by_key.get(key)
        if held is not None and held.expires_at <= now:
            self._drop(held)
            held = None
        whole = pack(value)
        if held is not None:
            # The same again is as good as new.
            if held.packed == whole:
                self._prolong(held, lasts, now)
                return STORED
            refused = refusal(unpack(held.packed), request)
            if refused is not None:
                return refused
        # Is there room for it? What it replaces makes some.
        source = source_group(ip)
        victims = self._room_for(key, whole, source, held)
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
        evicted_by = VALUES if len(self.by_key) >= self._policy.values else VALUE_KIB
        for victim in victims:
            self._drop(victim)
        self._hold(key, whole, source, expires_at, now)
        return EVICTED_BY[evicted_by] if victims else STORED

    def restore(self, value: HeldValue, now: float) -> bool:
        """Hold a value of an earlier run, if there is room, and no other one; return whether.

        It is on disk, so a change is only what does not fit, and what gives way to it.
        """
        key, whole = packed(value.key), pack(value.value)
        if key in self.by_key or value.expires_at <= now:
            return False
        victims = self._room_for(key, whole, value.source, None)
        if isinstance(victims, QuotaReached):
            self.changed.note(key)
            return False
        for victim in victims:
            self._drop(victim)
        self._hold(key, whole, value.source, int(value.expires_at), now, restored=True)
        return True

    def supersede(self, key: Id, value: Value, now: float) -> None:
        """Hold what this node has found under `key`, for as long as what it supersedes, if that is held yet.

        Where there is no room for it, hold neither: what is old is not served once this node knows better.
        """
        held = self.by_key.get(packed(key))
        if held is None or not supersedes(value, unpack(held.packed)):
            return
        whole = pack(value)
        victims = self._room_for(held.key, whole, held.source, held)
        self._drop(held)
        if not isinstance(victims, QuotaReached):
            for victim in victims:
                self._drop(victim)
            self._hold(held.key, whole, held.source, held.expires_at, now)

    def refuses_newcomer(self, key: Id, ip: bytes) -> bool:
        """Whether a new value under `key` from this address would be refused, and would be the first from there.

        A source with values here may want to renew them, or to replace what is under the key.
        """
        if not self.is_full or self._shares.has_more_than_fair or packed(key) in self.by_key:
            return False
        return source_group(ip) not in self._shares

    # Time

    def slept(self, seconds: float) -> None:
        """Take all values as so much older. They are swept a little later, and not served meanwhile."""
        for held in self.by_key.values():
            held.expires_at -= ceil(seconds)
            self.changed.note(held.key)

    def sweep(self, now: float) -> tuple[list[Silent], bool]:
        """Look at some values: drop what has expired. Return those that nobody has put for long, and if there is more.

        Strangers can make many expire at once, so the rest is left to the next call.
        """
        silent: list[Silent] = []
        for _ in range(SWEPT):
            held = self._wheel.pop(now)
            if held is None:
                return silent, False
            # It was dropped, or replaced.
            if self.by_key.get(held.key) is not held:
                continue
            if held.expires_at <= now:
                self._drop(held)
                continue
            if held.replicate_at <= now:
                held.replicate_at = self._replicate_at(now)
                silent.append(Silent(held.key, held.replicate_at))
            self._wheel.file(held, min(held.expires_at, held.replicate_at), now)
        return silent, True

    def still(self, silent: Silent) -> HeldValue | None:
        """Return a value, if it was not heard of since it was said to be silent."""
        held = self.by_key.get(silent.key)
        return None if held is None or held.replicate_at != silent.replicate_at else _shown(held)

    # Inside

    def _room_for(
        self, key: bytes, whole: bytes, source: bytes, replaced: KeptValue | None
    ) -> list[KeptValue] | QuotaReached:
        """Return what gives way to a value, or the quota that leaves no room for it. Changes nothing."""
        policy = self._policy
        # 1. What does its source have, with the new value and without what that replaces?
        values, size = self._shares.of(source)
        if replaced is not None and replaced.source == source:
            values, size = values - 1, size - replaced.size
        values, size = values + 1, size + size_of(whole)
        if values > policy.values_per_source:
            return REFUSED_BY[VALUES_PER_SOURCE]
        if size > policy.value_kib_per_source * _KIB:
            return REFUSED_BY[VALUE_KIB_PER_SOURCE]
        # 2. How much is there too much in all?
        freed = (0, 0) if replaced is None else (1, replaced.size)
        values_over = len(self.by_key) - freed[0] + 1 - policy.values
        size_over = self.size - freed[1] + size_of(whole) - policy.value_kib * _KIB
        if values_over <= 0 and size_over <= 0:
            return []
        # 3. Evict until it fits.
        victims = []
        for victim in self._shares.giving_way(source, weight(values, size), self._bits(key)):
            if victim is not replaced:
                victims.append(victim)
                values_over -= 1
                size_over -= victim.size
                if values_over <= 0 and size_over <= 0:
                    return victims
        return REFUSED_BY[VALUES if values_over > 0 else VALUE_KIB]

    def _hold(
        self, key: bytes, whole: bytes, source: bytes, expires_at: int, now: float, *, restored: bool = False
    ) -> None:
        held = KeptValue(key, whole, source, self._bits(key), expires_at, self._replicate_at(now))
        self.by_key[key] = held
        self._shares.add(held)
        self.size += held.size
        self._note_room()
        self._wheel.file(held, min(expires_at, held.replicate_at), now)
        if not restored:
            self.changed.note(key)

    def _prolong(self, held: KeptValue, lasts: int, now: float) -> None:
        expires_at = int(now) + lasts
        held.replicate_at = self._replicate_at(now)
        self._shares.heard(held)
        if expires_at > held.expires_at:
            held.expires_at = expires_at
            self.changed.note(held.key)

    def _drop(self, held: KeptValue) -> None:
        del self.by_key[held.key]
        self._shares.drop(held)
        self.size -= held.size
        self._note_room()
        self.changed.note(held.key)

    def _note_room(self) -> None:
        self.is_full = len(self.by_key) >= self._policy.values or self.size >= self._policy.value_kib * _KIB

    def _bits(self, key: bytes) -> int:
        return (self._own_id ^ unpacked(key)).bit_length()

    def _replicate_at(self, now: float) -> int:
        if not self._policy.replicate:
            return _NEVER
        return int(now + self._policy.replicate * (1 + _JITTER * self._rng.random()))


def refusal(held: Value, request: Put) -> Refused | None:
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


def _shown(held: KeptValue) -> HeldValue:
    return HeldValue(unpacked(held.key), unpack(held.packed), held.source, float(held.expires_at))

"""Held values, against an obvious version: which are held, for how long, and what gives way to them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, permutations, product
from random import Random

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.endpoint import Endpoint, source_group
from dhtd.core.ids import Id, packed, unpacked
from dhtd.core.messages import ERROR_CAS, ERROR_SEQ, ERROR_SIGNATURE, Put
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.core.storage.held_values import HeldValue, HeldValues, Silent
from dhtd.core.storage.outcomes import REFUSED_BY, Refused, Stored
from dhtd.core.storage.packed_value import pack
from tests.values import genuine

KIB = 1_024
HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1")
FORGED = Refused(ERROR_SIGNATURE, "bad signature")
AT_LATEST = DEFAULT.replicate * 1.25  # a silent value is to be replicated


def mutable(seq: int, data: bytes = b"data") -> Mutable:
    return Mutable(b"k" * 32, b"", seq, data, b"s" * 64)


def make(policy: Policy = DEFAULT) -> HeldValues:
    return HeldValues(Id(0), policy, Random(1))


def forged(value: Value) -> Refused:
    return FORGED


@dataclass
class Model:
    """A held value, in as much memory as it likes."""

    value: Value
    source: bytes
    expires_at: int
    heard_at: float


def size_of(value: Value) -> int:
    size = len(value.data) + 1 if isinstance(value, Immutable) else len(value.data) + len(value.salt) + 106
    return max(size, 128)


class HeldValuesMachine(RuleBasedStateMachine):
    """Puts, restarts and sweeps in any order: the newest is held, nothing lives shorter, and the quotas hold."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = DEFAULT
        self.values = make()
        self.held: dict[Id, Model] = {}  # the last heard of last
        self.changed: set[Id] = set()
        self.silent: dict[Id, Silent] = {}
        self.now = 0.0

    @initialize(
        values=st.integers(0, 8),
        kib=st.sampled_from([0, 1, 2, 4, 16]),
        per_source=st.integers(1, 5),
        kib_per_source=st.sampled_from([1, 2, 16]),
        now=st.integers(0, 99),
    )
    def begin(self, values: int, kib: int, per_source: int, kib_per_source: int, now: int) -> None:
        self.now = now / 2
        self.policy = Policy(
            values=values, value_kib=kib, values_per_source=per_source, value_kib_per_source=kib_per_source
        )
        self.values = make(self.policy)

    # The obvious version

    def of(self, source: bytes) -> dict[Id, Model]:
        return {key: model for key, model in self.held.items() if model.source == source}

    def weight(self, source: bytes) -> int:
        return sum(512 + size_of(model.value) for model in self.of(source).values())

    def drop(self, key: Id) -> None:
        del self.held[key]
        self.changed.add(key)

    def used_up(self, key: Id, value: Value, source: bytes) -> str | None:
        """Return the quota of the source that leaves no room, without what is under the key."""
        others = [model.value for other, model in self.of(source).items() if other != key]
        if len(others) >= self.policy.values_per_source:
            return "values_per_source"
        if sum(map(size_of, others)) + size_of(value) > self.policy.value_kib_per_source * KIB:
            return "value_kib_per_source"
        return None

    def over(self, key: Id, value: Value, without: frozenset[Id]) -> str | None:
        """Return the quota of the store that is used up, without what is under some keys."""
        left = [model.value for other, model in self.held.items() if other != key and other not in without]
        if len(left) + 1 > self.policy.values:
            return "values"
        return "value_kib" if sum(map(size_of, left)) + size_of(value) > self.policy.value_kib * KIB else None

    def candidates(self, key: Id, value: Value, source: bytes) -> Iterator[list[Id]]:
        """Yield what may give way, the first one first: in each order that the sources of a class may have."""
        mine = [model.value for other, model in self.of(source).items() if other != key]
        rank = (sum(512 + size_of(each) for each in [*mine, value])).bit_length()
        sources = {model.source for model in self.held.values()}
        ranks = {each: self.weight(each).bit_length() for each in sources if len(self.of(each)) > 1}
        classes = sorted({each for each in ranks.values() if each > rank}, reverse=True)
        if not classes:
            yield [other for other in self.farthest(source) if int(other).bit_length() >= int(key).bit_length()]
            return
        for order in product(*[permutations(each for each in ranks if ranks[each] == above) for above in classes]):
            yield [other for loser in chain(*order) for other in self.excess(loser, rank)]

    def farthest(self, source: bytes) -> list[Id]:
        return sorted(self.of(source), key=lambda other: -int(other).bit_length())

    def excess(self, source: bytes, rank: int) -> list[Id]:
        """Return what a source loses before it is in this class, or has one value."""
        left, lost = self.farthest(source), list[Id]()
        while len(left) > 1 and sum(512 + size_of(self.held[other].value) for other in left).bit_length() > rank:
            lost.append(left.pop(0))
        return lost

    def room(self, key: Id, value: Value, source: bytes) -> tuple[str | None, list[frozenset[Id]]]:
        """Return the quota that is used up, and the sets of values that may give way, of which one does."""
        used_up = self.used_up(key, value, source) or self.over(key, value, frozenset())
        if used_up is None or used_up.endswith("_source"):
            return used_up, []
        ways = []
        for candidates in self.candidates(key, value, source):
            gone = frozenset[Id]()
            for other in candidates:
                if other != key:
                    gone |= {other}
                    if self.over(key, value, gone) is None:
                        ways.append(gone)
                        break
            else:
                used_up = self.over(key, value, gone) or used_up
        return used_up, ways

    def refusal(self, request: Put) -> int | None:
        """Return the error code of a put that does not replace what is held."""
        model = self.held.get(request.key)
        if model is None:
            return None
        held, value = model.value, request.value
        if isinstance(held, Immutable):
            return None if isinstance(value, Mutable) else ERROR_SEQ
        if isinstance(value, Immutable):
            return ERROR_SEQ
        if request.cas is not None and request.cas != held.seq:
            return ERROR_CAS
        return None if value.seq > held.seq else ERROR_SEQ

    def everything(self) -> object:
        shares = {source: self.values._shares.of(source) for source in self.values._shares._sources}
        return {each.key: each for each in self.values}, self.values.size, len(self.values), shares

    def give_way(self, ways: list[frozenset[Id]]) -> None:
        """One of these sets is not held any more: which one is not said."""
        if ways:
            there = {each.key for each in self.values}
            (gone,) = [way for way in dict.fromkeys(ways) if not way & there]
            event(f"{len(gone)} gave way")
            for key in gone:
                self.drop(key)

    # What happens

    @rule(seconds=st.sampled_from([0.25, 1.0, 7.5, 61.0, 400.0, 5_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.held)
    @rule(early=st.booleans())
    def time_passes_until_something_expires(self, early: bool) -> None:
        when = min(model.expires_at for model in self.held.values())
        self.now = max(self.now, math.nextafter(when, 0) if early else float(when))

    @rule(
        key=st.integers(0, 9).map(Id),
        value=st.builds(Immutable, st.sampled_from([b"", b"x", b"y" * 400, b"z" * 1_000]))
        | st.builds(mutable, st.integers(0, 3), st.sampled_from([b"", b"x", b"y" * 400, b"z" * 1_000])),
        host=st.sampled_from(HOSTS),
        lasts=st.sampled_from([1, 60, 200, 86_400]),
        cas=st.none() | st.integers(0, 3),
        is_forged=st.booleans(),
    )
    def put(self, key: Id, value: Value, host: str, lasts: int, cas: int | None, is_forged: bool) -> None:
        request, at = Put(key, b"token", value, cas, lasts), Endpoint.of(host, 80)
        source = source_group(at.ip)
        if key in self.held and self.held[key].expires_at <= self.now:
            self.drop(key)
        model, before = self.held.get(key), self.everything()
        newcomer = model is None and not self.of(source)
        refuses = self.values.refuses_newcomer(key, at.ip)
        outcome = self.values.put(request, at.ip, self.now, forged if is_forged else genuine)
        # The same again.
        if model is not None and pack(model.value) == pack(value):
            assert outcome == Stored()
            if int(self.now) + lasts > model.expires_at:
                model.expires_at = int(self.now) + lasts
                self.changed.add(key)
            model.heard_at = self.now
            self.held[key] = self.held.pop(key)
            self.silent.pop(key, None)
            return
        # Refused: nothing has changed, but that what had expired is gone.
        code = self.refusal(request)
        used_up, ways = self.room(key, value, source)
        if code is not None:
            assert isinstance(outcome, Refused)
            assert outcome.code == code
        elif used_up is not None and not ways:
            assert outcome == REFUSED_BY[used_up]
        elif is_forged:
            assert outcome == FORGED
        if not isinstance(outcome, Stored):
            event(f"refused: {outcome.text}")
            left = dict(before[0])  # type: ignore[index]
            if key not in self.held:
                left.pop(key, None)
            assert {each.key: each for each in self.values} == left
            return
        # Taken.
        assert not (newcomer and refuses)
        assert outcome == Stored(used_up)
        self.give_way(ways)
        expires_at = int(self.now) + lasts
        if model is not None:
            expires_at = max(expires_at, model.expires_at)
            self.drop(key)
        self.held[key] = Model(value, source, expires_at, self.now)
        self.changed.add(key)
        self.silent.pop(key, None)

    @rule(key=st.integers(0, 9).map(Id), seq=st.integers(0, 5), size=st.sampled_from([0, 400, 1_000]))
    def find_a_newer_one(self, key: Id, seq: int, size: int) -> None:
        value, model = mutable(seq, bytes(size)), self.held.get(key)
        used_up, ways = None, list[frozenset[Id]]()
        if model is not None:
            used_up, ways = self.room(key, value, model.source)
        self.values.supersede(key, value, self.now)
        if model is None or (isinstance(model.value, Mutable) and model.value.seq >= seq):
            return
        self.give_way(ways)
        self.drop(key)
        self.silent.pop(key, None)
        if used_up is None or ways:
            self.held[key] = Model(value, model.source, model.expires_at, self.now)

    @rule()
    def sweep(self) -> None:
        silent, is_left = self.values.sweep(self.now)
        assert not is_left
        for key in [key for key, model in self.held.items() if model.expires_at <= self.now]:
            self.drop(key)
        said = {unpacked(each.key): each for each in silent}
        for key, model in self.held.items():
            age = self.now - model.heard_at
            if key in said:
                assert age > self.policy.replicate - 1
                model.heard_at = self.now
            else:
                assert age < AT_LATEST
        assert said.keys() <= self.held.keys()
        self.silent.update(said)

    @rule(lowered=st.booleans())
    def restart(self, lowered: bool) -> None:
        kept = list(self.values)
        if lowered:
            self.policy = replace(self.policy, values=max(1, self.policy.values // 2))
        self.values, model = make(self.policy), self.held
        self.held, self.changed, self.silent = {}, set(), {}
        for value in kept:
            expected = model[value.key]
            if expected.expires_at <= self.now:
                assert not self.values.restore(value, self.now)
                continue
            used_up, ways = self.room(value.key, value.value, value.source)
            assert self.values.restore(value, self.now) is (used_up is None or bool(ways))
            if used_up is not None and not ways:
                self.changed.add(value.key)
                continue
            self.give_way(ways)
            self.held[value.key] = replace(expected, heard_at=self.now)
        for value in kept:
            if value.key in self.held:
                assert not self.values.restore(value, self.now)

    @rule()
    def save(self) -> None:
        assert self.values.changed.take() == set(map(packed, self.changed))
        self.changed = set()

    # What is always so

    @invariant()
    def what_is_held_is_what_should_be(self) -> None:
        assert {each.key: each for each in self.values} == {
            key: HeldValue(key, model.value, model.source, float(model.expires_at)) for key, model in self.held.items()
        }
        assert sorted(self.values.keys()) == sorted(map(packed, self.held))
        for key in map(Id, range(10)):
            model = self.held.get(key)
            is_there = model is not None and model.expires_at > self.now
            expected = (model.value, int(model.expires_at - self.now)) if model is not None and is_there else None
            assert self.values.get(key, self.now) == expected
            held = self.values.held(packed(key))
            assert (held is None) is (model is None)

    @invariant()
    def the_quotas_hold(self) -> None:
        assert len(self.values) == len(self.held) <= self.policy.values
        assert self.values.size == sum(size_of(model.value) for model in self.held.values())
        assert self.values.size <= self.policy.value_kib * KIB
        sources = {model.source for model in self.held.values()}
        assert len(self.values._shares) == len(sources)
        for source in sources:
            there = [size_of(model.value) for model in self.of(source).values()]
            assert self.values._shares.of(source) == (len(there), sum(there))
            assert len(there) <= self.policy.values_per_source
            assert sum(there) <= self.policy.value_kib_per_source * KIB

    @invariant()
    def what_is_silent_is_still_so(self) -> None:
        for key, silent in self.silent.items():
            still = self.values.still(silent)
            assert (None if still is None else still.key) == (key if key in self.held else None)


TestHeldValuesModel = HeldValuesMachine.TestCase

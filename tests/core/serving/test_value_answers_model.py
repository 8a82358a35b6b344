"""Gets and puts of a crowd in any order, against an obvious version of what a node holds and has promised.

A put is taken if its token was given to the address for the key, a minute or two ago, and if its value supersedes what
is there. A get is answered with what is there, or with its seq, and with the seconds that are left.
"""

from __future__ import annotations

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dhtd.core.endpoint import Family, source_group
from dhtd.core.events import ValueSuperseded
from dhtd.core.ids import Id
from dhtd.core.messages import (
    ERROR_CAS,
    ERROR_PROTOCOL,
    ERROR_SEQ,
    ERROR_SERVER,
    ERROR_SIGNATURE,
    VALUE_LASTS,
    Contact,
    Error,
    Found,
    Get,
    Put,
    Reply,
)
from dhtd.core.policy import Policy
from dhtd.core.records import Immutable, Mutable, Value, supersedes
from tests.core.bench import Bench
from tests.core.small import CODEC, contact, six
from tests.values import by_owner, forged, squatting

# A token is good for so long at least, and at most.
SURE, AT_MOST = 59.999, 120.001
SALTS = (b"", b"a", b"b")
VALUES: list[Value] = [
    *(by_owner(seq, data, salt) for salt in SALTS for seq in (0, 1, 2) for data in (b"data", bytes(1_000))),
    *(squatting(by_owner(1, salt=salt)) for salt in SALTS),
    *(forged(seq) for seq in (1, 5)),
    Immutable(b"data that never change"),
    Immutable(bytes(1_000)),
]
KEYS = sorted({CODEC.key_of(value) for value in VALUES})
CROWD = [contact(100), contact(101), six(102), six(103)]

values = st.sampled_from(VALUES)
people = st.sampled_from(CROWD)


class CrowdMachine(RuleBasedStateMachine):
    """A node, what it holds for others and for itself, and the tokens that it has given."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.held: dict[Id, tuple[Value, float, bytes]] = {}  # until when, and from which source
        self.own: dict[Id, Value] = {}
        self.tokens: dict[tuple[bytes, bytes, Id], float] = {}
        self.per_source = 99

    @initialize(per_source=st.integers(1, 5))
    def begin(self, per_source: int) -> None:
        self.per_source = per_source
        policy = Policy(
            lonely_lookups=0, values_per_source=per_source, signatures_per_source=1e6, signatures=1e6, rate_limit=0.0
        )
        self.bench = Bench(policy=policy, families=(Family.IPV4, Family.IPV6))

    # The obvious version

    def there(self, key: Id) -> tuple[Value, float, bytes] | None:
        """Return what is held for others under a key, if it has not expired."""
        found = self.held.get(key)
        return None if found is None or found[1] <= self.bench.now else found

    def known(self, key: Id) -> tuple[Value, int] | None:
        """Return the value that gets are answered with, and for how many seconds it is there."""
        held, own = self.there(key), self.own.get(key)
        if own is None or (held is not None and supersedes(held[0], own)):
            return None if held is None else (held[0], int(held[1] - self.bench.now))
        return own, VALUE_LASTS

    def refusals(self, request: Put, source: bytes) -> set[int]:
        """Return the codes of the errors that this put may be answered with; none, if it is taken."""
        value, held = request.value, self.there(request.key)
        for other in (held and held[0], self.own.get(request.key)):
            if other is None or other == value:
                continue
            if isinstance(other, Mutable) and isinstance(value, Mutable) and request.cas not in (None, other.seq):
                return {ERROR_CAS}
            if not supersedes(value, other):
                return {ERROR_SEQ}
        if held is not None and held[0] == value:
            return set()
        others = [key for key, (_, _, by) in self.held.items() if by == source and key != request.key]
        codes = {ERROR_SERVER} if len(others) >= self.per_source else set()
        return codes or ({ERROR_SIGNATURE} if not CODEC.is_genuine(value) else set())

    # What happens

    @rule(seconds=st.sampled_from([0.5, 7.0, 30.0, 59.0, 61.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.advance(seconds)
        self.bench.sent()
        self.held = {key: found for key, found in self.held.items() if found[1] > self.bench.now - 75}

    @rule(key=st.sampled_from(KEYS), who=people, seq=st.none() | st.integers(0, 3), proves=st.booleans())
    def get(self, key: Id, who: Contact, seq: int | None, proves: bool) -> None:
        shown = next((each for each, ip, of in self.tokens if (ip, of) == (who.endpoint.ip, key)), None)
        request = Get(key, shown if proves else None, seq)
        reply = self.bench.query(request, who)
        assert isinstance(reply, Reply)
        found = CODEC.decode_result(request, reply.body)
        assert isinstance(found, Found)
        if found.token:
            self.tokens[found.token, who.endpoint.ip, key] = self.bench.now
        known = self.known(key)
        if known is None:
            assert (found.held, found.lasts, found.more) == (None, 0, False)
            return
        value, lasts = known
        is_of = 0 if isinstance(value, Immutable) else value.seq
        expected = is_of if seq is not None and is_of <= seq else value
        if found.held is None:
            event("a value is left out")
            assert found.more
            assert len(value.data) > 500
        else:
            assert (found.held, found.lasts) == (expected, lasts)

    @rule(
        value=values,
        who=people,
        cas=st.none() | st.integers(0, 2),
        lasts=st.sampled_from([1, 60, 600, VALUE_LASTS]),
        whose=st.sampled_from(["own", "own", "own", "another's"]),
    )
    def put(self, value: Value, who: Contact, cas: int | None, lasts: int, whose: str) -> None:
        key, ip = CODEC.key_of(value), who.endpoint.ip
        mine = [(each, at) for (each, by, of), at in self.tokens.items() if (by, of) == (ip, key)]
        others = [(each, at) for (each, by, of), at in self.tokens.items() if (by, of) != (ip, key)]
        pool = mine if whose == "own" else others
        token, given_at = pool[-1] if pool else (b"made up", 0.0)
        request = Put(key, token, value, cas, lasts)
        answer = self.bench.query(request, who)
        assert isinstance(answer, Reply | Error)
        # 1. Is the token good?
        age = self.bench.now - given_at
        if isinstance(answer, Error) and answer.code == ERROR_PROTOCOL:
            assert whose != "own" or not mine or age >= SURE
            event("a token is refused")
            return
        assert whose == "own"
        assert mine
        assert age <= AT_MOST
        # 2. Is the value?
        source = source_group(ip)
        codes = self.refusals(request, source)
        if codes:
            assert isinstance(answer, Error)
            assert answer.code in codes
            event(f"a put is refused: {answer.code}")
            return
        assert isinstance(answer, Reply), answer
        event("a put is taken")
        held, until = self.there(key), float(int(self.bench.now) + lasts)
        if held is not None:
            until = max(until, held[1])
            source = held[2] if held[0] == value else source
        self.held.pop(key, None)
        self.held[key] = value, until, source
        self.learned(key, value)

    @rule(value=values)
    def keep(self, value: Value) -> None:
        if not CODEC.is_genuine(value):
            return
        key = CODEC.key_of(value)
        known = self.known(key)
        self.bench.node.commands.put(key, value, self.bench.now)
        self.own[key] = value
        self.supersede(key, value)
        if known is not None:
            self.learned(key, known[0])

    @rule(key=st.sampled_from(KEYS))
    def drop(self, key: Id) -> None:
        assert self.bench.node.commands.drop_value(key, self.bench.now) is (self.own.pop(key, None) is not None)

    def supersede(self, key: Id, value: Value) -> None:
        """What is held gives way to a newer one, if it has not expired and was swept."""
        if key in self.held and supersedes(value, self.held[key][0]):
            self.held[key] = value, *self.held[key][1:]

    def learned(self, key: Id, value: Value) -> None:
        """The node keeps a newer value instead of its own."""
        told = [each for each in self.bench.events() if isinstance(each, ValueSuperseded)]
        if key in self.own and supersedes(value, self.own[key]):
            self.own[key] = value
            assert told == [ValueSuperseded(key, value)]
        else:
            assert told == []

    # What is always so

    @invariant()
    def own_values_are_the_newest(self) -> None:
        assert {own.key: own.value for own in self.bench.node.values.own} == self.own

    @invariant()
    def what_is_held_is_what_was_put(self) -> None:
        for key in KEYS:
            held = self.there(key)
            expected = None if held is None else (held[0], int(held[1] - self.bench.now))
            assert self.bench.node.values.held.get(key, self.bench.now) == expected


TestCrowdModel = CrowdMachine.TestCase

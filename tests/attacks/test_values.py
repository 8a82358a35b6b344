"""Values in the hands of others: replays, forgeries, floods, squatters and liars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

import msgpack
import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import GetDone, ValuePut
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import VALUE_LASTS, Error, Put, Query, Reply
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import DATA_MAX, SALT_MAX, Immutable, Mutable, Value
from dhtd.core.storage.held_values import HeldValues
from dhtd.core.storage.outcomes import QuotaReached, Refused, Stored
from dhtd.sim.host import Host
from dhtd.sim.liars import Pretender
from dhtd.sim.network import Network
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from tests.core.bench import Bench
from tests.core.small import contact
from tests.values import OTHER, by_owner, forged, hold, squatting

OLD, VALUE, NEW = by_owner(1, b"old"), by_owner(2, b"data"), by_owner(3, b"new")
TWIN = by_owner(3, b"twin")  # signed with the seq of NEW
KEY = NativeCodec().key_of(VALUE)
PATIENT = replace(DEFAULT, rate_limit=0.0, rate_limit_total=0.0)
ATTACKER, OWNER = Endpoint.of("203.0.113.66", 1_729), Endpoint.of("198.51.100.1", 1_729)


def grown(size: int = 30, policy: Policy = PATIENT, seed: int = 11) -> Network:
    net = Network(seed, policy=policy)
    net.populate(size, join=False)
    return net


def put(net: Network, host: Host, value: Value, *, keep: bool = True) -> ValuePut:
    op = host.node.commands.put(net.codec.key_of(value), value, net.now, keep=keep)
    return net.finish(host, op, ValuePut)


def get(net: Network, host: Host, key: Id = KEY, *, signed: bool = False) -> GetDone:
    done = net.finish(host, host.node.commands.get(key, net.now, signed=signed), GetDone)
    net.run_for(0.5)  # repairs arrive
    return done


def attackers(count: int) -> list[Endpoint]:
    return [Endpoint.of(f"203.0.113.{1 + number}", 1_729) for number in range(count)]


# On the wire


class Counting(NativeCodec):
    """Counts the signatures that a node verifies."""

    def __init__(self) -> None:
        super().__init__()
        self.verified = 0

    def is_genuine(self, value: Value) -> bool:
        """Whether the signature is good."""
        self.verified += isinstance(value, Mutable)
        return super().is_genuine(value)


def alone(policy: Policy = PATIENT) -> Bench:
    return Bench(policy=policy, codec=Counting())


def send(bench: Bench, value: Value, source: Endpoint, *, cas: int | None = None) -> Reply | Error | None:
    """Put a value at a node with a good token, as an attacker would who has asked for it by the book."""
    key = bench.codec.key_of(value)
    token = bench.node.responder._tokens.issue(source.ip, NATIVE.to_bytes(key), bench.now)
    return bench.query(Put(key, token, value, cas, VALUE_LASTS), contact(5)._replace(endpoint=source))


def code(answer: Reply | Error | None) -> int | None:
    return answer.code if isinstance(answer, Error) else None


def verified(bench: Bench) -> int:
    assert isinstance(bench.codec, Counting)
    return bench.codec.verified


def test_one_source_gets_few_signatures_verified(figure: Callable[[str, object], None]) -> None:
    """Each costs as much as five queries. The owner's put, from another address, is taken all the same."""
    bench = alone()
    for number in range(5_000):  # in ten seconds
        send(bench, forged(number), ATTACKER)
        bench.now += 0.002
    policy = bench.node.policy
    figure("signatures verified for 5,000 forged ones in ten seconds", verified(bench))
    assert verified(bench) <= policy.signatures_per_source * (10 + policy.rate_burst) + 1
    assert len(bench.node.values.held) == 0
    assert bench.node.counters.caps_hit["signatures_per_source"] == 5_000 - verified(bench)
    assert code(send(bench, VALUE, OWNER)) is None
    assert len(bench.node.values.held) == 1


def test_many_sources_get_few_signatures_verified(figure: Callable[[str, object], None]) -> None:
    policy = replace(PATIENT, signatures=256.0)
    bench = alone(policy)
    codes = Counter[int | None]()
    for number in range(4_000):  # in a second
        source = Endpoint.of(f"203.0.{number % 256}.{1 + number // 256}", 1_729)
        codes[code(send(bench, forged(number), source))] += 1
        bench.now += 1 / 4_000
    figure("signatures verified for 4,000 forged ones in a second", verified(bench))
    assert verified(bench) <= policy.signatures * (1 + policy.rate_burst) + 1
    assert codes == {206: verified(bench), 202: 4_000 - verified(bench)}
    assert bench.node.counters.caps_hit["signatures"] == codes[202]
    bench.now += policy.rate_burst
    assert code(send(bench, VALUE, OWNER)) is None


def test_what_cannot_be_held_is_not_verified() -> None:
    """Old ones, other ones, ones without a token: nothing is paid for them."""
    bench = alone()
    send(bench, NEW, OWNER)
    before = verified(bench)
    for value in (OLD, VALUE, TWIN, squatting(NEW), NEW):
        send(bench, value, ATTACKER)
    send(bench, forged(9), ATTACKER, cas=2)
    bench.query(Put(KEY, b"forged", by_owner(9), None, 60), contact(5))
    assert verified(bench) == before
    (held,) = bench.node.values.held
    assert held.value == NEW


def raw(bench: Bench, method: str, arguments: Sequence[object]) -> Reply | Error | None:
    data = MAGIC + bytes(msgpack.packb([0, bytes(8), bytes(31) + b"\5", method, list(arguments)]))
    answer = bench.deliver(data, ATTACKER)
    return None if answer is None else bench.codec.decode(answer)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (bytes(DATA_MAX + 1), 205),
        ([bytes(32), b"", 1, bytes(DATA_MAX + 1), bytes(64)], 205),
        ([bytes(32), bytes(SALT_MAX + 1), 1, b"", bytes(64)], 207),
        ([bytes(31), b"", 1, b"", bytes(64)], 203),
        ([bytes(32), b"", -1, b"", bytes(64)], 203),
        ([bytes(32), b"", 2**63, b"", bytes(64)], 203),
        ([bytes(32), b"", 1, b"", bytes(65)], 203),
    ],
)
def test_what_is_too_large_leaves_no_trace(record: object, error: int) -> None:
    bench = alone()
    assert code(raw(bench, "put", [b"token", record, None, 60])) == error
    assert len(bench.node.values.held) == 0
    assert verified(bench) == 0
    largest = by_owner(1, bytes(DATA_MAX), bytes(SALT_MAX))
    assert code(send(bench, largest, OWNER)) is None
    assert len(bench.node.values.held) == 1


@pytest.mark.parametrize("value", [Immutable(bytes(DATA_MAX)), by_owner(1, bytes(DATA_MAX), bytes(SALT_MAX)), VALUE])
def test_a_forged_get_brings_its_victim_little(value: Value, figure: Callable[[str, object], None]) -> None:
    bench = alone()
    send(bench, value, OWNER)
    for number in range(1, 30):
        bench.node.state.answered(contact(number), 0.1, bench.now)
    key = bench.codec.key_of(value)
    bench.bytes_received = bench.bytes_sent = 0
    for padding in range(0, 1_900, 19):
        for arguments in ([None, None], [b"forged", None], [None, 0], [None, 2**62]):
            head = [NATIVE.to_bytes(key), *arguments]
            before = bench.bytes_sent, bench.bytes_received
            raw(bench, "get", [*head, bytes(padding)])
            sent, received = bench.bytes_sent - before[0], bench.bytes_received - before[1]
            assert 0 < sent <= 3 * received
            assert sent <= DEFAULT.datagram_value_max
    figure("bytes sent for one received", f"{bench.bytes_sent / bench.bytes_received:.2f}")


def test_a_put_without_a_token_brings_less_than_it_is() -> None:
    bench = alone()
    for value in (VALUE, Immutable(b"")):
        data = bench.codec.encode_query(bytes(8), Id(5), Put(bench.codec.key_of(value), b"x", value, None, 60))
        answer = bench.deliver(data, ATTACKER)
        assert answer is not None
        assert len(answer) <= len(data)
    assert len(bench.node.values.held) == 0


def test_no_put_ends_a_value_sooner() -> None:
    bench = alone()
    send(bench, VALUE, OWNER)
    token = bench.node.responder._tokens.issue(ATTACKER.ip, NATIVE.to_bytes(KEY), bench.now)
    for _ in range(5):
        bench.query(Put(KEY, token, VALUE, None, 1), contact(5)._replace(endpoint=ATTACKER))
    bench.advance(VALUE_LASTS - 5)
    known = bench.node.values.known.get(KEY, bench.now)
    assert known is not None
    assert known[0] == VALUE


# Full stores


@pytest.mark.parametrize("sources", [1, 8, 40])
def test_few_addresses_keep_no_value_out(sources: int, figure: Callable[[str, object], None]) -> None:
    """Their data are made so that the keys are nearer to the node than any other."""
    policy = replace(DEFAULT, values=1_024, value_kib=512, values_per_source=512, value_kib_per_source=256)
    held, rng = HeldValues(Id(0), policy, Random(1)), Random(2)

    def flood() -> Counter[str]:
        outcomes = Counter[str]()
        for number in range(4_000):
            key, value = Id(1 + rng.randrange(2**20)), Immutable(bytes(rng.choice([0, DATA_MAX])))
            source = attackers(sources)[number % sources]
            outcomes[type(hold(held, key, value, source, number / 100)).__name__] += 1
        return outcomes

    figure("sent by the attackers", dict(flood()))
    mine = [(Id(NATIVE.digest(b"%d" % number)), by_owner(number)) for number in range(10)]
    for key, value in mine:
        assert isinstance(hold(held, key, value, OWNER, 50), Stored)
    flood()
    assert [held.get(key, 50) is not None for key, _ in mine] == [True] * 10
    assert held.size <= policy.value_kib * 1_024
    assert len(held) <= policy.values
    assert all(hold(held, key, value._replace(seq=99), OWNER, 60) == Stored() for key, value in mine)


@pytest.mark.parametrize("size", [0, DATA_MAX])
def test_short_old_values_shield_no_source(size: int) -> None:
    """Only a few of the oldest are looked at, and short ones alone make no room for a long one."""
    policy = replace(DEFAULT, values=1_024, value_kib=256, values_per_source=512, value_kib_per_source=32)
    held, sources = HeldValues(Id(0), policy, Random(1)), attackers(9)
    keys = map(Id, range(1_000_000))
    for source in sources:
        for _ in range(40):
            hold(held, next(keys), Immutable(b""), source, 0)
    for source in sources * 40:
        hold(held, next(keys), Immutable(bytes(DATA_MAX)), source, 0)
    assert held.size > policy.value_kib * 1_024 - DATA_MAX
    for number in range(20):
        owner = Endpoint.of(f"198.51.100.{number}", 1_729)
        outcome = hold(held, Id(NATIVE.digest(b"%d" % number)), by_owner(1, bytes(size)), owner, 1)
        assert isinstance(outcome, Stored)


def test_a_source_has_its_quota_and_no_more() -> None:
    held = HeldValues(Id(0), DEFAULT, Random(1))
    outcomes = Counter(
        type(hold(held, Id(number), Immutable(bytes(size)), ATTACKER, 0)).__name__
        for size in (DATA_MAX, 0)
        for number in range(size, size + 6_000)
    )
    assert held.size <= DEFAULT.value_kib_per_source * 1_024
    assert len(held) <= DEFAULT.values_per_source
    assert outcomes[QuotaReached.__name__] > 7_000
    assert hold(held, Id(9), by_owner(1), OWNER, 0) in (Stored(), Refused(302, "another value is held"))


def test_a_filled_node_is_passed_over() -> None:
    """As many addresses as it has places can fill a node. Then the value is at the next nearest, and all find it."""
    net = grown(policy=replace(PATIENT, values=16))
    nearest = net.closest(KEY, 4)
    for host in nearest:
        for source in attackers(16):
            hold(host.node.values.held, Id(net.rng.getrandbits(256)), Immutable(b"junk"), source, net.now)
    owner = net.closest(KEY, 30)[-1]
    placed = put(net, owner, VALUE)
    assert len(placed.replicas) == DEFAULT.k
    assert not {host.contact for host in nearest} & set(placed.replicas)
    assert all(get(net, host).value == VALUE for host in net.hosts)


# A network


def test_a_replay_brings_nothing_back() -> None:
    """Each put and each answer is heard, and sent again later: from where it came, and to where it went."""
    net = grown()
    heard: list[tuple[Endpoint, Endpoint, bytes]] = []
    net.taps.append(lambda source, to, data: heard.append((source, to, data)))
    *_, owner, reader = net.closest(KEY, 30)
    put(net, owner, OLD)
    puts = [
        (source, to, data)
        for source, to, data in heard
        if isinstance(query := net.codec.decode(data), Query) and isinstance(query.request, Put)
    ]
    assert len(puts) == DEFAULT.k
    put(net, owner, NEW)
    for source, to, data in [*puts, *heard[:500]]:
        net.inject(source, to, data)
    net.run_for(5)
    done = get(net, reader)
    assert (done.value, done.stale, done.conflicting) == (NEW, (), ())
    assert len(done.copies) == DEFAULT.k


def test_a_cached_copy_is_not_served_beside_a_newer() -> None:
    """Many gets have spread the old value. Whoever knows the newer one serves nothing else, and tells the others."""
    net = grown(40)
    owner = net.closest(KEY, 40)[-1]
    put(net, owner, OLD, keep=False)
    for host in net.hosts:
        get(net, host)

    def holders(value: Value) -> set[Host]:
        found = {host: host.node.values.known.get(KEY, net.now) for host in net.hosts}
        return {host for host, known in found.items() if known is not None and known[0] == value}

    assert len(holders(OLD)) > DEFAULT.k
    put(net, owner, NEW, keep=False)
    for host in net.hosts:
        assert get(net, host).value == NEW
        assert host not in holders(OLD)
    assert holders(OLD) == set()


def test_a_conflict_is_told_by_all() -> None:
    """Two machines have one key, and both have put: readers take the one that more nodes hold, and say so."""
    net = grown()
    for host in net.closest(KEY)[:3]:
        hold(host.node.values.held, KEY, TWIN, ATTACKER, net.now)
    for host in net.closest(KEY)[3:]:
        hold(host.node.values.held, KEY, NEW, OWNER, net.now)
    for host in net.closest(KEY, 30)[DEFAULT.k :]:
        done = get(net, host)
        assert (done.value, {copy.value for copy in done.conflicting}) == (NEW, {TWIN})


def test_a_squatter_hides_no_signed_value() -> None:
    """Anybody can put a public key as data, which are found by the same ID."""
    net = grown()
    squatter, owner, reader = net.hosts[:3]
    put(net, squatter, squatting(VALUE))
    assert get(net, reader).value == squatting(VALUE)
    assert get(net, reader, signed=True).value is None
    assert len(put(net, owner, VALUE).replicas) == DEFAULT.k
    put(net, squatter, squatting(VALUE), keep=False)
    for host in net.hosts:
        assert get(net, host).value == get(net, host, signed=True).value == VALUE


LIES: dict[str, tuple[Value | None, ...]] = {
    "old": (OLD,),
    "forged": (forged(9), NEW._replace(seq=9), NEW._replace(data=b"other")),
    "of another key": (by_owner(9, salt=b"s"), by_owner(9, seed=OTHER), Immutable(b"data")),
    "squatting": (squatting(VALUE),),
    "none": (None,),
    "all": (OLD, VALUE, forged(9), by_owner(9, salt=b"s"), squatting(VALUE), Immutable(b"data"), None),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(1, 5), marks=pytest.mark.slow)])
def test_liars_make_no_get_wrong(lie: str, seeds: range, figure: Callable[[str, object], None]) -> None:
    """A third of the nodes lie about values."""
    right = total = 0
    for seed in seeds:
        net = grown(45, seed=seed)
        owner, *others = net.hosts
        for host in net.rng.sample(others, 15):
            host.lie = Pretender(*LIES[lie])
        put(net, owner, NEW)
        readers = [host for host in others if host.lie is None]
        found = [get(net, host, signed=lie == "squatting").value for host in readers]
        assert set(found) <= {NEW, None}
        right += found.count(NEW)
        total += len(found)
    figure("gets that found the value, and none that was wrong", f"{right} of {total}")
    assert right == total


def test_liars_cannot_settle_a_conflict_alone() -> None:
    """They can only serve what the owner has signed: one of its two values."""
    net = grown(45)
    owner, *others = net.hosts
    for host in net.rng.sample(others, 15):
        host.lie = Pretender(TWIN)
    put(net, owner, NEW)
    for host in others:
        if host.lie is None:
            done = get(net, host)
            assert done.value in (NEW, TWIN)
            assert done.value == NEW or done.conflicting

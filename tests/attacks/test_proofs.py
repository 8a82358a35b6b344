"""A token proves its sender; everything else can be forged. Floods in the names of others do not take these rights."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Found, Ping, Reply
from dhtd.wire.native import NativeCodec
from tests.bench import newcomers
from tests.core.bench import QUIET, Bench
from tests.records import to_store

STRANGER = Contact(NATIVE.digest(b"stranger"), Endpoint.of("198.51.100.1", 1_729))
ANOTHER = Contact(NATIVE.digest(b"another"), Endpoint.of("198.51.100.2", 1_729))


def token(bench: Bench, key: Id, source: Contact) -> bytes:
    reply = bench.query(FindValue(key), source)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(FindValue(key), reply.body)
    assert isinstance(found, Found)
    assert found.token is not None
    return found.token


def test_newcomers_are_met_despite_forged_queries(figure: Callable[[str, object], None]) -> None:
    quiet, flooded = (newcomers.measure(16, 8, rate, 8.0) for rate in (0.0, 300.0))
    figure("newcomers in no table", f"{flooded.unknown} of {flooded.newcomers}")
    figure("datagrams of each, in peace and in the flood", f"{quiet.datagrams:.0f}, {flooded.datagrams:.0f}")
    assert quiet.unknown == flooded.unknown == 0


def test_a_forged_flood_blocks_no_store(figure: Callable[[str, object], None]) -> None:
    """Before each store, the limit of the source is used up."""
    bench = Bench(policy=QUIET, codec=NativeCodec())
    bench.now = 1.0
    keys = [NATIVE.digest(bytes([number])) for number in range(60)]
    tokens = [token(bench, key, STRANGER) for key in keys]
    ping = bench.codec.encode_query(bytes(8), STRANGER.id, Ping())
    stored = 0
    for key, proof in zip(keys, tokens, strict=True):
        for _ in range(1_000):
            bench.deliver(ping, STRANGER.endpoint)
        stored += isinstance(bench.query(to_store(key, 80, proof), STRANGER), Reply)
        bench.now += 1.0
    figure("stores answered", f"{stored} of {len(keys)}")
    assert stored == len(keys) == len(bench.node.store)


def test_a_proved_sender_has_its_own_rate() -> None:
    bench = Bench(policy=QUIET, codec=NativeCodec())
    key = NATIVE.digest(b"key")
    proof = token(bench, key, STRANGER)
    wanted = FindNode(key, proof)
    at_once = int(bench.node.policy.rate_limit * bench.node.policy.rate_burst)
    answered = sum(bench.query(wanted, STRANGER) is not None for _ in range(3 * at_once))
    assert answered == 2 * at_once - 1  # with what its source may; the token took one
    for _ in range(at_once):
        bench.query(Ping(), ANOTHER)
    assert bench.query(wanted, ANOTHER) is None
    neighbour = Contact(ANOTHER.id, STRANGER.endpoint.with_port(9))
    assert bench.query(wanted, neighbour) is None

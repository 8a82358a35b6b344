"""Forged queries: a victim gets at most three times the bytes that an attacker sends in its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgpack
import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import METHODS, Changed, Contact, FindNode, FindValue, Get, Ping, Put, Renew, Request, Watch
from dhtd.core.policy import Policy
from dhtd.core.records import DATA_MAX, SALT_MAX
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from tests.core.bench import Bench
from tests.records import SESSION, hold_peer, own_key, to_store, to_withdraw
from tests.values import by_owner, hold
from tests.wire.mutator import Mutator
from tests.wire.vectors import VECTORS

CODEC = NativeCodec()
KEY = NATIVE.digest(b"the key")
SENT_MAX, RECEIVED_MAX = 1_200, 2_048
VICTIM = Endpoint.of("192.0.2.66", 53)
SENDER = bytes(31) + b"\x05"
OLD_FRIEND = Endpoint.of("2001:db8::1", 1_729)
LONGEST = by_owner(1, bytes(DATA_MAX), bytes(SALT_MAX))


class Loud(Bench):
    """A node that remembers its worst answer."""

    worst = 0.0  # bytes of an answer for one of its query


def loud(policy: Policy) -> Loud:
    """Return a node with the longest answers: contacts of IPv6, a long value, and more endpoints than ever fit."""
    bench = Loud(policy=policy, codec=CODEC)
    bench.node.gate.limit_rate(0, 0)
    for number in range(1, 41):
        contact = Contact(Id(KEY ^ number), Endpoint.of(f"2001:db8::{number:x}", 1_729))
        bench.node.state.answered(contact, 0.1, bench.now)
    for number in range(500):
        hold_peer(bench.node.store, KEY, Endpoint.of(f"2001:db8:1:{number:x}::1", 80), bench.now)
    for port in range(1, 65):
        bench.node.own_records.add(own_key(KEY, port))
    hold(bench.node.values.held, KEY, LONGEST, OLD_FRIEND, bench.now)
    return bench


ORDINARY = Policy(lonely_lookups=0, good_for=1e6, bucket_refresh=1e6)
FULL = Policy(lonely_lookups=0, good_for=1e6, bucket_refresh=1e6, store_entries=500)
KEY_FULL = Policy(lonely_lookups=0, good_for=1e6, bucket_refresh=1e6, store_entries_per_key=500)


def packed(*fields: object) -> bytes:
    return MAGIC + bytes(msgpack.packb(list(fields)))


def hostile(tokens: list[bytes | None]) -> Iterator[bytes]:
    """Yield queries of each method and many sizes, good and bad."""
    tid, sender, key = bytes(8), SENDER, NATIVE.to_bytes(KEY)
    shapes: list[tuple[str, list[object]]] = [("ping", []), ("", []), ("x" * 31, []), ("find_node", []), ("store", [])]
    for token in tokens:
        shapes += [("find_node", [key, token]), ("find_value", [key, token])]
        shapes += [("store", [key, 80, token or b"x", 60, SESSION]), ("withdraw", [key, 80, token or b"x", SESSION])]
        shapes += [("renew", [SESSION, 60, token or b""]), ("watch", [key, token or b"x", 60, SESSION])]
        shapes += [("get", [key, token]), ("get", [key, token, 0]), ("put", [token or b"x", b"data", None, 60])]
    shapes += [("renew", []), ("watch", []), ("changed", []), ("changed", [key, 0, [], []]), ("get", []), ("put", [])]
    for method, arguments in shapes:
        yield packed(0, tid, sender, method, arguments)
        yield packed(0, tid, sender, method, None)
        for padding in range(0, 1_850, 37):
            yield packed(0, tid, sender, method, [*arguments, bytes(padding)])
            yield packed(0, tid, sender, method, arguments, "x" * padding)
    requests: list[Request] = [
        Ping(),
        FindNode(KEY),
        FindValue(KEY),
        to_store(KEY, 80, b"x"),
        to_withdraw(KEY, 80, b"x"),
        Renew(SESSION, 60, b""),
        Watch(KEY, b"x", 60, SESSION),
        Changed(KEY, 0, (VICTIM,), ()),
        Get(KEY),
        Put(KEY, b"x", LONGEST, None, 60),
    ]
    yield from (CODEC.encode_query(tid, Id(5), request) for request in requests)


def is_within(bench: Loud, data: bytes, source: Endpoint) -> bool:
    """Hand the node a datagram. Return whether it was answered; check that answer and pings stay within the bound."""
    assert len(data) <= RECEIVED_MAX
    answer = bench.deliver(data, source)
    size = 0 if answer is None else len(answer)
    bench.worst = max(bench.worst, size / len(data) if data else 0.0)
    assert size <= min(3 * len(data), SENT_MAX), f"{size} bytes for {len(data)}: {data!r}"
    pings = sum(sent.size for sent in bench.sent() if sent.to == source)
    assert pings <= 56, "a ping, to find out who asks"
    assert size + pings <= 3 * len(data), f"{size} and {pings} bytes for {len(data)}: {data!r}"
    return answer is not None


@pytest.mark.parametrize("policy", [ORDINARY, FULL, KEY_FULL], ids=["ordinary", "full", "full key"])
@pytest.mark.parametrize("source", [VICTIM, OLD_FRIEND, OLD_FRIEND.with_port(9)], ids=str)
def test_unproved_addresses_get_bounded_answers(
    policy: Policy, source: Endpoint, figure: Callable[[str, object], None]
) -> None:
    bench = loud(policy)
    of_another = bench.node.responder._tokens.issue(b"\x0a\x00\x00\x01", NATIVE.to_bytes(KEY), bench.now)
    of_another_key = bench.node.responder._tokens.issue(source.ip, bytes(32), bench.now)
    queries = list(hostile([None, b"x", bytes(64), of_another, of_another_key]))
    assert all(is_within(bench, data, source) for data in queries)
    assert len(queries) > 2_500
    counters = bench.node.counters
    figure("bytes sent for one received", f"{bench.bytes_sent / bench.bytes_received:.2f}")
    figure("longest answer, as a multiple of its query", f"{bench.worst:.2f}")
    assert bench.bytes_sent < 3 * bench.bytes_received
    assert set(counters.queries_received) == set(METHODS.values())
    assert counters.bad_queries > 500


def test_mutated_queries_amplify_no_more(figure: Callable[[str, object], None]) -> None:
    bench = loud(ORDINARY)
    mutator = Mutator(3, [vector.data for vector in VECTORS.values()])
    mutants = (mutant for vector in VECTORS.values() for mutant in mutator.mutants(vector.data, 300))
    answered = sum(is_within(bench, data, VICTIM) for data in mutants if len(data) <= RECEIVED_MAX)
    figure("longest answer to a mutant, as a multiple of it", f"{bench.worst:.2f}")
    assert answered > 500


def test_a_token_earns_one_address_a_full_answer() -> None:
    bench = loud(ORDINARY)
    token = bench.node.responder._tokens.issue(VICTIM.ip, NATIVE.to_bytes(KEY), bench.now)
    query = CODEC.encode_query(bytes(8), Id(5), FindValue(KEY, token))
    answer = bench.deliver(query, VICTIM)
    assert answer is not None
    assert len(answer) > 9 * len(query)
    assert is_within(bench, query, Endpoint.of("192.0.2.67", 53))


def test_a_recent_answer_earns_no_larger_answers(figure: Callable[[str, object], None]) -> None:
    bench = loud(ORDINARY)
    bench.node.state.answered(Contact(Id(KEY ^ 1), OLD_FRIEND), 0.1, bench.now)
    query = packed(0, bytes(8), SENDER, "find_value", [NATIVE.to_bytes(KEY), None])
    assert is_within(bench, query, OLD_FRIEND)
    assert is_within(bench, query, OLD_FRIEND.with_port(9))
    figure("bytes for one received, in a contact's name", f"{bench.worst:.2f}")


@pytest.mark.parametrize("padded", [False, True])
def test_a_lone_node_repeats_few_pings(padded: bool) -> None:
    request = FindNode(KEY) if padded else Ping()
    bench = Bench(policy=ORDINARY, codec=CODEC)
    assert bench.deliver(CODEC.encode_query(bytes(8), Id(5), request), VICTIM) is not None
    bench.advance(60.0)
    pings = [sent for sent in bench.sent() if sent.to == VICTIM]
    assert len(pings) == (bench.node.policy.ping_attempts if padded else 1)
    assert bench.bytes_sent <= 3 * bench.bytes_received


def test_forged_queries_cause_few_stranger_pings(figure: Callable[[str, object], None]) -> None:
    bench = Bench(policy=ORDINARY, codec=CODEC)
    bench.node.gate.limit_rate(0, 0)
    sent = 0
    for number in range(10_000):  # in ten seconds
        source = Endpoint.of(f"198.51.{100 + number // 250}.{1 + number % 250}", 53)
        bench.deliver(CODEC.encode_query(bytes(8), Id(number + 1), Ping()), source)
        if number % 100 == 99:
            bench.advance(0.1)
            sent += sum(query.size for query in bench.sent())
    policy = bench.node.policy
    figure("bytes of pings for 10,000 forged queries in ten seconds", sent)
    assert sent <= 56 * policy.ping_attempts * (policy.stranger_pings + policy.stranger_rate * 10)
    assert bench.bytes_sent < 1.2 * bench.bytes_received

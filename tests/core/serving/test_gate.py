"""Queries above the limit of a source: silence for strangers; enough for contacts to keep us in their tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dhtd.core.counters import RATE_LIMIT, RATE_LIMIT_TOTAL, STORE_ENTRIES
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import NATIVE, Id, packed
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    ERROR_SERVER,
    Acknowledged,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Ping,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
)
from dhtd.core.policy import Policy
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from tests.core.bench import QUIET, Bench
from tests.core.small import SEVEN, contact, endpoint
from tests.records import SESSION, hold_peer, to_store, to_withdraw

KEY = Id(77)
FRIEND, STRANGER = contact(9), contact(10)
POLICY = replace(QUIET, rate_limit=1.0, rate_burst=4.0)
RATE = 4  # queries that may come at once
FORGED = b"forged!!"


def flooded(policy: Policy = POLICY) -> Bench:
    """Return a node with a contact that answers it; the limit and the rate are used up in the contact's name."""
    bench = Bench(policy=policy)
    bench.know(FRIEND, contact(20), contact(30))
    for _ in range(2 * RATE):
        assert bench.query(FindNode(KEY), FRIEND) is not None
    bench.sent()
    return bench


def result(bench: Bench, request: Request, source: Contact = FRIEND) -> Result | Error | None:
    """Return what the node answers, decoded."""
    reply = bench.query(request, source)
    return bench.codec.decode_result(request, reply.body) if isinstance(reply, Reply) else reply


def token(bench: Bench, find: type[FindNode | FindValue] = FindNode) -> bytes:
    """Return the token of an answer cut to it."""
    found = result(bench, find(KEY))
    assert isinstance(found, Found)
    assert found == Found(found.token, (), (), more=True)
    assert found.token is not None
    return found.token


def test_a_contacts_ping_is_always_answered() -> None:
    bench = flooded()
    assert all(result(bench, Ping()) == Acknowledged() for _ in range(1_000))
    counters = bench.node.counters
    assert (counters.cut_short, counters.rate_limited, counters.caps_hit[RATE_LIMIT]) == (1_000, 0, 1_000)
    assert bench.received() == {"find_node": 2 * RATE, "ping": 1_000}


@pytest.mark.parametrize("find", [FindNode, FindValue])
def test_a_contacts_find_is_cut_to_a_token(find: type[FindNode | FindValue]) -> None:
    bench = flooded()
    hold_peer(bench.node.store, KEY, endpoint(5), bench.now)
    for proof in (None, FORGED):
        assert isinstance(result(bench, find(KEY, proof)), Found)
    assert bench.node.counters.cut_short == 2
    found = result(bench, find(KEY, token(bench, find)))
    assert isinstance(found, Found)
    assert set(found.contacts) == {FRIEND, contact(20), contact(30)}
    assert found.endpoints == ((endpoint(5),) if find is FindValue else ())
    assert not found.more
    counters = bench.node.counters
    assert (counters.cut_short, counters.rate_limited, counters.caps_hit[RATE_LIMIT]) == (3, 0, 3)


def test_a_contacts_store_needs_its_token() -> None:
    bench = flooded()
    proof = token(bench)
    for request in (to_store(KEY, 80, FORGED), to_withdraw(KEY, 80, FORGED), to_store(Id(78), 80, proof)):
        assert result(bench, request) is None
    assert bench.node.counters.rate_limited == 3
    assert result(bench, to_store(KEY, 80, proof)) == Acknowledged()
    assert bench.node.store.get(KEY, bench.now) == [FRIEND.endpoint.with_port(80)]
    assert result(bench, to_withdraw(KEY, 80, proof)) == Acknowledged()
    assert bench.node.store.get(KEY, bench.now) == []


def test_a_flooding_contact_gets_brief_answers() -> None:
    bench = flooded()
    proof = token(bench)
    whole = [result(bench, FindNode(KEY, proof)) for _ in range(100)]
    assert [found is None for found in whole] == [False] * RATE + [True] * (100 - RATE)
    assert result(bench, to_store(KEY, 80, proof)) is None
    assert token(bench) == proof
    assert result(bench, Ping()) == Acknowledged()
    bench.now += 1.0
    whole = [result(bench, FindNode(KEY, proof)) for _ in range(100)]
    assert sum(found is not None for found in whole) == 3  # by the source's limit, and by each of two lanes


def test_a_renewal_in_a_flood_gets_its_token() -> None:
    bench = flooded()
    renewed = result(bench, Renew(SESSION, 60, b""))
    assert isinstance(renewed, Renewed)
    assert renewed.held is None
    proved = result(bench, Renew(SESSION, 60, renewed.token))
    assert isinstance(proved, Renewed)
    assert proved.held == 0


def test_strangers_above_the_limit_get_no_answer() -> None:
    bench = flooded()
    bad = bench.codec._encode(0, b"12345678", FRIEND.id, "frobnicate", [])
    assert bench.deliver(bad, FRIEND.endpoint) is None
    for _ in range(RATE):
        assert bench.query(Ping(), STRANGER) is not None
    of_stranger = bench.node.responder._tokens.issue(STRANGER.endpoint[:-2], SEVEN.to_bytes(KEY), bench.now)
    requests = (Ping(), FindNode(KEY), FindNode(KEY, FORGED), FindValue(KEY), to_store(KEY, 80, FORGED))
    for request in requests:
        assert bench.query(request, STRANGER) is None
        assert bench.query(request, Contact(FRIEND.id, FRIEND.endpoint.with_port(1))) is None
    counters = bench.node.counters
    assert (counters.rate_limited, counters.cut_short) == (1 + 2 * len(requests), 0)
    assert result(bench, to_store(KEY, 80, of_stranger), STRANGER) == Acknowledged()


def test_a_contact_gone_silent_is_a_stranger() -> None:
    bench = flooded()
    bench.node.overlays.restore(STRANGER)
    for _ in range(RATE):
        assert bench.query(Ping(), STRANGER) is not None
    assert bench.query(Ping(), STRANGER) is None
    bench.node.state.meta.bad.add(packed(FRIEND.id))
    assert bench.query(Ping(), FRIEND) is None


def test_a_query_above_the_limit_prompts_no_ping() -> None:
    bench = flooded()
    other_id = Contact(STRANGER.id, FRIEND.endpoint)
    proof = token(bench)
    for request in (Ping(), FindNode(KEY), FindNode(KEY, proof)):
        assert bench.query(request, other_id) is not None
    assert bench.sent() == []
    assert bench.node.state.table.at(FRIEND.endpoint) == FRIEND


def test_a_full_node_gives_a_token_and_says_full() -> None:
    bench = flooded(replace(POLICY, store_entries=1))
    hold_peer(bench.node.store, Id(1), endpoint(5), bench.now)
    proof = token(bench)
    assert proof != b""
    found = result(bench, FindNode(KEY, proof))
    assert isinstance(found, Found)
    assert (found.token, len(found.contacts), found.more) == (b"", 3, False)
    refused = result(bench, to_store(KEY, 80, proof))
    assert isinstance(refused, Error)
    assert refused.code == ERROR_SERVER
    assert bench.node.counters.caps_hit[STORE_ENTRIES] == 1


def test_brief_answers_spare_the_reserve() -> None:
    bench = flooded(replace(POLICY, rate_limit_total=20.0))  # 80 at once, 20 of them for contacts alone
    answers = [result(bench, Ping()) for _ in range(200)]
    brief = 60 - 2 * RATE
    assert answers == [Acknowledged()] * brief + [None] * (200 - brief)
    counters = bench.node.counters
    assert (counters.cut_short, counters.rate_limited) == (brief, 200 - brief)
    assert (counters.caps_hit[RATE_LIMIT], counters.caps_hit[RATE_LIMIT_TOTAL]) == (brief, 200 - brief)
    assert bench.query(Ping(), STRANGER) is None
    for other in (contact(20), contact(30)):
        assert all(result(bench, Ping(), other) == Acknowledged() for _ in range(2 * RATE))
    for request in (FindNode(KEY), to_store(KEY, 80, FORGED)):
        assert result(bench, request) is None


def test_an_exhausted_limit_stops_tokens_too() -> None:
    bench = flooded(replace(POLICY, rate_limit_total=RATE / 2))  # by which that is used up as well
    proof = bench.node.responder._tokens.issue(FRIEND.endpoint[:-2], SEVEN.to_bytes(KEY), bench.now)
    for request in (FindNode(KEY, proof), to_store(KEY, 80, proof), Ping()):
        assert bench.query(request, FRIEND) is None
    counters = bench.node.counters
    assert (counters.rate_limited, counters.cut_short, counters.caps_hit[RATE_LIMIT_TOTAL]) == (3, 0, 3)
    bench.now += 0.5  # in which one more of all may come, and none of one source
    assert bench.query(FindNode(KEY, proof), FRIEND) is not None


def test_a_bad_token_is_called_bad_below_the_rate() -> None:
    bench = Bench(policy=POLICY)
    bench.know(FRIEND)
    for _ in range(RATE):
        assert bench.query(Ping(), Contact(STRANGER.id, FRIEND.endpoint.with_port(1))) is not None
    refused = result(bench, to_store(KEY, 80, FORGED))
    assert isinstance(refused, Error)
    assert refused.code == ERROR_PROTOCOL


@pytest.mark.parametrize("family", list(Family))
def test_brief_finds_are_shorter_than_queries(family: Family, figure: Callable[[str, object], None]) -> None:
    codec = NativeCodec()
    key = NATIVE.digest(b"key")
    at = Endpoint.of("192.0.2.7" if family is Family.IPV4 else "2001:db8::7", 1_729)
    friend = Contact(NATIVE.digest(b"friend"), at)
    bench = Bench(policy=POLICY, codec=codec, families=list(Family))
    bench.know(friend)
    for _ in range(2 * RATE):
        bench.query(Ping(), friend)
    worst = {}
    for method, arguments in {
        "ping": [],
        "find_node": [NATIVE.to_bytes(key), None],
        "find_value": [NATIVE.to_bytes(key), None],
    }.items():
        asked = MAGIC + codec._encode(0, bytes(8), friend.id, method, arguments)[len(MAGIC) :]  # as short as it can be
        answer = bench.deliver(asked, friend.endpoint)
        assert answer is not None
        worst[method] = len(answer) / len(asked)
        figure(f"{method} over {family.name}", f"{len(answer)} bytes for {len(asked)}")
    assert bench.node.counters.cut_short == 3
    assert max(worst["find_node"], worst["find_value"]) < 1
    assert worst["ping"] < (1.06 if family is Family.IPV4 else 1.27)


def test_a_contact_of_either_family_has_lanes() -> None:
    bench = Bench(policy=POLICY, codec=NativeCodec(), families=list(Family))
    both = [Contact(NATIVE.digest(at.encode()), Endpoint.of(at, 1_729)) for at in ("192.0.2.7", "2001:db8::7")]
    bench.know(*both)
    for friend in both:
        for _ in range(10 * RATE):
            assert bench.query(Ping(), friend) is not None


# Other limits


def answered(bench: Bench, queries: int = 50) -> int:
    """Return how many pings of a stranger are answered at one moment."""
    return sum(bench.query(Ping(), STRANGER) is not None for _ in range(queries))


def test_another_rate_counts_from_now_on() -> None:
    bench = Bench(policy=POLICY)
    assert answered(bench) == RATE
    bench.node.gate.limit_rate(2.0)
    assert answered(bench) == 2 * RATE
    bench.node.gate.limit_rate(0.0)
    assert answered(bench) == 50


def test_the_limit_for_all_is_the_policys_or_another() -> None:
    bench = Bench(policy=replace(POLICY, rate_limit_total=4.0, rate_reserve=0.0))
    bench.node.gate.limit_rate(0.0)
    assert answered(bench) == 4 * RATE
    bench.node.gate.limit_rate(0.0, 2.0)
    assert answered(bench) == 2 * RATE
    assert bench.node.counters.caps_hit[RATE_LIMIT_TOTAL] == 100 - 6 * RATE


def test_rubbish_is_limited_by_another_rate_as_well() -> None:
    bench = Bench(policy=replace(POLICY, rate_limit=0.0))
    malformed = bench.node.gate.malformed

    def is_refused() -> bool:
        for _ in range(2 * RATE):
            malformed.count(STRANGER.endpoint, bench.now)
        return malformed.refuses(STRANGER.endpoint, bench.now)

    refused = [is_refused()]
    for rate in (16.0, 0.0):
        bench.node.gate.limit_rate(rate)
        refused.append(is_refused())
    assert refused == [False, True, False]

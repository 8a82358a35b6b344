"""Stolen and replayed tokens: each is good for one address and one key, for two minutes at most."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    ERROR_PROTOCOL,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Reply,
    Request,
)
from dhtd.core.policy import DEFAULT
from dhtd.wire.native import NativeCodec
from tests.core.bench import QUIET, Bench
from tests.records import hold_peer, to_store, to_withdraw

KEY, OTHER_KEY = NATIVE.digest(b"the key"), NATIVE.digest(b"another")
OWNER = Contact(Id(5), Endpoint.of("192.0.2.5", 1_729))
NEIGHBOUR = Contact(Id(5), Endpoint.of("192.0.2.6", 1_729))
FAR = Contact(Id(5), Endpoint.of("2001:db8::5", 1_729))


def holding() -> Bench:
    """Return a node that holds an entry of the owner's under each key."""
    bench = Bench(policy=QUIET, codec=NativeCodec())
    for key in (KEY, OTHER_KEY):
        hold_peer(bench.node.store, key, OWNER.endpoint.with_port(80), bench.now)
    return bench


def token_of(bench: Bench, request: FindNode | FindValue, source: Contact) -> bytes:
    reply = bench.query(request, source)
    assert isinstance(reply, Reply)
    found = bench.codec.decode_result(request, reply.body)
    assert isinstance(found, Found)
    assert found.token
    return found.token


def held(bench: Bench) -> set[tuple[Id, Endpoint, float]]:
    return {(entry.key, entry.record.endpoint, entry.expires_at) for entry in bench.node.store}


Make = Callable[[Id, bytes], Request]
ACTS: list[Make] = [lambda key, token: to_store(key, 80, token), lambda key, token: to_withdraw(key, 80, token)]


@pytest.mark.parametrize("make", ACTS, ids=["store", "withdraw"])
@pytest.mark.parametrize("of_value", [False, True])
def test_a_token_is_for_one_address_and_key(make: Make, of_value: bool, figure: Callable[[str, object], None]) -> None:
    bench = holding()
    bench.now = 1.0
    token = token_of(bench, FindValue(KEY) if of_value else FindNode(KEY), OWNER)
    before = held(bench)
    thefts = [(KEY, NEIGHBOUR), (KEY, FAR), (OTHER_KEY, OWNER), (Id(KEY ^ 1), OWNER), (OTHER_KEY, FAR)]
    taken = 0
    for key, source in thefts:
        refused = bench.query(make(key, token), source)
        taken += held(bench) != before
        assert isinstance(refused, Error)
        assert (refused.code, refused.text) == (ERROR_PROTOCOL, "bad token")
        assert held(bench) == before
    figure("stolen tokens taken", f"{taken} of {len(thefts)}")
    assert isinstance(bench.query(make(KEY, token), OWNER), Reply)
    assert held(bench) != before


@pytest.mark.parametrize("make", ACTS, ids=["store", "withdraw"])
def test_a_replayed_token_expires(make: Make, figure: Callable[[str, object], None]) -> None:
    bench = holding()
    bench.now = 1.0
    token = token_of(bench, FindNode(KEY), OWNER)
    data = bench.codec.encode_query(bytes(8), OWNER.id, make(KEY, token))
    rotations = (2, 3, 1_000)
    taken = 0
    for later in (number * DEFAULT.token_rotation for number in rotations):
        bench.now = later
        before = held(bench)
        answer = bench.deliver(data, OWNER.endpoint)
        assert answer is not None
        taken += not isinstance(bench.codec.decode(answer), Error)
        assert held(bench) == before
    figure("replayed tokens taken", f"{taken} of {len(rotations)}")
    assert taken == 0


def test_another_nodes_or_runs_token_is_invalid() -> None:
    token = token_of(Bench(policy=QUIET, codec=NativeCodec(), seed=2), FindNode(KEY), OWNER)
    bench = holding()
    before = held(bench)
    assert isinstance(bench.query(to_store(KEY, 81, token), OWNER), Error)
    assert held(bench) == before


def test_guessing_tokens_finds_none(figure: Callable[[str, object], None]) -> None:
    bench = holding()
    bench.node.gate.limit_rate(0, 0)
    before = held(bench)
    guesses = [bytes(8), b"\xff" * 8, b"x", bytes(64), *(number.to_bytes(8, "big") for number in range(2_000))]
    right = token_of(bench, FindNode(KEY), OWNER)
    guesses += [right[:-1], right + b"\0", bytes([right[0] ^ 1]) + right[1:], right[::-1]]
    answers = [
        bench.query(request, OWNER)
        for guess in guesses
        for request in (to_store(KEY, 81, guess), to_withdraw(KEY, 80, guess))
    ]
    taken = sum(not isinstance(answer, Error) for answer in answers)
    figure("guesses taken", f"{taken} of {len(answers)}")
    assert taken == 0
    assert held(bench) == before

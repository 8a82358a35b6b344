"""Answers to gets and puts: what a node says of values, which it takes, and what it says to those that it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import Id, packed
from dhtd.core.messages import VALUE_LASTS, Acknowledged, Contact, Error, Found, Get, Put, Reply
from dhtd.core.policy import DEFAULT
from dhtd.core.records import DATA_MAX, Immutable, Value
from tests.core.bench import QUIET, Bench
from tests.core.small import CODEC, contact, endpoint, six
from tests.values import by_owner, forged, hold, squatting

OLD, VALUE, NEW, TWIN = by_owner(1, b"old"), by_owner(2, b"data"), by_owner(3, b"new"), by_owner(2, b"twin")
KEY = CODEC.key_of(VALUE)
DATA = Immutable(b"data that never change")
DATA_KEY = CODEC.key_of(DATA)
PEER, OTHER = contact(100), contact(101)
LONG = by_owner(2, bytes(DATA_MAX))


def ask(bench: Bench, request: Get, source: Contact = PEER) -> Found:
    """Send a get; return its result."""
    reply = bench.query(request, source)
    assert isinstance(reply, Reply)
    assert reply.observed == source.endpoint
    result = bench.codec.decode_result(request, reply.body)
    assert isinstance(result, Found)
    return result


def token(bench: Bench, key: Id = KEY, source: Contact = PEER) -> bytes:
    given = ask(bench, Get(key), source).token
    assert given
    return given


def put(
    bench: Bench,
    value: Value,
    source: Contact = PEER,
    *,
    cas: int | None = None,
    lasts: int = 600,
    shown: bytes | None = None,
) -> int | None:
    """Put a value by the book; return the code of the error, if it is refused."""
    key = CODEC.key_of(value)
    request = Put(key, token(bench, key, source) if shown is None else shown, value, cas, lasts)
    answer = bench.query(request, source)
    if isinstance(answer, Error):
        return answer.code
    assert isinstance(answer, Reply)
    assert bench.codec.decode_result(request, answer.body) == Acknowledged()
    return None


def held(bench: Bench, key: Id = KEY) -> Value | None:
    found = bench.node.values.held.held(packed(key))
    return None if found is None else found.value


# Gets


def test_a_get_gives_contacts_and_a_token() -> None:
    bench = Bench()
    members = [contact(id) for id in (1, 2, 3, 64)]
    bench.know(*members)
    found = ask(bench, Get(KEY))
    assert set(found.contacts) == set(members)
    assert (len(found.token or b""), found.held, found.lasts, found.more) == (DEFAULT.token_size, None, 0, False)
    assert bench.received() == {"get": 1}


@pytest.mark.parametrize(
    ("seq", "said"),
    [(None, VALUE), (0, VALUE), (1, VALUE), (2, 2), (3, 2)],
)
def test_a_get_gives_what_is_newer(seq: int | None, said: Value | int) -> None:
    bench = Bench()
    assert put(bench, VALUE) is None
    bench.now += 10
    found = ask(bench, Get(KEY, None, seq), OTHER)
    assert (found.held, found.lasts) == (said, 590)


def test_data_are_given_without_a_seq() -> None:
    bench = Bench()
    assert put(bench, DATA) is None
    assert ask(bench, Get(DATA_KEY)).held == DATA
    assert ask(bench, Get(DATA_KEY, None, 0)).held == 0


def test_an_own_value_is_given_as_well() -> None:
    bench = Bench()
    bench.node.commands.put(KEY, NEW, bench.now)
    assert put(bench, OLD) == 302
    found = ask(bench, Get(KEY))
    assert (found.held, found.lasts) == (NEW, VALUE_LASTS)


def test_an_expired_value_is_not_given() -> None:
    bench = Bench()
    put(bench, VALUE)
    bench.now += 600
    found = ask(bench, Get(KEY))
    assert (found.held, found.lasts) == (None, 0)


def test_a_long_value_is_given_to_a_proved_address() -> None:
    bench = Bench()
    bench.know(*[contact(id) for id in range(1, 9)])
    put(bench, LONG)
    found = ask(bench, Get(KEY, token(bench)))
    assert found.held == LONG
    rest = ask(bench, Get(KEY, token(bench), LONG.seq))
    assert (rest.held, len(rest.contacts)) == (LONG.seq, 8)


def test_a_bad_token_proves_nothing() -> None:
    bench = Bench()
    put(bench, LONG)
    for shown in (b"x", token(bench, Id(KEY ^ 1)), token(bench, KEY, OTHER)):
        data = bench.codec.encode_query(bytes(8), PEER.id, Get(KEY, shown))
        answer = bench.deliver(data, PEER.endpoint)
        assert answer is not None
        assert len(answer) <= 3 * len(data)


def test_a_full_node_gives_a_newcomer_no_token() -> None:
    bench = Bench(policy=replace(QUIET, values=1))
    assert put(bench, VALUE) is None
    assert ask(bench, Get(DATA_KEY), OTHER).token == b""
    assert ask(bench, Get(KEY), OTHER).token  # it may have a newer one
    assert ask(bench, Get(DATA_KEY), PEER).token
    bench.node.values.held.sweep(600)
    bench.now = 600.0
    assert ask(bench, Get(DATA_KEY), OTHER).token


def test_a_node_of_both_families_names_both() -> None:
    bench = Bench(families=(Family.IPV4, Family.IPV6))
    bench.know(contact(1), six(2))
    for source in (PEER, six(100)):
        assert set(ask(bench, Get(KEY), source).contacts) == {contact(1), six(2)}


# Puts


def test_a_put_with_a_token_is_taken() -> None:
    bench = Bench()
    assert put(bench, VALUE, lasts=60) is None
    (found,) = bench.node.values.held
    assert (found.key, found.value, found.source, found.expires_at) == (KEY, VALUE, PEER.endpoint.ip, 60)
    assert put(bench, DATA) is None
    assert bench.received()["put"] == 2
    assert bench.node.counters.bad_queries == 0


def test_a_put_without_a_good_token_is_refused() -> None:
    bench = Bench()
    for shown in (b"x", token(bench, DATA_KEY), token(bench, KEY, OTHER)):
        assert put(bench, VALUE, shown=shown) == 203
    good = token(bench)
    bench.advance(3 * DEFAULT.token_rotation)
    assert put(bench, VALUE, shown=good) == 203
    assert held(bench) is None
    assert bench.node.counters.bad_queries == 4


@pytest.mark.parametrize(
    ("value", "cas", "code"),
    [
        (OLD, None, 302),
        (TWIN, None, 302),
        (squatting(VALUE), None, 302),
        (NEW, 1, 301),
        (forged(3), None, 206),
        (NEW._replace(data=b"other"), None, 206),
        (VALUE, None, None),
        (VALUE, 7, None),
        (NEW, None, None),
        (NEW, 2, None),
    ],
)
def test_a_refused_put_is_told_why(value: Value, cas: int | None, code: int | None) -> None:
    bench = Bench()
    put(bench, VALUE)
    assert put(bench, value, OTHER, cas=cas) == code
    assert held(bench) == (value if code is None else VALUE)
    assert bench.node.counters.bad_queries == (code is not None)


def test_an_error_says_what_is_held() -> None:
    bench = Bench()
    put(bench, VALUE)
    answer = bench.query(Put(KEY, token(bench), NEW, 1, 60), PEER)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (301, "the seq is 2")


def test_a_signed_value_takes_the_place_of_a_squatter() -> None:
    bench = Bench()
    assert put(bench, squatting(VALUE)) is None
    assert put(bench, VALUE, cas=1) is None
    assert held(bench) == VALUE


def test_a_full_node_says_so() -> None:
    bench = Bench(policy=replace(QUIET, values=1))
    good = token(bench, DATA_KEY, OTHER)
    put(bench, VALUE)
    answer = bench.query(Put(DATA_KEY, good, DATA, None, 60), OTHER)
    assert isinstance(answer, Error)
    assert (answer.code, answer.text) == (202, "store is full")
    assert bench.node.counters.caps_hit["values"] == 1


def test_a_contact_in_a_flood_is_given_a_token_alone() -> None:
    bench = Bench(policy=replace(QUIET, rate_limit=1.0, rate_burst=1.0))
    bench.know(PEER)
    put(bench, VALUE)
    found = ask(bench, Get(KEY))
    while not bench.node.counters.cut_short:
        found = ask(bench, Get(KEY))
    assert (found.held, found.more, found.contacts) == (None, True, ())
    assert found.token
    assert put(bench, NEW, shown=found.token) is None  # what is proved has a rate of its own
    assert held(bench) == NEW


def test_values_of_both_families_have_their_sources() -> None:
    bench = Bench(families=(Family.IPV4, Family.IPV6))
    assert put(bench, VALUE, six(100)) is None
    (found,) = bench.node.values.held
    assert found.source == six(100).endpoint.ip[:8]
    hold(bench.node.values.held, DATA_KEY, DATA, endpoint(1), bench.now)
    assert ask(bench, Get(DATA_KEY), six(100)).held == DATA

"""Hypothesis strategies for the types of the core and the wire."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from dhtd.core.endpoint import IPV4_SIZE, IPV6_SIZE, Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import (
    CHANGED_MAX,
    ERROR_GENERIC,
    ERROR_SEQ,
    LEASE_MAX,
    SESSION_SIZE,
    VALUE_LASTS,
    VERSION_MAX,
    Acknowledged,
    Changed,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.records import (
    DATA_MAX,
    PUBLIC_KEY_SIZE,
    SALT_MAX,
    SEQ_MAX,
    SIGNATURE_SIZE,
    Immutable,
    Mutable,
    Value,
)
from dhtd.wire.native_values import key_of


def scaled(examples: int, steps: int = 50) -> settings:
    """Return the settings of a test that tries so many examples, of so many steps, where others try 100 of 50.

    What the profile says of those multiplies this, so that `deep` is deep for all.
    """
    return settings(
        max_examples=max(2, settings().max_examples * examples // 100),  # the first is the simplest
        stateful_step_count=max(1, settings().stateful_step_count * steps // 50),
    )


def ids(keyspace: Keyspace = NATIVE) -> st.SearchStrategy[Id]:
    """Any ID of a keyspace."""
    return st.integers(0, keyspace.size - 1).map(Id)


def endpoints4() -> st.SearchStrategy[Endpoint]:
    """Any six bytes, as an endpoint."""
    return st.binary(min_size=IPV4_SIZE, max_size=IPV4_SIZE).map(Endpoint)


def endpoints6() -> st.SearchStrategy[Endpoint]:
    """Any eighteen bytes, as an endpoint."""
    return st.binary(min_size=IPV6_SIZE, max_size=IPV6_SIZE).map(Endpoint)


def endpoints() -> st.SearchStrategy[Endpoint]:
    return endpoints4() | endpoints6()


def contacts(keyspace: Keyspace = NATIVE) -> st.SearchStrategy[Contact]:
    return st.builds(Contact, ids(keyspace), endpoints())


def ports() -> st.SearchStrategy[int]:
    """A port that can be listened on."""
    return st.integers(1, 65_535)


def tids() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=8, max_size=8)


def tokens() -> st.SearchStrategy[bytes]:
    """A token of any implementation."""
    return st.binary(min_size=1, max_size=64)


def leases(least: int = 1) -> st.SearchStrategy[int]:
    return st.integers(least, LEASE_MAX)


def sessions() -> st.SearchStrategy[bytes]:
    return st.binary(min_size=SESSION_SIZE, max_size=SESSION_SIZE)


def versions() -> st.SearchStrategy[int]:
    return st.integers(0, VERSION_MAX)


def seqs() -> st.SearchStrategy[int]:
    return st.integers(0, SEQ_MAX)


def values() -> st.SearchStrategy[Value]:
    """Any value. Nobody has signed it: see `tests.records.signed_by` for one that proves itself."""
    data = st.binary(max_size=60) | st.binary(min_size=DATA_MAX - 5, max_size=DATA_MAX)
    public_keys, salts = _exactly(PUBLIC_KEY_SIZE), st.binary(max_size=SALT_MAX)
    return st.builds(Immutable, data) | st.builds(Mutable, public_keys, salts, seqs(), data, _exactly(SIGNATURE_SIZE))


def _exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


def puts(keyspace: Keyspace = NATIVE) -> st.SearchStrategy[Put]:
    """Any put, under the key of its value."""

    def put(token: bytes, value: Value, cas: int | None, lasts: int) -> Put:
        return Put(Id(key_of(value) >> NATIVE.bits - keyspace.bits), token, value, cas, lasts)

    return st.builds(put, tokens(), values(), st.none() | seqs(), st.integers(1, VALUE_LASTS))


def requests(keyspace: Keyspace = NATIVE) -> st.SearchStrategy[Request]:
    return st.one_of(
        st.just(Ping()),
        st.builds(FindNode, ids(keyspace), st.none() | tokens()),
        st.builds(FindValue, ids(keyspace), st.none() | tokens()),
        st.builds(Store, ids(keyspace), ports(), tokens(), leases(), sessions()),
        st.builds(Withdraw, ids(keyspace), ports(), tokens(), sessions()),
        st.builds(Renew, sessions(), leases(0), st.just(b"") | tokens()),
        st.builds(Watch, ids(keyspace), tokens(), leases(), sessions()),
        changes(keyspace),
        st.builds(Get, ids(keyspace), st.none() | tokens(), st.none() | seqs()),
        puts(keyspace),
    )


def changes(keyspace: Keyspace = NATIVE) -> st.SearchStrategy[Changed]:
    """Any change of a watched key."""
    few = st.lists(endpoints(), max_size=CHANGED_MAX // 2).map(tuple)
    return st.builds(Changed, ids(keyspace), versions(), few, few)


def queries() -> st.SearchStrategy[Query]:
    return st.builds(Query, tids(), ids(), requests())


def errors() -> st.SearchStrategy[Error]:
    """Any error; the text as long as a datagram allows."""
    return st.builds(Error, tids(), ids(), st.integers(ERROR_GENERIC, ERROR_SEQ), st.text(max_size=200))


def messages() -> st.SearchStrategy[Message]:
    """Any message with an encoding that tells all of it."""
    return queries() | errors()


def results() -> st.SearchStrategy[Result]:
    """Any result, its contacts of IPv4 before those of IPv6, as on the wire. No find brings endpoints and a value."""
    found = st.builds(
        lambda token, of_ipv4, of_ipv6, endpoints, *rest: Found(token, (*of_ipv4, *of_ipv6), tuple(endpoints), *rest),
        tokens(),
        st.lists(st.builds(Contact, ids(), endpoints4()), max_size=8),
        st.lists(st.builds(Contact, ids(), endpoints6()), max_size=8),
        st.lists(endpoints(), max_size=20),
        st.booleans(),
        st.none() | seqs() | values(),
        st.integers(0, VALUE_LASTS),
    )
    renewed = st.builds(Renewed, tokens(), st.none() | st.integers(0, 2**32))
    watched = st.builds(Watched, tokens(), versions(), st.lists(endpoints(), max_size=20).map(tuple), st.booleans())
    return st.just(Acknowledged()) | found | renewed | watched

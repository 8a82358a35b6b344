"""Record keys: what they are made of, and that strangers cannot make them collide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, packed
from dhtd.core.records import Kind, Peer, RecordKey
from dhtd.errors import InvalidEndpoint

KEY = Id(77)
V4, V6 = Endpoint.parse("192.0.2.1:1729"), Endpoint.parse("[2001:db8::1]:1729")

peers = st.integers(0, 65_535).map(Peer.on) | st.sampled_from([Peer(V4), Peer(V6)])
keys = st.integers(0, 2**256 - 1).map(Id) | st.just(Id(1 << 300))


@given(keys, peers)
def test_a_record_key_gives_back_what_it_is_made_of(key: Id, peer: Peer) -> None:
    record_key = RecordKey.of(key, peer)
    assert (record_key.kind, record_key.key, record_key.packed_key) == (Kind.PEER, key, packed(key))
    assert (record_key.peer, record_key.place, record_key.port) == (peer, peer, peer.port)


@given(keys, peers, keys, peers)
def test_two_records_have_two_keys(key: Id, peer: Peer, other_key: Id, other: Peer) -> None:
    is_same = (key, peer) == (other_key, other)
    assert (RecordKey.of(key, peer) == RecordKey.of(other_key, other)) is is_same


def test_records_are_sorted_by_key_and_then_by_port() -> None:
    in_order = [(Id(key), port) for key in (1, 2) for port in (80, 443, 65_535)]
    record_keys = [RecordKey.of(key, Peer.on(port)) for key, port in reversed(in_order)]
    assert [(each.key, each.port) for each in sorted(record_keys)] == in_order


def test_keys_whose_integers_collide_do_not() -> None:
    colliding = [Id(number * (2**61 - 1)) for number in range(1, 200)]
    assert len({hash(key) for key in colliding}) == 1
    assert len({hash(RecordKey.of(key, Peer.on(80))) for key in colliding}) == len(colliding)


def test_a_held_peer_has_an_endpoint() -> None:
    assert (Peer(V6).endpoint, Peer(V4).endpoint) == (V6, V4)
    assert RecordKey.of(KEY, Peer(V4)).kind is Kind.PEER


def test_an_own_peer_has_a_port_alone() -> None:
    with pytest.raises(InvalidEndpoint):
        _ = Peer.on(80).endpoint


def test_a_failing_test_can_show_them() -> None:
    assert repr(RecordKey.of(KEY, Peer.on(80))) == "<peer on 80> under 4d"
    assert repr(RecordKey.of(KEY, Peer(V4))) == "<peer at 192.0.2.1:1729> under 4d"

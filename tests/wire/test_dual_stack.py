"""The native wire with both address families: what is padded, and what goes first in an answer that is too small."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import IPV4_SIZE, Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, FindValue, Found, Get, Message, Query, Reply
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable
from dhtd.core.storage.held_values import HeldValue
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import FIND_NODE_SIZE, FIND_NODE_SIZE_DUAL, FIND_VALUE_SIZE, GET_SIZE
from tests.strategies import endpoints4, endpoints6, ids, scaled, tids

CODEC = NativeCodec()
DUAL = NativeCodec(dual_stack=True)
ID = Id(7)
TID = bytes(range(8))
TOKEN = bytes(8)
AT4, AT6 = Endpoint.of("192.0.2.1", 1729), Endpoint.of("2001:db8::1", 1729)
SIZE4, SIZE6 = 38, 50  # bytes of a contact


def fours(count: int) -> list[Contact]:
    return [Contact(Id(1 << 8 + number), Endpoint.of(f"10.0.0.{number}", 1)) for number in range(count)]


def sixes(count: int) -> list[Contact]:
    return [Contact(Id(1 << 8 + number), Endpoint.of(f"2001:db8::{number:x}", 1)) for number in range(count)]


def answer(
    request: FindNode | FindValue,
    at: Endpoint,
    limit: int,
    *,
    own: int = 8,
    other: int = 8,
    endpoints: int = 0,
    proved: bool = False,
) -> tuple[int, Found]:
    """Answer a query from `at` with contacts of its family and of the other, and endpoints; return the size."""
    is_ipv4 = len(at) == IPV4_SIZE
    mine, theirs = (fours(own), sixes(other)) if is_ipv4 else (sixes(own), fours(other))
    query = Query(TID, ID, request)
    values = [at] * endpoints
    data = CODEC.encode_found(
        query,
        ID,
        at,
        TOKEN,
        CODEC.pack_contacts(mine),
        Room(limit, proved),
        Named(values),
        CODEC.pack_contacts(theirs),
    )
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(request, reply.body)
    assert isinstance(result, Found)
    assert result.token == TOKEN
    return len(data), result


def split(result: Found, at: Endpoint) -> tuple[list[Contact], list[Contact]]:
    """Return the contacts of the requester's family, and the others."""
    own = [contact for contact in result.contacts if len(contact.endpoint) == len(at)]
    return own, [contact for contact in result.contacts if contact not in own]


class Direct(NativeCodec):
    """A codec that reads by layout, or not at all."""

    def _decode(self, data: bytes) -> Message:
        raise AssertionError("read by msgpack")


@given(tids(), ids(), ids())
def test_a_dual_node_pads_for_both_families(tid: bytes, sender: Id, target: Id) -> None:
    data = DUAL.encode_query(tid, sender, FindNode(target))
    assert len(data) == FIND_NODE_SIZE_DUAL == 288
    assert len(DUAL.encode_query(tid, sender, FindValue(target))) == FIND_VALUE_SIZE
    assert len(DUAL.encode_query(tid, sender, Get(target))) == GET_SIZE
    assert len(CODEC.encode_query(tid, sender, FindNode(target))) == FIND_NODE_SIZE
    assert CODEC._decode(data) == Query(tid, sender, FindNode(target))


@given(tids(), ids(), ids())
def test_our_own_datagrams_are_read_by_layout(tid: bytes, sender: Id, target: Id) -> None:
    direct = Direct()
    for codec in (CODEC, DUAL):
        for request in (FindNode(target), FindValue(target), Get(target)):
            assert direct.decode(codec.encode_query(tid, sender, request)) == Query(tid, sender, request)


@pytest.mark.parametrize("at", [AT4, AT6], ids=str)
def test_a_padded_query_gets_eight_of_each_family(at: Endpoint) -> None:
    limit = 3 * FIND_NODE_SIZE_DUAL - 56  # a ping
    size, result = answer(FindNode(ID), at, limit)
    assert size <= limit
    assert set(result.contacts) == {*fours(8), *sixes(8)}
    assert not result.more


@pytest.mark.parametrize(("at", "others"), [(AT4, 2), (AT6, 0)], ids=str)
def test_the_askers_family_goes_first_and_whole(at: Endpoint, others: int) -> None:
    limit = 3 * FIND_NODE_SIZE - 56  # a ping
    size, result = answer(FindNode(ID), at, limit)
    assert size <= limit
    own, other = split(result, at)
    assert own == (fours(8) if at == AT4 else sixes(8))
    assert other == (sixes(8) if at == AT4 else fours(8))[:others]
    assert not result.more, "there is nothing more to ask for that a node of one family has any use for"


@pytest.mark.parametrize("at", [AT4, AT6], ids=str)
def test_endpoints_go_before_the_other_family(at: Endpoint) -> None:
    size, result = answer(FindValue(ID), at, DEFAULT.datagram_sent_max, endpoints=500)
    assert size <= DEFAULT.datagram_sent_max
    own, other = split(result, at)
    assert len(own) == 8
    assert not other
    assert size + 1 + len(at) + 2 > DEFAULT.datagram_sent_max
    assert result.more
    few = answer(FindValue(ID), at, DEFAULT.datagram_sent_max, endpoints=15)[1]
    assert len(few.contacts) == 16
    assert not few.more


@scaled(300)
@given(
    st.sampled_from([FindNode(ID), FindValue(ID)]),
    st.sampled_from([AT4, AT6]),
    st.integers(100, 1_200),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_dual_answer_fills_its_limit(
    request: FindNode | FindValue, at: Endpoint, limit: int, own: int, other: int, endpoints: int, proved: bool
) -> None:
    size, result = answer(request, at, limit, own=own, other=other, endpoints=endpoints, proved=proved)
    assert size <= limit
    mine, theirs = split(result, at)
    wanted = endpoints if isinstance(request, FindValue) else 0
    assert set(mine) <= set(fours(own) if at == AT4 else sixes(own))
    assert set(theirs) <= set(sixes(other) if at == AT4 else fours(other))
    is_cut = len(mine) < own or len(result.endpoints) < wanted
    assert result.more is (len(result.endpoints) < wanted or (len(mine) < own and not proved))
    if len(mine) < own:
        room = SIZE4 if at == AT4 else SIZE6
        assert len(theirs) * (SIZE6 if at == AT4 else SIZE4) < room, "of two families, the requester's goes first"
    if len(result.endpoints) < wanted:
        assert len(theirs) * (SIZE6 if at == AT4 else SIZE4) < len(at) + 2
    elif len(theirs) < other and not is_cut:
        slack = 1 + 3  # headers at their largest: of one list, and of the endpoints
        assert limit - size < (SIZE6 if at == AT4 else SIZE4) + slack, "another node would have fitted"


@given(st.lists(endpoints4(), max_size=8), st.lists(endpoints6(), max_size=8), st.booleans())
def test_dual_nodes_are_packed_per_family(of_ipv4: list[Endpoint], of_ipv6: list[Endpoint], is_ipv4: bool) -> None:
    packed = [
        CODEC.pack_contacts([Contact(Id(number), at) for number, at in enumerate(ends)]) for ends in (of_ipv4, of_ipv6)
    ]
    own, others = packed if is_ipv4 else packed[::-1]
    asked = Query(TID, ID, FindNode(ID))
    data = CODEC.encode_found(asked, ID, AT4 if is_ipv4 else AT6, TOKEN, own, Room(1_200, proved=True), others=others)
    together = CODEC.pack_contacts([*packed[0].contacts, *packed[1].contacts])
    assert together.wire in data
    reply = CODEC.decode(data)
    assert isinstance(reply, Reply)
    result = CODEC.decode_result(FindNode(ID), reply.body)
    assert isinstance(result, Found)
    assert result.contacts == together.contacts


@pytest.mark.parametrize("families", [(Family.IPV4,), (Family.IPV6,), (Family.IPV4, Family.IPV6)], ids=len)
@pytest.mark.parametrize("at", [AT4, AT6], ids=str)
def test_a_get_is_answered_like_a_find_value(families: tuple[Family, ...], at: Endpoint) -> None:
    """From each family, by a node of one or of both: the value, and the same contacts."""
    node = Node(
        Id(1), CODEC, rng=Random(1), now=0.0, policy=Policy(exempt_networks=("0.0.0.0/0", "::/0")), families=families
    )
    for contact in (*fours(8), *sixes(8)):
        for overlay in node.overlays:
            if overlay.family == len(contact.endpoint):
                overlay.state.answered(contact, 0.1, 0.0)
    for size in (100, 1_000):
        value = Immutable(bytes(size))
        key = CODEC.key_of(value)
        node.values.held.restore(HeldValue(key, value, at.ip, 1_000.0), 0.0)
        answers = []
        for request in (FindValue(key), Get(key)):
            data = node.handle_datagram(CODEC.encode_query(TID, ID, request), at, 0.0)
            assert data is not None
            assert len(data) <= DEFAULT.datagram_sent_max
            reply = CODEC.decode(data)
            assert isinstance(reply, Reply)
            result = CODEC.decode_result(request, reply.body)
            assert isinstance(result, Found)
            answers.append(result)
        found, got = answers
        assert (got.held, got.lasts) == (value, 1_000)
        assert set(got.contacts) <= set(found.contacts)
        assert (got.contacts == found.contacts) is (size == 100)
        if len(families) == 2:
            own, other = split(got, at)
            assert not other or len(own) == 8, "the requester's family goes first"

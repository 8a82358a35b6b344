"""IDs that follow from addresses."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.wire import bep42
from dhtd.wire.bep5 import Bep5Codec

# The vectors of BEP 42: an address, and an ID for it.
VECTORS = [
    ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
    ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
    ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
    ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
    ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
]
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)


def test_the_checksum_is_that_of_rfc_3720() -> None:
    assert bep42.crc32c(bytes(32)) == 0x8A9136AA
    assert bep42.crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(("address", "id"), VECTORS)
def test_the_ids_are_those_of_the_bep(address: str, id: str) -> None:
    ip, value = ip_address(address).packed, Id(int(id, 16))
    assert bep42.suits(value, ip)
    # Each of the first 21 bits counts, and so does each of the last three.
    for bit in (*range(160 - 21, 160), *range(3)):
        assert not bep42.suits(Id(value ^ 1 << bit), ip)
    for bit in range(3, 160 - 21):
        assert bep42.suits(Id(value ^ 1 << bit), ip)


@given(ADDRESSES, st.integers())
def test_a_new_id_suits_its_address(ip: bytes, seed: int) -> None:
    id = bep42.id_at(ip, Random(seed))
    assert 0 <= id < 1 << 160
    assert bep42.suits(id, ip)


def test_new_ids_differ_wherever_they_may() -> None:
    rng, ip = Random(5), ip_address("192.0.2.1").packed
    ids = [bep42.id_at(ip, rng) for _ in range(400)]
    for bit in range(139):
        assert len({id >> bit & 1 for id in ids}) == 2
    assert len({id >> 139 for id in ids}) == 8


def test_neighbours_in_a_network_share_few_ids() -> None:
    # BEP 42: whoever has a /24 may have 8 places for each of 64 groups of addresses.
    places = {bep42.id_at(bytes([192, 0, 2, last]), Random(seed)) >> 139 for last in range(256) for seed in range(40)}
    assert len(places) <= 8 * 256


def test_ipv6_counts_the_first_half() -> None:
    ip = ip_address("2001:db8:1:2:3:4:5:6").packed
    id = bep42.id_at(ip, Random(1))
    assert bep42.suits(id, ip[:8] + bytes(8))
    assert not bep42.suits(id, ip[:7] + bytes([ip[7] ^ 1]) + ip[8:])


@pytest.mark.parametrize(
    ("address", "suits"),
    [
        ("192.168.1.2:6881", True),
        ("10.0.0.1:6881", True),
        ("127.0.0.1:6881", True),
        ("[fd00::1]:6881", True),
        ("[::1]:6881", True),
        ("124.31.75.21:6881", False),
        ("[2a00::1]:6881", False),
    ],
)
def test_the_rule_holds_at_public_addresses_alone(address: str, suits: bool) -> None:
    endpoint = Endpoint.parse(address)
    other = Id(bep42.id_at(endpoint.ip, Random(1)) ^ 1 << 159)
    assert Bep5Codec().traits.suits(Contact(other, endpoint)) is suits
    assert Bep5Codec().traits.suits(Contact(bep42.id_at(endpoint.ip, Random(1)), endpoint))

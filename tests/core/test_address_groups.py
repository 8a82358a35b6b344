"""The group of an address: a /24 or a /64, except in ranges where that has no meaning."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given

from dhtd.core.address_groups import Networks, outside
from dhtd.core.endpoint import Endpoint
from dhtd.core.policy import PRIVATE_NETWORKS
from tests.strategies import endpoints

DEFAULT = outside(PRIVATE_NETWORKS)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.9.9", "100.64.0.1"),
        *("100.127.255.255", "::1", "fd00::1", "fc00::1", "fe80::1", "febf::1"),
    ],
)
def test_loopback_and_private_ranges_are_exempt(host: str) -> None:
    assert DEFAULT.is_exempt(Endpoint.of(host, 1))
    assert DEFAULT.party(Endpoint.of(host, 1)) is None
    assert Networks(()).party(Endpoint.of(host, 1)) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("126.255.255.255", "128.0.0.1", "11.0.0.1", "9.255.255.255", "172.15.0.1", "172.32.0.1", "192.167.1.1"),
        *("192.169.1.1", "169.253.1.1", "100.63.1.1", "100.128.1.1", "::2", "2001:db8::1", "fec0::1", "fbff::1"),
        "::7f00:1",  # 127.0.0.1, read as the wrong family
    ],
)
def test_all_else_is_not(host: str) -> None:
    assert not DEFAULT.is_exempt(Endpoint.of(host, 1))


@given(endpoints())
def test_exemptions_match_the_standard_library(endpoint: Endpoint) -> None:
    address = ip_address(endpoint.ip)
    assert DEFAULT.is_exempt(endpoint) == any(address in ip_network(text) for text in PRIVATE_NETWORKS)


def test_groups_are_addresses_networks_and_sites() -> None:
    four, six = Endpoint.of("203.0.113.9", 1729), Endpoint.of("2001:db8:1:2:3:4:5:6", 1729)
    assert DEFAULT.party(four) == (bytes((203, 0, 113, 9)), bytes((203, 0, 113)))
    assert DEFAULT.party(six) == (six[:16], bytes.fromhex("20010db800010002"), bytes.fromhex("20010db80001"))


def test_the_site_of_an_own_network_is_no_party() -> None:
    own = Networks(PRIVATE_NETWORKS, [bytes((203, 0, 113)), bytes.fromhex("20010db800010002")])
    beside, elsewhere = (own.party(Endpoint.of(host, 1)) for host in ("2001:db8:1:3::9", "2001:db8:2:3::9"))
    assert beside is not None
    assert elsewhere is not None
    assert (len(beside), len(elsewhere)) == (2, 3)


def test_in_own_networks_each_address_is_its_own() -> None:
    own = Networks(PRIVATE_NETWORKS, [bytes((203, 0, 113)), bytes.fromhex("20010db800010002"), bytes((10, 0, 0))])

    def network(host: str, port: int = 1729) -> bytes:
        party = own.party(Endpoint.of(host, port))
        assert party is not None
        assert party[0] == Endpoint.of(host, port).ip
        return party[1]

    for one, other in (("203.0.113.9", "203.0.113.8"), ("2001:db8:1:2::9", "2001:db8:1:2::8")):
        assert network(one) == network(one, 9) != network(other)
        assert len(network(one)) not in (3, 4, 8, 16)
    for one, other in (("203.0.114.9", "203.0.114.8"), ("2001:db8:1:3::9", "2001:db8:1:3::8")):
        assert network(one) == network(other)
    assert own.party(Endpoint.of("10.0.0.9", 1)) is None


def test_a_witness_is_a_network_or_exempt_address() -> None:
    assert DEFAULT.witness(Endpoint.of("203.0.113.9", 1)) == bytes((203, 0))
    assert DEFAULT.witness(Endpoint.of("2001:db8:1::9", 1)) == bytes.fromhex("20010db8")
    assert DEFAULT.witness(Endpoint.of("10.0.0.9", 1)) == bytes((10, 0, 0, 9))


def test_one_value_serves_all_nodes_of_a_policy() -> None:
    assert outside(PRIVATE_NETWORKS) is DEFAULT

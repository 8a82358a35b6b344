"""Endpoints: their bytes, their text, and which of them may get a datagram."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given

from dhtd.core.address_groups import outside
from dhtd.core.endpoint import (
    IPV4_SIZE,
    IPV6_SIZE,
    Endpoint,
    Family,
    Scope,
    check_port,
    is_contactable,
    is_disguised,
    is_local,
    means_the_same,
    parse_port,
    scope_of,
    source_group,
    split_host_port,
)
from dhtd.core.policy import PRIVATE_NETWORKS
from dhtd.errors import InvalidEndpoint, InvalidPort
from tests.strategies import endpoints, ports

STRANGER = Endpoint.of("203.0.113.9", 5)
LOOPBACK4 = Endpoint.of("127.0.0.1", 5)
LOOPBACK6 = Endpoint.of("::1", 5)


def test_an_endpoint_is_bytes_in_network_order() -> None:
    assert Endpoint.of("1.2.3.4", 0x0506) == b"\x01\x02\x03\x04\x05\x06"
    assert Endpoint.of("2001:db8::1", 80) == bytes.fromhex("20010db8000000000000000000000001") + b"\0P"


@given(endpoints(), ports())
def test_an_endpoint_survives_its_text(endpoint: Endpoint, port: int) -> None:
    assume(not endpoint.is_mapped)
    endpoint = endpoint.with_port(port)
    assert Endpoint.parse(str(endpoint)) == endpoint
    assert endpoint.port == port
    assert endpoint.ip == ipaddress.ip_address(endpoint.host).packed
    assert endpoint.is_ipv4 == (ipaddress.ip_address(endpoint.host).version == 4)
    assert repr(endpoint) == f"<{endpoint}>"


def test_text_has_brackets_for_ipv6_only() -> None:
    assert str(Endpoint.of("1.2.3.4", 80)) == "1.2.3.4:80"
    assert str(Endpoint.of("::1", 80)) == "[::1]:80"
    assert repr(Endpoint.of("::1", 80)) == "<[::1]:80>"


def test_the_family_of_an_endpoint_is_its_size() -> None:
    assert [Family(len(endpoint)) for endpoint in (Endpoint.of("1.2.3.4", 80), Endpoint.of("::1", 80))] == list(Family)
    assert Endpoint.of("1.2.3.4", 80).family is Family.IPV4
    assert Endpoint.of("2001:db8::1", 80).family is Family.IPV6
    assert {Family.IPV4: "four", Family.IPV6: "six"}[len(Endpoint.of("::1", 1))] == "six"  # type: ignore[index]
    assert [*map(int, Family)] == [IPV4_SIZE, IPV6_SIZE]
    assert [*map(str, Family)] == ["IPv4", "IPv6"]


@pytest.mark.parametrize("text", ["[::ffff:1.2.3.4]:80", "[::FFFF:102:304]:80", "[0:0:0:0:0:ffff:0102:0304]:80"])
def test_a_mapped_ipv4_address_becomes_ipv4(text: str) -> None:
    assert Endpoint.parse(text) == Endpoint.of("1.2.3.4", 80)


def test_only_mapped_addresses_are_called_mapped() -> None:
    assert Endpoint(bytes(10) + b"\xff\xff\x01\x02\x03\x04\0P").is_mapped
    for host in ("1.2.3.4", "::1.2.3.4", "::fffe:1.2.3.4", "2001:db8::1"):
        assert not Endpoint.of(host, 80).is_mapped


@pytest.mark.parametrize("host", ["fe80::1", "fe80::ffff:1.2.3.4", "febf:ffff::1"])
def test_only_link_local_peers_name_link_local(host: str) -> None:
    there = Endpoint.of(host, 80)
    assert there.is_link_local
    assert is_contactable(there, Endpoint.of("fe80::9", 5))
    for teller in (STRANGER, LOOPBACK4, LOOPBACK6, Endpoint.of("2001:db8::1", 5), Endpoint.of("fec0::1", 5)):
        assert not teller.is_link_local
        assert not is_contactable(there, teller)
    assert not is_contactable(there.with_port(0), Endpoint.of("fe80::9", 5))


def test_another_port_keeps_address_and_type() -> None:
    moved = Endpoint.of("::1", 80).with_port(65_535)
    assert moved == Endpoint.of("::1", 65_535)
    assert type(moved) is Endpoint


@pytest.mark.parametrize("size", [0, 4, 5, 7, 16, 17, 19])
def test_bytes_of_another_length_are_no_endpoint(size: int) -> None:
    with pytest.raises(InvalidEndpoint, match=f"6 or 18 bytes, not {size}"):
        Endpoint(bytes(size))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1.2.3.4", "'1.2.3.4' is not HOST:PORT, such as 1.2.3.4:1729"),
        ("one two", "is not HOST:PORT, such as 192.168.1.123:1729"),
        ("", "is not HOST:PORT"),
        (":80", "is not HOST:PORT"),
        ("::1", "without brackets"),
        ("2001:db8::1:80", "without brackets"),
        ("[::1]", "has no port"),
        ("[::1", "has no port"),
        ("[::1]80", "has no port"),
        ("[]:80", "'' is not an IP address"),
        ("localhost:80", "'localhost' is not an IP address"),
        ("1.2.3:80", "is not an IP address"),
        ("1.2.3.256:80", "is not an IP address"),
        ("[fe80::1%eth0]:80", "has a zone"),
        ("::1", "such as [::1]:1729"),
        ("2001:db8::1:80", "such as [2001:db8::1]:80"),
        ("2001:db8::abcd", "such as [2001:db8::abcd]:1729"),
        ("2001:db8::1:abcd", "such as [2001:db8::1:abcd]:1729"),
        ("2001:db8::1:80/tcp", "is not HOST:PORT"),
        ("fe80::1%eth0", "such as [fe80::1%eth0]:1729"),
        ("a:1:2", "is not HOST:PORT"),
        ("http://one.example:80/x", "is a URL: write HOST:PORT alone, such as one.example:80"),
        ("https://one.example", "is a URL: write HOST:PORT alone, such as 192.168.1.123:1729"),
        ("udp://[::1]:80", "such as [::1]:80"),
        ("one:1,two:2", "is more than one HOST:PORT: give each by itself"),
        ("[::1]:1,[::2]:2", "is more than one HOST:PORT"),
    ],
)
def test_bad_endpoint_text_is_refused_with_reason(text: str, complaint: str) -> None:
    with pytest.raises(InvalidEndpoint) as caught:
        Endpoint.parse(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("port", ["", "0", "65536", "-1", "+1", "abc", "8 0", "1.0", "\u0661", "9" * 5_000])
def test_text_that_is_no_port_is_refused(port: str) -> None:
    for text in (f"1.2.3.4:{port}", f"[::1]:{port}"):
        with pytest.raises(InvalidPort, match="is not a port: a number from 1 to 65535"):
            split_host_port(text)
    with pytest.raises(InvalidPort):
        parse_port(port)


@pytest.mark.parametrize("port", ["3000/tcp", "3000/udp", "1.2.3.4:3000", "[::1]:3000", " 3000", "3000\n"])
def test_extra_characters_make_no_port(port: str) -> None:
    with pytest.raises(InvalidPort, match=r"is not a port: a number from 1 to 65535, such as 3000$"):
        parse_port(port)


def test_the_first_and_the_last_port_are_ports() -> None:
    assert [parse_port("1"), parse_port("65535"), parse_port("0080")] == [1, 65_535, 80]
    assert check_port(1) == 1
    for beyond in (0, 65_536, -1):
        with pytest.raises(InvalidPort):
            check_port(beyond)


def test_a_host_may_be_a_name() -> None:
    assert split_host_port("node.example:1729") == ("node.example", 1729)
    assert split_host_port("[2001:db8::1]:1729") == ("2001:db8::1", 1729)


def test_one_source_is_an_ipv4_address_or_a_64() -> None:
    assert source_group(Endpoint.of("1.2.3.4", 1).ip) != source_group(Endpoint.of("1.2.3.5", 1).ip)
    same = [source_group(Endpoint.of(host, 1).ip) for host in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9")]
    assert same[0] == same[1]
    assert same[0] != source_group(Endpoint.of("2001:db8:1:3::1", 1).ip)


@pytest.mark.parametrize(
    ("private", "host"),
    [
        (True, "fe80::1"),
        (True, "febf:ffff::1"),
        (True, "fc00::1"),
        (True, "fdff:ffff::1"),
        (False, "fe7f:ffff::1"),
        (False, "fec0::1"),
        (False, "fbff:ffff::1"),
        (False, "ff02::1"),
        (False, "::1"),
    ],
)
def test_private_ipv6_addresses_are_sources(private: bool, host: str) -> None:
    one, other = Endpoint.of(host, 1).ip, Endpoint.of(f"{host}234", 1).ip
    assert one[:8] == other[:8]
    assert (source_group(one) != source_group(other)) is private
    assert source_group(one) == (one if private else one[:8])


@pytest.mark.parametrize(
    ("host", "worth_it"),
    [
        ("1.2.3.4", True),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("223.255.255.255", True),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("2001:db8::1", True),
        ("fec0::1", True),
        ("ff02::1", False),
        ("::", False),
    ],
)
def test_impossible_listeners_get_no_datagram(host: str, worth_it: bool) -> None:
    assert is_contactable(Endpoint.of(host, 80), STRANGER) is worth_it
    assert is_contactable(Endpoint.of(host, 80), LOOPBACK4) is worth_it
    assert is_contactable(Endpoint.of(host, 80).with_port(0), STRANGER) is False


def test_mapped_addresses_get_no_datagram() -> None:
    mapped = Endpoint(bytes(10) + b"\xff\xff\x01\x02\x03\x04\0P")
    assert not is_contactable(mapped, STRANGER)
    assert not is_contactable(mapped, Endpoint.of("2001:db8::1", 5))


@pytest.mark.parametrize(
    ("prefix", "suffix", "is_inverted"),
    [
        ("0064ff9b" + 16 * "0", "", False),
        ("2002", 20 * "0", False),
        ("20010000" + 16 * "1", "", True),
        (24 * "0", "", False),
    ],
    ids=["NAT64", "6to4", "Teredo", "compatible"],
)
@pytest.mark.parametrize(
    ("host", "is_public"),
    [
        *((host, True) for host in ("1.2.3.4", "223.255.255.255", "100.128.0.0")),
        *((host, False) for host in ("10.0.0.1", "192.168.1.50", "172.16.0.1", "100.64.0.1", "169.254.1.1")),
        *((host, False) for host in ("127.0.0.1", "0.0.0.2", "0.1.2.3", "224.0.0.1", "255.255.255.255")),
    ],
)
def test_embedded_ipv4_addresses_must_be_public(
    prefix: str, suffix: str, is_inverted: bool, host: str, is_public: bool
) -> None:
    inside = bytes(byte ^ 0xFF * is_inverted for byte in Endpoint.of(host, 80)[:4])
    endpoint = Endpoint(bytes.fromhex(prefix) + inside + bytes.fromhex(suffix) + b"\0P")
    assert is_disguised(endpoint) is not is_public
    for teller in (STRANGER, Endpoint.of("2001:db8::1", 5), LOOPBACK4, Endpoint.of("10.0.0.1", 5)):
        assert is_contactable(endpoint, teller, beside_us=True) is is_public


def test_locally_translated_addresses_get_nothing() -> None:
    assert not is_contactable(Endpoint.of("64:ff9b:1::1", 80), STRANGER)
    assert is_contactable(Endpoint.of("64:ff9b:2::1", 80), STRANGER)
    assert not is_disguised(Endpoint.of("::1", 80))
    assert not is_disguised(STRANGER)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.3", "::1"])
def test_only_loopback_may_name_loopback(host: str) -> None:
    here = Endpoint.of(host, 80)
    assert here.is_loopback
    assert not STRANGER.is_loopback
    assert is_contactable(here, LOOPBACK4)
    assert is_contactable(here, LOOPBACK6)
    assert not is_contactable(here, STRANGER)
    assert not is_contactable(here, Endpoint.of("2001:db8::1", 5))


# The meaning of an address elsewhere

SCOPES = {
    Scope.HOST: ("127.0.0.1", "127.255.255.255", "::1"),
    Scope.LINK: ("169.254.0.0", "169.254.255.255", "fe80::1", "febf:ffff::1"),
    Scope.PRIVATE: (
        *("10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"),
        *("100.64.0.0", "100.127.255.255", "fc00::1", "fdff:ffff::1"),
    ),
    Scope.PUBLIC: (
        *("9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "100.63.0.0"),
        *("100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "203.0.113.9"),
        *("::2:0:0:1", "1::1", "fbff::1", "fe7f::1", "fec0::1", "2001:db8::1"),
    ),
}
EACH = [(scope, host) for scope, hosts in SCOPES.items() for host in hosts]


@pytest.mark.parametrize(("scope", "host"), EACH)
def test_each_address_has_the_scope_of_its_range(scope: Scope, host: str) -> None:
    at = Endpoint.of(host, 80)
    assert scope_of(at) is scope
    assert is_local(at) is (scope in (Scope.HOST, Scope.LINK))
    assert outside(PRIVATE_NETWORKS).is_exempt(at) is (scope is not Scope.PUBLIC)


@pytest.mark.parametrize(("scope", "host"), EACH)
def test_a_namer_must_share_the_scope(scope: Scope, host: str) -> None:
    for of_teller, tellers in SCOPES.items():
        may_name = scope in (Scope.PUBLIC, of_teller) or (scope is Scope.PRIVATE and of_teller is not Scope.PUBLIC)
        for teller in tellers:
            assert is_contactable(Endpoint.of(host, 80), Endpoint.of(teller, 5)) is may_name, teller
            beside = is_contactable(Endpoint.of(host, 80), Endpoint.of(teller, 5), beside_us=True)
            assert beside is (may_name or scope is Scope.PRIVATE)


@pytest.mark.parametrize(("scope", "host"), EACH)
def test_an_address_means_the_same_in_its_scope(scope: Scope, host: str) -> None:
    for other, hosts in SCOPES.items():
        for there in hosts:
            is_private = scope is Scope.PRIVATE
            expected = scope in (Scope.PUBLIC, other) or (is_private and other is not Scope.PUBLIC)
            assert means_the_same(Endpoint.of(host, 80), Endpoint.of(there, 5)) is expected
            beside = means_the_same(Endpoint.of(host, 80), Endpoint.of(there, 5), beside_us=True)
            assert beside is (expected or is_private)

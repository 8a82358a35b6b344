"""The networks of this machine: from the bound addresses, from the kernel's list, and from its routes."""

from __future__ import annotations

import socket
from typing import Any, Self

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.sockets import own_networks as module
from dhtd.daemon.sockets.own_networks import is_ours, networks_of, own_addresses, source_towards

ALL4, ALL6 = Endpoint(bytes(4) + b"\x06\xc1"), Endpoint(bytes(16) + b"\x06\xc1")


class FakeSocket:
    """A machine with one way to the rest of the internet, by IPv4 only."""

    def __init__(self, family: int, kind: int) -> None:
        assert kind == socket.SOCK_DGRAM
        self._family = family

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def connect(self, _address: tuple[str, int]) -> None:
        if self._family != socket.AF_INET:
            raise OSError(101, "Network is unreachable")

    def getsockname(self) -> tuple[str, int]:
        return "203.0.113.7", 40_000


def at(*hosts: str) -> frozenset[Endpoint]:
    return frozenset(Endpoint.of(host, 1729) for host in hosts)


def test_a_bound_address_tells_its_network() -> None:
    bound = at("203.0.113.7", "203.0.113.8", "198.51.100.1", "2001:db8:1:2::9")
    assert own_addresses(bound) == bound
    assert networks_of(bound) == (bytes.fromhex("20010db800010002"), bytes((198, 51, 100)), bytes((203, 0, 113)))


def test_a_wildcard_stands_for_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: Any = frozenset(Endpoint.of(host, 9).ip for host in ("203.0.113.7", "198.51.100.1", "2001:db8::9"))
    monkeypatch.setattr(module, "local_addresses", lambda: listed)
    assert own_addresses([ALL4]) == at("203.0.113.7", "198.51.100.1")
    assert own_addresses([ALL6]) == at("2001:db8::9")
    assert own_addresses([ALL4, Endpoint.of("::1", 1729)]) == at("203.0.113.7", "198.51.100.1", "::1")


def test_unlisted_addresses_come_from_routes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "local_addresses", lambda: None)
    monkeypatch.setattr("dhtd.daemon.sockets.own_networks.socket.socket", FakeSocket)
    assert own_addresses([ALL4, ALL6]) == at("203.0.113.7")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.255.255.254", "203.0.113.7", "::1"])
def test_behind_a_wildcard_each_address_is_ours(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "local_addresses", lambda: None)
    monkeypatch.setattr("dhtd.daemon.sockets.own_networks.socket.socket", FakeSocket)
    assert is_ours(Endpoint.of(host, 1729), [ALL4, ALL6])
    assert not is_ours(Endpoint.of(host, 1730), [ALL4, ALL6])
    assert not is_ours(Endpoint.of(host, 1729), [ALL4 if ":" in host else ALL6])


def test_a_second_address_of_a_network_is_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed: Any = frozenset({Endpoint.of("203.0.113.8", 9).ip})
    monkeypatch.setattr(module, "local_addresses", lambda: listed)
    monkeypatch.setattr("dhtd.daemon.sockets.own_networks.socket.socket", FakeSocket)
    assert is_ours(Endpoint.of("203.0.113.8", 1729), [ALL4])


@pytest.mark.parametrize("host", ["203.0.113.8", "2001:db8::9", "fe80::9"])
def test_another_s_address_is_not_ours(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "local_addresses", lambda: None)
    monkeypatch.setattr("dhtd.daemon.sockets.own_networks.socket.socket", FakeSocket)
    assert not is_ours(Endpoint.of(host, 1729), [ALL4, ALL6], zone=7)


def test_of_a_bound_address_it_alone_is_ours() -> None:
    bound = at("127.0.0.1")
    assert is_ours(Endpoint.of("::ffff:127.0.0.1", 1729), bound)
    assert not is_ours(Endpoint.of("127.0.0.2", 1729), bound)
    assert not is_ours(Endpoint.of("::1", 1729), bound)


def test_any_kernel_answer_is_survived() -> None:
    for network in networks_of(own_addresses([ALL4, ALL6])):
        assert len(network) in (3, 8)


def test_the_kernel_tells_a_routes_source() -> None:
    assert source_towards(Endpoint.of("127.0.0.9", 9)) == "127.0.0.1"
    assert source_towards(Endpoint(bytes(4) + b"\0\0")) in (None, "127.0.0.1")
    assert source_towards(Endpoint.of("ff02::1", 9)) is None

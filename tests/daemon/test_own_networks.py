"""In which networks this machine is: by what is bound, and by what the kernel would send from."""

from __future__ import annotations

import socket
from typing import Self

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.daemon.own_networks import own_networks

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


def test_an_address_that_is_bound_tells_its_network() -> None:
    bound = ["203.0.113.7", "203.0.113.8", "198.51.100.1", "2001:db8:1:2::9"]
    networks = own_networks([Endpoint.of(host, 1729) for host in bound])
    assert networks == (bytes((203, 0, 113)), bytes((198, 51, 100)), bytes.fromhex("20010db800010002"))


def test_of_a_wildcard_the_kernel_tells_it_and_a_family_without_a_way_out_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dhtd.daemon.own_networks.socket.socket", FakeSocket)
    assert own_networks([ALL4, ALL6]) == (bytes((203, 0, 113)),)


def test_the_kernel_can_be_asked_whatever_it_answers() -> None:
    for network in own_networks([ALL4, ALL6]):
        assert len(network) in (3, 8)

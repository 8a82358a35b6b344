"""Endpoints, IDs and keys, as programs see them."""

from __future__ import annotations

import socket

import pytest

import dhtd
from dhtd.api.keys import SigningKey
from dhtd.api.names import Endpoint, Id, PublicKey, check_target, key_of
from dhtd.cli.arguments import parse_key
from dhtd.errors import InvalidEndpoint, InvalidId, InvalidPublicKey


@pytest.mark.parametrize("text", ["192.0.2.1:80", "[2001:db8::1]:80", "[fe80::1%eth0]:65535"])
def test_an_endpoint_is_written_as_it_is_read(text: str) -> None:
    assert str(Endpoint.parse(text)) == text


@pytest.mark.parametrize("text", ["", "80", ":80", "a:", "a:b", "[::1]", "a:\uff18"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidEndpoint):
        Endpoint.parse(text)


def test_an_endpoint_is_an_address_of_python() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(Endpoint(*server.getsockname())).close()


def test_a_name_means_what_it_means_to_dht() -> None:
    for network, name in (("native", "wiki"), ("mainline", "wiki"), ("native", "e\u0301")):
        known = parse_key(name, name=True, network=network)
        assert tuple(key_of(check_target(name), network)) == tuple(known)
        assert Id.of_name(name, network).hex == known.id
        assert Id.of_name(name, network).network == network


@pytest.mark.parametrize("digits", ["", "5a", "5a" * 31, "zz" * 32, "5a" * 33, " " + "5a" * 31 + "a"])
def test_what_is_no_id_is_refused(digits: str) -> None:
    with pytest.raises(InvalidId):
        Id(digits)


def test_an_id_has_one_form() -> None:
    id = Id("AB" * 20)
    assert (str(id), bytes(id), id.network, id) == ("ab" * 20, b"\xab" * 20, "mainline", Id("ab" * 20))
    assert {Id("AB" * 32): 1}[Id("ab" * 32)] == 1
    with pytest.raises(TypeError):
        Id(b"\xab" * 32)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\ud800", "x" * 256])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidId):
        check_target(name)


@pytest.mark.parametrize("digits", ["", "5a" * 31, "zz" * 32])
def test_what_is_no_public_key_is_refused(digits: str) -> None:
    with pytest.raises(InvalidPublicKey):
        PublicKey(digits)


def test_a_key_shows_no_secret() -> None:
    key = SigningKey(bytes(range(32)))
    assert "0102" not in repr(key)
    assert PublicKey(key.public_key.hex.upper()) == key.public_key
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"short")


def test_the_package_offers_what_it_names() -> None:
    for name in dhtd.__all__:
        assert getattr(dhtd, name) is not None
    assert set(dhtd.__all__) <= set(dir(dhtd))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = dhtd.nothing

"""What a name of DNS means."""

from __future__ import annotations

import ipaddress
from random import Random

import pytest

from dhtd.core.ids import MAINLINE, NATIVE, Keyspace
from dhtd.core.names import id_of_name
from dhtd.dns.zone import OfAddress, OfEntry, OfZone, Part, Zone, base32, label_of

ZONE = Zone("dht.alt", NATIVE)


def meaning(text: str, zone: Zone = ZONE) -> object:
    return zone.meaning([label.encode() for label in text.split(".")])


@pytest.mark.parametrize(
    ("asked", "name", "part"),
    [
        ("wiki.dht.alt", "wiki", Part.WHOLE),
        ("WiKi.DHT.aLT", "wiki", Part.WHOLE),
        ("wiki.example.org.dht.alt", "wiki.example.org", Part.WHOLE),
        ("_http._tcp.wiki.dht.alt", "wiki", Part.SERVICE),
        ("_DNS._udp.wiki.example.org.dht.alt", "wiki.example.org", Part.SERVICE),
        ("_tcp.wiki.dht.alt", "wiki", Part.PROTOCOL),
        ("_tcp.dht.alt", "_tcp", Part.WHOLE),
        ("_http._tcp.dht.alt", "_http._tcp", Part.WHOLE),
        ("http._tcp.wiki.dht.alt", "http._tcp.wiki", Part.WHOLE),
        ("größe.dht.alt", "größe", Part.WHOLE),
        ("GRÖSSE.dht.alt", "grösse", Part.WHOLE),
        ("xn--gre-6ka8i.dht.alt", "größe", Part.WHOLE),
        ("XN--gre-6ka8i.dht.alt", "größe", Part.WHOLE),
        ("gro\u0308ße.dht.alt", "größe", Part.WHOLE),
        ("addr.wiki.dht.alt", "addr.wiki", Part.WHOLE),
        ("dht.alt.dht.alt", "dht.alt", Part.WHOLE),
        ("a" * 52 + ".x.dht.alt", "a" * 52 + ".x", Part.WHOLE),
        ("a" * 32 + ".dht.alt", "a" * 32, Part.WHOLE),
        ("a" * 51 + "b.dht.alt", "a" * 51 + "b", Part.WHOLE),
    ],
)
def test_a_name_is_that_of_an_entry(asked: str, name: str, part: Part) -> None:
    assert meaning(asked) == OfEntry(id_of_name(name, NATIVE), part)


@pytest.mark.parametrize(("keyspace", "digits"), [(NATIVE, 52), (MAINLINE, 32)])
def test_an_id_is_a_label_of_base32(keyspace: Keyspace, digits: int) -> None:
    zone, rng = Zone("dht.alt", keyspace), Random(1)
    for _ in range(20):
        id = keyspace.id(rng.getrandbits(keyspace.bits))
        label = base32(keyspace.to_bytes(id))
        assert len(label) == digits
        assert meaning(f"{label.upper()}.dht.alt", zone) == OfEntry(id, Part.WHOLE)
        assert meaning(f"_http._tcp.{label}.dht.alt", zone) == OfEntry(id, Part.SERVICE)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::1", "fe80::1", "ff02::fb", "::ffff:192.0.2.1"]
)
def test_an_address_has_a_name(address: str) -> None:
    label = label_of(ipaddress.ip_address(address))
    assert label[0] != "-" != label[-1]
    assert "--" not in label
    assert meaning(f"{label}.addr.dht.alt") == OfAddress(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("asked", "means"),
    [
        ("dht.alt", OfZone.APEX),
        ("DHT.Alt", OfZone.APEX),
        ("addr.dht.alt", OfZone.ROOM),
        ("alt", OfZone.OUTSIDE),
        ("", OfZone.OUTSIDE),
        ("example.org", OfZone.OUTSIDE),
        ("xdht.alt", OfZone.OUTSIDE),
        ("dht.alt.example", OfZone.OUTSIDE),
        ("256-0-0-1.addr.dht.alt", OfZone.NOTHING),
        ("01-0-0-1.addr.dht.alt", OfZone.NOTHING),
        ("2001-db8--1.addr.dht.alt", OfZone.NOTHING),
        ("x.192-0-2-1.addr.dht.alt", OfZone.NOTHING),
        ("wiki.addr.dht.alt", OfZone.NOTHING),
        ("a\x01b.dht.alt", OfZone.NOTHING),
        ("xn--\xff.dht.alt", OfZone.NOTHING),
        ("xn--wiki-.dht.alt", OfZone.NOTHING),
    ],
)
def test_other_names_have_no_entry(asked: str, means: OfZone) -> None:
    assert meaning(asked) == means


@pytest.mark.parametrize("label", [b"a.b", b"\xff\xfe", b"\0", b" "])
def test_no_name_has_such_a_label(label: bytes) -> None:
    assert ZONE.meaning([label, b"dht", b"alt"]) == OfZone.NOTHING


def test_the_domain_may_be_another() -> None:
    zone = Zone("lab.example.org", NATIVE)
    assert meaning("wiki.LAB.example.org", zone) == OfEntry(id_of_name("wiki", NATIVE), Part.WHOLE)
    assert meaning("wiki.dht.alt", zone) == OfZone.OUTSIDE

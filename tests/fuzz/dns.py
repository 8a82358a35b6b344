"""The DNS door: any bytes have one answer, short and well-formed, and what is kept changes nothing about it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from math import inf
from typing import Any, Final, cast

import dns.edns
import dns.message
import dns.rcode

from dhtd.core.ids import NATIVE, Id, packed
from dhtd.core.names import id_of_name
from dhtd.dns.finding import Finder
from dhtd.dns.known import Known
from dhtd.dns.records import Place, Records
from dhtd.dns.responder import Asked, Responder
from dhtd.dns.wire import UDP_MAX, UDP_PLAIN
from dhtd.dns.zone import Zone, base32
from tests.fuzz.target import Target

_PLACES: Final = [Place.of(text) for text in ("192.0.2.1:80", "[2001:db8::1]:81", "[fe80::1%eth0]:82")]
_MANY: Final = [Place.of(f"192.0.2.{number}:80") for number in range(1, 101)]
_IDS: Final = {packed(id_of_name(name, NATIVE)): name for name in ("wiki", "many", "größe", "wiki.example.org")}
_ID: Final = base32(NATIVE.to_bytes(id_of_name("wiki", NATIVE)))


class _Finder:
    """A network that says at once what it knows of a few names; of others, that there is nothing."""

    def clock(self) -> float:
        return 0.0

    def peek(self, id: Id) -> Known:
        name = _IDS.get(packed(id))
        return Known(id, _MANY if name == "many" else _PLACES if name else (), inf)

    def renew(self, known: Known, now: float) -> None:
        raise AssertionError("nothing is due")


def _responder() -> Responder:
    finder = cast("Finder", _Finder())
    return Responder(Zone("dht.alt", NATIVE), Records("dht.alt", [ip_address("127.0.0.1")]), finder)


_WARM: Final = _responder()  # has answered everything that was asked before


def check(data: bytes) -> None:
    """Answer a datagram, thrice."""
    cold, warm, again = (_answer(each, data) for each in (_responder(), _WARM, _WARM))
    if cold is None:
        assert warm is again is None
        assert len(data) < 12 or data[2] & 0x80
        return
    assert warm is not None
    assert again is not None
    told = [_told(each) for each in (cold, warm, again)]
    assert told[0] == told[1] == told[2], told
    for each in (cold, warm, again):
        assert len(each) <= max(UDP_PLAIN, min(UDP_MAX, _room(data)))
        assert each[:2] == data[:2]
        assert each[2] & 0x80
        assert each[2] & 0x79 == data[2] & 0x79
        if each[4:6] == b"\0\1" and b"\xc0" not in data[12 : data.find(0, 12) + 1]:
            end = each.index(0, 12) + 5
            assert each[12:end] == data[12:end], "the question comes back as it was"


def _answer(responder: Responder, data: bytes) -> bytes | None:
    found = responder.respond(data)
    assert not isinstance(found, Asked)
    return found


def _told(answer: bytes) -> object:
    """Return what an answer says, however its records are ordered."""
    message = dns.message.from_wire(answer)
    sections = [
        sorted(f"{each.name} {each.ttl} {rdata}" for each in part for rdata in each) for part in message.sections
    ]
    return message.id, message.flags, message.rcode(), message.edns, message.ednsflags, sections, len(answer)


def _room(data: bytes) -> int:
    try:
        return dns.message.from_wire(data).payload
    except Exception:  # noqa: BLE001 - whatever is wrong with it
        return UDP_PLAIN


def _seeds() -> Iterator[bytes]:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(range(8)))
    options: list[dict[str, Any]] = [{}, {"use_edns": 0}, {"use_edns": 0, "payload": 4_096, "want_dnssec": True}]
    options += [{"use_edns": 0, "options": [cookie]}, {"use_edns": 1}]
    names = ("wiki", "WiKi", "many", "nobody", "xn--gre-6ka8i", "größe", "wiki.example.org", "_http._tcp.wiki", "addr")
    for name in (*names, "_tcp.wiki", "192-0-2-1.addr", "2001-db8-0-0-0-0-0-1.addr", _ID, "a\\.b", "a\\000b"):
        for kind in ("A", "AAAA", "SRV", "TXT", "ANY", "HTTPS", "TYPE97"):
            yield dns.message.make_query(_escaped(f"{name}.dht.alt"), kind, id=7).to_wire()
    for each in options:
        for kind in ("A", "TXT", "SRV"):
            yield dns.message.make_query("many.dht.alt", kind, id=7, **each).to_wire()
    for name, kind in (
        ("dht.alt", "SOA"),
        ("dht.alt", "NS"),
        ("example.org", "A"),
        (".", "NS"),
        ("wiki.dht.alt", "AXFR"),
    ):
        yield dns.message.make_query(name, kind, id=7, use_edns=0).to_wire()
    yield dns.message.make_query("version.bind", "TXT", "CH", id=7).to_wire()
    yield b""


def _escaped(name: str) -> str:
    return "".join(c if c.isascii() else "".join(f"\\{byte:03}" for byte in c.encode()) for c in name)


def _read(data: bytes) -> None:
    _responder().respond(data)


TARGET: Final = Target("dns", "the DNS door's answers to datagrams", check, _seeds, 1_400, read=_read)

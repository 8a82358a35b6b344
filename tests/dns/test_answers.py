"""Each type of question, and what is wrong with a question."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
import trio

from tests.dns.doors import WIKI, World, opened, texts

V6 = "[2001:db8::1]:81"
ENTRIES = {
    "wiki": [WIKI, "10.1.2.3:8081", V6, "[fe80::1%eth0]:82"],
    "only4": [WIKI],
    "only6": [V6],
    "here": ["[fe80::1%eth0]:82"],
}


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("wiki", "A", ["10.1.2.3"]),
        ("wiki", "AAAA", ["2001:db8::1"]),
        ("wiki", "TXT", [f'"{text}"' for text in ENTRIES["wiki"]]),
        ("only4", "SRV", ["0 0 8080 10-1-2-3.addr.dht.alt."]),
        ("_http._tcp.only6", "SRV", ["0 0 81 2001-db8-0-0-0-0-0-1.addr.dht.alt."]),
        ("_x._udp.only4", "SRV", ["0 0 8080 10-1-2-3.addr.dht.alt."]),
        ("wiki", "ANY", ['"RFC8482" ""']),
        ("10-1-2-3.addr", "A", ["10.1.2.3"]),
        ("2001-db8-0-0-0-0-0-1.addr", "AAAA", ["2001:db8::1"]),
        ("10-1-2-3.addr", "ANY", ['"RFC8482" ""']),
    ],
)
async def test_a_name_has_records(tmp_path: Path, name: str, kind: str, records: list[str]) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        answer = await door.ask(f"{name}.dht.alt", kind)
        again = await door.ask(f"{name}.dht.alt", kind)
    assert answer.rcode() == again.rcode() == dns.rcode.NOERROR
    assert sorted(texts(answer)) == sorted(texts(again)) == sorted(records)
    assert answer.flags & dns.flags.AA
    assert not answer.flags & (dns.flags.RA | dns.flags.TC)
    assert door.notes == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("only4", "AAAA"),
        ("only6", "A"),
        ("here", "A"),
        ("here", "AAAA"),
        ("here", "SRV"),
        ("wiki", "HTTPS"),
        ("wiki", "MX"),
        ("wiki", "NS"),
        ("wiki", "TYPE65280"),
        ("_tcp.wiki", "A"),
        ("_tcp.wiki", "SRV"),
        ("_http._tcp.wiki", "A"),
        ("_http._tcp.wiki", "TXT"),
        ("addr", "A"),
        ("10-1-2-3.addr", "AAAA"),
        ("10-1-2-3.addr", "TXT"),
    ],
)
async def test_a_name_without_such_records_is_there(tmp_path: Path, name: str, kind: str) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        answer = await door.ask(f"{name}.dht.alt", kind)
    assert (answer.rcode(), texts(answer)) == (dns.rcode.NOERROR, [])
    [soa] = answer.authority
    assert (soa.name.to_text(), soa[0].minimum) == ("dht.alt.", 5)


@pytest.mark.parametrize("name", ["nobody", "_http._tcp.nobody", "_tcp.nobody", "256-0-0-1.addr", "a\\.b", "a\\000b"])
async def test_a_name_that_nobody_has_is_not_there(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        answer = await door.ask(f"{name}.dht.alt", "A")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    [soa] = answer.authority
    assert soa.name.to_text() == "dht.alt."
    assert soa.ttl <= soa[0].minimum or soa[0].minimum == 5


async def test_a_service_comes_with_its_addresses(tmp_path: Path) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        answer = await door.ask("wiki.dht.alt", "SRV")
    assert {each.target.to_text() for each in answer.answer[0]} == {each.name.to_text() for each in answer.additional}
    assert sorted(each[0].to_text() for each in answer.additional) == ["10.1.2.3", "2001:db8::1"]


async def test_the_domain_itself_has_its_records(tmp_path: Path) -> None:
    async with opened(tmp_path, World(), "127.0.0.1:0", dns_domain="lab.example") as door:
        soa = await door.ask("lab.example", "SOA")
        ns = await door.ask("lab.example", "NS")
        nothing = await door.ask("lab.example", "A")
    assert texts(soa) == ["127-0-0-1.addr.lab.example. nobody.invalid. 1 3600 600 86400 5"]
    assert texts(ns) == ["127-0-0-1.addr.lab.example."]
    assert ns.additional[0][0].to_text() == "127.0.0.1"
    assert (nothing.rcode(), len(nothing.authority)) == (dns.rcode.NOERROR, 1)


@pytest.mark.parametrize(
    ("name", "kind", "options", "rcode"),
    [
        ("example.org", "A", {}, dns.rcode.REFUSED),
        ("alt", "NS", {}, dns.rcode.REFUSED),
        (".", "NS", {}, dns.rcode.REFUSED),
        ("wiki.dht.alt", "AXFR", {}, dns.rcode.REFUSED),
        ("wiki.dht.alt", "IXFR", {}, dns.rcode.REFUSED),
        ("version.bind", "TXT", {"rdclass": "CH"}, dns.rcode.REFUSED),
        ("wiki.dht.alt", "A", {"rdclass": "CH"}, dns.rcode.REFUSED),
        ("wiki.dht.alt", "A", {"rdclass": "ANY"}, dns.rcode.REFUSED),
        ("wiki.dht.alt", "MAILB", {}, dns.rcode.NOTIMP),
        ("wiki.dht.alt", "TYPE200", {}, dns.rcode.NOTIMP),
    ],
)
async def test_others_are_refused(tmp_path: Path, name: str, kind: str, options: Any, rcode: int) -> None:
    world = World(ENTRIES)
    async with opened(tmp_path, world) as door:
        await door.ask("wiki.dht.alt")
        answer = await door.ask(name, kind, **options)
    assert (answer.rcode(), texts(answer), answer.authority) == (rcode, [], [])
    assert not answer.flags & dns.flags.AA
    assert len(world.lookups) == 1


@pytest.mark.parametrize("opcode", list(range(1, 16)))
async def test_another_opcode_is_not_implemented(tmp_path: Path, opcode: int) -> None:
    query = dns.message.make_query("wiki.dht.alt", "A")
    wire = bytearray(query.to_wire())
    wire[2] |= opcode << 3
    async with opened(tmp_path, World()) as door:
        answer = await door.exchange(bytes(wire))
    assert (len(answer), answer[2] >> 3 & 15, answer[3] & 15) == (12, opcode, dns.rcode.NOTIMP)


QUERY = dns.message.make_query("wiki.dht.alt", "A", id=1).to_wire()
EDNS = dns.message.make_query("wiki.dht.alt", "A", id=1, use_edns=0).to_wire()


@pytest.mark.parametrize(
    "data",
    [
        QUERY[:12],
        QUERY[:-1],
        QUERY + b"\0",
        QUERY[:4] + b"\0\2" + QUERY[6:],
        QUERY[:4] + b"\0\2" + QUERY[6:] + QUERY[12:],
        QUERY[:4] + b"\0\0" + QUERY[6:12],
        QUERY[:6] + b"\0\1" + QUERY[8:],
        QUERY[:10] + b"\0\1" + QUERY[12:],
        QUERY[:12] + b"\xc0\x0c" + QUERY[-4:],
        QUERY[:12] + b"\x41" + QUERY[13:],
        EDNS[:-11] + EDNS[-11:] + EDNS[-11:],
        EDNS[:-2] + b"\0\1",
        EDNS[:-2] + b"\0\4\0\x0a\0\1",
        EDNS[:10] + b"\0\2" + EDNS[12:] + EDNS[-11:],
    ],
)
async def test_garbage_is_told_by_a_header(tmp_path: Path, data: bytes) -> None:
    world = World(ENTRIES)
    async with opened(tmp_path, world) as door:
        await door.ask("wiki.dht.alt", use_edns=0)
        answer = await door.exchange(data)
        assert (await door.ask("wiki.dht.alt")).rcode() == dns.rcode.NOERROR
    assert answer == data[:2] + bytes([0x80 | (data[2] & 1), dns.rcode.FORMERR]) + bytes(8)
    assert door.notes == []


@pytest.mark.parametrize("data", [b"", b"\0", QUERY[:11], QUERY[:2] + b"\x81" + QUERY[3:], QUERY[:2] + b"\x80\0\0\0"])
async def test_what_is_no_question_has_no_answer(tmp_path: Path, data: bytes) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        with trio.socket.socket(type=socket.SOCK_DGRAM) as asker:
            await asker.connect(("127.0.0.1", door.port))
            for each in (data, dns.message.make_query("wiki.dht.alt", "A", id=7).to_wire()):
                await asker.send(each)
            assert (await asker.recv(512))[:2] == b"\0\7"


async def test_capitals_come_back_as_they_were(tmp_path: Path) -> None:
    world = World(ENTRIES)
    async with opened(tmp_path, world) as door:
        for name in ("wIkI.DhT.aLt", "WIKI.dht.ALT", "wiki.dht.alt"):
            for kind in ("A", "SRV", "MX"):
                query = dns.message.make_query(name, kind)
                wire = await door.exchange(query.to_wire())
                assert wire[12 : 12 + 18] == query.to_wire()[12 : 12 + 18]
                answer = dns.message.from_wire(wire)
                assert all(each.name.to_text() == f"{name}." for each in answer.answer)
    assert len(world.lookups) == 1


async def test_a_type_is_no_letter(tmp_path: Path) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        assert (await door.ask("wiki.dht.alt", "TYPE97")).rcode() == dns.rcode.NOERROR
        wire = dns.message.make_query("wiki.dht.alt", "TYPE65", id=9).to_wire()
        assert (await door.exchange(wire))[-1:] is not None
        kept = await door.ask("wiki.dht.alt", "TYPE65")
    assert kept.question[0].rdtype == 65


@pytest.mark.parametrize(("flag", "comes_back"), [("RD", True), ("CD", True), ("AD", False)])
async def test_flags_come_back(tmp_path: Path, flag: str, comes_back: bool) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        for name in ("wiki.dht.alt", "wiki.dht.alt", "example.org"):
            answer = await door.ask(name, flags=getattr(dns.flags, flag))
            assert bool(answer.flags & getattr(dns.flags, flag)) == comes_back


# EDNS


async def test_edns_is_answered_with_edns_alone(tmp_path: Path) -> None:
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))
    async with opened(tmp_path, World(ENTRIES)) as door:
        for _ in range(2):
            for options in ({}, {"want_dnssec": True}, {"options": [cookie]}):
                answer = await door.ask("wiki.dht.alt", use_edns=0, **options)
                assert (answer.edns, answer.payload, answer.options) == (0, 1_232, ())
                assert bool(answer.ednsflags & dns.flags.DO) == ("want_dnssec" in options)
            assert (await door.ask("wiki.dht.alt", use_edns=False)).edns == -1
            assert (await door.ask("example.org", use_edns=0)).edns == 0


async def test_another_version_of_edns_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        await door.ask("wiki.dht.alt", use_edns=0)
        wire = dns.message.make_query("wiki.dht.alt", "A", use_edns=1).to_wire()
        answer = dns.message.from_wire(await door.exchange(wire))
    assert (answer.rcode(), answer.edns) == (dns.rcode.BADVERS, 0)


@pytest.mark.parametrize(
    ("kind", "most"), [("TXT", None), ("TXT", 512), ("TXT", 1_232), ("TXT", 4_096), ("SRV", 1_232), ("A", None)]
)
async def test_an_answer_without_room_is_cut(tmp_path: Path, kind: str, most: int | None) -> None:
    world = World({"wiki": [f"10.1.2.{number}:8080" for number in range(1, 101)]})
    options: dict[str, Any] = {} if most is None else {"use_edns": 0, "payload": most}
    async with opened(tmp_path, world) as door:
        for _ in range(2):
            answer = await door.ask("wiki.dht.alt", kind, **options)
            assert answer.flags & dns.flags.TC
            assert (answer.rcode(), texts(answer)) == (dns.rcode.NOERROR, [])


async def test_addresses_are_left_out_before_services(tmp_path: Path) -> None:
    world = World({"wiki": [f"10.1.2.{number}:8080" for number in range(1, 11)]})
    async with opened(tmp_path, world) as door:
        small = await door.ask("wiki.dht.alt", "SRV", use_edns=False)
        large = await door.ask("wiki.dht.alt", "SRV", use_edns=0, payload=1_232)
    assert (len(texts(small)), small.additional) == (10, [])
    assert (len(texts(large)), len(large.additional)) == (10, 10)
    assert not small.flags & dns.flags.TC


async def test_a_tiny_size_means_512(tmp_path: Path) -> None:
    async with opened(tmp_path, World(ENTRIES)) as door:
        answer = await door.ask("wiki.dht.alt", "TXT", use_edns=0, payload=0)
    assert len(texts(answer)) == 4

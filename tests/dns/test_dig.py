"""What dig makes of the answers."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.dns.doors import Place, World, opened

pytestmark = pytest.mark.skipif(
    shutil.which("dig") is None, reason="dig is not installed: apt-get install bind9-dnsutils"
)
MANY = [f"10.1.2.{number}:8080" for number in range(1, 101)]
ENTRIES = {"wiki": ["10.1.2.3:8080", "[2001:db8::1]:81"], "many": MANY}


async def dig(door: Place, *options: str) -> str:
    command = ["dig", "@127.0.0.1", "-p", str(door.port), "+tries=1", "+time=5", *options]
    done = await trio.run_process(command, capture_stdout=True)
    said: bytes = done.stdout
    return said.decode()


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Place]:
    async with opened(directory, World(ENTRIES)) as door:
        yield door
    assert door.notes == []


@pytest.mark.parametrize("how", [[], ["+tcp"], ["+noedns"], ["+bufsize=512"], ["+dnssec", "+nocookie"], ["+norecurse"]])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("A", "10.1.2.3"),
        ("AAAA", "2001:db8::1"),
        ("SRV", "0 0 8080 10-1-2-3.addr.dht.alt.|0 0 81 2001-db8-0-0-0-0-0-1.addr.dht.alt."),
        ("TXT", '"10.1.2.3:8080"|"[2001:db8::1]:81"'),
        ("ANY", '"RFC8482" ""'),
        ("HTTPS", ""),
        ("MX", ""),
    ],
)
async def test_dig_prints_each_type(tmp_path: Path, how: list[str], kind: str, said: str) -> None:
    async with served(tmp_path) as door:
        for _ in range(2):
            printed = await dig(door, *how, "+short", "wiki.dht.alt", kind)
            assert "|".join(sorted(printed.splitlines())) == said
        whole = await dig(door, *how, "WiKi.dHt.aLt", kind)
    assert "status: NOERROR" in whole
    assert "WARNING" not in whole.replace(";; WARNING: recursion requested but not available\n", "")
    assert re.search(r"^;WiKi\.dHt\.aLt\.", whole, re.MULTILINE)
    assert re.search(r"flags: qr aa( rd)?;", whole)


async def test_dig_comes_again_by_tcp(tmp_path: Path) -> None:
    async with served(tmp_path) as door:
        printed = await dig(door, "many.dht.alt", "TXT")
        by_udp = await dig(door, "+ignore", "many.dht.alt", "TXT")
    assert "Truncated, retrying in TCP mode" in printed
    assert sorted(re.findall(r'"(.*)"', printed)) == sorted(MANY)
    assert "flags: qr aa tc rd;" in by_udp


async def test_dig_keeps_a_connection_open(tmp_path: Path) -> None:
    async with served(tmp_path) as door:
        names = [word for _ in range(20) for word in ("wiki.dht.alt", "A", "+keepopen", "+tcp", "+short")]
        assert await dig(door, *names) == "10.1.2.3\n" * 20


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["nobody.dht.alt"], "NXDOMAIN"),
        (["example.org"], "REFUSED"),
        (["version.bind", "TXT", "CH"], "REFUSED"),
        (["wiki.dht.alt", "+opcode=NOTIFY"], "NOTIMP"),
        (["wiki.dht.alt", "+opcode=UPDATE"], "NOTIMP"),
        (["wiki.dht.alt", "+edns=1", "+noednsnegotiation"], "BADVERS"),
        (["wiki.dht.alt", "+ednsopt=65001:abcd"], "NOERROR"),
        (["wiki.dht.alt", "+header-only"], "FORMERR"),
        (["dht.alt", "SOA", "+nsid", "+subnet=192.0.2.0/24"], "NOERROR"),
    ],
)
async def test_dig_prints_each_status(tmp_path: Path, options: list[str], status: str) -> None:
    async with served(tmp_path) as door:
        assert f"status: {status}," in await dig(door, *options)


async def test_there_are_no_transfers(tmp_path: Path) -> None:
    async with served(tmp_path) as door:
        assert "Transfer failed" in await dig(door, "dht.alt", "AXFR")

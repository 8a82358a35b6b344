"""Packets of others: what is shown of them, and that nothing in one does harm."""

from __future__ import annotations

from random import Random

import pytest

from dhtd.cli.pkarr.extra import looks_like_packet
from dhtd.cli.pkarr.packet import packet_in
from dhtd.cli.pkarr.zone_file import packet_of
from dhtd.wire.signatures import public_key, signed
from tests.cli.pkarr.packets import KEY, OF_NPM, SEED, SEQ_OF_NPM, SIGNATURE_OF_NPM, Z32, name, packet, record

A = bytes([192, 0, 2, 1])
OURS = record(name("@"), 1, A)


def shown(data: bytes) -> tuple[list[str], int, int]:
    """Return the lines of a packet, and how many records are foreign and unreadable."""
    found = packet_in(data, KEY)
    assert found is not None
    assert len(found.body()["records"]) == len(found.lines())
    return found.lines(), found.foreign, found.unreadable


def test_a_packet_of_npm_is_read() -> None:
    lines = [
        "@ 30 IN A 192.0.2.1",
        "www 30 IN CNAME example.com.",
        "_svc._tcp 30 IN SRV 1 2 80 www.example.com.",
        '@ 30 IN TXT "a b" "caf\\195\\169"',
    ]
    assert shown(OF_NPM) == (lines, 0, 0)
    assert shown(packet_of("\n".join(lines), KEY, "zone", 1_000))[0] == [lines[0], lines[1], lines[2], lines[3]]


def test_npm_signs_as_we_do() -> None:
    assert public_key(SEED) == KEY
    assert signed(SEED, b"", SEQ_OF_NPM, OF_NPM).signature == SIGNATURE_OF_NPM


def test_names_in_json_are_absolute() -> None:
    found = packet_in(packet(record(name("www.@"), 5, name("@"), ttl=60)), KEY)
    assert found is not None
    assert found.body() == {
        "origin": f"{Z32}.",
        "records": [{"name": f"www.{Z32}.", "ttl": 60, "type": "CNAME", "data": f"{Z32}."}],
        "foreign": 0,
        "unreadable": 0,
    }


def test_names_of_others_are_left_out() -> None:
    """The owner of a key has no say in `example.org`."""
    others = [record(name(each), 1, A) for each in ("example.org", "", f"x{Z32}", "y" * 52)]
    chaos = record(name("@"), 16, b"\x01a", rdclass=3)
    assert shown(packet(*others, OURS, chaos)) == (["@ 300 IN A 192.0.2.1"], 5, 0)


def test_names_are_decompressed() -> None:
    assert shown(packet(OURS, record(b"\x01a\xc0\x0c", 5, b"\xc0\x0c"))) == (
        ["@ 300 IN A 192.0.2.1", "a 300 IN CNAME @"],
        0,
        0,
    )


@pytest.mark.parametrize(
    "bad",
    [
        record(b"\x01a\xc0\x0c", 1, A[:3]),
        record(b"\x01a\xc0\x0c", 1, A + b"!"),
        record(b"\x01a\xc0\x0c", 16, b"\xff"),
        record(b"\x01a\xc0\x0c", 41, b""),
        record(b"\x01a\xc0\x0c", 250, b""),
    ],
)
def test_an_unreadable_record_hides_no_other(bad: bytes) -> None:
    lines, foreign, unreadable = shown(packet(OURS, bad, record(b"\x01b\xc0\x0c", 1, A)))
    assert lines[0] == "@ 300 IN A 192.0.2.1"
    assert (foreign, unreadable) == (0, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 11,
        packet(count=1),
        packet(count=65_535),
        packet(more=b"!"),
        packet(record(b"\xc0\x0c", 1, A)),  # a name that points at itself
        packet(record(b"\xc3\xff", 1, A)),
        packet(record(b"\x40x", 1, A)),
        packet(OURS[:-1], count=1),
        packet(b"\x3f" * 900, count=1),
        bytes(range(128, 256)),
    ],
)
def test_garbage_is_no_packet(data: bytes) -> None:
    assert packet_in(data, KEY) is None


def test_a_packet_without_records_is_one() -> None:
    assert shown(packet()) == ([], 0, 0)


def test_control_characters_are_shown_as_numbers() -> None:
    lines, _, _ = shown(packet(record(b"\x04a\x1b[2" + name("@"), 16, b"\x05\x1b[2J\n")))
    assert lines == ['a\\027[2 300 IN TXT "\\027[2J\\010"']
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_negative_ttl_is_none() -> None:
    """RFC 2181, section 8: the highest bit is that of a sign, which nobody has to honour."""
    assert shown(packet(record(name("@"), 1, A, ttl=2**32 - 1)))[0] == ["@ 0 IN A 192.0.2.1"]


def test_a_crowd_of_names_is_read_at_once() -> None:
    """A kilobyte of pointers at a long name."""
    long = b"".join(b"\x31" + b"x" * 49 for _ in range(3)) + name("@")
    many = [record(long, 1, A), *[record(b"\xc0\x0c", 1, A)] * 45]
    data = packet(*many)
    assert len(data) <= 1_000
    assert len(shown(data)[0]) == 46


def test_mutants_are_read_or_refused() -> None:
    rng = Random(5)
    for _ in range(2_000):
        data = bytearray(OF_NPM)
        for _ in range(rng.randint(1, 5)):
            data[rng.randrange(2, len(data))] = rng.randrange(256)
        found = packet_in(bytes(data), KEY)
        if found is not None:
            assert all(line.isascii() and line.isprintable() for line in found.lines())
            found.body()


@pytest.mark.parametrize(
    ("data", "does"),
    [
        (packet(), True),
        (OF_NPM, True),
        (packet()[:11], False),
        (packet(flags=0), False),
        (packet(flags=0xA800), False),  # an answer to an update
        (b"just a longer text", False),
        ("a\u00c4\u00c4\u00c4\u00c4\u00c4\u00c4".encode(), True),  # the head alone proves nothing
    ],
)
def test_an_answer_is_known_by_its_head(data: bytes, does: bool) -> None:
    assert looks_like_packet(data) is does

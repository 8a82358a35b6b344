"""DNS packets of others: any bytes are records or none, and shown records are a zone file that says the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dhtd.cli.pkarr.packet import packet_in
from dhtd.cli.pkarr.zone_file import packet_of
from dhtd.errors import InvalidValue
from tests.cli.pkarr.packets import KEY, OF_NPM, name, packet, record
from tests.fuzz.target import Target

_MOST: Final = 65_535
_OURS: Final = name("@")
_KINDS: Final = (1, 2, 5, 6, 12, 13, 15, 16, 17, 18, 24, 25, 28, 29, 33, 35, 36, 37, 39, 41, 43, 44, 45, 46, 47, 48, 50)
_MORE: Final = (
    51,
    52,
    55,
    59,
    60,
    61,
    62,
    63,
    64,
    65,
    66,
    99,
    104,
    108,
    249,
    250,
    251,
    255,
    256,
    257,
    258,
    261,
    32_769,
)


def check(data: bytes) -> None:
    """Read a packet, and read what is shown of it."""
    found = packet_in(data, KEY)
    if found is None:
        return
    body, lines = found.body(), found.lines()
    assert len(body["records"]) == len(lines)
    assert all(line.isascii() and line.isprintable() for line in lines), lines
    assert all(each["name"].lower().endswith(found.origin.to_text()) for each in body["records"])
    try:
        again = packet_in(packet_of("\n".join(lines), KEY, "zone", _MOST), KEY)
    except InvalidValue:
        return
    assert again is not None
    assert len(again.lines()) <= len(lines)


def _seeds() -> Iterator[bytes]:
    yield OF_NPM
    yield packet()
    yield b""
    for kind in _KINDS + _MORE:
        yield packet(record(_OURS, kind, bytes(range(40))), record(b"\x01a\xc0\x0c", kind, b"\xc0\x0c"))
        yield packet(record(_OURS, kind, b"\x00\x01\x01a\xc0\x0c\x05hello"))


TARGET: Final = Target("pkarr", "packet_in() of DNS packets", check, _seeds, 1_000, read=check)

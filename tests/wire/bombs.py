"""Datagrams that claim, or hold, as much as 2,048 bytes can: each kind of object, in each place of each message."""

from __future__ import annotations

from collections.abc import Iterator

from dhtd.wire.native_layout import MAGIC

LARGEST = 2_048

UNITS = {
    "array16": b"\xdc\x07\xf8",  # nested: each claims 2,040 elements
    "array32": b"\xdd\x00\x00\x07\xf8",
    "map16": b"\xde\x07\xf8",
    "map32": b"\xdf\x00\x00\x07\xf8",
    "fixarray": b"\x9f",
    "fixmap": b"\x8f",
    "one in one": b"\x91",
    "map in map": b"\x81\xa0",
    "pairs": b"\x92\x90",
    "empty arrays": b"\x90",
    "empty maps": b"\x80",
    "integers": b"\x01",
    "wide integers": b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    "floats": b"\xcb\x40\x09\x21\xfb\x54\x44\x2d\x18",
    "empty binaries": b"\xc4\x00",
    "empty texts": b"\xa0",
    "texts": b"\xa1a",
    "timestamps": b"\xd6\xff\x00\x00\x00\x00",
    "extensions": b"\xd4\x05\x00",
    "endpoints": b"\xc4\x06\x0a\x00\x00\x01\x06\xc1",
}

_HEADS = b"\xc4\x0812345678" + b"\xc4\x20" + b"\xdc" * 32
_ODD = b"\xc5\x00\x0812345678" + b"\xc5\x00\x20" + b"\xdc" * 32  # the same, as few would write it
_KEY, _TOKEN = b"\xc4\x20" + b"\xdd" * 32, b"\xc4\x01t"
_SESSION = b"\xc4\x10" + bytes(16)
_OBSERVED = b"\xc4\x06123456"
_FIELDS = b"\xc4\x20" + b"k" * 32 + b"\xc4\x00\x07\xc4\x04data"  # of a signed value, but its signature
_SIGNED = b"\x95" + _FIELDS + b"\xc4\x40" + b"s" * 64

# The bytes before an array of such units, in a message that is complete except for its end.
PLACES = {
    "alone": b"",
    "args": b"\x95\x00" + _HEADS + b"\xa4ping",
    "args of nobody": b"\x95\x00" + _HEADS + b"\xa4pong",
    "odd args": b"\xdc\x00\x05\xcc\x00" + _ODD + b"\xd9\x04ping",
    "sixth": b"\x96\x00" + _HEADS + b"\xa4ping\x90",
    "method": b"\x95\x00" + _HEADS,
    "target": b"\x95\x00" + _HEADS + b"\xa9find_node\x92",
    "token": b"\x95\x00" + _HEADS + b"\xaafind_value\x92" + _KEY,
    "port": b"\x95\x00" + _HEADS + b"\xa5store\x95" + _KEY,
    "session": b"\x95\x00" + _HEADS + b"\xa5store\x95" + _KEY + b"\x50" + _TOKEN + b"\x3c",
    "after a store": b"\x95\x00" + _HEADS + b"\xa5store\x96" + _KEY + b"\x50" + _TOKEN + b"\x3c" + _SESSION,
    "args of a store": b"\x95\x00" + _HEADS + b"\xa5store",
    "args of a changed": b"\x95\x00" + _HEADS + b"\xa7changed",
    "added": b"\x95\x00" + _HEADS + b"\xa7changed\x94" + _KEY + b"\x01",
    "odd added": b"\xdc\x00\x05\xcc\x00" + _ODD + b"\xd9\x07changed\xdc\x00\x04" + _KEY + b"\x01",
    "removed": b"\x95\x00" + _HEADS + b"\xa7changed\x94" + _KEY + b"\x01\x98" + 8 * _OBSERVED,
    "behind a changed": b"\x95\x00" + _HEADS + b"\xa7changed\x95" + _KEY + b"\x01\x98" + 8 * _OBSERVED + b"\x90",
    "args of a get": b"\x95\x00" + _HEADS + b"\xa3get",
    "seq": b"\x95\x00" + _HEADS + b"\xa3get\x93" + _KEY + b"\xc0",
    "args of a put": b"\x95\x00" + _HEADS + b"\xa3put",
    "value": b"\x95\x00" + _HEADS + b"\xa3put\x94" + _TOKEN,
    "odd value": b"\xdc\x00\x05\xcc\x00" + _ODD + b"\xd9\x03put\xdc\x00\x04" + _TOKEN,
    "public key": b"\x95\x00" + _HEADS + b"\xa3put\x94" + _TOKEN + b"\x95",
    "signature": b"\x95\x00" + _HEADS + b"\xa3put\x94" + _TOKEN + b"\x95" + _FIELDS,
    "cas": b"\x95\x00" + _HEADS + b"\xa3put\x94" + _TOKEN + _SIGNED,
    "behind a put": b"\x95\x00" + _HEADS + b"\xa3put\x95" + _TOKEN + _SIGNED + b"\xc0\x3c",
    "observed": b"\x95\x01" + _HEADS,
    "result": b"\x95\x01" + _HEADS + _OBSERVED,
    "behind a result": b"\x96\x01" + _HEADS + _OBSERVED + b"\x90",
    "nodes": b"\x95\x01" + _HEADS + _OBSERVED + b"\x95" + _TOKEN,
    "found": b"\x95\x01" + _HEADS + _OBSERVED + b"\x95" + _TOKEN + b"\xc4\x00\xc4\x00",
    "held": b"\x95\x01" + _HEADS + _OBSERVED + b"\x96" + _TOKEN + b"\xc4\x00\xc4\x00\xc2",
    "held salt": b"\x95\x01" + _HEADS + _OBSERVED + b"\x96" + _TOKEN + b"\xc4\x00\xc4\x00\xc2\x95" + _FIELDS[:34],
    "lasts": b"\x95\x01" + _HEADS + _OBSERVED + b"\x96" + _TOKEN + b"\xc4\x00\xc4\x00\xc2" + _SIGNED,
    "text": b"\x95\x02" + _HEADS + b"\x01",
}


def bombs() -> Iterator[tuple[str, bytes]]:
    """Yield them by name; each also in its shortest form that must be built whole."""
    for place, before in PLACES.items():
        for unit, each in UNITS.items():
            for size, suffix in ((LARGEST, ""), (128, " short")):
                room = size - len(MAGIC) - len(before) - 4
                if room < 0:
                    continue
                count = room // len(each)
                units = each * count
                yield (
                    f"{place} {unit}{suffix}",
                    MAGIC + before + b"\xdc" + count.to_bytes(2, "big") + units + bytes(1 if place == "found" else 0),
                )
    yield "full", MAGIC + b"\x95\x02" + _HEADS + b"\x01\xda\x07\xc2" + b"a" * 1_986

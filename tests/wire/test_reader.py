"""The step-by-step reader, against msgpack's own: each kind of object in each width, whole and cut off."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.messages import Reply
from dhtd.errors import WireError
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC
from dhtd.wire.native_results import READ_ERRORS
from dhtd.wire.reader import CHECKED, Reader

KINDS = ("array", "binary", "text", "integer", "boolean", "nil")

# Each object in every form of msgpack: bytes, the method that reads them, and the value.
FORMS: list[tuple[bytes, str, object]] = [
    *((head, "array", size) for head, size in [(b"\x90", 0), (b"\x9f", 15), (b"\xdc\x07\xf8", 2_040)]),
    (b"\xdd\xff\xff\xff\xff", "array", 2**32 - 1),
    (b"\xc4\x00", "binary", b""),
    (b"\xc4\x03abc", "binary", b"abc"),
    (b"\xc5\x00\x03abc", "binary", b"abc"),
    (b"\xc6\x00\x00\x00\x03abc", "binary", b"abc"),
    (b"\xa0", "text", ""),
    (b"\xa4ping", "text", "ping"),
    (b"\xd9\x04ping", "text", "ping"),
    (b"\xda\x00\x04ping", "text", "ping"),
    (b"\xdb\x00\x00\x00\x04ping", "text", "ping"),
    *((msgpack.packb(number), "integer", number) for number in (0, 127, 128, 255, 256, 2**16, 2**32, 2**64 - 1)),
    *((msgpack.packb(number), "integer", number) for number in (-1, -32, -33, -128, -129, -(2**15) - 1, -(2**63))),
    *((bytes((0xD0 + place, *bytes((1 << place) - 1), 5)), "integer", 5) for place in range(4)),
    *((bytes((0xCC + place, *bytes((1 << place) - 1), 5)), "integer", 5) for place in range(4)),
    (b"\xc2", "boolean", False),
    (b"\xc3", "boolean", True),
    (b"\xc0", "nil", True),
]
OTHERS = (
    b"\x80",
    b"\x81\xa1a\x01",
    b"\xca\0\0\0\0",
    b"\xcb" + bytes(8),
    b"\xd6\xff\0\0\0\0",
    b"\xc7\x01\x05x",
    b"\xc1",
)


@pytest.mark.parametrize(
    ("form", "kind", "value"), FORMS, ids=lambda form: form.hex()[:10] if type(form) is bytes else ""
)
def test_an_object_is_read_as_its_own_type_only(form: bytes, kind: str, value: object) -> None:
    for other in KINDS:
        reader = Reader(b"x" + form + b"\xc3", 1)
        read = getattr(reader, other)()
        assert (read, reader.at) == ((value, 1 + len(form)) if other == kind else (None, 1))
        assert type(read) is type(value) or read is None
    for size in range(len(form)):
        with pytest.raises(READ_ERRORS):
            getattr(Reader(form[:size], 0), kind)()


@pytest.mark.parametrize("form", OTHERS, ids=bytes.hex)
def test_a_foreign_object_type_is_rejected(form: bytes) -> None:
    reader = Reader(form, 0)
    assert [getattr(reader, kind)() for kind in KINDS] == [None] * len(KINDS)
    assert reader.at == 0


def test_a_text_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        Reader(b"\xa2\xff\xfe", 0).text()


anything: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(anything, max_size=5), st.binary(max_size=3))
@pytest.mark.no_cover
def test_the_end_follows_the_given_objects(objects: list[object], behind: bytes) -> None:
    data = b"".join(map(msgpack.packb, objects))
    Reader(b"xy" + data, 2).end(len(objects))
    for count, more in ((len(objects), behind), (len(objects) + 1, b"")):
        if (count, more) != (len(objects), b""):
            with pytest.raises(READ_ERRORS):
                Reader(data + more, 0).end(count)
    Reader(data, 0).end(len(objects))  # in spite of earlier remains


def test_a_long_end_never_exceeds_the_buffer() -> None:
    Reader(b"\xc1" * (CHECKED + 1), 0).end(1)
    with pytest.raises(READ_ERRORS):
        Reader(b"\xc1" * CHECKED, 0).end(1)
    with pytest.raises(ValueError, match="cut off"):
        Reader(b"\xc0" * 5_000, 0).end(5_001)
    with pytest.raises(ValueError, match="behind"):
        Reader(b"\xc0" * 5_000, 0).end(0)


def test_a_cut_or_malformed_long_reply_is_refused() -> None:
    head = MAGIC + b"\x95\x01\xc4\x0812345678\xc4\x20" + bytes(32) + b"\xc4\x06123456"
    body = b"\x94\xc4\x01t\xc5\x00\x98" + bytes(152) + b"\xc4\x00"
    codec = NativeCodec()
    assert isinstance(codec.decode(head + body + b"\xc2"), Reply)
    for data in (*((head + body)[:size] for size in range(113, len(head + body) + 1)), head + body + b"\x01\x02"):
        with pytest.raises(WireError):
            codec.decode(data)
    with pytest.raises(WireError, match="not an array"):
        codec.decode(head + b"\xc4\x80" + bytes(128))

"""Bencode from strangers: canonical, and cheap whatever it is."""

from __future__ import annotations

import pytest
from bencode2 import bdecode
from hypothesis import given
from hypothesis import strategies as st

from dhtd.errors import WireError
from dhtd.wire import bencode
from dhtd.wire.bencode import _DEPTH_MAX, _OBJECTS_MAX

OBJECTS = st.recursive(
    st.binary(max_size=40) | st.integers(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.binary(max_size=8), inner, max_size=5),
    max_leaves=40,
)


@given(st.dictionaries(st.binary(max_size=8), OBJECTS, max_size=8))
def test_a_dictionary_comes_back(fields: dict[bytes, object]) -> None:
    assert bencode.decode(bencode.encode(fields)) == fields


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"le",
        b"i1e",
        b"4:food",
        b"d1:a",
        b"d1:b0:1:a0:e",  # not sorted
        b"d1:a0:1:a0:e",  # a key twice
        b"d1:ai-0ee",
        b"d1:ai03ee",
        b"d1:ai+1ee",
        b"d1:a01:xe",
        b"d1:a9:xe",
        b"d1:a1:xeie",
        b"di1e0:e",
        b"d1:ai" + b"9" * 5_000,
    ],
)
def test_what_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        bencode.decode(data)


@given(st.binary(max_size=80).map(lambda inner: b"d" + inner + b"e"))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        fields = bencode.decode(data)
    except WireError:
        return
    assert bencode.encode(fields) == data


def within(depth: int, what: bytes = b"l") -> bytes:
    """Return a dictionary with as many lists, or dictionaries, within each other."""
    opening = what if what == b"l" else b"d1:a"
    inner = b"le" if what == b"l" else b"de"
    return b"d1:a" + opening * (depth - 1) + inner + b"e" * depth


@pytest.mark.parametrize("what", [b"l", b"d"])
def test_only_so_many_lie_within_each_other(what: bytes) -> None:
    assert bencode.decode(within(_DEPTH_MAX - 1, what)) == bdecode(within(_DEPTH_MAX - 1, what))
    # Only a datagram with many such letters is looked through.
    ballast = b"1:b20:" + b"l" * 20
    deep, deeper = (within(depth, what)[:-1] + ballast + b"e" for depth in (_DEPTH_MAX - 1, _DEPTH_MAX))
    assert bencode.decode(deep)
    with pytest.raises(WireError, match="too much"):
        bencode.decode(deeper)


def test_only_so_many_objects_are_there() -> None:
    fits = _OBJECTS_MAX - 5  # with the dictionary, its key, the list, and both ends
    ballast = b"d1:al" + b"20:" + b"l" * 20
    assert bencode.decode(ballast + b"0:" * (fits - 1) + b"ee")
    with pytest.raises(WireError, match="too much"):
        bencode.decode(ballast + b"0:" * fits + b"ee")


@pytest.mark.parametrize("middle", [b"x" * 30, b"1x", b":", b"i1", b"99999:", b"3:l"])
def test_broken_ones_are_left_to_the_library(middle: bytes) -> None:
    data = b"d1:a" + b"20:" + b"l" * 20 + middle + b"e"
    with pytest.raises(WireError, match="canonical"):
        bencode.decode(data)


def test_deep_garbage_never_reaches_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    # At a depth of 2,000, an error takes it 12 ms, a thousand times as long as an answer.
    monkeypatch.setattr(bencode, "bdecode", lambda _: pytest.fail("it was handed over"))
    for data in (b"d1:a" + b"l" * 2_000 + b"e", b"d1:a" * 500 + b"e", b"d1:a" + b"l" * 900 + b"x" + b"e" * 900):
        with pytest.raises(WireError, match="too much"):
            bencode.decode(data)

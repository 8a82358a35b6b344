"""Values in one piece of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.records import DATA_MAX, PUBLIC_KEY_SIZE, SALT_MAX, SEQ_MAX, SIGNATURE_SIZE, Immutable, Mutable, Value
from dhtd.core.storage.packed_value import pack, unpack

data = st.binary(max_size=DATA_MAX)
immutables = st.builds(Immutable, data)
mutables = st.builds(
    Mutable,
    st.binary(min_size=PUBLIC_KEY_SIZE, max_size=PUBLIC_KEY_SIZE),
    st.binary(max_size=SALT_MAX),
    st.integers(0, SEQ_MAX),
    data,
    st.binary(min_size=SIGNATURE_SIZE, max_size=SIGNATURE_SIZE),
)
values = immutables | mutables

LARGEST = Mutable(bytes(32), bytes(SALT_MAX), SEQ_MAX, bytes(DATA_MAX), bytes(64))


@given(values)
def test_a_value_comes_out_as_it_went_in(value: Value) -> None:
    assert unpack(pack(value)) == value


@given(values, values)
def test_two_values_have_two_forms(one: Value, other: Value) -> None:
    assert (pack(one) == pack(other)) is (one == other and type(one) is type(other))


def test_a_form_takes_few_bytes() -> None:
    assert len(pack(Immutable(b"data"))) == 1 + 4
    assert len(pack(LARGEST)) == 1 + 32 + 64 + 8 + 1 + SALT_MAX + DATA_MAX


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(noise: bytes) -> None:
    try:
        value = unpack(noise)
    except ValueError:
        return
    assert pack(value) == noise


@pytest.mark.parametrize("size", [0, 1, 105, 106, 107, 113])
def test_a_cut_form_is_no_value(size: int) -> None:
    whole = pack(Mutable(b"k" * 32, b"saltsalt", 1, b"", b"s" * 64))
    assert len(whole) == 114
    with pytest.raises(ValueError, match="no value"):
        unpack(whole[:size])


@pytest.mark.parametrize("kind", [b"\0", b"\1", b"\4", b"\xff"])
def test_another_kind_is_no_value(kind: bytes) -> None:
    with pytest.raises(ValueError, match="no value"):
        unpack(kind + pack(LARGEST)[1:])

"""Keyspaces, IDs and the XOR metric, against the bits of an ID as text and, at seven bits, against all IDs."""

from __future__ import annotations

import hashlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace, closest, distance, packed, random_between, unpacked
from dhtd.core.messages import Contact
from dhtd.errors import InvalidId
from tests.strategies import ids

SEVEN = Keyspace(7)
MAINLINE = Keyspace(160)
KEYSPACES = [SEVEN, MAINLINE, NATIVE]
keyspaces = st.sampled_from(KEYSPACES)


@pytest.mark.parametrize(("bits", "size", "width"), [(7, 128, 1), (8, 256, 1), (160, 2**160, 20), (256, 2**256, 32)])
def test_a_keyspace_knows_its_size_and_width(bits: int, size: int, width: int) -> None:
    assert (Keyspace(bits).size, Keyspace(bits).width) == (size, width)


@pytest.mark.parametrize("keyspace", KEYSPACES)
def test_the_first_and_last_id_are_the_bounds(keyspace: Keyspace) -> None:
    assert keyspace.id(0) == 0
    assert keyspace.id(keyspace.size - 1) == keyspace.size - 1
    for outside in (-1, keyspace.size):
        with pytest.raises(InvalidId, match=f"is not an ID of {keyspace.bits} bits"):
            keyspace.id(outside)


@given(st.data(), keyspaces)
def test_an_id_survives_its_bytes_and_its_text(data: st.DataObject, keyspace: Keyspace) -> None:
    id = data.draw(ids(keyspace))
    assert keyspace.from_bytes(keyspace.to_bytes(id)) == id
    text = keyspace.format(id)
    assert len(text) == 2 * keyspace.width
    assert text == text.lower()
    assert keyspace.parse(text) == keyspace.parse(text.upper()) == id
    assert bytes.fromhex(text) == keyspace.to_bytes(id)


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33)])
def test_bytes_of_another_length_are_no_id(data: bytes) -> None:
    with pytest.raises(InvalidId, match=f"an ID has 32 bytes, not {len(data)}"):
        NATIVE.from_bytes(data)


def test_bytes_beyond_the_keyspace_are_no_id() -> None:
    assert SEVEN.from_bytes(b"\x7f") == 127
    with pytest.raises(InvalidId):
        SEVEN.from_bytes(b"\x80")
    with pytest.raises(InvalidId):
        SEVEN.parse("80")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' has 0 characters"),
        ("a", "'a' has 1 character"),
        ("ab", "'ab' has 2 characters"),
        ("0" * 65, "has 65 characters"),
        ("0" * 63 + "g", "has a character that is none"),
        ("0x" + "0" * 62, "has a character that is none"),
        ("+" + "0" * 63, "has a character that is none"),
        ("0" * 31 + "_" + "0" * 32, "has a character that is none"),
        (" " + "0" * 63, "has a character that is none"),
        ("\uff10" * 64, "has a character that is none"),  # a digit to int(), not to us
    ],
)
def test_only_64_hex_digits_are_an_id(text: str, complaint: str) -> None:
    with pytest.raises(InvalidId, match="an ID is 64 hex digits") as caught:
        NATIVE.parse(text)
    assert complaint in str(caught.value)


def test_a_complaint_shows_80_characters_at_most() -> None:
    with pytest.raises(InvalidId) as caught:
        NATIVE.parse("a" * 80)
    assert "a" * 80 in str(caught.value)
    with pytest.raises(InvalidId) as caught:
        NATIVE.parse("a" * 100_000)
    assert f"'{'a' * 77}...' has 100000 characters" in str(caught.value)


def test_the_digest_is_a_prefix_of_sha_256() -> None:
    # FIPS 180-4's example "abc"
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert NATIVE.format(NATIVE.digest(b"abc")) == digest == hashlib.sha256(b"abc").hexdigest()
    assert MAINLINE.format(MAINLINE.digest(b"abc")) == digest[:40]
    assert SEVEN.digest(b"abc") == 0xBA >> 1


def bits(id: int, keyspace: Keyspace) -> str:
    return format(id, f"0{keyspace.bits}b")


def common_prefix(a: Id, b: Id, keyspace: Keyspace) -> int:
    """Return the number of leading bits in which two IDs agree: the bucket index, counted from the far end."""
    agreed = 0
    for one, other in zip(bits(a, keyspace), bits(b, keyspace), strict=True):
        if one != other:
            break
        agreed += 1
    return agreed


@given(st.data(), keyspaces)
def test_the_distance_marks_differing_bits(data: st.DataObject, keyspace: Keyspace) -> None:
    a, b = data.draw(ids(keyspace)), data.draw(ids(keyspace))
    pairs = zip(bits(a, keyspace), bits(b, keyspace), strict=True)
    assert distance(a, b) == int("".join("0" if one == other else "1" for one, other in pairs), 2)


@given(st.data(), keyspaces)
def test_distance_is_a_metric(data: st.DataObject, keyspace: Keyspace) -> None:
    a, b, c = (data.draw(ids(keyspace)) for _ in range(3))
    assert distance(a, a) == 0
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert Id(a ^ distance(a, b)) == b


@pytest.mark.parametrize("a", [0, 1, 42, 63, 64, 127])
def test_each_distance_has_one_id(a: int) -> None:
    everyone = [Id(b) for b in range(SEVEN.size)]
    at_distance = [[b for b in everyone if distance(Id(a), b) == far] for far in range(SEVEN.size)]
    assert [len(there) for there in at_distance] == [1] * SEVEN.size


@given(ids(SEVEN), ids(SEVEN))
def test_a_longer_common_prefix_is_nearer(a: Id, b: Id) -> None:
    agreed = common_prefix(a, b, SEVEN)
    assert (agreed == SEVEN.bits) == (a == b)
    if a != b:
        assert 2 ** (SEVEN.bits - agreed - 1) <= distance(a, b) < 2 ** (SEVEN.bits - agreed)
    for other in map(Id, range(SEVEN.size)):
        if common_prefix(a, other, SEVEN) > agreed:
            assert distance(a, other) < distance(a, b)


@given(st.lists(ids(SEVEN)), ids(SEVEN), st.integers(0, 130))
def test_closest_sorts_by_distance(members: list[Id], target: Id, count: int) -> None:
    candidates = [Contact(id, Endpoint(number.to_bytes(6, "big"))) for number, id in enumerate(members)]
    by_distance: list[list[Contact]] = [[] for _ in range(SEVEN.size)]
    for candidate in candidates:  # of the same ID, the first stays first
        by_distance[distance(candidate.id, target)].append(candidate)
    everyone = [candidate for there in by_distance for candidate in there]
    assert closest(iter(candidates), target, count) == everyone[:count]


def test_random_ids_cover_a_small_keyspace() -> None:
    rng = Random(1)
    assert {SEVEN.random(rng) for _ in range(4_000)} == set(range(128))


def test_random_ids_cover_their_range_only() -> None:
    rng = Random(1)
    assert {random_between(rng, Id(40), Id(47)) for _ in range(400)} == set(range(40, 48))
    assert random_between(rng, Id(9), Id(9)) == 9


def test_an_id_of_a_wider_keyspace_is_packed_too() -> None:
    wide = Id(1 << 300)
    assert len(packed(wide)) == 38
    assert unpacked(packed(wide)) == wide


@given(st.integers(0, 2**300), st.integers(0, 2**300))
def test_packed_ids_are_distinct_and_reversible(one: int, other: int) -> None:
    assert unpacked(packed(Id(one))) == one
    assert (packed(Id(one)) == packed(Id(other))) == (one == other)

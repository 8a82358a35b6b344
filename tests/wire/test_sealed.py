"""Sealed datagrams: what is sealed with a key opens with it, and nothing else opens at all."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.errors import UsageError
from dhtd.wire.network_key import FORM, KEY_SIZE, NetworkKey
from dhtd.wire.sealed import MAGIC, NONCE_SIZE, OVERHEAD, TAG_SIZE, Seal
from tests.wire.vectors import VECTORS

OLD, NEW, FOREIGN = (NetworkKey(bytes([number]) * KEY_SIZE) for number in (1, 2, 3))
DATAGRAM = VECTORS["find-value-token"].data


def sealed_with(*keys: NetworkKey, seed: int = 1) -> Seal:
    return Seal(keys, Random(seed))


@given(st.binary(max_size=2_100), st.integers())
def test_what_is_sealed_opens_and_is_so_much_longer(datagram: bytes, seed: int) -> None:
    seal = sealed_with(OLD, seed=seed)
    sealed = seal.seal(datagram)
    assert len(sealed) == len(datagram) + OVERHEAD == len(datagram) + len(MAGIC) + NONCE_SIZE + TAG_SIZE
    assert sealed[:4] == bytes.fromhex("44485301")
    assert sealed_with(OLD, seed=2).open(sealed) == datagram
    assert seal.open(seal.seal(b"")) == b""


def test_the_first_key_seals_and_every_key_opens() -> None:
    both = sealed_with(NEW, OLD)
    assert sealed_with(NEW).open(both.seal(DATAGRAM)) == DATAGRAM
    assert sealed_with(OLD).open(both.seal(DATAGRAM)) is None
    for key in (NEW, OLD):
        assert both.open(sealed_with(key).seal(DATAGRAM)) == DATAGRAM
    assert both.open(sealed_with(FOREIGN).seal(DATAGRAM)) is None


@pytest.mark.parametrize("keys", [(OLD,), (NEW, OLD)], ids=["one key", "two keys"])
def test_no_flipped_bit_goes_unnoticed(keys: tuple[NetworkKey, ...]) -> None:
    seal = sealed_with(*keys)
    sealed = sealed_with(OLD).seal(DATAGRAM)
    assert seal.open(sealed) == DATAGRAM
    for bit in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        assert seal.open(bytes(broken)) is None, bit


def test_no_part_of_a_sealed_datagram_opens_nor_one_with_something_behind() -> None:
    seal = sealed_with(NEW, OLD)
    sealed = seal.seal(DATAGRAM)
    for size in range(len(sealed)):
        assert seal.open(sealed[:size]) is None, size
    assert seal.open(sealed + b"\0") is None
    assert seal.open(sealed[:OVERHEAD]) is None


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: MAGIC + rest))
def test_anything_else_does_not_open(data: bytes) -> None:
    assert sealed_with(NEW, OLD).open(data) is None


@pytest.mark.parametrize("name", VECTORS)
def test_no_datagram_of_an_open_network_opens(name: str) -> None:
    assert sealed_with(OLD).open(VECTORS[name].data) is None


def test_no_nonce_comes_twice_and_what_is_the_same_looks_different() -> None:
    seal = sealed_with(OLD)
    sealed = [seal.seal(DATAGRAM) for _ in range(10_000)]
    nonces = {data[len(MAGIC) : len(MAGIC) + NONCE_SIZE] for data in sealed}
    assert len(nonces) == len({data[len(MAGIC) + NONCE_SIZE :] for data in sealed}) == len(sealed)
    assert sealed_with(OLD, seed=2).seal(DATAGRAM) not in sealed


def test_a_key_is_a_line_of_text() -> None:
    text = FORM + " " + "0a" * KEY_SIZE
    key = NetworkKey.parse(text)
    assert key == NetworkKey(b"\n" * KEY_SIZE)
    assert key.to_text() == text
    for same in (text + "\n", text + "\r\n", f"  {text}", FORM + " " + "0A" * KEY_SIZE):
        assert NetworkKey.parse(same) == key


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0a" * KEY_SIZE,
        f"{FORM}",
        f"{FORM} ",
        f"{FORM} {'0a' * 31}",
        f"{FORM} {'0a' * 33}",
        f"{FORM} {'0g' * 32}",
        f"{FORM}  {'0a' * 32}",
        f"{FORM} {'0a' * 32}\n{FORM} {'0b' * 32}",
        f"{FORM} {'٣٤' * 32}",
        f"dhtd-network-key-x {'0a' * 32}",
    ],
)
def test_another_line_is_no_key_and_what_is_said_does_not_repeat_it(text: str) -> None:
    with pytest.raises(UsageError, match="as `dhtd keygen` writes it") as caught:
        NetworkKey.parse(text)
    assert "0a0a" not in str(caught.value)


@pytest.mark.parametrize("text", [f"dhtd-network-key-2 {'0a' * 32}", "dhtd-network-key-12 x", "dhtd-network-key-2"])
def test_a_later_form_is_called_that(text: str) -> None:
    with pytest.raises(UsageError, match="of another version than dhtd-network-key-1"):
        NetworkKey.parse(text)


def test_a_key_does_not_show_itself_and_is_told_from_others() -> None:
    assert OLD.secret.hex() not in repr(OLD) + str(OLD) + repr([OLD])
    assert repr(OLD.secret) not in repr(OLD)
    assert len({key.fingerprint for key in (OLD, NEW, FOREIGN)}) == 3
    assert len(OLD.fingerprint) == 8
    assert OLD.fingerprint not in OLD.secret.hex()

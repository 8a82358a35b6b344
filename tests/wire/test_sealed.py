"""Sealed datagrams: what is sealed with a key opens with it, and nothing else opens at all."""

from __future__ import annotations

import tomllib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.errors import UsageError
from dhtd.wire.network_key import FORM, KEY_SIZE, NetworkKey
from dhtd.wire.sealed import MAGIC, NONCE_SIZE, OVERHEAD, TAG_SIZE, Seal
from tests.wire.vectors import SEALED_FILE, VECTORS, unhex

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


# The golden datagrams

GOLDEN = tomllib.loads(SEALED_FILE.read_text())
KEY = NetworkKey.parse(GOLDEN["key"])


class Fixed(Random):
    """Gives the nonce that it is told."""

    def __init__(self, nonce: bytes) -> None:
        super().__init__()
        self.nonce = nonce

    def randbytes(self, n: int) -> bytes:
        assert n == len(self.nonce)
        return self.nonce


def test_the_golden_key_has_its_fingerprint() -> None:
    assert KEY.to_text() == GOLDEN["key"]
    assert KEY.fingerprint == GOLDEN["fingerprint"]


@pytest.mark.parametrize("golden", GOLDEN["datagram"], ids=lambda golden: str(golden["name"]))
def test_a_golden_datagram_opens_or_is_met_with_silence(golden: dict[str, Any]) -> None:
    data = unhex(golden["hex"])
    assert len(data) == golden["size"]
    opened = Seal([KEY], Random(1)).open(data)
    if golden["kind"] == "silence":
        assert opened is None
        return
    assert golden["kind"] == "opens"
    assert opened == VECTORS[golden["inside"]].data
    assert Seal([KEY], Fixed(bytes.fromhex(golden["nonce"]))).seal(opened) == data


def test_it_is_the_secretbox_of_nacl() -> None:
    """The example of "Cryptography in NaCl" (D. J. Bernstein, 2009), section 10."""
    key = NetworkKey(bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"))
    nonce = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
    message = bytes.fromhex(
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c6129"
        "6cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
    )
    box = bytes.fromhex(
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a"
        "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
        "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74"
        "e355a5"
    )
    seal = Seal([key], Fixed(nonce))
    assert seal.seal(message) == MAGIC + nonce + box
    assert seal.open(MAGIC + nonce + box) == message

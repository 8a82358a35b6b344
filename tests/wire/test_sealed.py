"""Sealed datagrams: a sealed datagram opens with its key, a query once and in time, and nothing else opens."""

from __future__ import annotations

import tomllib
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import BadQuery, Query
from dhtd.errors import UsageError, WireError
from dhtd.wire.native import NativeCodec
from dhtd.wire.network_key import FORM, KEY_SIZE, NetworkKey
from dhtd.wire.sealed import (
    MAGIC,
    NONCE_SIZE,
    NONCES_MAX,
    OVERHEAD,
    TAG_SIZE,
    TAIL_SIZE,
    WINDOW,
    Nonces,
    OutOfTime,
    Refusal,
    Seal,
)
from tests.wire.vectors import SEALED_FILE, VECTORS, unhex

OLD, NEW, FOREIGN = (NetworkKey(bytes([number]) * KEY_SIZE) for number in (1, 2, 3))
QUERY, ANSWER = VECTORS["find-value-token"].data, VECTORS["find-value-reply"].data
BOB, ALICE = Id(0xB0B << 200), Id(0xA11CE << 200)
NOW = 1_767_225_600.0


def sealed_with(*keys: NetworkKey, own: Id = BOB, seed: int = 1, now: float = NOW - 60) -> Seal:
    return Seal(keys, own, Random(seed), now)


@given(st.binary(max_size=2_100), st.integers(), st.sampled_from([BOB, None]))
def test_a_seal_adds_a_fixed_length(datagram: bytes, seed: int, to: Id | None) -> None:
    seal, opening = sealed_with(OLD, seed=seed), sealed_with(OLD, seed=2)
    answer = seal.seal_answer(datagram)
    assert len(answer) == len(datagram) + OVERHEAD == len(datagram) + len(MAGIC) + NONCE_SIZE + TAG_SIZE
    assert opening.decrypt(answer) == datagram
    query = seal.seal_query(datagram, to, NOW)
    assert len(query) == len(answer) + TAIL_SIZE
    assert answer[:4] == query[:4] == bytes.fromhex("44485301")
    if datagram[5:6] not in (b"\1", b"\2"):
        assert opening.open(query, NOW) == datagram


def test_answers_open_at_any_time_and_again() -> None:
    answer = sealed_with(OLD).seal_answer(ANSWER)
    for own in (ALICE, BOB):
        seal = sealed_with(OLD, own=own)
        for now in (0.0, NOW, NOW, NOW + 1e9):
            assert seal.open(answer, now) == ANSWER


@pytest.mark.parametrize("name", VECTORS)
def test_no_query_is_taken_for_an_answer(name: str) -> None:
    """An answerable query has a tail, and opens once."""
    seal = sealed_with(OLD)
    sealed = seal.seal_query(VECTORS[name].data, BOB, NOW)
    first, second = seal.open(sealed, NOW), seal.open(sealed, NOW)
    assert isinstance(first, bytes)
    try:
        is_answered = isinstance(NativeCodec().decode(first), Query | BadQuery)
    except WireError:
        is_answered = False
    assert (second is Refusal.REPLAYED) or not is_answered


def test_the_first_key_seals_and_every_key_opens() -> None:
    both = sealed_with(NEW, OLD, seed=2)
    assert sealed_with(NEW).open(both.seal_answer(ANSWER), NOW) == ANSWER
    assert sealed_with(OLD).open(both.seal_answer(ANSWER), NOW) is Refusal.UNOPENED
    for seed, key in enumerate((NEW, OLD)):
        assert both.open(sealed_with(key, seed=seed).seal_query(QUERY, BOB, NOW), NOW) == QUERY
    assert both.open(sealed_with(FOREIGN).seal_query(QUERY, BOB, NOW), NOW) is Refusal.UNOPENED


@pytest.mark.parametrize("keys", [(OLD,), (NEW, OLD)], ids=["one key", "two keys"])
def test_no_flipped_bit_goes_unnoticed(keys: tuple[NetworkKey, ...]) -> None:
    seal = sealed_with(*keys)
    sealed = sealed_with(OLD).seal_query(QUERY, BOB, NOW)
    for bit in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[bit // 8] ^= 1 << bit % 8
        assert seal.open(bytes(broken), NOW) is Refusal.UNOPENED, bit
    assert seal.open(sealed, NOW) == QUERY


def test_no_part_of_a_seal_opens() -> None:
    seal = sealed_with(NEW, OLD)
    sealed = seal.seal_query(QUERY, BOB, NOW)
    for size in range(len(sealed)):
        assert seal.open(sealed[:size], NOW) is Refusal.UNOPENED, size
    assert seal.open(sealed + b"\0", NOW) is Refusal.UNOPENED
    assert seal.open(sealed[:OVERHEAD], NOW) is Refusal.UNOPENED
    for size in range(TAIL_SIZE):  # too short for a tail, sealed by anybody
        assert seal.open(seal.seal_answer(bytes(size)), NOW) is Refusal.UNOPENED, size


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: MAGIC + rest))
def test_anything_else_does_not_open(data: bytes) -> None:
    assert sealed_with(NEW, OLD).open(data, NOW) is Refusal.UNOPENED


@pytest.mark.parametrize("name", VECTORS)
def test_no_datagram_of_an_open_network_opens(name: str) -> None:
    assert sealed_with(OLD).open(VECTORS[name].data, NOW) is Refusal.UNOPENED


def test_no_nonce_comes_twice() -> None:
    seal = sealed_with(OLD)
    sealed = [seal.seal_answer(ANSWER) for _ in range(10_000)]
    nonces = {data[len(MAGIC) : len(MAGIC) + NONCE_SIZE] for data in sealed}
    assert len(nonces) == len({data[len(MAGIC) + NONCE_SIZE :] for data in sealed}) == len(sealed)
    assert sealed_with(OLD, seed=2).seal_answer(ANSWER) not in sealed


# Captured datagrams that are sent again


def test_a_query_opens_once() -> None:
    seal = sealed_with(OLD)
    caught = [seal.seal_query(QUERY, to, NOW) for to in (BOB, None)]
    assert [seal.open(sealed, NOW) for sealed in caught] == [QUERY, QUERY]
    for now in (NOW, NOW + 1, NOW + WINDOW):
        assert [seal.open(sealed, now) for sealed in caught] == [Refusal.REPLAYED] * 2


def test_a_query_opens_once_at_each_addressee() -> None:
    bob, alice = sealed_with(OLD), sealed_with(OLD, own=ALICE)
    for_bob = alice.seal_query(QUERY, BOB, NOW)
    assert alice.open(for_bob, NOW) is Refusal.MISDIRECTED
    assert bob.open(for_bob, NOW) == QUERY
    for_anybody = alice.seal_query(QUERY, None, NOW)
    for seal in (alice, bob):
        assert seal.open(for_anybody, NOW) == QUERY
        assert seal.open(for_anybody, NOW) is Refusal.REPLAYED


@pytest.mark.parametrize("ahead", [-WINDOW - 0.01, WINDOW + 0.01, -NOW, 1e15])
def test_an_untimely_query_tells_by_how_much(ahead: float) -> None:
    refusal = sealed_with(OLD, now=0.0).open(sealed_with(OLD).seal_query(QUERY, BOB, NOW + ahead), NOW)
    assert isinstance(refusal, OutOfTime)
    assert refusal.ahead == pytest.approx(ahead, abs=0.002)


@pytest.mark.parametrize("ahead", [-WINDOW, WINDOW, 0.0, 0.25])
def test_clocks_may_differ_by_the_window(ahead: float) -> None:
    seal = sealed_with(OLD, now=0.0)
    assert seal.open(seal.seal_query(QUERY, BOB, NOW + ahead), NOW) == QUERY


def test_a_query_is_remembered_to_its_last_moment() -> None:
    """A clock that is fast by the window sealed it: it comes at once, and again at its greatest age."""
    seal = sealed_with(OLD, now=0.0)
    sealed = seal.seal_query(QUERY, BOB, NOW + WINDOW)
    assert seal.open(sealed, NOW) == QUERY
    for moment in range(int(2 * WINDOW)):
        assert isinstance(seal.open(seal.seal_query(QUERY, BOB, NOW + moment), NOW + moment), bytes)
    assert seal.open(sealed, NOW + 2 * WINDOW) is Refusal.REPLAYED
    assert isinstance(seal.open(sealed, NOW + 2 * WINDOW + 0.01), OutOfTime)


def test_seals_from_before_a_restart_stay_closed() -> None:
    caught = sealed_with(OLD, own=ALICE).seal_query(QUERY, BOB, NOW)
    assert sealed_with(OLD, now=NOW - 1).open(caught, NOW) == QUERY
    restarted = sealed_with(OLD, now=NOW + 1)
    assert restarted.open(caught, NOW + 2) is Refusal.REPLAYED
    assert restarted.open(restarted.seal_query(QUERY, BOB, NOW + 2), NOW + 2) == QUERY


def test_a_restart_forgets_a_fast_clocks_seals() -> None:
    """A limit in dht-security(7)."""
    caught = sealed_with(OLD, own=ALICE).seal_query(QUERY, BOB, NOW + 100)
    assert sealed_with(OLD, now=NOW - 1).open(caught, NOW) == QUERY
    assert sealed_with(OLD, now=NOW + 1).open(caught, NOW + 2) == QUERY


def test_a_clock_set_back_is_deaf_for_one_query() -> None:
    seal = sealed_with(OLD, now=NOW + 86_400)
    assert seal.open(seal.seal_query(QUERY, BOB, NOW), NOW) is Refusal.REPLAYED
    assert seal.open(seal.seal_query(QUERY, BOB, NOW + 1), NOW + 1) == QUERY


def test_a_change_of_keys_forgets_nothing() -> None:
    seal = sealed_with(OLD)
    caught = seal.seal_query(QUERY, BOB, NOW)
    assert seal.open(caught, NOW) == QUERY
    seal.change((NEW, OLD))
    assert seal.keys == (NEW, OLD)
    assert seal.open(caught, NOW) is Refusal.REPLAYED
    assert sealed_with(NEW).open(seal.seal_answer(ANSWER), NOW) == ANSWER
    seal.change((NEW,))
    assert seal.open(caught, NOW) is Refusal.UNOPENED


def test_nonces_are_forgotten_after_their_window() -> None:
    nonces = Nonces()
    assert nonces.add(b"first", NOW)
    for second in range(int(4 * WINDOW)):
        nonces.add(b"%d" % second, NOW + second)
        if second <= 2 * WINDOW:
            assert not nonces.add(b"first", NOW + second)
    assert len(nonces) <= 4 * WINDOW + 1
    assert nonces.add(b"last", NOW + 4 * WINDOW)
    assert nonces.add(b"first", NOW + 4 * WINDOW)


@pytest.mark.no_cover
def test_the_oldest_nonces_are_forgotten_first() -> None:
    nonces = Nonces()
    for number in range(3 * NONCES_MAX):
        assert nonces.add(b"%d" % number, NOW)
        assert len(nonces) <= 2 * NONCES_MAX
    assert not any(nonces.add(b"%d" % number, NOW) for number in range(NONCES_MAX, 3 * NONCES_MAX))
    assert nonces.add(b"0", NOW)


def test_only_what_opens_is_remembered() -> None:
    seal = sealed_with(OLD)
    for sealed in (
        sealed_with(FOREIGN).seal_query(QUERY, BOB, NOW),
        seal.seal_query(QUERY, ALICE, NOW),
        seal.seal_query(QUERY, BOB, NOW - 2 * WINDOW),
        seal.seal_query(QUERY, BOB, NOW - 61),
        seal.seal_answer(ANSWER),
    ):
        seal.open(sealed, NOW)
    assert len(seal._nonces) == 0


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
def test_a_bad_key_line_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="as `dhtd keygen` writes it") as caught:
        NetworkKey.parse(text)
    assert "0a0a" not in str(caught.value)


@pytest.mark.parametrize("text", [f"dhtd-network-key-2 {'0a' * 32}", "dhtd-network-key-12 x", "dhtd-network-key-2"])
def test_a_later_form_is_called_that(text: str) -> None:
    with pytest.raises(UsageError, match="of another version than dhtd-network-key-1"):
        NetworkKey.parse(text)


def test_a_key_hides_itself_but_is_distinct() -> None:
    assert OLD.secret.hex() not in repr(OLD) + str(OLD) + repr([OLD])
    assert repr(OLD.secret) not in repr(OLD)
    assert len({key.fingerprint for key in (OLD, NEW, FOREIGN)}) == 3
    assert len(OLD.fingerprint) == 8
    assert OLD.fingerprint not in OLD.secret.hex()


# The golden datagrams

GOLDEN = tomllib.loads(SEALED_FILE.read_text())
KEY = NetworkKey.parse(GOLDEN["key"])


class Fixed(Random):
    """Gives the nonce that it was told."""

    def __init__(self, nonce: bytes) -> None:
        super().__init__()
        self.nonce = nonce

    def randbytes(self, n: int) -> bytes:
        return self.nonce * (n // len(self.nonce))


def test_the_golden_key_has_its_fingerprint() -> None:
    assert KEY.to_text() == GOLDEN["key"]
    assert KEY.fingerprint == GOLDEN["fingerprint"]


def golden_seal(rng: Random) -> Seal:
    return Seal([KEY], NATIVE.parse(GOLDEN["own"]), rng, 0.0)


@pytest.mark.parametrize("golden", GOLDEN["datagram"], ids=lambda golden: str(golden["name"]))
def test_a_golden_datagram_opens_or_is_ignored(golden: dict[str, Any]) -> None:
    data = unhex(golden["hex"])
    assert len(data) == golden["size"]
    opened = golden_seal(Random(1)).open(data, GOLDEN["now"])
    if golden["kind"] == "silence":
        assert not isinstance(opened, bytes)
        return
    assert golden["kind"] == "opens"
    assert opened == VECTORS[golden["inside"]].data
    seal = golden_seal(Fixed(bytes.fromhex(golden["nonce"])))
    if "recipient" not in golden:
        assert seal.seal_answer(opened) == data
    else:
        recipient = NATIVE.parse(golden["recipient"]) if golden["recipient"] else None
        assert seal.seal_query(opened, recipient, golden["time"]) == data


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
    seal = Seal([key], BOB, Fixed(nonce), NOW)
    assert seal.seal_answer(message) == MAGIC + nonce + box
    assert seal.decrypt(MAGIC + nonce + box) == message

"""Signatures of values, against the vectors of RFC 8032 and BEP 44, and against forgers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.records import SALT_MAX, SEQ_MAX, Immutable, Mutable
from dhtd.wire.native import NativeCodec
from dhtd.wire.signatures import bencoded, public_key, signable, signed
from tests.strategies import scaled, seqs

CODEC = NativeCodec()
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group of Ed25519 (RFC 8032, section 5.1)

# BEP 44, "test vectors": the value is "Hello World!", its seq is 1.
BEP44_KEY = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
BEP44: dict[str, tuple[bytes, str, str]] = {  # by salt: the signable form, and both halves of the signature
    "": (
        b"3:seqi1e1:v12:Hello World!",
        "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff",
        "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
    ),
    "foobar": (
        b"4:salt6:foobar3:seqi1e1:v12:Hello World!",
        "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d",
        "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
    ),
}
# RFC 8032, section 7.1, tests 1 to 3 and 1024: the secret seed, and the public key.
RFC8032 = {
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    ),
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    ),
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    ),
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5": (
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e"
    ),
}
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")


@pytest.mark.parametrize("salt", BEP44, ids=["no salt", "salt"])
def test_records_of_bep_44_are_genuine(salt: str) -> None:
    form, *signature = BEP44[salt]
    value = Mutable(BEP44_KEY, salt.encode(), 1, b"Hello World!", bytes.fromhex("".join(signature)))
    assert signable(value.salt, value.seq, bencoded(value.data)) == form
    assert CODEC.is_genuine(value)


@pytest.mark.parametrize("seed", RFC8032, ids=lambda seed: seed[:8])
def test_public_keys_are_those_of_rfc_8032(seed: str) -> None:
    assert public_key(bytes.fromhex(seed)).hex() == RFC8032[seed]


def test_the_signable_form_is_exact() -> None:
    assert signable(b"", 0, bencoded(b"")) == b"3:seqi0e1:v0:"
    assert signable(b"\xff" * SALT_MAX, SEQ_MAX, bencoded(b"e1:v")) == (
        b"4:salt64:" + b"\xff" * 64 + b"3:seqi9223372036854775807e1:v4:e1:v"
    )


@scaled(100)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=SALT_MAX), seqs(), st.binary(max_size=99))
def test_a_record_is_good_as_signed_and_no_other_way(seed: bytes, salt: bytes, seq: int, data: bytes) -> None:
    value = signed(seed, salt, seq, data)
    assert (value.public_key, value.salt, value.seq, value.data) == (public_key(seed), salt, seq, data)
    assert CODEC.is_genuine(value)
    others = [
        value._replace(seq=seq ^ 1),
        value._replace(data=data + b"\0"),
        value._replace(salt=salt + b"\0"),
        value._replace(public_key=public_key(bytes(32))),
    ]
    for place in range(0, 64, 9):
        flipped = bytearray(value.signature)
        flipped[place] ^= 1 << place % 8
        others.append(value._replace(signature=bytes(flipped)))
    assert not any(CODEC.is_genuine(other) for other in others if other != value)


def test_data_cannot_pass_for_a_salt() -> None:
    """The form has lengths, so no two records have the same one."""
    value = signed(SEED, b"a", 1, b"b")
    assert not CODEC.is_genuine(value._replace(salt=b"", data=b"a3:seqi1e1:v1:b"))
    plain = signed(SEED, b"", 1, b"b")
    assert not CODEC.is_genuine(plain._replace(salt=b"3:seqi1e1:v1:b", data=b""))


def test_nobody_else_can_vary_a_signature() -> None:
    """A record with other bytes and the same seq would look like a conflict that its owner has made."""
    value = signed(SEED, b"", 1, b"data")
    r, s = value.signature[:32], int.from_bytes(value.signature[32:], "little")
    again = value._replace(signature=r + (s + ORDER).to_bytes(32, "little"))
    assert not CODEC.is_genuine(again)


@pytest.mark.parametrize(
    "point",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes(31) + b"\x80",
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xff" * 32,
    ],
    ids=lambda point: point.hex()[:8],
)
def test_a_weak_public_key_signs_nothing(point: bytes) -> None:
    """With a point of small order, a signature of zeros would be good for any data."""
    for signature in (bytes(64), point + bytes(32), b"\x01" + bytes(63)):
        for data in (b"", b"a", b"b", b"c", b"d", b"e", b"f", b"g"):
            assert not CODEC.is_genuine(Mutable(point, b"", 1, data, signature))


def test_what_never_changes_needs_no_signature() -> None:
    assert CODEC.is_genuine(Immutable(b""))
    assert CODEC.is_genuine(Immutable(bytes(1_000)))


def test_libsodium_is_loaded_for_a_signature_only() -> None:
    code = (
        "import sys; from dhtd.core.records import Immutable, Mutable; from dhtd.wire.native import NativeCodec\n"
        "codec = NativeCodec(); assert codec.is_genuine(Immutable(b'')); assert 'nacl' not in sys.modules\n"
        "codec.is_genuine(Mutable(bytes(32), b'', 0, b'', bytes(64))); assert 'nacl' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""The signatures of values: Ed25519 (RFC 8032) over the form of BEP 44, so that a record is good on any wire.

This module imports libsodium, which takes 12 ms. So it is imported where there is something to sign or to verify.
"""

from __future__ import annotations

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from dhtd.core.records import Mutable


def signable(salt: bytes, seq: int, value: bytes) -> bytes:
    """Return what the owner of a record signs; `value` is bencoded."""
    salted = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (salted, seq, value)


def bencoded(data: bytes) -> bytes:
    """Return bytes as a bencoded string (BEP 3)."""
    return b"%d:%b" % (len(data), data)


def public_key(seed: bytes) -> bytes:
    """Return the public key that belongs to a secret seed; both have 32 bytes."""
    key, _ = crypto_sign_seed_keypair(seed)
    return key


def signed(seed: bytes, salt: bytes, seq: int, data: bytes) -> Mutable:
    """Return a record, signed with the key pair of a secret seed."""
    key, secret = crypto_sign_seed_keypair(seed)
    signature = crypto_sign(signable(salt, seq, bencoded(data)), secret)[:crypto_sign_BYTES]
    return Mutable(key, salt, seq, data, signature)


def is_signed(value: Mutable, bencoded_data: bytes) -> bool:
    """Whether the owner of its public key has signed a record."""
    try:
        crypto_sign_open(value.signature + signable(value.salt, value.seq, bencoded_data), value.public_key)
    except BadSignatureError:
        return False
    return True

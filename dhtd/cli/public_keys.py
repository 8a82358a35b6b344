"""Public keys as people write them: `pk:` and 52 characters of z-base-32, as pkarr has them, or 64 hex digits."""

from __future__ import annotations

import binascii
from base64 import b32decode, b32encode
from typing import Final

from dhtd.errors import InvalidPublicKey

PREFIX: Final = "pk:"

_SIZE: Final = 32  # bytes
_DIGITS: Final = 64
_CHARACTERS: Final = 52  # of z-base-32
_BASE_32, _Z_BASE_32 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"ybndrfg8ejkmcpqxot1uwisza345h769"
_TO_Z, _FROM_Z = bytes.maketrans(_BASE_32, _Z_BASE_32), bytes.maketrans(_Z_BASE_32, _BASE_32)


def format_public_key(key: bytes) -> str:
    """Return a public key as `pk:` and z-base-32."""
    return PREFIX + b32encode(key).rstrip(b"=").translate(_TO_Z).decode()


def parse_public_key(text: str) -> bytes:
    """Return the public key behind `pk:`; raise `InvalidPublicKey`."""
    written = text.removeprefix(PREFIX)
    try:
        if len(written) == _DIGITS:
            return binascii.unhexlify(written)
        if len(written) == _CHARACTERS and set(written.encode()) <= set(_Z_BASE_32):
            key = b32decode(written.encode().translate(_FROM_Z) + b"====")
            if format_public_key(key) == PREFIX + written:  # else the last character says too much
                return key
    except ValueError:
        pass
    raise InvalidPublicKey(
        f"{text!r:.80} is not a public key: pk: and {_CHARACTERS} characters of z-base-32, or {_DIGITS} hex digits,"
        " as dht key show prints it"
    )


def is_z_base_32(text: str) -> bool:
    """Whether a text without `pk:` looks like a public key."""
    return len(text) == _CHARACTERS and set(text.encode("utf-8", "surrogateescape")) <= set(_Z_BASE_32)


def is_public_key(text: str) -> bool:
    """Whether a text has the digits of a public key."""
    return len(text) == _DIGITS and all(character in "0123456789abcdefABCDEF" for character in text)

"""Which value an argument means.

64 hex digits are the ID of a value, and where nothing is there, or with a salt, a public key. `pk:` is before a public
key in any case. A name is none of these: the ID of a value is the hash of what it is.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from dhtd.cli.public_keys import PREFIX, is_public_key, is_z_base_32, parse_public_key
from dhtd.config.networks import MAINLINE
from dhtd.errors import InvalidId

if TYPE_CHECKING:
    from dhtd.cli.output import Session


class Sought(NamedTuple):
    """One place where a value may stand."""

    id: str | None
    public_key: bytes | None = None
    salt: bytes | None = None

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of a request."""
        return {
            "id": self.id,
            "public_key": None if self.public_key is None else self.public_key.hex(),
            "salt": None if self.salt is None else in_base64(self.salt),
        }


def parse_sought(options: Session, text: str, salt: str | None) -> list[Sought]:
    """Return the places that an argument means, the likeliest first.

    Raises `InvalidId`, `InvalidPublicKey`, or `InvalidValue` for a salt that is too long.
    """
    salted = None if salt is None else parse_salt(salt)
    if text.startswith(PREFIX):
        return [Sought(None, parse_public_key(text), salted)]
    if is_z_base_32(text):
        raise InvalidId(f"{text} is not an ID: if it is a public key, write {PREFIX}{text}")
    if options.network == MAINLINE.name and is_public_key(text):
        return [Sought(None, bytes.fromhex(text), salted)]
    key = options.key(text, name=False)
    if key.name is not None:
        raise InvalidId(
            f"{text!r:.80} is not an ID: a value is found by the hex digits that dht put prints, or by a public key,"
            f" {PREFIX}..."
        )
    if not is_public_key(key.id):
        if salted is not None:
            raise InvalidId(f"{key.id} is an ID, and a salt belongs to a public key: write {PREFIX}...")
        return [Sought(key.id)]
    signed = Sought(None, bytes.fromhex(key.id), salted)
    return [signed] if salted is not None else [Sought(key.id), signed]


def parse_salt(text: str) -> bytes:
    """Return the bytes of a salt; raise `InvalidValue`."""
    from dhtd.service.params import check_salt

    return check_salt(os.fsencode(text))


def in_base64(data: bytes) -> str:
    """Return bytes as they stand in JSON."""
    return b64encode(data).decode()

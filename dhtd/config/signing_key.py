"""Files of key pairs that sign values: the secret seed of Ed25519, as 64 hex digits. See `private_file`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Final

from dhtd.config.private_file import read_private, write_new
from dhtd.errors import KeyUnusable

SEED_SIZE: Final = 32  # bytes

_NETWORK_KEY: Final = "dhtd-network-key-"
_LINE: Final = re.compile(rf"[0-9a-fA-F]{{{2 * SEED_SIZE}}}")


def make(path: Path, rng: Random) -> bytes:
    """Write a new seed into a new file of mode 0600, and return it; raise `KeyExists` or `KeyUnusable`."""
    seed = rng.randbytes(SEED_SIZE)
    write_new(path, seed.hex())
    return seed


def is_secret(data: bytes) -> bool:
    """Whether this may be the content of a file of a key, also of a network key."""
    text = data.decode("ascii", "replace").strip()
    return text.startswith(_NETWORK_KEY) or _LINE.fullmatch(text) is not None


def read(path: Path, environ: Mapping[str, str]) -> bytes:
    """Return the seed in a file; raise `KeyUnusable` if there is none, or if others can read it."""
    text = read_private(path, "key", f"`dht key new {path}` makes a new one", environ).strip()
    if text.startswith(_NETWORK_KEY):
        raise KeyUnusable(f"{path} is a network key, and signs nothing: `dht key new FILE` makes a key that does")
    if not _LINE.fullmatch(text):
        raise KeyUnusable(
            f"{path} is not a key as `dht key new` writes it: one line of {2 * SEED_SIZE} hexadecimal digits"
        )
    return bytes.fromhex(text)

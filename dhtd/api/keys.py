"""The key pair that signs values: Ed25519."""

from __future__ import annotations

import os
from pathlib import Path
from random import SystemRandom
from typing import Self

from dhtd.api.names import PublicKey

# What signs is libsodium, which takes 12 ms to import: only those wait for it that sign.


class SigningKey:
    """A key pair, made from a secret seed of 32 bytes. `read` and `new` are for files as `dht key new` makes them."""

    __slots__ = ("_seed", "public_key")

    def __init__(self, seed: bytes) -> None:
        from dhtd.wire.signatures import public_key  # noqa: PLC0415

        if len(seed) != 32:
            raise ValueError("the seed of a key has 32 bytes")
        self._seed = seed
        self.public_key = PublicKey(public_key(seed).hex())

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Return the key in a file; raise `KeyUnusable` if there is none, or if others can read it."""
        from dhtd.config import signing_key  # noqa: PLC0415

        return cls(signing_key.read(Path(path), os.environ))

    @classmethod
    def new(cls, path: str | os.PathLike[str]) -> Self:
        """Make a new key, and write it into a new file of mode 0600; raise `KeyExists` or `KeyUnusable`."""
        from dhtd.config import signing_key  # noqa: PLC0415

        return cls(signing_key.make(Path(path), SystemRandom()))

    def sign(self, data: bytes, salt: bytes, seq: int) -> bytes:
        """Return the signature of a value."""
        from dhtd.wire.signatures import signed  # noqa: PLC0415

        return signed(self._seed, salt, seq, data).signature

    def __repr__(self) -> str:
        return f"<SigningKey {self.public_key}>"  # without the secret

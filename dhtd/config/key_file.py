"""Files of network keys: see `private_file`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

from dhtd.config.private_file import read_private, write_new
from dhtd.errors import KeyUnusable, UsageError
from dhtd.wire.network_key import KEY_SIZE, NetworkKey


def make(path: Path, rng: Random) -> NetworkKey:
    """Write a new key into a new file of mode 0600; raise `KeyExists` or `KeyUnusable`. Never overwrites."""
    key = NetworkKey(rng.randbytes(KEY_SIZE))
    write_new(path, key.to_text())
    return key


def read_all(paths: Iterable[Path], environ: Mapping[str, str]) -> tuple[NetworkKey, ...]:
    """Return the keys in these files; raise `KeyUnusable` for the first that cannot be used."""
    return tuple(read(path, environ) for path in paths)


def read(path: Path, environ: Mapping[str, str]) -> NetworkKey:
    """Return the key in a file; raise `KeyUnusable` if there is none, or if others can read it."""
    advice = f"`dhtd keygen {path}` makes a new one"
    if "," in str(path):
        advice = "two files are named by two options, or by two elements of an array"
    try:
        return NetworkKey.parse(read_private(path, "network key", advice, environ))
    except UsageError as error:
        raise KeyUnusable(f"{path} {error}") from None

"""Files of key pairs that sign values. The rules for files of secrets are tested with network keys."""

from __future__ import annotations

import stat
from pathlib import Path
from random import Random

import pytest

from dhtd.config import key_file, signing_key
from dhtd.errors import KeyExists, KeyUnusable

SEED = bytes(range(32))


def refusal(path: Path) -> str:
    with pytest.raises(KeyUnusable) as caught:
        signing_key.read(path, {})
    assert SEED.hex() not in str(caught.value)
    return str(caught.value)


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_new_seed_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "blog.key"
    seed = signing_key.make(path, Random(1))
    assert path.read_text() == f"{seed.hex()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert signing_key.read(path, {}) == seed
    with pytest.raises(KeyExists):
        signing_key.make(path, Random(2))
    assert signing_key.read(path, {}) == seed


@pytest.mark.parametrize("text", [SEED.hex(), SEED.hex().upper() + "\n", f" {SEED.hex()}\r\n"])
def test_a_seed_is_read_as_others_write_it(tmp_path: Path, text: str) -> None:
    assert signing_key.read(written(tmp_path / "key", text), {}) == SEED


@pytest.mark.parametrize("text", ["", "secret", SEED.hex()[:-1], SEED.hex() + "0", f"{SEED.hex()}\n{SEED.hex()}\n"])
def test_what_is_no_seed_is_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path / "key", text)
    assert refusal(path) == f"{path} is not a key as `dht key new` writes it: one line of 64 hexadecimal digits"


def test_a_network_key_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "network.key"
    key_file.make(path, Random(1))
    assert refusal(path) == f"{path} is a network key, and signs nothing: `dht key new FILE` makes a key that does"


def test_a_seed_that_others_reach_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert refusal(path) == f"there is no key {path}: `dht key new {path}` makes a new one"
    for mode in (0o640, 0o602, 0o604):
        written(path, SEED.hex(), mode)
        assert refusal(path) == f"the key {path} is open to others, mode {mode:04o}: chmod 600 it"

"""Files of key pairs that sign values. The rules for files of secrets are tested with network keys."""

from __future__ import annotations

import errno
import os
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


def test_a_new_key_is_on_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(stat.S_ISDIR(os.fstat(file).st_mode)))
    signing_key.make(tmp_path / "key", Random(1))
    assert synced == [False, True]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EBADF])
def test_some_disks_sync_no_directories(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_directories(monkeypatch, OSError(number, "no"))
    assert signing_key.make(tmp_path / "key", Random(1)) == signing_key.read(tmp_path / "key", {})


@pytest.mark.parametrize(
    ("error", "told"), [(OSError(errno.EIO, "worn out"), KeyUnusable), (KeyboardInterrupt(), None)]
)
def test_half_a_key_is_not_left_behind(
    error: BaseException, told: type[KeyUnusable] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_directories(monkeypatch, error)
    with pytest.raises(told or KeyboardInterrupt):
        signing_key.make(tmp_path / "key", Random(1))
    assert not list(tmp_path.iterdir())


def test_a_directory_need_not_be_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "no")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    assert signing_key.make(tmp_path / "key", Random(1)) == signing_key.read(tmp_path / "key", {})


def refuse_directories(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have every attempt to sync a directory fail so."""

    def refuse(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise error

    monkeypatch.setattr(os, "fsync", refuse)


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

"""Files of network keys: made for one user, and refused if they are open to more."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from dhtd.config.key_file import make, read, read_all
from dhtd.config.private_file import CREDENTIALS_VARIABLE
from dhtd.errors import KeyExists, KeyUnusable
from dhtd.wire.network_key import FORM, NetworkKey

KEY = NetworkKey(bytes(range(32)))
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "network.key"


def write(path: Path, text: str = f"{KEY.to_text()}\n", mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(path: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(KeyUnusable) as caught:
        read(path, environ or {})
    assert (caught.value.code, caught.value.exit_status) == ("key-unusable", 1)
    assert KEY.secret.hex() not in str(caught.value)
    return str(caught.value)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
def test_a_new_key_is_private_and_reads_back(path: Path, mask: int) -> None:
    with umask(mask):
        key = make(path, Random(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{FORM} {key.secret.hex()}\n"
    assert read(path, {}) == key
    assert make(path.with_suffix(".other"), Random(2)) != key


def test_nothing_is_ever_overwritten(path: Path) -> None:
    write(path, "precious")
    target = path.with_name("not there")
    link = path.with_name("link")
    link.symlink_to(target)
    for there in (path, link, path.parent):
        with pytest.raises(KeyExists, match="is there already, and is left as it is: name another file") as caught:
            make(there, Random(1))
        assert (caught.value.code, caught.value.exit_status) == ("key-exists", 1)
    assert path.read_text() == "precious"
    assert not target.exists()


def test_an_unwritable_key_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = path.parent / "no" / "key"
    with pytest.raises(KeyUnusable, match=rf"cannot write {missing}: there is no directory {missing.parent}; make it"):
        make(missing, Random(1))
    write(path)
    with pytest.raises(KeyUnusable, match="Not a directory"):
        make(path / "key", Random(1))

    def refuse(file: int) -> None:
        raise OSError(28, os.strerror(28))

    other = path.with_name("other")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(KeyUnusable, match="No space left on device"):
            make(other, Random(1))
    assert not other.exists()


@not_as_root
def test_an_unwritable_directory_is_an_error(path: Path) -> None:
    path.parent.chmod(0o500)
    with pytest.raises(KeyUnusable, match=f"cannot write {path}: Permission denied"):
        make(path, Random(1))


def test_keys_are_read_in_order_of_their_files(path: Path) -> None:
    other = path.with_name("other")
    expected = (make(path, Random(1)), make(other, Random(2)))
    assert read_all([path, other], {}) == expected
    assert read_all([other, path], {}) == expected[::-1]
    assert read_all([], {}) == ()
    with pytest.raises(KeyUnusable):
        read_all([path, other.with_name("none")], {})


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o700])
def test_what_only_the_owner_can_read_is_read(path: Path, mode: int) -> None:
    assert read(write(path, mode=mode), {}) == KEY
    link = path.with_name("link")
    link.symlink_to(path)
    assert read(link, {}) == KEY


@pytest.mark.parametrize("bit", [0o001, 0o002, 0o004, 0o010, 0o020, 0o040])
def test_what_others_can_reach_is_refused(path: Path, bit: int) -> None:
    write(path, mode=0o600 | bit)
    assert refusal(path) == f"the network key {path} is open to others, mode 0{0o600 | bit:o}: chmod 600 it"


def test_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    assert refusal(path) == f"there is no network key {path}: `dhtd keygen {path}` makes a new one"
    two = tmp_path / "old.key,new.key"
    assert (
        refusal(two)
        == f"there is no network key {two}: two files are named by two options, or by two elements of an array"
    )
    assert refusal(tmp_path) == f"the network key {tmp_path} is not a regular file"
    os.mkfifo(path, 0o600)
    assert refusal(path) == f"the network key {path} is not a regular file"  # at once: nobody writes into it
    path.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert refusal(path).startswith(f"the network key {path} cannot be read: ")
    assert refusal(path / "key").endswith("cannot be read: Not a directory")
    assert refusal(Path("/dev/null")) == "the network key /dev/null is not a regular file"


@not_as_root
def test_a_file_that_may_not_be_read_is_said(path: Path) -> None:
    assert refusal(write(path, mode=0o000)) == f"the network key {path} cannot be read: Permission denied"


def test_a_key_file_failing_midway_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)

    def refuse(file: int, size: int) -> bytes:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "read", refuse)
    assert refusal(path) == f"the network key {path} cannot be read: Input/output error"


def test_the_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert read(path, {}) == KEY  # root's file for us, if root lets us read it
        os.chown(path, 1234, -1)
        owner = 1234
    assert refusal(path) == (
        f"the network key {path} belongs to the user with ID {owner}: give it to the user with ID {os.geteuid()},"
        " who runs this"
    )


@pytest.mark.parametrize(
    "text", ["", "\n", "secret", KEY.secret.hex(), f"{KEY.to_text()}\n{KEY.to_text()}\n", "é" * 40, "0" * 5_000]
)
def test_what_holds_no_key_is_refused(path: Path, text: str) -> None:
    write(path, text)
    assert refusal(path).startswith(
        f"{path} is not a network key as `dhtd keygen` writes it: one line of {FORM} and 64"
    )


def test_a_file_longer_than_a_key_is_refused(path: Path) -> None:
    write(path, KEY.to_text() + "\n" * 2_000)
    assert read(path, {}) == KEY  # only trailing newlines are cut off
    write(path, "\n" * 2_000 + KEY.to_text())
    assert "is not a network key" in refusal(path)


def test_a_systemd_key_may_be_group_readable(tmp_path: Path) -> None:
    """The access list for the service's user looks like this there: -r--r-----+ root root."""
    inside, outside = tmp_path / "credentials", tmp_path / "else"
    for directory in (inside, outside):
        directory.mkdir(mode=0o700)
    environ = {CREDENTIALS_VARIABLE: str(inside)}
    assert read(write(inside / "key", mode=0o440), environ) == KEY
    refusal(inside / "key")
    refusal(inside / "key", {CREDENTIALS_VARIABLE: ""})
    refusal(write(inside / "open", mode=0o444), environ)
    refusal(write(inside / "writable", mode=0o460), environ)
    refusal(write(outside / "key", mode=0o440), environ)
    (inside / "link").symlink_to(outside / "key")
    refusal(inside / "link", environ)
    refusal(inside / ".." / "else" / "key", environ)

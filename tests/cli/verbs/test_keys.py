"""`dht key`: files of key pairs, and what is printed about them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dhtd.cli.public_keys import parse_public_key
from dhtd.wire.signatures import public_key
from tests.cli.conftest import Run

# RFC 8032, section 7.1, test 1
SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


def test_a_new_key_is_private_and_shown(dht: Run, home: Path) -> None:
    path = home / "blog.key"
    made = dht("key", "new", path)
    assert (made.status, made.err) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    digits, z32 = made.out.splitlines()
    assert bytes.fromhex(digits) == parse_public_key(z32) == public_key(bytes.fromhex(path.read_text()))
    assert path.read_text().strip() not in made.out
    assert dht("key", "show", path) == made
    assert dht("key", "show", path, "--json").body == {"file": str(path), "public_key": digits, "z32": z32}
    assert dht("--json", "key", "new", home / "other").body["public_key"] != digits


def test_the_public_key_is_that_of_the_seed(dht: Run, home: Path) -> None:
    path = home / "key"
    path.write_text(f"{SEED}\n")
    path.chmod(0o600)
    assert dht("key", "show", path).out.splitlines()[0] == PUBLIC


def test_a_key_is_never_overwritten(dht: Run, home: Path) -> None:
    path = home / "key"
    path.write_text("precious")
    done = dht("key", "new", path)
    assert done == (1, "", f"dht: {path} is there already, and is left as it is: name another file\n")
    assert dht("key", "new", path, "--json").body["error"]["code"] == "key-exists"
    assert path.read_text() == "precious"


def test_an_unsafe_key_is_refused(dht: Run, home: Path) -> None:
    path = home / "key"
    done = dht("key", "show", path)
    assert done == (1, "", f"dht: there is no key {path}: `dht key new {path}` makes a new one\n")
    path.write_text(f"{SEED}\n")
    path.chmod(0o644)
    done = dht("key", "show", path)
    assert done == (1, "", f"dht: the key {path} is open to others, mode 0644: chmod 600 it\n")
    assert dht("key", "show", path, "--json").body["error"]["code"] == "key-unusable"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["make", "key"], "'make' is neither new nor show"),
        (["new", ""], "FILE is empty: name the file of the key"),
        (["new", "keys/"], "keys/ is the path of a directory: name the file of the key"),
        (["show", ".."], ".. is the path of a directory: name the file of the key"),
        (["new"], "Missing argument 'FILE'.\nTry 'dht key --help'."),
    ],
)
def test_wrong_usage_of_key_says_why(dht: Run, arguments: list[str], message: str) -> None:
    assert dht("key", *arguments) == (2, "", f"dht: {message}\n")

"""`dhtd keygen`, and the messages of `dhtd start` about a key file that it does not trust."""

from __future__ import annotations

import re
import stat
from dataclasses import fields
from pathlib import Path

import pytest

from dhtd.cli.verbs.keygen import Made
from dhtd.config.key_file import read
from tests.cli.conftest import Run

PAGE = Path(__file__).parents[3] / "man" / "dhtd.8"


def test_a_new_key_is_private_and_is_shown(dhtd: Run, home: Path) -> None:
    file = home / "network.key"
    done = dhtd("keygen", file)
    key = read(file, {})
    assert (done.status, done.out, done.err) == (0, f"file {file}\nfingerprint {key.fingerprint}\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key.secret.hex() not in done.out


def test_each_key_is_new_and_also_told_as_json(dhtd: Run, home: Path) -> None:
    bodies = [dhtd("keygen", home / "a", "--json").body, dhtd("--json", "keygen", home / "b").body]
    for name, body in zip("ab", bodies, strict=True):
        assert body == {"file": str(home / name), "fingerprint": read(home / name, {}).fingerprint}
    assert bodies[0]["fingerprint"] != bodies[1]["fingerprint"]


def test_a_failed_keygen_says_why(dhtd: Run, home: Path) -> None:
    file = home / "network.key"
    dhtd("keygen", file)
    before = file.read_bytes()
    again = dhtd("keygen", file)
    assert (again.status, again.out) == (1, "")
    assert again.err == f"dhtd: {file} is there already, and is left as it is: name another file\n"
    assert dhtd("keygen", file, "--json").body["error"]["code"] == "key-exists"
    assert file.read_bytes() == before
    lost = dhtd("keygen", home / "no" / "key", "--json")
    assert (lost.status, lost.body["error"]["code"]) == (1, "key-unusable")
    assert "there is no directory" in lost.body["error"]["message"]
    empty = dhtd("keygen", "")
    assert (empty.status, empty.err) == (2, "dhtd: FILE is empty: name the file to write the key into\n")
    for name in ("keys/", "keys/.", ".."):
        directory = dhtd("keygen", name)
        assert directory.status == 2
        assert directory.err.startswith(f"dhtd: {name} is the path of a directory: name the file")
    assert dhtd("keygen").status == 2


@pytest.mark.parametrize("place", ["option", "variable"])
def test_an_untrusted_key_stops_the_daemon(place: str, dhtd: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = home / "network.key"
    state = home / "state.db"

    def start() -> tuple[int, str]:
        options = [f"--network-key={file}"] if place == "option" else []
        done = dhtd("start", f"--state={state}", "--json", *options)
        return done.status, done.body["error"]["message"]

    if place == "variable":
        monkeypatch.setenv("DHTD_NETWORK_KEY_FILE", str(file))
    assert start() == (1, f"there is no network key {file}: `dhtd keygen {file}` makes a new one")
    dhtd("keygen", file)
    file.chmod(0o640)
    assert start() == (1, f"the network key {file} is open to others, mode 0640: chmod 600 it")
    file.chmod(0o600)
    file.write_text("secret\n")
    status, message = start()
    assert status == 1
    assert "is not a network key" in message
    assert "secret" not in message
    assert not state.exists()


def test_the_page_has_every_printed_key() -> None:
    section = PAGE.read_text().split(".Sh PRIVATE NETWORKS\n")[1].split("\n.Sh ")[0]
    assert re.findall(r"^\.It Va (\S+) Pq text$", section, re.MULTILINE) == [field.name for field in fields(Made)]

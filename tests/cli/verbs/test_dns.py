"""`dht put --dns` and `dht get --dns`: what is put, what is shown, and what is refused."""

from __future__ import annotations

import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from dhtd.cli.pkarr.extra import INSTALL
from dhtd.core.records import Mutable
from dhtd.wire.signatures import bencoded, is_signed
from tests.cli.conftest import Done, Run
from tests.cli.fake import FakeDaemon, result
from tests.cli.pkarr.packets import KEY, OF_NPM, SEED, Z32, name, packet, record
from tests.cli.verbs.test_get import ID, NODES, Screen, told

NOW = 1_800_000_000_000_000  # microseconds
LINES = (
    "@ 30 IN A 192.0.2.1\n"
    "www 30 IN CNAME example.com.\n"
    "_svc._tcp 30 IN SRV 1 2 80 www.example.com.\n"
    '@ 30 IN TXT "a b" "caf\\195\\169"\n'
)
COURSE = "seq 7; on 2 nodes; 5 queries, 4 nodes answered, 12 ms\n"
A = record(name("@"), 1, bytes([192, 0, 2, 1]))
OTHER = record(name("example.org"), 1, bytes([192, 0, 2, 1]))
UNREADABLE = record(name("@"), 1, b"")


@pytest.fixture
def key(home: Path) -> Path:
    path = home / "me.key"
    path.write_text(f"{SEED.hex()}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def zone(home: Path) -> Path:
    path = home / "zone"
    path.write_text("$TTL 300\n@ A 192.0.2.1\nwww CNAME @\n")
    return path


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NOW * 1000)


@pytest.fixture
def _without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dhtd.cli.pkarr.extra.find_spec", lambda name: None)
    for module in ("packet", "zone_file"):  # an import of it would fail
        monkeypatch.setitem(sys.modules, f"dhtd.cli.pkarr.{module}", None)


def of_key(data: bytes, **changes: Any) -> dict[str, Any]:
    """Return what the daemon tells of the value of the key."""
    return told(data, **{"public_key": KEY.hex(), "seq": 7, "salt": "", "signature": "cd" * 64, **changes})


def placed() -> dict[str, Any]:
    whose = {"public_key": KEY.hex(), "salt": "", "seq": NOW}
    return {"id": ID, **whose, "replicas": NODES[:2], "name": None, "kept": True, "refresh_in_s": 30.0}


def put(dht: Run, home: Path, *arguments: object) -> tuple[Done, dict[str, Any]]:
    """Put where no value is; return the outcome, and the parameters of the put."""
    with FakeDaemon(home / "s", result(told(None)), result(placed())) as fake:
        done = dht("--socket", home / "s", "put", *arguments)
    puts = [parameters for method, parameters in fake.requests if method == "put"]
    return done, puts[0] if puts else {}


def get(dht: Run, home: Path, body: dict[str, Any], *arguments: object) -> Done:
    with FakeDaemon(home / "s", result(body)) as fake:
        done = dht("--socket", home / "s", "get", f"pk:{Z32}", *arguments)
    (home / "s").unlink()
    assert [parameters for _, parameters in fake.requests] == [{"public_key": KEY.hex()}]
    return done


# Putting


def test_the_records_of_a_zone_file_are_signed(dht: Run, home: Path, key: Path, zone: Path) -> None:
    done, parameters = put(dht, home, "--dns", zone, "--key", key)
    assert done == (0, f"{ID}\n", f"seq {NOW}, on 2 nodes; kept there until dht delete {ID}\n")
    data = b64decode(parameters["data"])
    assert data == packet(A, record(b"\x03www\xc0\x0c", 5, b"\xc0\x0c"))
    assert (parameters["public_key"], parameters["salt"], parameters["seq"]) == (KEY.hex(), "", NOW)
    value = Mutable(KEY, b"", NOW, data, bytes.fromhex(parameters["signature"]))
    assert is_signed(value, bencoded(data))


def test_a_zone_file_may_come_from_a_pipe(
    dht: Run, home: Path, key: Path, zone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open
    monkeypatch.setattr("builtins.open", lambda file, *rest: opened(zone if file == 0 else file, *rest))
    _, parameters = put(dht, home, "--dns", "-", "--key", key)
    assert b64decode(parameters["data"]).startswith(packet(A, count=2))


def test_a_byte_order_mark_is_no_name(dht: Run, home: Path, key: Path, zone: Path) -> None:
    zone.write_bytes(b"\xef\xbb\xbf" + zone.read_bytes())
    assert put(dht, home, "--dns", zone, "--key", key)[0].status == 0


def test_a_zone_file_without_records_is_doubted(dht: Run, home: Path, key: Path, zone: Path) -> None:
    zone.write_text("; nothing yet\n")
    done, parameters = put(dht, home, "--dns", zone, "--key", key)
    assert done.err.startswith(f"{zone} has no records: others will find none\n")
    assert b64decode(parameters["data"]) == packet()


def test_a_packet_leaves_room_for_its_length_there(dht: Run, home: Path, key: Path, zone: Path) -> None:
    """In the Mainline network, a value has 1000 bytes with the digits of its length."""
    zone.write_text(f"@ 60 TXT {' '.join(['x' * 255] * 3)} {'x' * 153}\n")
    assert put(dht, home, "--dns", zone, "--key", key)[0].status == 0
    done = dht("--network", "mainline", "put", "--dns", zone, "--key", key)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"dht: {zone}: the records take 998 bytes, 2 bytes more than the 996 of a value\n"


def test_other_values_leave_that_room_too(dht: Run, home: Path) -> None:
    (home / "long").write_bytes(b"x" * 997)
    done = dht("--network", "mainline", "put", "x" * 997)
    assert (done.status, done.err) == (2, "dht: a value has 996 bytes at most, and this one has 997\n")
    done = dht("--network", "mainline", "put", "--file", home / "long")
    assert (done.status, "has more than 996 bytes" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dns", "zone"], "--dns is for a signed value: give --key KEYFILE, which dht key new makes"),
        (["--dns", "zone", "--key", "me.key", "--salt", "x"], "--dns puts the one packet of a key, which has no salt"),
        (["--dns", "zone", "--key", "me.key", "--salt", ""], "--dns puts the one packet of a key, which has no salt"),
        (["--dns", "zone", "--key", "me.key", "text"], "give a TEXT, --file PATH, --dns ZONEFILE or --empty: one of"),
        (["--dns", "zone", "--key", "me.key", "--file", "zone"], "give a TEXT, --file PATH, --dns ZONEFILE or --empty"),
        (["--dns", "zone", "--key", "me.key", "--empty"], "give a TEXT, --file PATH, --dns ZONEFILE or --empty: one"),
        (["--dns", "", "--key", "me.key"], "--dns is empty: give the path of a zone file, or - for stdin"),
        (["--dns", "none", "--key", "me.key"], "cannot read none: No such file or directory"),
        (["--dns", ".", "--key", "me.key"], "cannot read .: Is a directory"),
        (["--dns", "me.key", "--key", "me.key"], "me.key looks like the secret of a key"),
        (["--dns", "bad", "--key", "me.key"], "bad:2: www.example.org. is not under the key: its names end in"),
        (["--dns", "binary", "--key", "me.key"], "binary:2: this is no text in UTF-8, so it is no zone file"),
        (["--dns", "long", "--key", "me.key"], "long has more than 65536 bytes: its records do not fit into a value"),
        (["--dns", "zone", "--key", ""], "--key is empty: name the file of a key"),
    ],
)
def test_bad_records_are_told_and_not_put(
    arguments: list[str],
    message: str,
    dht: Run,
    home: Path,
    key: Path,
    zone: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(home)
    (home / "bad").write_text("@ 60 A 192.0.2.1\nwww.example.org. A 192.0.2.1\n")
    (home / "binary").write_bytes(b"@ 60 A 192.0.2.1\n@ 60 TXT \xff\n")
    (home / "long").write_text("; x\n" * 20_000)
    done = dht(*["put", *arguments])  # no daemon is there, and none is asked
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"dht: {message}")
    assert SEED.hex() not in done.err


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (SEED.hex(), 0o644, "is open to others, mode 0644: chmod 600 it"),
        ("$TTL 300", 0o600, "is not a key as `dht key new` writes it"),
        ("dhtd-network-key-" + "x" * 43, 0o600, "is a network key, and signs nothing"),
    ],
)
def test_a_key_that_is_none_signs_nothing(
    content: str, mode: int, message: str, dht: Run, home: Path, zone: Path
) -> None:
    (home / "bad.key").write_text(content)
    (home / "bad.key").chmod(mode)
    done = dht("put", "--dns", zone, "--key", home / "bad.key", "--json")
    assert (done.status, done.body["error"]["code"]) == (1, "key-unusable")
    assert message in done.body["error"]["message"]


@pytest.mark.usefixtures("_without_dnspython")
def test_what_is_missing_is_said(dht: Run, home: Path, key: Path, zone: Path) -> None:
    said = f"dht: --dns needs dnspython, which is not installed: {INSTALL}\n"
    assert dht("put", "--dns", zone, "--key", key) == (2, "", said)
    assert dht("get", f"pk:{Z32}", "--dns") == (2, "", said)


# Getting


def test_records_are_lines_of_a_zone_file(dht: Run, home: Path) -> None:
    assert get(dht, home, of_key(OF_NPM), "--dns") == (0, LINES, "")


def test_a_pipe_gets_the_bytes(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    monkeypatch.setattr("dhtd.cli.verbs.get.put_bytes", written.append)
    assert get(dht, home, of_key(OF_NPM)) == (0, "", "")
    assert written == [OF_NPM]


def test_a_terminal_gets_the_records(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setattr(sys, "stderr", below := Screen())
    get(dht, home, of_key(OF_NPM))
    assert (screen.text, below.text) == (LINES, COURSE)


@pytest.mark.parametrize("arguments", [[], ["--dns"]])
def test_json_has_the_records(arguments: list[str], dht: Run, home: Path) -> None:
    body = of_key(packet(A, OTHER, UNREADABLE))
    records = [{"name": f"{Z32}.", "ttl": 300, "type": "A", "data": "192.0.2.1"}]
    dns = {"origin": f"{Z32}.", "records": records, "foreign": 1, "unreadable": 1}
    assert get(dht, home, body, *arguments, "--json").body == {**body, "dns": dns}


@pytest.mark.parametrize(
    "body",
    [
        of_key(b"hello"),
        of_key(b""),
        of_key(packet(count=7)),
        of_key(OF_NPM, salt="bmV3cw=="),
        of_key(OF_NPM, bencoded=True),
        told(OF_NPM),
    ],
)
def test_other_values_have_no_records(body: dict[str, Any], dht: Run, home: Path) -> None:
    assert get(dht, home, body, "--json").body == {**body, "dns": None}
    done = get(dht, home, body, "--dns")
    assert (done.status, done.out) == (1, "")
    assert done.err.endswith("leave out --dns\n")
    done = get(dht, home, body, "--dns", "--json")
    assert (done.status, done.body["error"]["code"], done.body["data"]) == (1, "not-found", body["data"])


def test_what_is_left_out_is_said(dht: Run, home: Path) -> None:
    foreign = "2 records left out: of names that are not under the key, or not of class IN"
    said = f"{foreign}\n1 record left out: not to be read\n"
    done = get(dht, home, of_key(packet(OTHER, A, OTHER, UNREADABLE)), "--dns")
    assert done == (0, "@ 300 IN A 192.0.2.1\n", said)
    assert get(dht, home, of_key(packet()), "--dns") == (0, "", "no DNS records are under the key\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dns", "--all"], "--all shows values as they are, and --dns the records in one: give one of them"),
        (["--dns", "--salt", "x"], "--dns prints the one packet of a key, which has no salt: leave out --salt"),
    ],
)
def test_wrong_usage_of_get_with_dns(arguments: list[str], message: str, dht: Run) -> None:
    assert dht("get", f"pk:{Z32}", *arguments) == (2, "", f"dht: {message}\n")


@pytest.mark.usefixtures("_without_dnspython")
def test_without_dnspython_records_are_bytes(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get(dht, home, of_key(OF_NPM), "--json").body == {**of_key(OF_NPM), "dns": None}
    monkeypatch.setattr(sys, "stdout", screen := Screen())
    monkeypatch.setattr(sys, "stderr", below := Screen())
    assert get(dht, home, of_key(OF_NPM)).status == 2
    none = f"dht: {len(OF_NPM)} bytes that are no text for a terminal: add > FILE, or --json"
    assert (screen.text, below.text) == ("", f"{none}. DNS records are shown by dnspython: {INSTALL}\n")

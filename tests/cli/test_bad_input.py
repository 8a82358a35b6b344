"""Wrong usage: the message, the exit status, and the same as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.e2e.daemons import BIN, DEADLINE

ID = "ab" * 32

WRONG: dict[str, tuple[list[str], str, str]] = {
    # arguments, code, and the message
    "an ID that is too short": (["lookup", "abc"], "invalid-id", "64 hex digits, and 'abc' has 3 characters"),
    "an ID that is too long": (["lookup", ID + "0"], "invalid-id", "has 65 characters"),
    "an empty ID": (["lookup", ""], "invalid-id", "64 hex digits"),
    "an ID that is not hex": (["enter", "xy" * 32, "80"], "invalid-id", "has a character that is none"),
    "an ID with other digits": (["lookup", "\u0661" * 64], "invalid-id", "has a character that is none"),
    "an ID with a sign": (["delete", "+" + ID[1:]], "invalid-id", "has a character that is none"),
    "a short name of digits": (["lookup", "80"], "invalid-id", "2 characters: for a name, write --name 80"),
    "a name of two words": (["enter", "my wiki", "80"], "invalid-id", "for a name, write --name 'my wiki'"),
    "a name that could be hex": (["delete", "cafe"], "invalid-id", "for a name, write --name cafe"),
    "an ID with 0X": (["lookup", "0X" + ID], "invalid-id", f"has 66 characters: write {ID}"),
    "an ID with its hash before it": (["lookup", "sha256:" + ID], "invalid-id", f": write {ID}"),
    "an ID in quotes": (["lookup", f'"{ID}"'], "invalid-id", f": write {ID}"),
    "a line of sha256sum": (["lookup", f"{ID}  wiki.tar"], "invalid-id", f": write {ID}"),
    "an ID with a digit too many": (["lookup", "a" + ID], "invalid-id", "has 65 characters"),
    "the first digits of an ID": (["lookup", ID[:12]], "invalid-id", "if it is the beginning of an ID, dht info | cat"),
    "an empty file of a hash": (["hash", "--file", ""], "usage", "--file is empty"),
    "an ID with 0x": (["lookup", "0x" + ID], "invalid-id", f"has 66 characters: write {ID}"),
    "an ID in groups": (["lookup", ":".join(["abab"] * 16)], "invalid-id", f": write {ID}"),
    "an ID with blanks": (["find-value", "one:1", f" {ID}\n"], "invalid-id", f": write {ID}"),
    "an MD5": (["lookup", "ab" * 16], "invalid-id", "32 digits are an MD5, and an ID is a SHA-256"),
    "a SHA-512": (["lookup", "ab" * 64], "invalid-id", "128 digits are a SHA-512, and an ID is a SHA-256"),
    "a UUID": (["lookup", "abababab-abab-abab-abab-abababababab"], "invalid-id", "for a name, write --name abababab-"),
    "the beginning of an ID": (["lookup", "abab…"], "invalid-id", "dht info | cat prints whole IDs"),
    "no ID": (["lookup", ""], "invalid-id", "is a variable empty that should hold it?"),
    "an empty name": (["lookup", "--name", ""], "invalid-id", "the name is empty"),
    "a name of 300 characters": (
        ["lookup", "--name", 300 * "w"],
        "invalid-id",
        "has 300 characters, and a name has 255",
    ),
    "a plain name of 300": (["enter", 300 * "w", "80"], "invalid-id", "has 300 characters, and a name has 255 at most"),
    "a name of two lines": (["delete", "--name", "a\nb"], "invalid-id", r"has the control character '\n'"),
    "a name with an escape": (["lookup", "wi\x1bki"], "invalid-id", r"has the control character '\x1b'"),
    "a name that is not UTF-8": (["lookup", "--name", "wi\udcffki"], "invalid-id", r"'wi\udcffki' is not UTF-8"),
    "a name of blanks": (["enter", "--name", " ", "80"], "invalid-id", "the name is empty"),
    "a port with a protocol": (["enter", ID, "80/tcp"], "invalid-port", "from 1 to 65535, such as 80"),
    "a port with an address": (["enter", ID, "192.0.2.1:80"], "invalid-port", "from 1 to 65535, such as 80"),
    "a URL": (["ping", "http://one.example:80/"], "invalid-endpoint", "HOST:PORT alone, such as one.example:80"),
    "two endpoints in one": (["bootstrap", "one:1,two:2"], "invalid-endpoint", "more than one HOST:PORT"),
    "IPv6 alone": (["store", "::1", ID, "80", "--token", "00"], "invalid-endpoint", "such as [::1]:1729"),
    "port 0": (["enter", ID, "0"], "invalid-port", "0 is not a port: a number from 1 to 65535"),
    "port 65536": (["enter", ID, "65536"], "invalid-port", "65536 is not a port: a number from 1 to 65535"),
    "a port in letters": (["enter", ID, "abc"], "invalid-port", "'abc' is not a port: a number from 1 to 65535"),
    "a negative port": (["enter", "--", ID, "-1"], "invalid-port", "'-1' is not a port"),
    "a port with digits of another script": (["delete", ID, "\u0661"], "invalid-port", "is not a port"),
    "no port in an endpoint": (["ping", "one"], "invalid-endpoint", "'one' is not HOST:PORT, such as"),
    "no host in an endpoint": (["ping", ":80"], "invalid-endpoint", "':80' is not HOST:PORT"),
    "an endpoint's port 0": (["ping", "one:0"], "invalid-port", "0 is not a port"),
    "an endpoint's port 65536": (["bootstrap", "one:1", "one:65536"], "invalid-port", "65536 is not a port"),
    "an endpoint's port in letters": (["find-node", "one:abc", ID], "invalid-port", "'abc' is not a port"),
    "IPv6 without brackets": (["ping", "2001:db8::1:80"], "invalid-endpoint", "without brackets: write [ADDRESS]:PORT"),
    "IPv6 in brackets without a port": (["ping", "[2001:db8::1]"], "invalid-endpoint", "has no port"),
    "a token that is not hex": (
        ["store", "one:1", ID, "80", "--token", "xyz"],
        "invalid-token",
        "'xyz' is not a token",
    ),
    "an empty token": (["store", "one:1", ID, "80", "--token", ""], "invalid-token", "is not a token"),
    "no token": (["store", "one:1", ID, "80"], "usage", "Missing option '--token'"),
    "an unknown command": (["lokup", ID], "usage", "No such command 'lokup'. Did you mean 'lookup'?"),
    "an unknown option": (["info", "--jsn"], "usage", "No such option: --jsn"),
    "a missing argument": (["enter", ID], "usage", "Missing argument 'PORT'"),
    "an argument too many": (["ping", "one:1", "two:2"], "usage", "two:2"),
    "no node to join by": (["bootstrap"], "usage", "Missing argument 'HOST:PORT...'"),
    "an unknown section": (
        ["info", "nodes"],
        "usage",
        "'nodes'; there are: node, routing_table, store, tracking,",
    ),
    "a timeout of 0": (["--timeout", "0", "info"], "usage", "--timeout 0: give a number of seconds above 0"),
    "a negative timeout": (["--timeout", "-1", "info"], "usage", "--timeout -1: give a number of seconds above 0"),
    "a timeout that is no number": (["--timeout", "nan", "info"], "usage", "--timeout nan: give a number"),
    "a timeout in letters": (["--timeout", "soon", "info"], "usage", "'soon'"),
    "negative replicas": (["enter", ID, "80", "--min-replicas", "-1"], "usage", "--min-replicas -1: give a number"),
    "nothing to hash": (["hash"], "usage", "give a TEXT or --file PATH"),
    "two things to hash": (["hash", "text", "--file", "x"], "usage", "give a TEXT or --file PATH"),
    "a file that is not there": (["hash", "--file", "/none"], "usage", "cannot read /none: No such file or directory"),
    "a file that is a directory": (["hash", "--file", "/"], "usage", "cannot read /: Is a directory"),
    "an empty socket": (["--socket", "", "info"], "usage", "--socket is empty"),
    "an instance that is a path": (["--instance", "../x", "info"], "bad-configuration", "not an instance name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_goes_to_stderr_with_status_2(case: str, dht: Run) -> None:
    arguments, _, message = WRONG[case]
    done = dht(*arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("dht: ")
    assert message in done.err


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_with_json_is_one_object(case: str, dht: Run) -> None:
    arguments, code, message = WRONG[case]
    done = dht("--json", *arguments)
    assert (done.status, done.err) == (2, "")
    assert done.body.keys() == {"error"}
    assert done.body["error"]["code"] == code
    assert message in done.body["error"]["message"]
    assert "\n" not in done.body["error"]["message"]


@pytest.mark.parametrize("slip", [ID[1:], ID + "0", "x" + ID[1:], ID[:-1] + "O"])
def test_a_mistyped_id_is_not_taken_for_a_name(slip: str, dht: Run) -> None:
    assert "--name" not in dht("lookup", slip).err


def test_a_usage_error_tells_where_help_is(dht: Run) -> None:
    assert dht("enter", ID).err.endswith("\nTry 'dht enter --help'.\n")
    assert dht("--bogus").err.endswith("\nTry 'dht --help'.\n")


BROKEN: dict[str, tuple[str, str]] = {
    "broken TOML": ("socket = ", "is not TOML"),
    "a wrong type": ("socket = 1", "socket"),
    "no text at all": ("\udcff", "is not UTF-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_configuration_ends_a_client(case: str, dht: Run, home: Path) -> None:
    text, message = BROKEN[case]
    path = home / "dhtd" / "dhtd.toml"
    path.parent.mkdir()
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = dht("info")
    assert (done.status, done.out) == (2, "")
    assert str(path) in done.err
    assert message in done.err
    assert dht("info", "--json").body["error"]["code"] == "bad-configuration"


def test_a_given_socket_skips_the_configuration(dht: Run, home: Path) -> None:
    (home / "dhtd").mkdir()
    (home / "dhtd" / "dhtd.toml").write_text("socket = ", encoding="utf-8")
    assert dht("--socket", home / "none", "info").status == 3


WRONG_START: dict[str, tuple[list[str], str]] = {
    "port 0": (["--port", "0"], "--port: 0 is not a port: a number from 1 to 65535"),
    "port 65536": (["--port", "65536"], "--port: 65536 is not a port"),
    "a port in letters": (["--port", "abc"], "--port: 'abc' is not a port"),
    "an endpoint without a port": (["--bootstrap", "one"], "--bootstrap: 'one' is not HOST:PORT"),
    "a node ID that is too short": (["--node-id", "abc"], "--node-id: an ID is 64 hex digits"),
    "an unknown level": (["--log-level", "loud"], "--log-level: 'loud' is none of debug, info, warning, error"),
    "a configuration that is not there": (["--config", "/none.toml"], "there is no configuration file /none.toml"),
}


@pytest.mark.parametrize("case", WRONG_START)
def test_a_wrong_option_stops_the_start(case: str, dhtd: Run) -> None:
    arguments, message = WRONG_START[case]
    done = dhtd("start", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    for json_done in (dhtd("start", *arguments, "--json"), dhtd("--json", "start", *arguments)):
        assert (json_done.status, json_done.body["error"]["code"]) == (2, "bad-configuration")
        assert message in json_done.body["error"]["message"]


def test_an_unknown_daemon_option_is_wrong_usage(dhtd: Run) -> None:
    assert dhtd("start", "--prot", "1").err.startswith("dhtd: No such option: --prot ")
    assert dhtd("start", "--prot", "1", "--json").body["error"]["code"] == "usage"


def test_wrong_usage_is_a_journal_line(home: Path) -> None:
    for start in ("start", "strat"):
        reading, writing = os.pipe()
        status = os.fstat(writing)
        done = subprocess.run(
            [BIN / "dhtd", start, "--bogus"],
            env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            stderr=writing,
            timeout=DEADLINE,
            check=False,
        )
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as journal:
            [line] = journal.read().splitlines()
        assert done.returncode == 2
        assert line.startswith("<3>No such ")
        assert line.endswith("--help'")


def test_wrong_usage_is_an_object_in_a_json_log(dhtd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHTD_LOG_FORMAT", "json")
    done = dhtd("start", "--bogus")
    assert done.status == 2
    line = json.loads(done.err)
    assert (line["level"], line["message"]) == ("error", "No such option: --bogus. Try 'dhtd start --help'")

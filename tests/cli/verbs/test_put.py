"""`dht put` and `dht keep`: what is put, how it is signed and numbered, and what is said about it."""

from __future__ import annotations

import errno
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from dhtd.core.records import SEQ_MAX, Mutable
from dhtd.wire.signatures import bencoded, is_signed, public_key
from dhtd.wire.signatures import signed as sign
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, error, result
from tests.cli.verbs.test_get import ID, NODES, SILENT, signed, told

SEED = bytes(range(32))
AT_AN_END = "no value can take its place, since there is no higher one. Use another --salt, or another key"
NOW = 1_800_000_000_000_000  # microseconds


@pytest.fixture
def key(home: Path) -> Path:
    path = home / "blog.key"
    path.write_text(f"{SEED.hex()}\n")
    path.chmod(0o600)
    return path


@pytest.fixture(autouse=True)
def _stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: NOW * 1000)


def placed(nodes: int = 2, seq: int | None = None, *, kept: bool = True) -> dict[str, Any]:
    again = {"refresh_in_s": 30.0 if kept else None}
    whose = {"public_key": None, "salt": None} if seq is None else {"public_key": "ab" * 32, "salt": ""}
    return {"id": ID, **whose, "seq": seq, "replicas": NODES[:nodes], "kept": kept, **again}


def in_base64(data: bytes) -> str:
    return b64encode(data).decode()


class Standard:
    """A standard input with these bytes."""

    def __init__(self, home: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        path = home / "stdin"
        path.write_bytes(data)
        opened = open
        monkeypatch.setattr(
            "builtins.open", lambda file, *rest, **more: opened(path if file == 0 else file, *rest, **more)
        )


def test_a_text_is_put_as_it_is(dht: Run, home: Path) -> None:
    for number, text in enumerate(("hello", "caf\u0065\u0301", "\udcff", " two\nlines\n", "-x")):
        with FakeDaemon(home / f"s{number}", result(placed())) as fake:
            done = dht("--socket", home / f"s{number}", "put", "--", text)
        assert done == (0, f"{ID}\n", f"on 2 nodes; kept there until dht delete {ID}\n")
        data = text.encode("utf-8", "surrogateescape")
        assert fake.requests == [("put", {"data": in_base64(data), "within_s": 13.5})]


@pytest.mark.parametrize("arguments", [["-"], ["--file", "-"], ["--file", "blob"]])
@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"x" * 1000])
def test_bytes_are_put_as_they_are(
    arguments: list[str], data: bytes, dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "blob").write_bytes(data)
    monkeypatch.chdir(home)
    Standard(home, data, monkeypatch)
    with FakeDaemon(home / "s", result(placed())) as fake:
        assert dht("--socket", home / "s", "put", *arguments).out == f"{ID}\n"
    assert b64decode(fake.requests[0][1]["data"]) == data


def test_the_json_of_put_is_the_daemon_s(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(placed()), result(placed())):
        assert dht("--socket", home / "s", "put", "hello", "--json").body == placed()
        assert dht("--socket", home / "s", "keep", ID, "--json").body == placed()


def test_a_value_has_a_label_here(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", *[result(placed())] * 2) as fake:
        assert dht("--socket", home / "s", "put", "hello", "--label", "cafe\u0301 menu").status == 0
        assert dht("--socket", home / "s", "keep", ID, "--label", "menu").status == 0
    assert [parameters["name"] for _, parameters in fake.requests] == ["caf\u00e9 menu", "menu"]


def test_an_empty_text_is_put_and_doubted(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(placed())):
        done = dht("--socket", home / "s", "put", "")
    assert done.out == f"{ID}\n"
    assert done.err.startswith("the value is empty: is a variable empty that should hold it?\n")


def test_too_few_replicas_are_a_failure_of_the_network(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", *[result(placed())] * 2) as fake:
        done = dht("--socket", home / "s", "put", "hello", "--min-replicas", 3)
        assert done == (
            4,
            "",
            "dht: 2 nodes took the value, of 3 wanted. It is kept all the same, and put again in 30 s\n",
        )
        done = dht("--socket", home / "s", "keep", ID, "--min-replicas", 3, "--json")
    assert (done.status, done.body["error"]["code"], done.body["id"]) == (4, "too-few-replicas", ID)
    assert [parameters["min_replicas"] for _, parameters in fake.requests] == [3, 3]


def test_a_value_that_nobody_holds_yet_is_kept(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(placed(0))):
        done = dht("--socket", home / "s", "put", "hello")
    assert done == (
        0,
        f"{ID}\n",
        "kept on disk, but no other node has taken it yet; it is put again until one does: see dht status\n",
    )


@pytest.mark.parametrize("arguments", [[], ["--min-replicas", "0"]])
def test_a_value_put_once_must_reach_somebody(arguments: list[str], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(placed(1, kept=False)), result(placed(0, kept=False))) as fake:
        assert dht("--socket", home / "s", "put", "hello", "--once") == (0, f"{ID}\n", "on 1 node; it lasts a day\n")
        done = dht("--socket", home / "s", "put", "hello", "--once", *arguments)
    assert (done.status, done.out) == (4, "")
    assert done.err == "dht: 0 nodes took the value, of 1 wanted. It is not kept: put it again, or without --once\n"
    assert fake.requests[0][1]["keep"] is False


# Signed values


def put_signed(dht: Run, home: Path, there: dict[str, Any], *arguments: object) -> tuple[Any, dict[str, Any]]:
    """Put, where the daemon tells of `there`; return the outcome, and the parameters of the put."""
    with FakeDaemon(home / "s", result(there), result(placed(seq=NOW))) as fake:
        done = dht("--socket", home / "s", "put", *arguments)
    (home / "s").unlink()
    puts = [parameters for method, parameters in fake.requests if method == "put"]
    return done, puts[0] if puts else {}


def test_the_client_signs_and_the_daemon_has_no_secret(dht: Run, home: Path, key: Path) -> None:
    done, parameters = put_signed(dht, home, told(None), "hello", "--key", key, "--salt", "news")
    assert done == (0, f"{ID}\n", f"seq {NOW}, on 2 nodes; kept there until dht delete {ID}\n")
    data, salt = b64decode(parameters["data"]), b64decode(parameters["salt"])
    public, signature = bytes.fromhex(parameters["public_key"]), bytes.fromhex(parameters["signature"])
    assert (public, salt, data, parameters["seq"]) == (public_key(SEED), b"news", b"hello", NOW)
    assert is_signed(Mutable(public, salt, NOW, data, signature), bencoded(data))
    assert "cas" not in parameters
    assert SEED.hex() not in str(parameters)


@pytest.mark.parametrize(
    ("arguments", "known", "expected"),
    [
        ([], None, (NOW, None)),
        ([], 5, (NOW, 5)),
        ([], NOW, (NOW + 1, NOW)),
        ([], NOW + 10, (NOW + 11, NOW + 10)),
        (["--seq", 6], 5, (6, None)),
        (["--seq", 0], None, (0, None)),
        (["--seq", 5], 5, (5, None)),  # the same data: a renewal
        (["--cas", 5], 5, (NOW, 5)),
        (["--cas", NOW], NOW, (NOW + 1, NOW)),
    ],
)
def test_values_are_numbered_upwards(
    arguments: list[Any], known: int | None, expected: tuple[int, int | None], dht: Run, home: Path, key: Path
) -> None:
    there = told(None) if known is None else signed(b"hello", known)
    _, parameters = put_signed(dht, home, there, "hello", "--key", key, *arguments)
    assert (parameters["seq"], parameters.get("cas")) == expected


@pytest.mark.parametrize(
    ("arguments", "known", "code", "message"),
    [
        (["--seq", 4], 5, "newer-value", "the value that is there has seq 5, and 4 is lower: give a higher one"),
        (["--seq", 5], 5, "conflict", "another value with seq 5 is there: give a higher one"),
        (["--cas", 4], 5, "cas-mismatch", "the value that is there has seq 5, and --cas 4 is to replace another one"),
        (["--cas", 4], None, "cas-mismatch", "no value is there, and --cas 4 is to replace another one"),
        ([], SEQ_MAX, "newer-value", f"the value that is there has seq {SEQ_MAX}: {AT_AN_END}"),
        (
            ["--seq", 5],
            SEQ_MAX,
            "newer-value",
            f"the value that is there has seq {SEQ_MAX}, and 5 is lower: {AT_AN_END}",
        ),
        (["--seq", SEQ_MAX], SEQ_MAX, "conflict", f"another value with seq {SEQ_MAX} is there: {AT_AN_END}"),
    ],
)
def test_what_replaces_nothing_is_not_put(
    arguments: list[Any], known: int | None, code: str, message: str, dht: Run, home: Path, key: Path
) -> None:
    there = told(None) if known is None else signed(b"old", known)
    done, parameters = put_signed(dht, home, there, "hello", "--key", key, *arguments)
    assert (done, parameters) == ((1, "", f"dht: {message}\n"), {})
    done, parameters = put_signed(dht, home, there, "hello", "--key", key, *arguments, "--json")
    found = None if known is None else {"seq": known, "data": in_base64(b"old"), "text": "old"}
    assert done.body == {"error": {"code": code, "message": message}, "found": found}


def test_the_highest_seq_is_warned_of(dht: Run, home: Path, key: Path) -> None:
    with FakeDaemon(home / "s", result(told(None)), result(placed(seq=SEQ_MAX))):
        done = dht("--socket", home / "s", "put", "hello", "--key", key, "--seq", SEQ_MAX)
    assert done.status == 0
    assert done.err.startswith("there is no higher seq: no value can ever take the place of this one\n")


def test_a_value_is_emptied_by_a_newer_one(dht: Run, home: Path, key: Path) -> None:
    done, parameters = put_signed(dht, home, signed(b"old", 5), "--empty", "--key", key)
    assert done.status == 0
    assert (parameters["data"], parameters["seq"], parameters["cas"]) == ("", NOW, 5)


def test_a_value_that_comes_in_between_is_shown(dht: Run, home: Path, key: Path) -> None:
    answers = [result(signed(b"old", 5)), error("newer-value", "newer"), result(signed(b"new", 6))]
    with FakeDaemon(home / "s", *answers):
        done = dht("--socket", home / "s", "put", "hello", "--key", key, "--json")
    assert (done.status, done.body["error"]["code"]) == (1, "newer-value")
    assert done.body["found"] == {"seq": 6, "data": in_base64(b"new"), "text": "new"}
    with FakeDaemon(home / "t", error("newer-value", "signed")):
        assert dht("--socket", home / "t", "put", "hello", "--json").body["found"] is None


def test_a_refused_value_that_stays_is_put_again(dht: Run, home: Path, key: Path) -> None:
    """Of several that are put at the same moment, most nodes may have taken none, and the newest stays."""
    ours = sign(SEED, b"", NOW, b"hello").signature.hex()
    there = {**signed(b"hello", NOW), "signature": ours}
    answers = [result(signed(b"old", 5)), error("cas-mismatch", "other"), result(there), result(placed(seq=NOW))]
    with FakeDaemon(home / "s", *answers) as fake:
        assert dht("--socket", home / "s", "put", "hello", "--key", key).status == 0
    (_, first), (_, again) = fake.requests[1], fake.requests[3]
    assert (first["cas"], first["signature"]) == (5, ours)
    assert again == {name: value for name, value in first.items() if name != "cas"}


@pytest.mark.parametrize(
    "there",
    [
        result(told(None, stats=SILENT, complete=False)),
        result(told(None, complete=False)),
        error("no-peers", "this node knows no other node"),
    ],
)
def test_a_value_is_put_in_an_outage(there: list[Any], dht: Run, home: Path, key: Path) -> None:
    """It is kept, and sent once somebody answers."""
    with FakeDaemon(home / "s", there, result(placed(0, NOW))) as fake:
        assert dht("--socket", home / "s", "put", "hello", "--key", key).status == 0
    parameters = fake.requests[1][1]
    assert (parameters["seq"], parameters.get("cas")) == (NOW, None)
    with FakeDaemon(home / "t", there):
        done = dht("--socket", home / "t", "put", "hello", "--key", key, "--cas", 5, "--json")
    assert (done.status, done.body["error"]["code"]) == (4, "no-answer")


def test_a_failure_of_the_get_is_that_of_the_put(dht: Run, home: Path, key: Path) -> None:
    with FakeDaemon(home / "s", error("busy", "too much at once")):
        assert dht("--socket", home / "s", "put", "hello", "--key", key) == (1, "", "dht: too much at once\n")
    with FakeDaemon(home / "t", result({"id": ID})):
        assert "is it of another version" in dht("--socket", home / "t", "put", "hello", "--key", key).err


# Keep


def test_an_id_is_kept(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(placed())) as fake:
        done = dht("--socket", home / "s", "keep", ID)
    assert done == (0, f"{ID}\n", f"on 2 nodes; kept there until dht delete {ID}\n")
    assert fake.requests == [("keep", {"id": ID, "within_s": 13.5})]


def test_digits_without_a_value_are_kept_as_a_key(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", error("not-found", "no"), result(placed(seq=7))) as fake:
        assert dht("--socket", home / "s", "keep", ID).status == 0
    assert [set(parameters) for _, parameters in fake.requests] == [{"id", "within_s"}, {"public_key", "within_s"}]
    with FakeDaemon(home / "t", result(placed(seq=7))) as fake:
        assert dht("--socket", home / "t", "keep", f"pk:{ID}", "--salt", "news").status == 0
    assert fake.requests == [("keep", {"public_key": ID, "salt": "bmV3cw==", "within_s": 13.5})]


def test_nothing_to_keep_is_a_negative_answer(dht: Run, home: Path) -> None:
    nothing = error("not-found", "no value is there to keep: 4 nodes near it answered")
    with FakeDaemon(home / "s", nothing, nothing):
        done = dht("--socket", home / "s", "keep", ID)
    assert done == (1, "", "dht: no value is there to keep: 4 nodes near it answered\n")


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], "usage", "give a TEXT, --file PATH, --dns ZONEFILE or --empty: one of them"),
        (["text", "--file", "x"], "usage", "give a TEXT, --file PATH, --dns ZONEFILE or --empty: one of them"),
        (["text", "--empty"], "usage", "give a TEXT, --file PATH, --dns ZONEFILE or --empty: one of them"),
        (["--empty"], "usage", "--empty is for a signed value: give --key KEYFILE, which dht key new makes"),
        (["text", "--salt", "s"], "usage", "--salt is for a signed value: give --key KEYFILE, which dht key new makes"),
        (["text", "--seq", "1"], "usage", "--seq is for a signed value: give --key KEYFILE, which dht key new makes"),
        (["text", "--cas", "1"], "usage", "--cas is for a signed value: give --key KEYFILE, which dht key new makes"),
        (["text", "--key", ""], "usage", "--key is empty: name the file of a key"),
        (["text", "--key", "k", "--seq", "1", "--cas", "0"], "usage", "give one of them"),
        (["text", "--key", "k", "--seq", "-1"], "invalid-value", f"a seq is a number from 0 to {SEQ_MAX}, not -1"),
        (["text", "--key", "k", "--cas", str(2**63)], "invalid-value", f"a seq is a number from 0 to {SEQ_MAX}, not"),
        (
            ["text", "--label", " "],
            "invalid-id",
            "the name is empty: a name says what is served, such as wiki.example.org",
        ),
        (["text", "--label", "x", "--once"], "usage", "--label names a value that is kept, and --once keeps none"),
        (["text", "--min-replicas", "-1"], "usage", "--min-replicas -1: give a number from 0 up"),
        (["--file", ""], "usage", "--file is empty: give the path of a file, or - for stdin"),
        (["--file", "/none"], "usage", "cannot read /none: No such file or directory"),
        (["--file", "/"], "usage", "cannot read /: Is a directory"),
        (["x" * 1001], "invalid-value", "a value has 1000 bytes at most, and this one has 1001"),
        (["\u00e9" * 501], "invalid-value", "a value has 1000 bytes at most, and this one has 1002"),
    ],
)
def test_wrong_usage_of_put_says_why(arguments: list[str], code: str, message: str, dht: Run) -> None:
    done = dht("put", *arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert dht("put", *arguments, "--json").body["error"]["code"] == code


@pytest.mark.parametrize("content", [f"{SEED.hex()}\n", "dhtd-network-key-1:secret\n"])
def test_a_secret_is_not_put(content: str, dht: Run, home: Path, key: Path) -> None:
    """A slip, --file in place of --key, could not be taken back."""
    key.write_text(content)
    done = dht("put", "--file", key)
    assert (done.status, done.out) == (2, "")
    assert "looks like the secret of a key, which everybody could read: is it meant for --key?" in done.err
    assert content.strip() not in done.err
    # One that others can read is no secret: an ID has as many digits.
    key.chmod(0o644)
    with FakeDaemon(home / "s", result(placed())) as fake:
        assert dht("--socket", home / "s", "put", "--file", key).status == 0
    assert b64decode(fake.requests[0][1]["data"]) == content.encode()


def test_an_input_that_cannot_be_read_says_so(dht: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, *rest: object, **more: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("builtins.open", refuse)
    assert dht("put", "-") == (2, "", "dht: cannot read the standard input: Bad file descriptor\n")


def test_a_file_that_is_too_long_says_so(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "blob").write_bytes(bytes(1001))
    done = dht("put", "--file", home / "blob")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(
        f"dht: {home}/blob has more than 1000 bytes, which are the most that a value has: put what"
    )
    Standard(home, bytes(1_000_000), monkeypatch)
    assert dht("put", "-").err.startswith("dht: the standard input has more than 1000 bytes")


def test_a_bad_key_file_is_refused_by_put(dht: Run, home: Path, key: Path) -> None:
    key.chmod(0o644)
    done = dht("put", "hello", "--key", key)
    assert done == (1, "", f"dht: the key {key} is open to others, mode 0644: chmod 600 it\n")
    assert dht("put", "hello", "--key", home / "no", "--json").body["error"]["code"] == "key-unusable"
    long = dht("put", "hello", "--key", key, "--salt", "x" * 65)
    assert long.status == 1  # the file comes first


def test_without_a_daemon_nothing_is_put(dht: Run, home: Path, key: Path) -> None:
    for arguments in (["put", "hello"], ["put", "hello", "--key", key], ["get", ID], ["keep", ID]):
        assert dht(*arguments).status == 3

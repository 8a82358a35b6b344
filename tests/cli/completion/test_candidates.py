"""The candidates that the program offers for the words of a line; test_completions has the shells' side."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dhtd.sim.scenarios import SCENARIOS
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, error, result

ID = "ab" * 32
NAMED = hashlib.sha256(b"wiki").hexdigest()


@pytest.fixture(autouse=True)
def complete(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DHT_COMPLETE", "complete_zsh")
    monkeypatch.setenv("_DHTD_COMPLETE", "complete_bash")


def offered(run: Run, *words: object) -> list[str]:
    """Return the candidates for the last word, without their descriptions."""
    done = run(*words)
    assert (done.status, done.err) == (0, "")
    return [line.partition("\t")[0] for line in done.out.splitlines()]


def words(*found: str) -> list[dict[str, object]]:
    return result({"words": list(found), "complete": True})


def test_every_candidate_has_a_description(dht: Run) -> None:
    for word in ("", "-"):
        lines = dht(word).out.splitlines()
        assert lines
        assert all("\t" in line and line.partition("\t")[2] for line in lines)


def test_files_after_other_words_go_to_the_shell(dht: Run, dhtd: Run) -> None:
    assert dht("--socket", "/tm").out == "\tfiles\t\n"
    assert dht("--socket=/tm").out == "\tfiles\t--socket=\n"
    assert dhtd("start", "--state=").out == "\tfiles\t--state=\n"


def test_values_after_an_equals_sign_are_whole(dhtd: Run) -> None:
    assert offered(dhtd, "start", "--log-format=j") == ["--log-format=json"]


def test_scenarios_are_offered_by_their_names(dhtd: Run) -> None:
    assert offered(dhtd, "simulate", "--scenario", "") == list(SCENARIOS)
    assert offered(dhtd, "simulate", "--scenario=l") == [
        f"--scenario={name}" for name in ("lossy", "liars", "lone-node")
    ]
    assert dhtd("simulate", "--plot", "x").out == "\tfiles\t\n"


def test_words_come_from_bash_as_they_were_typed(dhtd: Run) -> None:
    assert offered(dhtd, "start", "--state", '"/a b/c"', "--log-format", "'j") == ["json"]


def test_instances_have_a_socket_or_a_state_file(dht: Run, dhtd: Run, home: Path) -> None:
    (home / "dhtd").mkdir()
    for name in ("blue.sock", "black.db", "red.sock", "notes.txt"):
        (home / "dhtd" / name).touch()
    assert offered(dht, "--instance", "bl") == ["black", "blue"]
    assert offered(dhtd, "start", "--instance", "") == ["black", "blue", "red"]


def test_no_instance_is_offered_where_none_exists(dht: Run) -> None:
    assert offered(dht, "--instance", "") == []


def test_ports_belong_to_the_id_or_name_before(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", words("80", "81"), words("90")) as fake:
        assert offered(dht, "--socket", fake.path, "delete", ID.upper(), "") == ["80", "81"]
        assert offered(dht, "--socket", fake.path, "delete", "--name", "wiki", "9") == ["90"]
    assert fake.requests == [
        ("complete", {"what": "own-port", "prefix": "", "entry": ID}),
        ("complete", {"what": "own-port", "prefix": "9", "entry": NAMED}),
    ]
    assert offered(dht, "delete", "abc", "") == []


def test_ports_are_those_in_the_network_of_the_id(dht: Run, home: Path) -> None:
    """An info hash and a magnet link say which daemon is asked, and for a name an option does."""
    (home / "dhtd").mkdir(mode=0o700)
    info_hash, named = "ab" * 20, hashlib.sha1(b"wiki", usedforsecurity=False).hexdigest()
    with FakeDaemon(home / "dhtd" / "mainline.sock", *[words("80")] * 3) as fake:
        for given in ([info_hash], [f"magnet:?xt=urn:btih:{info_hash}"]):
            assert offered(dht, "delete", *given, "") == ["80"]
        assert offered(dht, "--network", "mainline", "delete", "wiki", "") == ["80"]
    assert [given["entry"] for _, given in fake.requests] == [info_hash, info_hash, named]


def test_prefixes_complete_in_their_own_case(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", words(), words(ID), words("10.0.0.1:1729")) as fake:
        assert offered(dht, "--socket", fake.path, "lookup", "AB") == ["AB" + ID[2:]]
        assert offered(dht, "--socket", fake.path, "ping", "10.") == ["10.0.0.1:1729"]
    assert fake.requests == [
        ("complete", {"what": "own-name", "prefix": "AB"}),
        ("complete", {"what": "id", "prefix": "ab"}),
        ("complete", {"what": "endpoint", "prefix": "10."}),
    ]


def test_names_are_offered_where_they_are_plain(dht: Run, home: Path) -> None:
    known = ("wiki", "abba", "the camera", "-x", "caf\xe9", "a$b")
    with FakeDaemon(home / "s", words(*known), words(ID), words(*known), words("wiki"), words("abba")) as fake:
        assert offered(dht, "--socket", fake.path, "delete", "") == ["wiki", "caf\xe9", ID]
        assert offered(dht, "--socket", fake.path, "delete", "--name", "") == ["wiki", "abba", "caf\xe9"]
        assert offered(dht, "--socket", fake.path, "lookup", "wi") == ["wiki"]
        assert offered(dht, "--socket", fake.path, "lookup", "--name", "ab") == ["abba"]
    assert [params["what"] for _, params in fake.requests] == ["own-name", "own-id", *["own-name"] * 3]


def test_a_get_offers_the_ids_of_values(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", words(ID), words(ID)) as fake:
        assert offered(dht, "--socket", fake.path, "get", "AB") == ["AB" + ID[2:]]
        assert offered(dht, "--socket", fake.path, "keep", "") == [ID]
        assert offered(dht, "--socket", fake.path, "get", "pk:") == []
    assert fake.requests[0] == ("complete", {"what": "value-id", "prefix": "ab"})
    assert dht("key", "").out == "new\nshow\n"
    assert dht("key", "new", "").out == dht("put", "--key", "").out == "\tfiles\t\n"


def test_a_watch_offers_ids_and_then_files(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", words("wiki"), words("wiki"), words("wiki")) as fake:
        assert offered(dht, "--socket", fake.path, "watch", "w") == ["wiki"]
        assert offered(dht, "--socket", fake.path, "watch", "other", "w") == ["wiki"]
        assert offered(dht, "--socket", fake.path, "lookup", "--wait", "w") == ["wiki"]
    assert dht("watch", "wiki", "--", "run").out == "\tfiles\t\n"


def test_the_socket_path_expands_as_in_a_shell(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(home))
    with FakeDaemon(home / "s", words(), words(ID), words(), words(ID)):
        assert offered(dht, "--socket", "$PLACE/s", "delete", "") == [ID]
        assert offered(dht, "--socket", "~/s", "delete", "") == [ID]


@pytest.mark.parametrize("answer", [error("shutting-down", "no"), b"", b"nonsense\n", b'{"result": {}}\n'])
def test_a_broken_daemon_offers_nothing(answer: list[dict[str, object]] | bytes, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", answer) as fake:
        assert offered(dht, "--socket", fake.path, "delete", "") == []


def test_nonsense_on_the_line_disturbs_nobody(dht: Run) -> None:
    assert offered(dht, "--timeout", "soon", "lookup", "") == []
    assert "lookup" in offered(dht, "--nonsense", "")

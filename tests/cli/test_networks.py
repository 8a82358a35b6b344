"""`dht` asks the daemon of the network that is meant: by an option, a variable, an ID of 40 digits or a magnet link."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from pathlib import Path

import pytest

from dhtd.cli.render_info import info
from dhtd.cli.told import Told
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, Frame, error, result

HASH, ID = "ab" * 20, "ab" * 32
MAGNET = f"magnet:?dn=a+file&xt=urn:btih:{HASH.upper()}&tr=http%3A%2F%2Fexample.org"
IN_BASE_32 = f"magnet:?xt=urn:btih:{b32encode(bytes.fromhex(HASH)).decode()}"
STATS = {"queries": 1, "responses": 1, "timeouts": 0, "hops": 1, "elapsed_ms": 1.0, "first_ms": 1.0}


def found(id: str) -> list[Frame]:
    return result({"id": id, "name": None, "peers": ["192.0.2.1:80"], "stats": STATS, "complete": True})


def socket_of(home: Path, network: str) -> Path:
    """Return where the daemon of a network has its socket, unless it is told otherwise."""
    directory = home / "dhtd"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory / f"{network}.sock"


@pytest.mark.parametrize(
    "sought",
    [
        HASH,
        HASH.upper(),
        MAGNET,
        IN_BASE_32,
        IN_BASE_32.upper(),
        f"magnet:?xt.1=urn:btmh:1220{ID}&xt.2=urn:btih:{HASH}",
    ],
)
def test_an_info_hash_implies_mainline(sought: str, dht: Run, home: Path) -> None:
    with FakeDaemon(socket_of(home, "mainline"), found(HASH)) as fake:
        assert dht("lookup", sought) == (0, "192.0.2.1:80\n", "")
    assert fake.requests == [("lookup", {"id": HASH})]


@pytest.mark.parametrize("arguments", [[ID], ["--name", HASH]])
def test_all_else_is_of_our_own_network(arguments: list[str], dht: Run, home: Path) -> None:
    with FakeDaemon(socket_of(home, "default"), found(ID)) as fake:
        assert dht("lookup", *arguments).status == 0
    [(_, given)] = fake.requests
    assert len(given["id"]) == 64


@pytest.mark.parametrize("by", ["option", "variable", "instance"])
def test_a_name_is_of_the_named_network(by: str, dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"option": ["--network", "mainline"], "variable": [], "instance": ["--instance", "mainline"]}
    if by == "variable":
        monkeypatch.setenv("DHTD_NETWORK", "mainline")
    id = hashlib.sha1(b"wiki", usedforsecurity=False).hexdigest()
    with FakeDaemon(socket_of(home, "mainline"), found(id)) as fake:
        assert dht(*options[by], "lookup", "wiki").status == 0
        assert dht(*options[by], "hash", "wiki").out == f"{id}\n"
    assert fake.requests == [("lookup", {"id": id, "name": "wiki"})]


def test_a_named_socket_is_asked_in_any_case(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", found(HASH)) as fake:
        assert dht("--socket", home / "s", "lookup", MAGNET).status == 0
    assert fake.requests == [("lookup", {"id": HASH})]


@pytest.mark.parametrize(("told", "named"), [("open", "mainline"), ("private", "mainline"), ("mainline", "native")])
@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_daemon_of_another_network_is_refused(
    told: str, named: str, by: str, dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value must not end up in the wrong network, nor a watch at the wrong daemon."""
    options = ["--network", named] if by == "option" else []
    if by == "variable":
        monkeypatch.setenv("DHTD_NETWORK", named)
    socket, network = socket_of(home, "lab"), "mainline" if told == "mainline" else "native"
    answers = [result({"network": told})] * 3
    with FakeDaemon(socket, *answers) as fake:
        for place in (["--instance", "lab"], ["--socket", socket]):
            done = dht(*place, *options, "put", "hello")
            says = f"{'--network' if options else 'DHTD_NETWORK'} says {named}"
            assert done == (2, "", f"dht: the daemon at {socket} is in the {network} network, and {says}\n")
        assert dht("--socket", socket, *options, "watch", "wiki").status == 2
    assert fake.requests == [("status", {})] * 3


@pytest.mark.parametrize(("told", "named"), [("open", "native"), ("private", "native"), ("mainline", "mainline")])
def test_a_daemon_of_the_named_network_is_asked(told: str, named: str, dht: Run, home: Path) -> None:
    id = {"native": ID, "mainline": HASH}[named]
    with FakeDaemon(home / "s", result({"network": told}), found(id)) as fake:
        assert dht("--socket", home / "s", "--network", named, "lookup", id).out == "192.0.2.1:80\n"
    assert [method for method, _ in fake.requests] == ["status", "lookup"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--network", "torrents", "lookup", HASH], "--network 'torrents' is none of native, mainline"),
        (["--network", "native", "lookup", HASH], "it is one of the mainline network, so say --network mainline"),
        (["--network", "mainline", "lookup", ID], "it is one of the native network, so say --network native"),
        (["lookup", "magnet:?dn=file"], "names no info hash: a magnet link has xt=urn:btih: and 40 hex digits behind"),
        (["lookup", f"magnet:?xt=urn:btih:{'8' * 32}"], "names no info hash"),
        (["--network", "native", "lookup", MAGNET], "it is one of the mainline network, so say --network mainline"),
        (["watch", ID, HASH], f"{HASH} is an ID of the mainline network, and another of the native network"),
    ],
)
def test_what_fits_no_network_is_refused(arguments: list[str], reason: str, dht: Run) -> None:
    done = dht(*arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


def test_the_command_that_starts_it_is_named(dht: Run, home: Path) -> None:
    done = dht("lookup", HASH)
    assert done.status == 3
    assert "dhtd start --network mainline" in done.err


def test_64_digits_are_a_public_key_there(dht: Run, home: Path) -> None:
    nothing = error("not-tracked", "this node keeps no value under this key")
    with FakeDaemon(socket_of(home, "mainline"), nothing) as fake:
        assert dht("--network", "mainline", "delete", ID).status == 1
    assert fake.requests == [("drop", {"public_key": ID})]


def test_an_info_hash_is_no_public_key(dht: Run, home: Path) -> None:
    nothing = error("not-tracked", "this node has no entry under this ID")
    with FakeDaemon(socket_of(home, "mainline"), nothing) as fake:
        assert dht("delete", HASH) == (1, "", "dht: this node has no entry under this ID\n")
    assert fake.requests == [("delete", {"id": HASH})]


def test_delete_says_when_others_forget(dht: Run, home: Path) -> None:
    told = {"id": HASH, "name": None, "removed": [80], "withdrawn": 0, "pending": 0, "left_behind": [], "declared": []}
    kept = {"nodes": 8, "expires_in_s": 2_700.0}
    with FakeDaemon(socket_of(home, "mainline"), result({**told, "kept": kept, "value": False})):
        done = dht("delete", HASH)
    assert (done.status, done.out) == (0, "80\n")
    assert done.err == ("this network has no withdrawals: the copies at 8 nodes expire by themselves within 45 min\n")


@pytest.mark.parametrize(("id", "state"), [(ID, "to be asked"), (HASH, "expires in 45 min")])
def test_a_copy_without_withdrawals_expires(id: str, state: str, capsys: pytest.CaptureFixture[str]) -> None:
    """In the Mainline network nobody is asked to drop a deleted entry."""
    holder = {"port": 80, "node_id": id, "endpoint": "192.0.2.1:80", "acknowledged": False, "attempts": 0}
    info(Told({"withdrawals": [{"id": id, **holder, "retry_in_s": None, "expires_in_s": 2_700.0}]}), "withdrawals")
    assert capsys.readouterr().out.split("192.0.2.1:80")[1].splitlines()[0].strip() == state


@pytest.mark.parametrize("verb", ["get", "keep", "delete"])
def test_64_digits_are_a_public_key_if_no_id(verb: str, dht: Run, home: Path) -> None:
    """A daemon that is named by its socket alone may be in the Mainline network, which has no such ID."""
    refused, nothing = error("invalid-id", "an ID is 40 hex digits"), error("not-tracked", "nothing is kept there")
    with FakeDaemon(home / "s", refused, nothing) as fake:
        done = dht("--socket", home / "s", verb, ID)
    assert "nothing is kept there" in done.err or verb == "delete"
    assert [given for _, given in fake.requests][1]["public_key"] == ID


@pytest.mark.parametrize("verb", ["get", "keep", "delete"])
def test_an_id_that_is_none_stays_an_error(verb: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", *[error("invalid-id", "an ID is 7 hex digits")] * 2):
        assert dht("--socket", home / "s", verb, ID) == (2, "", "dht: an ID is 7 hex digits\n")


@pytest.mark.parametrize(("id", "lasting"), [(ID, "a day"), (HASH, "2 hours")])
def test_values_last_as_long_as_the_network_says(id: str, lasting: str, dht: Run, home: Path) -> None:
    whose = {"public_key": None, "seq": None, "salt": None}
    put = {"id": id, **whose, "replicas": [{"node_id": id, "endpoint": "192.0.2.1:80"}], "name": None}
    with FakeDaemon(home / "s", result({**put, "kept": False, "refresh_in_s": None}), result({"id": id, **whose})):
        done = dht("--socket", home / "s", "put", "hello", "--once")
        assert done == (0, f"{id}\n", f"on 1 node; it lasts {lasting}\n")
        done = dht("--socket", home / "s", "delete", id, "--value")
    assert done.err == f"the value is kept no longer; its copies expire within {lasting}, unless others keep it\n"


@pytest.mark.parametrize(
    "arguments", [["lookup", "wiki"], ["hash", "wiki"], ["enter", "wiki", "80"], ["get", HASH], ["put", "x"], ["info"]]
)
def test_a_variable_for_no_network_is_an_error(arguments: list[str], dht: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DHTD_NETWORK", "torrents")
    assert dht(*arguments) == (2, "", "dht: DHTD_NETWORK: 'torrents' is none of native, mainline\n")

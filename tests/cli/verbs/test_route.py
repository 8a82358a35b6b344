"""`dht route`: the machine that is responsible for a key, and the shares of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dhtd.api.hash_ring import HashRing
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, result

ID = "ab" * 32
PEERS = [f"192.0.2.{number}:80" for number in (3, 1, 2)]
STATS = {"hops": 1, "queries": 2, "responses": 2, "timeouts": 0, "elapsed_ms": 5.0, "first_ms": 2.0}


def found(*peers: str, responses: int = 2) -> Any:
    stats = {**STATS, "responses": responses}
    return result({"id": ID, "name": "cache", "peers": list(peers), "stats": stats, "complete": True})


def test_the_responsible_machine_is_printed(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", found(*PEERS)) as daemon:
        done = dht("--socket", str(home / "s"), "route", "--name", "cache", "user:123")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{HashRing(PEERS).node('user:123')}\n"
    [(method, params)] = daemon.requests
    assert (method, params["name"]) == ("lookup", "cache")


@pytest.mark.parametrize(("n", "note"), [(2, ""), (5, "only 3 serve it\n")])
def test_several_machines_are_printed_in_line(dht: Run, home: Path, n: int, note: str) -> None:
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "route", ID, "user:123", "-n", str(n), "--vnodes", "20")
    assert (done.status, done.err) == (0, note)
    assert done.out.splitlines() == HashRing(PEERS, 20).nodes("user:123", n)


def test_json_has_all(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "--json", "route", "cache", "k")
    assert json.loads(done.out) == {"id": ID, "name": "cache", "key": "k", "endpoints": [HashRing(PEERS).node("k")]}


def test_shares_are_printed_for_keys_of_a_file(dht: Run, home: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("".join(f"user:{number}\n" for number in range(1_000)) + "\n")
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "route", "cache", "--balance", "--file", str(keys))
    balance = HashRing(PEERS).balance(f"user:{number}" for number in range(1_000))
    *shares, last = done.out.splitlines()
    assert shares == [f"{each} {balance.counts[each]} {balance.counts[each] / 10:.2f} %" for each in sorted(PEERS)]
    assert last == f"most {balance.most:.3f} of the mean, deviation {100 * balance.deviation:.2f} %"
    assert (done.status, done.err) == (0, "")


def test_json_has_the_shares(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "--json", "route", "cache", "--balance", "--keys", "3000")
    body = json.loads(done.out)
    assert (body["keys"], sum(share["keys"] for share in body["shares"])) == (3_000, 3_000)
    assert [share["endpoint"] for share in body["shares"]] == sorted(PEERS)
    assert body["most"] == max(share["load"] for share in body["shares"])


def test_a_machine_with_twice_its_share_is_told(dht: Run, home: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the same key\n" * 10)
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "route", "cache", "--balance", "--file", str(keys))
    assert done.status == 1
    assert done.err == "one endpoint has 3.0 times its share: give more --vnodes, or other keys\n"


def test_nobody_to_route_to_is_as_in_lookup(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", found(), found(responses=0)):
        nobody, unknown = (dht("--socket", str(home / "s"), "route", "cache", "k") for _ in range(2))
    assert (nobody.status, nobody.err) == (1, "dht: nobody serves cache: 2 nodes near it answered\n")
    assert unknown.status == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cache"], "give a KEY, or --balance"),
        (["cache", "k", "--balance"], "give a KEY, or --balance"),
        (["cache", "k", "--keys", "5"], "--keys and --file are for --balance"),
        (["cache", "--balance", "--keys", "5", "--file", "x"], "give one of them"),
        (["cache", "--balance", "--keys", "0"], "give a number from 1 to 10000000"),
        (["cache", "k", "-n", "0"], "-n 0: give 1 at least"),
    ],
)
def test_misuse_asks_no_daemon(dht: Run, arguments: list[str], words: str) -> None:
    done = dht("route", *arguments)
    assert done.status == 2
    assert words in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["k", "--vnodes", "0"], "give 1 at least"),
        (["k", "--vnodes", "1000000"], "100000 in all at most"),
        (["--balance", "--file", "/nowhere/keys"], "/nowhere/keys cannot be read: No such file or directory"),
        (["--balance", "--file", "/dev/null"], "there are no keys to try"),
    ],
)
def test_what_makes_no_ring_is_told(dht: Run, home: Path, arguments: list[str], words: str) -> None:
    with FakeDaemon(home / "s", found(*PEERS)):
        done = dht("--socket", str(home / "s"), "route", "cache", *arguments)
    assert done.status == 2
    assert words in done.err

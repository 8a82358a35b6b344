"""The output of each command off a terminal, as lines and as JSON, and its request to the daemon."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dhtd import __version__
from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, result

ID = "ab" * 32
NODE, OTHER = "01" * 32, "02" * 32
HERE, THERE = "192.0.2.1:1729", "192.0.2.2:1729"
STATS = {"hops": 1, "queries": 5, "responses": 4, "timeouts": 1, "elapsed_ms": 12.5, "first_ms": 8.5}
NAMED = hashlib.sha256(b"wiki").hexdigest()

UNGUARDED = {"guard": None, "state": None, "since_s": None, "message": None}
INFO: dict[str, Any] = {
    "node": {
        "node_id": NODE,
        "endpoints": [HERE, THERE],
        "network": "native",
        "serves": "all",
        "observed": {HERE: 3},
        "reachable": "public",
        "version": "1",
        "pid": 7,
        "uptime_s": 3.5,
        "connected": True,
        "contacts": {"good": 1, "questionable": 0, "bad": 0},
        "network_size": 1234,
        "own_entries": 3,
        "unheld_entries": 1,
        "lease": {"lease_s": 60, "period_s": 20.0, "holders": 8},
        "watches": {"own": 1, "held": 5},
        "values": {"own": 2, "unheld": 1, "held": 3, "held_bytes": 1234},
        "families": [
            {
                "family": "ipv4",
                "node_id": NODE,
                "id_suits": None,
                "connected": True,
                "contacts": {"good": 1, "questionable": 0, "bad": 0},
                "network_size": 1234,
                "state": "joined",
                "since_s": 3.0,
            },
            {
                "family": "ipv6",
                "node_id": NODE,
                "id_suits": None,
                "connected": False,
                "contacts": {"good": 0, "questionable": 0, "bad": 0},
                "network_size": None,
                "state": "alone",
                "since_s": 3.5,
            },
        ],
        "listening": ["0.0.0.0:1729"],
        "network_keys": [],
        "state_notices": [],
        "restoring": False,
        "state": "/s",
        "socket": "/c",
        "doors": ["dns://127.0.0.1:1753/dht.alt"],
    },
    "routing_table": {
        "buckets": [
            {
                "low": "00" * 32,
                "high": "ff" * 32,
                "last_activity_s": 1.5,
                "members": [
                    {
                        "id": OTHER,
                        "endpoint": THERE,
                        "state": "questionable",
                        "reachable": False,
                        "last_activity_s": None,
                        "timeouts": 1,
                        "rtt_ms": 12.5,
                    }
                ],
                "family": "ipv4",
            }
        ]
    },
    "store": [{"id": ID, "endpoint": "192.0.2.9:80", "age_s": 1.0, "expires_in_s": 3599.0}],
    "tracking": [
        {"id": ID, "port": 80, "replicas": 2, "refresh_in_s": 60.0, "name": None, "file": None, **UNGUARDED},
        {
            "id": OTHER,
            "port": 81,
            "replicas": 1,
            "refresh_in_s": 0.0,
            "name": "the camera",
            "file": "/e/cam.toml",
            "guard": "http",
            "state": "failing",
            "since_s": 5.0,
            "message": "answered 503",
        },
    ],
    "withdrawals": [
        {
            "id": ID,
            "port": 81,
            "node_id": OTHER,
            "endpoint": THERE,
            "acknowledged": acknowledged,
            "attempts": attempts,
            "retry_in_s": retry_in_s,
            "expires_in_s": 60.0,
        }
        for acknowledged, attempts, retry_in_s in ((True, 0, 20.0), (False, 2, 30.0), (False, 3, None))
    ],
    "values": [
        {
            "id": ID,
            "name": "the news",
            "public_key": OTHER,
            "seq": 1_700_000_000_000_000,
            "bytes": 100,
            "replicas": 8,
            "min_replicas": 1,
            "refresh_in_s": 60.0,
        },
        {
            "id": OTHER,
            "name": None,
            "public_key": None,
            "seq": None,
            "bytes": 1000,
            "replicas": 0,
            "min_replicas": 3,
            "refresh_in_s": 0.0,
        },
    ],
    "held_values": [
        {
            "id": ID,
            "source": source,
            "public_key": public_key,
            "seq": seq,
            "bytes": 5,
            "expires_in_s": expires_in_s,
        }
        for source, public_key, seq, expires_in_s in (
            ("192.0.2.9", OTHER, 7, 86_399.0),
            ("2001:db8::/64", None, None, 3_600.0),
        )
    ],
    "network": {"timeouts": 1, "queries_received": {"ping": 2}},
}
STATUS: dict[str, Any] = {
    "node_id": NODE,
    "version": "1",
    "state": "joined",
    "since_s": 7190.0,
    "families": {"ipv4": "joined", "ipv6": "alone"},
    "network": "private",
    "serves": "all",
    "contacts": {"good": 14, "questionable": 2, "bad": 0},
    "network_size": 1234,
    "own_entries": 3,
    "unheld_entries": 1,
    "withheld_entries": 0,
    "replicas": 16,
    "held_entries": 120,
    "values": {"own": 2, "unheld": 1, "held": 3, "held_bytes": 1234},
    "restoring": False,
    "endpoints": [HERE],
    "listening": ["0.0.0.0:1729"],
    "reachable": "public",
    "uptime_s": 7200.0,
}
ENTERED = {
    "id": ID,
    "port": 80,
    "replicas": [{"node_id": OTHER, "endpoint": THERE}],
    "refresh_in_s": 2700.0,
    "expires_in_s": 3600.0,
    "listening": True,
    **UNGUARDED,
}

CASES: dict[str, tuple[list[str], tuple[str, dict[str, Any]], dict[str, Any], list[str]]] = {
    "ping": (
        ["ping", THERE],
        ("ping", {"endpoint": THERE}),
        {"node_id": OTHER, "endpoint": THERE, "rtt_ms": 0.25},
        [f"{OTHER} {THERE} 0.250 ms"],
    ),
    "enter": (
        ["enter", ID, "80"],
        ("enter", {"id": ID, "port": 80, "wait": True, "within_s": 13.5}),
        ENTERED,
        [f"{OTHER} {THERE}"],
    ),
    "enter a name": (
        ["enter", "--name", "wiki", "80", "--no-wait"],
        ("enter", {"id": NAMED, "port": 80, "wait": False, "name": "wiki"}),
        {**ENTERED, "replicas": []},
        [],
    ),
    "lookup": (
        ["lookup", ID.upper()],
        ("lookup", {"id": ID}),
        {"id": ID, "peers": [HERE, THERE], "stats": STATS, "complete": True},
        [HERE, THERE],
    ),
    "doctor": (
        ["doctor", ID],
        ("doctor", {"id": ID}),
        {
            "id": ID,
            "name": None,
            "healthy": True,
            "fault": None,
            "verdict": "nothing is wrong: 2 nodes hold wiki",
            "command": None,
            "steps": [{"step": "daemon", "good": True, "message": "dhtd runs", "fault": None}],
            "served": [],
            "version": __version__,
        },
        ["nothing is wrong: 2 nodes hold wiki"],
    ),
    "trace": (
        ["trace", ID],
        ("trace", {"id": ID}),
        {"id": ID, "peers": [HERE, THERE], "stats": STATS, "complete": True},
        ["found 2 endpoints in 1 hop, 5 queries, 12 ms; the first after 8 ms"],
    ),
    "delete": (
        ["delete", ID],
        ("delete", {"id": ID}),
        {"id": ID, "removed": [80, 81], "withdrawn": 1, "pending": 0, "left_behind": [], "kept": None},
        ["80", "81"],
    ),
    "status": (
        ["status"],
        ("status", {}),
        STATUS,
        [
            f"node        {NODE}, dhtd 1, up 2 h",
            "network     private; joined 1 h 59 min ago (IPv4 joined, IPv6 alone); about 1,200 nodes",
            "contacts    14 of 16 answer",
            "entries     3 entries of this machine, 16 replicas, 1 held by nobody that answers; 120 held for others",
            "values      2 values of this machine, 1 held by nobody that answers; 3 held for others",
            f"reached at  {HERE}; reached from outside",
        ],
    ),
    "delete a port": (
        ["delete", ID, "80"],
        ("delete", {"id": ID, "port": 80}),
        {"id": ID, "removed": [80], "withdrawn": 0, "pending": 1, "left_behind": [], "kept": None},
        ["80"],
    ),
    "node-id": (["node-id"], ("node-id", {}), {"node_id": NODE, "endpoints": [HERE]}, [NODE, HERE]),
    "bootstrap": (
        ["bootstrap", HERE, "a.example:9"],
        ("bootstrap", {"endpoints": [HERE, "a.example:9"]}),
        {"contacted": 1, "failed": 1, "table_size": 3},
        ["contacted 1", "failed 1", "table_size 3"],
    ),
    "find-node": (
        ["find-node", THERE, ID],
        ("find-node", {"endpoint": THERE, "id": ID}),
        {"node_id": OTHER, "token": "0badcafe", "nodes": [{"id": NODE, "endpoint": HERE}]},
        [f"node_id {OTHER}", "token 0badcafe", f"node {NODE} {HERE}"],
    ),
    "find-value": (
        ["find-value", "[2001:db8::1]:9", ID],
        ("find-value", {"endpoint": "[2001:db8::1]:9", "id": ID}),
        {"node_id": OTHER, "token": "0badcafe", "nodes": [], "peers": [HERE]},
        [f"node_id {OTHER}", "token 0badcafe", f"peer {HERE}"],
    ),
    "store": (
        ["store", THERE, ID, "80", "--token", "0BADCAFE"],
        ("store", {"endpoint": THERE, "id": ID, "port": 80, "token": "0badcafe"}),
        {"node_id": OTHER},
        [OTHER],
    ),
    "info": (
        ["info"],
        ("info", {}),
        INFO,
        [
            f"node node_id {NODE}",
            f"node endpoints {HERE}",
            f"node endpoints {THERE}",
            "node network native",
            "node serves all",
            f"node observed {HERE} 3",
            "node reachable public",
            "node version 1",
            "node pid 7",
            "node uptime_s 3.5",
            "node connected yes",
            "node contacts good 1",
            "node contacts questionable 0",
            "node contacts bad 0",
            "node network_size 1234",
            "node own_entries 3",
            "node unheld_entries 1",
            "node lease lease_s 60",
            "node lease period_s 20.0",
            "node lease holders 8",
            "node watches own 1",
            "node watches held 5",
            "node values own 2",
            "node values unheld 1",
            "node values held 3",
            "node values held_bytes 1234",
            f"node families ipv4 node_id {NODE}",
            "node families ipv4 id_suits -",
            "node families ipv4 connected yes",
            "node families ipv4 contacts good 1",
            "node families ipv4 contacts questionable 0",
            "node families ipv4 contacts bad 0",
            "node families ipv4 network_size 1234",
            "node families ipv4 state joined",
            "node families ipv4 since_s 3.0",
            f"node families ipv6 node_id {NODE}",
            "node families ipv6 id_suits -",
            "node families ipv6 connected no",
            "node families ipv6 contacts good 0",
            "node families ipv6 contacts questionable 0",
            "node families ipv6 contacts bad 0",
            "node families ipv6 network_size -",
            "node families ipv6 state alone",
            "node families ipv6 since_s 3.5",
            "node listening 0.0.0.0:1729",
            "node restoring no",
            "node state /s",
            "node socket /c",
            "node doors dns://127.0.0.1:1753/dht.alt",
            f"bucket {'00' * 32} {'ff' * 32} 1.5 1 ipv4",
            f"contact {OTHER} {THERE} questionable no - 1 12.5",
            f"store {ID} 192.0.2.9:80 1.0 3599.0",
            f"tracking {ID} 80 2 60.0 - - - - - -",
            f"tracking {OTHER} 81 1 0.0 'the camera' /e/cam.toml http failing 5.0 'answered 503'",
            f"withdrawal {ID} 81 {OTHER} {THERE} yes 0 20.0 60.0",
            f"withdrawal {ID} 81 {OTHER} {THERE} no 2 30.0 60.0",
            f"withdrawal {ID} 81 {OTHER} {THERE} no 3 - 60.0",
            f"value {ID} 1700000000000000 100 8 1 60.0 'the news' {OTHER}",
            f"value {OTHER} - 1000 0 3 0.0 - -",
            f"held_value {ID} 192.0.2.9 7 5 86399.0 {OTHER}",
            f"held_value {ID} 2001:db8::/64 - 5 3600.0 -",
            "network timeouts 1",
            "network queries_received ping 2",
        ],
    ),
    "info of a section": (
        ["info", "routing-table"],
        ("info", {"section": "routing_table"}),
        {"routing_table": {"buckets": []}},
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_command_prints_plain_lines(case: str, dht: Run, home: Path) -> None:
    arguments, request, answer, lines = CASES[case]
    with FakeDaemon(home / "s", result(answer)) as fake:
        done = dht("--socket", fake.path, *arguments)
    assert (done.status, done.out.splitlines()) == (0, lines)
    assert fake.requests == [request]


@pytest.mark.parametrize("case", CASES)
def test_a_command_prints_one_json_object(case: str, dht: Run, home: Path) -> None:
    arguments, _, answer, _ = CASES[case]
    with FakeDaemon(home / "s", result(answer), result(answer)) as fake:
        before = dht("--socket", fake.path, "--json", *arguments)
        behind = dht("--socket", fake.path, *arguments, "--json")
    assert before == behind
    assert (before.status, before.body, before.err) == (0, answer, "")


def test_enter_and_delete_report_on_stderr(dht: Run, home: Path) -> None:
    deleted: dict[str, Any] = {"id": ID, "removed": [80], "withdrawn": 3, "pending": 0, "left_behind": [], "kept": None}
    left = [{"endpoint": "192.0.2.1:80", "expires_in_s": 3_421.0}]
    partly = {**deleted, "pending": 2, "left_behind": left}
    soon = {**deleted, "left_behind": [{"endpoint": "192.0.2.1:80", "expires_in_s": 0.0}]}
    answers = map(result, (ENTERED, ENTERED, deleted, partly, soon))
    with FakeDaemon(home / "s", *answers) as fake:
        assert dht("--socket", fake.path, "enter", ID, 80).err == "on 1 node; published again in 45 min\n"
        told = "entered, and kept on disk; dht info tracking tells who holds it\n"
        assert dht("--socket", fake.path, "enter", ID, 80, "--no-wait").err == told
        assert dht("--socket", fake.path, "delete", ID).err == "withdrawn from 3 nodes\n"
        told = dht("--socket", fake.path, "delete", ID).err
        assert told == (
            "withdrawn from 3 nodes; 2 nodes did not answer, and will be asked again; 192.0.2.1:80 is found until it "
            "expires in 58 min: this machine has another address now\n"
        )
        assert "expires in 1 min: " in dht("--socket", fake.path, "delete", ID).err


def test_a_name_is_told_where_it_is_known(dht: Run, home: Path) -> None:
    entered = {**ENTERED, "name": "wiki"}
    deleted = {"id": ID, "name": "wiki", "removed": [80], "withdrawn": 3, "pending": 0, "left_behind": []}
    declared = {**deleted, "declared": ["/etc/dhtd/entries.d/wiki.toml"]}
    nobody = {"id": ID, "name": "wiki", "peers": [], "stats": STATS, "complete": True}
    with FakeDaemon(home / "s", *map(result, (entered, declared, nobody))) as fake:
        assert dht("--socket", fake.path, "enter", "wiki", 80).err.startswith("wiki: on 1 node; ")
        assert dht("--socket", fake.path, "delete", "--name", "wiki").err == (
            "wiki: withdrawn from 3 nodes\n"
            "/etc/dhtd/entries.d/wiki.toml declares it, and enters it again when dhtd starts or reads its files again:"
            " remove it there\n"
        )
        assert "dht: nobody serves wiki: " in dht("--socket", fake.path, "lookup", "wiki").err
    assert {params["name"] for _, params in fake.requests} == {"wiki"}
    assert {params["id"] for _, params in fake.requests} == {NAMED}


def test_a_name_is_the_same_however_it_is_typed(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", *map(result, (ENTERED, ENTERED))) as fake:
        dht("--socket", fake.path, "enter", "caf\xe9", 80)
        dht("--socket", fake.path, "enter", "--name", "cafe\u0301", 80)
    assert fake.requests[0] == fake.requests[1]
    assert fake.requests[0][1]["name"] == "caf\xe9"
    assert dht("hash", "cafe\u0301").out.strip() == dht("hash", "caf\xe9").out.strip() == fake.requests[0][1]["id"]


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"nodes": 3, "expires_in_s": 3_421.0}, "the copies at 3 nodes expire by themselves within 58 min"),
        ({"nodes": 1, "expires_in_s": None}, "the copies at 1 node expire by themselves"),
    ],
)
def test_delete_tells_what_cannot_be_withdrawn(dht: Run, home: Path, kept: dict[str, Any], told: str) -> None:
    deleted = {"id": ID, "removed": [80], "withdrawn": 0, "pending": 0, "left_behind": [], "kept": kept}
    with FakeDaemon(home / "s", result(deleted)) as fake:
        done = dht("--socket", fake.path, "delete", ID)
    assert (done.out, done.err) == ("80\n", f"this network has no withdrawals: {told}\n")


def test_delete_tells_that_no_copies_are_kept(dht: Run, home: Path) -> None:
    kept = {"nodes": 0, "expires_in_s": 0.0}
    deleted = {"id": ID, "removed": [80], "withdrawn": 0, "pending": 0, "left_behind": [], "kept": kept}
    with FakeDaemon(home / "s", result(deleted)) as fake:
        told = dht("--socket", fake.path, "delete", ID).err
    assert told == "this network has no withdrawals, but no node holds a copy\n"


def test_bootstrap_names_unreached_endpoints(dht: Run, home: Path) -> None:
    unreached = [
        {"endpoint": THERE, "code": "no-peers", "message": f"nobody answers at {THERE}"},
        {"endpoint": "a.example:9", "code": "unresolvable-host", "message": "cannot resolve it"},
    ]
    answer = {"contacted": 1, "failed": 2, "table_size": 3, "unreached": unreached}
    with FakeDaemon(home / "s", result(answer)) as fake:
        done = dht("--socket", fake.path, "bootstrap", HERE, THERE, "a.example:9")
    assert done.err == f"nobody answers at {THERE}\na.example:9: cannot resolve it\n"


def test_lookup_prints_each_endpoint_once(dht: Run, home: Path) -> None:
    frames = [
        {"event": {"peers": [THERE], "stats": STATS}},
        {"event": {"peers": [HERE], "stats": STATS}},
        {"result": {"id": ID, "peers": [HERE, THERE], "stats": STATS}},
    ]
    with FakeDaemon(home / "s", frames, frames) as fake:
        assert dht("--socket", fake.path, "lookup", ID).out.splitlines() == [THERE, HERE]
        assert dht("--socket", fake.path, "lookup", ID, "--json").body == frames[-1]["result"]


def test_only_a_complete_lookup_proves_absence(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [], "stats": STATS, "complete": False}
    with FakeDaemon(home / "s", result(answer)) as fake:
        done = dht("--socket", fake.path, "lookup", ID)
    assert done.status == 1
    assert done.err.startswith(
        "dht: nobody was found who serves this ID, but not all nodes that may know somebody were"
    )


def test_an_empty_lookup_is_a_negative_answer(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [], "stats": STATS}
    with FakeDaemon(home / "s", result(answer), result(answer)) as fake:
        done = dht("--socket", fake.path, "lookup", ID)
        assert done == (1, "", "dht: nobody serves this ID: 4 nodes near it answered, and 1 did not\n")
        json_done = dht("--socket", fake.path, "lookup", ID, "--json")
    assert (json_done.status, json_done.err) == (1, "")
    assert json_done.body.pop("error")["code"] == "not-found"
    assert json_done.body.items() >= answer.items()


SILENT = {"hops": 0, "queries": 14, "responses": 0, "timeouts": 14, "elapsed_ms": 2000.0, "first_ms": None}


def test_an_unanswered_lookup_is_not_a_negative(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [], "stats": SILENT, "complete": False}
    with FakeDaemon(home / "s", result(answer), result(answer)) as fake:
        done = dht("--socket", fake.path, "lookup", ID)
        assert (done.status, done.out) == (4, "")
        assert done.err.startswith("dht: nobody answers, so whether somebody serves this ID is not known: 14 nodes ")
        json_done = dht("--socket", fake.path, "lookup", ID, "--json")
    assert (json_done.status, json_done.body["error"]["code"]) == (4, "no-answer")
    assert json_done.body.items() >= answer.items()


def test_local_entries_in_an_outage_are_labelled(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [HERE], "stats": SILENT, "complete": False}
    with FakeDaemon(home / "s", result(answer), result(answer)) as fake:
        note = "nobody else answers: this is what this node knows itself. See dht status\n"
        assert dht("--socket", fake.path, "lookup", ID) == (0, f"{HERE}\n", note)
        assert dht("--socket", fake.path, "lookup", ID, "--json").body == answer


def test_a_first_answer_is_not_called_a_part(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [HERE], "stats": STATS, "complete": False}
    with FakeDaemon(home / "s", result(answer)) as fake:
        assert dht("--socket", fake.path, "lookup", ID, "--first") == (0, f"{HERE}\n", "")
    assert fake.requests == [("lookup", {"id": ID, "first": True})]


def test_partial_endpoints_are_labelled(dht: Run, home: Path) -> None:
    answer = {"id": ID, "peers": [HERE], "stats": STATS, "complete": False}
    with FakeDaemon(home / "s", result(answer), result(answer)) as fake:
        done = dht("--socket", fake.path, "lookup", ID)
        assert (done.status, done.out) == (0, f"{HERE}\n")
        assert done.err == "a part only: there may be others, that were not named or that only silent nodes know\n"
        assert dht("--socket", fake.path, "lookup", ID, "--json") == (0, f"{json.dumps(answer)}\n", "")


def test_partial_peers_of_an_info_hash_are_not(dht: Run, home: Path) -> None:
    """In the Mainline network they always are."""
    answer = {"id": ID[:40], "peers": [HERE], "stats": STATS, "complete": False}
    with FakeDaemon(home / "s", result(answer)) as fake:
        assert dht("--socket", fake.path, "lookup", ID[:40]) == (0, f"{HERE}\n", "")


@pytest.mark.parametrize(
    ("serves", "words"),
    [
        ("contacts", "; read-only, it answers its contacts only"),
        ("nobody", "; read-only, it answers nobody"),
        ("friends", "; serves friends"),
    ],
)
def test_status_says_where_not_all_are_served(serves: str, words: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({**STATUS, "network": "mainline", "serves": serves})) as fake:
        lines = dht("--socket", fake.path, "status").out.splitlines()
    assert lines[1].startswith("network     mainline; joined ")
    assert lines[5].endswith(words)


@pytest.mark.parametrize(
    ("state", "network", "why"),
    [
        ("doubtful", "joined 1 min ago, but a contact is silent", "perhaps it was cut off just now"),
        ("joining", "joining for 1 min", "it is still joining it"),
        ("silent", "nobody answers for 1 min", "nobody answers"),
        ("alone", "no other node is known for 1 min", "name one with dht bootstrap HOST:PORT"),
        ("hibernating", "hibernating for 1 min", "its state is hibernating"),
    ],
)
def test_status_is_4_outside_of_the_network(state: str, network: str, why: str, dht: Run, home: Path) -> None:
    answer = {**STATUS, "state": state, "since_s": 60.0, "families": {"ipv4": state}}
    with FakeDaemon(home / "s", *[result(answer)] * 3) as fake:
        done = dht("--socket", fake.path, "status")
        assert done.status == 4
        assert done.out.splitlines()[1].startswith(f"network     private; {network}")
        assert len(done.out.splitlines()) == 6
        assert done.err.startswith("dht: this node is not in its network: ")
        assert why in done.err
        done = dht("--socket", fake.path, "status", "--json")
        assert (done.status, done.body["error"]["code"], done.body["state"]) == (4, "not-joined", state)
        assert dht("--socket", fake.path, "status", "-q") == (4, "", "")


def test_a_lone_node_of_mainline_is_told_of_routers(dht: Run, home: Path) -> None:
    answer = {**STATUS, "state": "alone", "network": "mainline"}
    with FakeDaemon(home / "s", result(answer)) as fake:
        done = dht("--socket", fake.path, "status")
    assert done.status == 4
    assert done.err.endswith("dhtd start --bootstrap, or --public-bootstrap\n")


def test_a_quiet_status_says_nothing_at_all(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(STATUS), result(STATUS)) as fake:
        assert dht("--socket", fake.path, "status", "--quiet") == (0, "", "")
        assert dht("--socket", fake.path, "status", "-q", "--json") == (0, "", "")
    assert dht("--socket", home / "none", "status", "-q") == (3, "", "")
    assert dht("--socket", home / "none", "status").status == 3


def test_a_node_without_entries_or_place_says_so(dht: Run, home: Path) -> None:
    answer = {**STATUS, "own_entries": 0, "unheld_entries": 0, "replicas": 0, "held_entries": 0, "endpoints": []}
    with FakeDaemon(home / "s", result(answer)) as fake:
        lines = dht("--socket", fake.path, "status").out.splitlines()
    assert lines[3] == "entries     0 entries of this machine; 0 held for others"
    assert lines[5] == "reached at  a place that nobody has told it; it listens on 0.0.0.0:1729"


def test_entries_that_are_kept_back_are_counted(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({**STATUS, "withheld_entries": 2})) as fake:
        told = dht("--socket", fake.path, "status").out
    assert "1 held by nobody that answers, and 2 kept back by their checks; 120 held for others\n" in told


def test_a_check_that_fails_is_why_no_replica_is_there(dht: Run, home: Path) -> None:
    guarded = {"guard": "tcp", "state": "waiting", "since_s": 0.0, "message": "port 80 accepts no connection"}
    with FakeDaemon(home / "s", result({**ENTERED, "replicas": [], **guarded})) as fake:
        done = dht("--socket", fake.path, "enter", "--min-replicas", "1", ID, 80, "--check", "tcp")
    assert done.status == 4
    assert "no node took the entry, of 1 wanted: port 80 accepts no connection. It is kept all the same" in done.err


def test_few_replicas_while_publishing_are_told(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({**ENTERED, "replicas": [], "refresh_in_s": 0.0})) as fake:
        told = dht("--socket", fake.path, "enter", "--min-replicas", "1", ID, 80).err
    kept = "It is kept all the same, and published as soon as a node is found: see dht bootstrap"
    assert told == f"dht: 0 nodes took the entry, of 1 wanted. {kept}\n"


def test_a_node_still_loading_entries_says_so(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({**STATUS, "restoring": True})):
        lines = dht("--socket", home / "s", "status").out.splitlines()
    assert lines[3].endswith("; 120 held for others, and more are being restored")


@pytest.mark.parametrize("wanted", ["2", "100"])
def test_too_few_replicas_fail_and_are_listed(wanted: str, dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(ENTERED), result(ENTERED)) as fake:
        done = dht("--socket", fake.path, "enter", "--min-replicas", wanted, ID, 80)
        assert (done.status, done.out) == (4, "")
        again = "It is kept all the same, and published again in 45 min"
        assert done.err == f"dht: 1 node took the entry, of {wanted} wanted. {again}\n"
        done = dht("--socket", fake.path, "enter", "--min-replicas", wanted, ID, 80, "--json")
    assert (done.status, done.body["error"]["code"]) == (4, "too-few-replicas")
    assert done.body["replicas"] == ENTERED["replicas"]


@pytest.mark.parametrize("options", [[], ["--min-replicas", "0"]])
def test_a_kept_entry_may_lack_holders(options: list[str], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({**ENTERED, "replicas": []})) as fake:
        done = dht("--socket", fake.path, "enter", *options, ID, 80)
    assert (done.status, done.out) == (0, "")
    assert done.err.startswith("kept on disk, but no other node holds it yet; published as soon as")


def test_a_running_publication_shows_no_duration(dht: Run, home: Path) -> None:
    answer = result({**ENTERED, "refresh_in_s": 0.0})
    with FakeDaemon(home / "s", answer, answer) as fake:
        assert dht("--socket", fake.path, "enter", ID, 80).err == "on 1 node; being published\n"
        wanted = dht("--socket", fake.path, "enter", "--min-replicas", "2", ID, 80)
    assert wanted.err == "dht: 1 node took the entry, of 2 wanted. It is kept all the same, and being published\n"


def test_the_hash_of_nothing_is_said_to_be_one(dht: Run) -> None:
    done = dht("hash", " ")
    assert done.status == 0
    assert done.err == "this is the ID of an empty text: is a variable empty that should hold it?\n"


def test_hash_is_sha_256_and_needs_no_daemon(dht: Run, home: Path) -> None:
    (home / "file").write_bytes(b"wiki")
    assert dht("hash", "wiki") == (0, f"{NAMED}\n", "")
    assert dht("hash", "--file", home / "file") == (0, f"{NAMED}\n", "")
    assert dht("hash", "--json", "wiki").body == {"id": NAMED}
    assert dht("hash", "").out == f"{hashlib.sha256().hexdigest()}\n"
    assert dht("hash", "\udcff").out == f"{hashlib.sha256(bytes([255])).hexdigest()}\n"  # a byte that is not UTF-8


def test_only_a_dash_alone_is_stdin(dht: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "-").write_bytes(b"wiki")
    for text in ("./-", home / "-", ".//-"):
        assert dht("hash", "--file", text) == (0, f"{NAMED}\n", "")
    assert dht("hash", "--file", "./-/").err == "dht: cannot read ./-/: Not a directory\n"


def test_a_text_is_hashed_as_its_raw_bytes(dht: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a locale of ISO 8859-1, where Python reads each byte as one character."""
    monkeypatch.setattr(os, "fsencode", lambda text: text.encode("latin-1"))
    as_given = hashlib.sha256("é".encode()).hexdigest()
    assert dht("hash", "Ã©") == (0, f"{as_given}\n", "")


@pytest.mark.parametrize("program", ["dht", "dhtd"])
def test_the_version_is_printed(program: str, request: pytest.FixtureRequest) -> None:
    from dhtd import __version__  # noqa: PLC0415 - beside what is compared with it

    run: Run = request.getfixturevalue(program)
    assert run("--version") == (0, f"{program} {__version__}\n", "")


def test_help_names_every_command_uncut(dht: Run) -> None:
    done = dht("--help")
    assert done.status == 0
    assert "..." not in done.out.partition("Commands:")[2]
    assert "-completion" not in done.out  # typer would add this
    assert dht("-h") == done


def test_usage_names_the_arguments_plainly(dht: Run) -> None:
    assert dht("enter", "--help").out.startswith("Usage: dht enter [OPTIONS] [ID] [PORT] [-- COMMAND...]\n")
    assert dht("delete", "-h").out.startswith("Usage: dht delete [OPTIONS] ID [PORT]\n")


@pytest.mark.parametrize("program", ["dht", "dhtd"])
def test_without_arguments_help_goes_to_stderr(program: str, request: pytest.FixtureRequest) -> None:
    done = request.getfixturevalue(program)()
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"Usage: {program} [OPTIONS] COMMAND")
    assert "Try" not in done.err


def test_undecodable_bytes_break_no_output(dht: Run, home: Path) -> None:
    node = {**INFO["node"], "state": "/s\udcff"}
    with FakeDaemon(home / "s", result({"node": node}), result({"node": node})) as fake:
        assert "node state /s\\udcff\n" in dht("--socket", fake.path, "info").out
        assert json.loads(dht("--socket", fake.path, "info", "--json").out)["node"]["state"] == "/s\udcff"

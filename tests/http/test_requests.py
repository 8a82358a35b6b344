"""What a request by HTTP asks of the daemon, and what it is answered."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from dhtd import errors
from dhtd.core.ids import MAINLINE, NATIVE, Id
from dhtd.core.names import id_of_name
from dhtd.http import reading
from dhtd.http.exchange import BODY_WITHIN
from dhtd.http.problems import status_of
from dhtd.http.resources import APART, RESOURCES
from dhtd.service.entries import DeleteRequest, EnterRequest, LookupRequest
from dhtd.service.info import InfoRequest
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.methods import METHODS
from dhtd.service.queries import FindNodeRequest, PingRequest
from dhtd.service.values import DropRequest, GetRequest, PutRequest
from tests.http.doors import ID, STATS, Asked, all_of, opened, sent

WIKI = id_of_name("wiki", NATIVE)
AN_ID = Id(int(ID, 16))


def test_each_method_has_a_resource_or_a_reason() -> None:
    assert {each.method.name for each in RESOURCES} | set(APART) == set(METHODS)
    assert {each.method.name for each in RESOURCES} & set(APART) == set()


@pytest.mark.parametrize(
    ("verb", "path", "body", "request_"),
    [
        ("GET", f"/v1/lookup/{ID}", None, LookupRequest(AN_ID)),
        ("GET", f"/v1/lookup/{ID.upper()}?first=true", None, LookupRequest(AN_ID, first=True)),
        ("GET", "/v1/lookup/name:wiki", None, LookupRequest(WIKI, "wiki")),
        ("GET", "/v1/lookup/name:caf%C3%A9%20bar", None, LookupRequest(id_of_name("café bar", NATIVE), "café bar")),
        ("GET", "/v1/lookup/name:a%2Fb", None, LookupRequest(id_of_name("a/b", NATIVE), "a/b")),
        ("GET", "/v1/lookup/name:a%2520b+c", None, LookupRequest(id_of_name("a%20b+c", NATIVE), "a%20b+c")),
        ("HEAD", f"/v1/lookup/{ID}", None, LookupRequest(AN_ID)),
        ("PUT", f"/v1/entries/{ID}/80", None, EnterRequest(AN_ID, 80)),
        ("PUT", f"/v1/entries/{ID}/80", {"wait": False, "check": None}, EnterRequest(AN_ID, 80, wait=False)),
        ("PUT", "/v1/entries/name:wiki/80", {"within_s": 3}, EnterRequest(WIKI, 80, within_s=3.0, name="wiki")),
        ("DELETE", f"/v1/entries/{ID}", None, DeleteRequest(AN_ID)),
        ("DELETE", "/v1/entries/name:wiki/80", None, DeleteRequest(WIKI, 80, "wiki")),
        ("GET", f"/v1/values/{ID}?all=true", None, GetRequest(AN_ID, all=True)),
        ("GET", f"/v1/values?public_key={ID}&salt=YQ%3D%3D", None, GetRequest(None, bytes.fromhex(ID), b"a")),
        ("PUT", "/v1/values", {"data": b64encode(b"hello").decode()}, PutRequest(b"hello")),
        ("DELETE", f"/v1/values/{ID}", None, DropRequest(AN_ID)),
        ("GET", "/v1/ping/127.0.0.1:1729", None, PingRequest(("127.0.0.1", 1729))),
        ("GET", f"/v1/find-node/%5B::1%5D:1729/{ID}", None, FindNodeRequest(("::1", 1729), AN_ID)),
        ("GET", "/v1/info/store?limit=5", None, InfoRequest("store")),
    ],
)
async def test_a_request_is_read(tmp_path: Path, verb: str, path: str, body: Any, request_: Request) -> None:
    asked = Asked({"data": "", "complete": True})
    async with opened(tmp_path, asked) as door, door.client() as client:
        answer = await client.request(verb, path, json=body)
    assert answer.status_code == 200, answer.text
    assert asked.requests == [request_]


async def test_an_id_has_the_digits_of_the_network(tmp_path: Path) -> None:
    asked = Asked()
    async with opened(tmp_path, asked, keyspace=MAINLINE) as door, door.client() as client:
        assert (await client.get(f"/v1/lookup/{'ab' * 20}")).status_code == 200
        refused = await client.get(f"/v1/lookup/{ID}")
    assert refused.status_code == 400
    assert refused.json()["code"] == "invalid-id"
    assert "of another network" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "words"),
    [
        ("GET", "/v1/lookup/zz", None, 400, "an ID is 64 hex digits"),
        ("GET", "/v1/lookup/name:", None, 400, "the name is empty"),
        ("GET", "/v1/lookup/name:a%0Ab", None, 400, "has the control character"),
        ("GET", "/v1/lookup/name:%ff", None, 400, "'name:%ff' in the path is not UTF-8"),
        ("GET", "/v1/lookup/name:%ED%A0%80", None, 400, "is not UTF-8"),
        ("GET", f"/v1/values?public_key={ID}&salt=%ff", None, 400, "the query is not UTF-8"),
        ("GET", "/v1/status%0A", None, 404, "nothing is at this path"),
        ("GET", f"/v1/lookup/{ID}?first=yes", None, 400, "'first' is true or false, not 'yes'"),
        ("GET", f"/v1/lookup/{ID}?first=true&first=true", None, 400, "'first' is there twice"),
        ("GET", f"/v1/lookup/{ID}?frist=true", None, 400, "has no parameter 'frist'"),
        ("GET", f"/v1/lookup/{ID}?id={ID}", None, 400, "'id' is in the path already"),
        ("GET", f"/v1/lookup/{ID}?name=x", None, 400, "has no parameter 'name'"),
        ("GET", "/v1/lookup/", None, 404, "nothing is at this path"),
        ("GET", "/v1/lookup/a/b", None, 404, "nothing is at this path"),
        ("GET", "/v2/lookup/a", None, 404, "/v1/openapi.json lists"),
        ("GET", "/v1/%00%ff%2e%2e/..;/x", None, 404, "nothing is at this path"),
        ("POST", f"/v1/lookup/{ID}", None, 405, "'POST' is not for this path, but GET, HEAD"),
        ("BREW", f"/v1/entries/{ID}/80", None, 405, "'BREW' is not for this path, but DELETE, PUT"),
        ("PUT", f"/v1/entries/{ID}/0", None, 400, "0 is not a port"),
        ("PUT", f"/v1/entries/{ID}/http", None, 400, "'port' is a whole number, not 'http'"),
        ("PUT", f"/v1/entries/{ID}/80?wait=false", None, 400, "PUT takes its parameters in the body"),
        ("PUT", f"/v1/entries/{ID}/80", {"port": 81}, 400, "'port' is in the path already"),
        ("PUT", f"/v1/entries/{ID}/80", {"attached": True}, 400, "has no parameter 'attached'"),
        ("PUT", f"/v1/entries/{ID}/80", {"wait": "no"}, 400, "'wait' is true or false"),
        ("PUT", f"/v1/entries/{ID}/80", [1], 400, "one JSON object, not an array"),
        ("PUT", "/v1/values", None, 400, "put needs the parameter 'data'"),
        ("GET", "/v1/watch/" + ID, None, 406, "send `Accept: text/event-stream`"),
        ("GET", "/v1/info/nonsense", None, 400, "is one of node, routing_table"),
        ("GET", "/v1/info/store?limit=0", None, 400, "'limit' is a number from 1 to 1000, not '0'"),
        ("GET", "/v1/info/store?offset=1&offset=2", None, 400, "'offset' is there twice"),
    ],
)
async def test_a_wrong_request_is_told_why(
    tmp_path: Path, verb: str, path: str, body: Any, status: int, words: str
) -> None:
    asked = Asked()
    async with opened(tmp_path, asked) as door, door.client() as client:
        answer = await client.request(verb, path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert asked.requests == []
    assert door.notes == []


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 20_000, b'{"wait":NaN}', b'{"wait":true,"wait":false}', b'"wait"', b"null"]
)
async def test_a_body_that_is_no_object_is_refused(tmp_path: Path, body: bytes) -> None:
    asked = Asked()
    async with opened(tmp_path, asked) as door, door.client() as client:
        answer = await client.put(f"/v1/entries/{ID}/80", content=body)
    assert answer.status_code == 400
    assert "the body is one JSON object" in answer.json()["detail"]
    assert asked.requests == []


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_of_10_mb_is_refused(tmp_path: Path, declared: bool) -> None:
    size = 10_000_000
    asked = Asked()
    async with opened(tmp_path, asked) as door:
        how = f"Content-Length: {size}" if declared else "Transfer-Encoding: chunked"
        head = f"PUT /v1/values HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer the-token\r\n{how}\r\n\r\n"
        piece = b"" if declared else b"x" * (reading.BODY_MAX + 1)
        answer = await sent(door, head.encode() + (b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b""))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"and may have 65536" in answer if declared else b"more than 65536 bytes" in answer
    assert asked.requests == []


async def test_a_body_that_never_ends_is_cut_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with opened(tmp_path, Asked()) as door:
        began = trio.current_time()
        head = (
            b"PUT /v1/values HTTP/1.1\r\nHost: [::1]\r\nAuthorization: Bearer the-token\r\nContent-Length: 9\r\n\r\n{"
        )
        answer = await sent(door, head)
        assert trio.current_time() - began == pytest.approx(BODY_WITHIN, abs=1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"frame-too-slow"' in answer


@pytest.mark.parametrize("part", [b"", b'{"wait":false}', b'{"wait"'])
async def test_half_a_request_is_not_done(tmp_path: Path, part: bytes) -> None:
    """An empty body stands for the defaults, and that of a client that hung up must not."""
    asked = Asked()
    head = f"PUT /v1/entries/{ID}/80 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token\r\n"
    async with opened(tmp_path, asked) as door, await door.raw() as stream:
        await stream.send_all(f"{head}Content-Length: 20\r\n\r\n".encode() + part)
        await wait_all_tasks_blocked(0.01)
        await stream.send_eof()
        assert (await all_of(stream)).startswith(b"HTTP/1.1 400")
    assert asked.requests == []
    assert door.notes == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidId("no ID"), 400),
        (errors.NotTracked("not here"), 404),
        (errors.NotPermitted("not you"), 403),
        (errors.NewerValue("newer"), 409),
        (errors.OtherValue("other"), 412),
        (errors.Busy("too many"), 429),
        (errors.PeerRefused("refused"), 502),
        (errors.NoPeers("alone"), 503),
        (errors.NoPong("silence"), 504),
        (errors.StateError("disk"), 500),
    ],
)
async def test_an_error_has_its_status_and_code(tmp_path: Path, error: errors.DhtdError, status: int) -> None:
    async with opened(tmp_path, Asked(error)) as door, door.client() as client:
        answer = await client.get("/v1/status")
    assert answer.status_code == status == status_of(type(error))
    assert answer.json() == {
        "type": "about:blank",
        "title": answer.json()["title"],
        "status": status,
        "detail": str(error),
        "code": error.code,
    }


async def test_a_defect_is_noted_and_told(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked(RuntimeError("boom"))) as door, door.client() as client:
        answer = await client.get("/v1/status")
        again = await client.get("/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    assert again.status_code == 500
    assert "boom" not in answer.text
    assert door.notes == ["request status by HTTP failed"] * 2


@pytest.mark.parametrize(("complete", "status"), [(True, 404), (False, 503)])
async def test_no_value_is_told_by_the_status(tmp_path: Path, complete: bool, status: int) -> None:
    async with opened(tmp_path, Asked({"data": None, "complete": complete})) as door, door.client() as client:
        assert (await client.get(f"/v1/values/{ID}")).status_code == status


async def test_a_value_comes_as_its_bytes(tmp_path: Path) -> None:
    asked = Asked({"data": b64encode(b"\0\xff").decode(), "complete": True})
    async with opened(tmp_path, asked) as door, door.client() as client:
        answer = await client.get(f"/v1/values/{ID}", headers={"Accept": "application/octet-stream"})
    assert answer.content == b"\0\xff"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_events_of_many_entries_are_gathered(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        for port in 80, 81:
            await emit({"port": port})
        return {"entered": 2}

    body = {"entries": [{"id": ID, "port": 80}, {"id": ID, "port": 81}]}
    async with opened(tmp_path, handler) as door, door.client() as client:
        answer = await client.post("/v1/entries", json=body)
    assert answer.json() == {"entered": 2, "entries": [{"port": 80}, {"port": 81}]}


async def test_a_client_that_hangs_up_ends_its_request(tmp_path: Path) -> None:
    begun, ended = trio.Event(), trio.Event()

    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        begun.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()
        raise AssertionError

    async with opened(tmp_path, handler) as door:
        with trio.fail_after(60):
            async with await door.raw() as stream:
                await stream.send_all(
                    b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token\r\n\r\n"
                )
                await begun.wait()
            await ended.wait()
    assert door.notes == []


@pytest.mark.parametrize(
    ("query", "rows", "following"),
    [
        ("limit=3", [0, 1, 2], "limit=3&offset=3"),
        ("limit=3&offset=3", [3, 4, 5], "limit=3&offset=6"),
        ("limit=4&offset=6", [6, 7, 8, 9], None),
        ("limit=1000", list(range(10)), None),
        ("offset=10", [], None),
    ],
)
async def test_long_lists_come_in_pages(tmp_path: Path, query: str, rows: list[int], following: str | None) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"store": [0, 1, 2, 3]})
        await emit({})
        await emit({"store": [4, 5, 6, 7, 8]})
        return {"store": [9]}

    async with opened(tmp_path, handler) as door, door.client() as client:
        answer = (await client.get(f"/v1/info/store?{query}")).json()
    link = {} if following is None else {"store": f"/v1/info/store?{following}"}
    assert answer == {"store": rows, "next": link}


async def test_each_list_of_a_whole_info_is_cut(tmp_path: Path) -> None:
    async def handler(request: Request, emit: Emit[Any], caller: Caller) -> Result:
        await emit({"node": {"pid": 1}, "routing_table": {"buckets": [1, 2]}})
        return {"routing_table": {"buckets": [3]}, "store": [1], "network": {"timeouts": 0}}

    async with opened(tmp_path, handler) as door, door.client() as client:
        answer = (await client.get("/v1/info?limit=2")).json()
    assert answer == {
        "node": {"pid": 1},
        "routing_table": {"buckets": [1, 2]},
        "store": [1],
        "network": {"timeouts": 0},
        "next": {"routing_table": "/v1/info/routing_table?limit=2&offset=2"},
    }


async def test_an_answer_is_on_a_line_and_not_kept(tmp_path: Path) -> None:
    asked = Asked({"id": ID, "peers": [], "stats": STATS})
    async with opened(tmp_path, asked) as door, door.client() as client:
        answer = await client.get(f"/v1/lookup/{ID}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == json.dumps(asked.result, separators=(",", ":")) + "\n"

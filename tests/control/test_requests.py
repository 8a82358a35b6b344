"""Requests are parsed strictly: missing, unknown, ill-typed and out-of-range parameters have errors of their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dhtd import errors
from dhtd.control.frames import encode, error_body
from dhtd.control.requests import decode_frame
from dhtd.core.ids import NATIVE
from dhtd.service.checks import TcpCheck
from dhtd.service.doctor import DoctorRequest
from dhtd.service.entries import DeleteRequest, EnterManyRequest, EnterRequest, LookupRequest
from dhtd.service.events import EventsRequest
from dhtd.service.health import HealthRequest
from dhtd.service.info import SECTIONS, CompleteRequest, InfoRequest
from dhtd.service.method import Request
from dhtd.service.methods import METHODS
from dhtd.service.node import BootstrapRequest
from dhtd.service.owner import TokenRequest
from dhtd.service.params import BOOTSTRAP_MAX, TOKEN_MAX, WATCHED_MAX, WantedEntry, WatchedId
from dhtd.service.queries import FindNodeRequest, FindValueRequest, PingRequest, StoreRequest
from dhtd.service.trace import TraceRequest
from dhtd.service.values import DropRequest, GetRequest, KeepRequest, PutRequest
from dhtd.service.watch import WatchRequest

ID = "0123456789abcdef" * 4
NUMBER = NATIVE.parse(ID)
KEY, SIGNATURE = "ab" * 32, "cd" * 64
AT = ("192.0.2.1", 1729)
AT_TEXT = "192.0.2.1:1729"


def parse(body: object) -> Request:
    return decode_frame(json.dumps(body).encode())[1]()


def ask(method: str, **params: object) -> Request:
    return parse({"method": method, "params": params})


# One valid request a method, and its meaning. Every other test starts from these.
VALID: dict[str, tuple[dict[str, Any], Request]] = {
    **{name: ({}, method.request()) for name, method in METHODS.items() if not method.parameters},
    "ping": ({"endpoint": AT_TEXT}, PingRequest(AT)),
    "enter": (
        {"id": ID, "port": 80, "wait": False, "min_replicas": 3, "within_s": 2.5}
        | {"check": "tcp", "every": 2, "pid": 7, "attached": True},
        EnterRequest(
            NUMBER, 80, wait=False, min_replicas=3, within_s=2.5, check=TcpCheck(), every=2.0, pid=7, attached=True
        ),
    ),
    "enter-many": (
        {"entries": [{"id": ID, "port": 80, "name": "wiki"}, {"id": ID, "port": 81}]},
        EnterManyRequest((WantedEntry(NUMBER, 80, "wiki"), WantedEntry(NUMBER, 81, None))),
    ),
    "lookup": ({"id": ID, "first": True}, LookupRequest(NUMBER, first=True)),
    "token": ({"renew": True}, TokenRequest(renew=True)),
    "events": ({"after": 7, "kind": "limit"}, EventsRequest(7, "limit")),
    "trace": ({"id": ID, "name": "wiki"}, TraceRequest(NUMBER, "wiki")),
    "health": ({"within_s": 2}, HealthRequest(2.0)),
    "doctor": ({"id": ID, "name": "wiki"}, DoctorRequest(NUMBER, "wiki")),
    "watch": (
        {"ids": [{"id": ID, "name": "wiki"}, {"id": ID}, {"id": ID, "name": None}]},
        WatchRequest((WatchedId(NUMBER, "wiki"), WatchedId(NUMBER, None), WatchedId(NUMBER, None))),
    ),
    "delete": ({"id": ID, "port": 80}, DeleteRequest(NUMBER, 80)),
    "info": ({"section": "store"}, InfoRequest("store")),
    "bootstrap": ({"endpoints": [AT_TEXT, "name:1"]}, BootstrapRequest((AT, ("name", 1)))),
    "find-node": ({"endpoint": AT_TEXT, "id": ID}, FindNodeRequest(AT, NUMBER)),
    "find-value": ({"endpoint": AT_TEXT, "id": ID}, FindValueRequest(AT, NUMBER)),
    "store": (
        {"endpoint": AT_TEXT, "id": ID, "port": 80, "token": "00ff"},
        StoreRequest(AT, NUMBER, 80, b"\x00\xff"),
    ),
    "complete": ({"what": "own-port", "prefix": "8", "entry": ID}, CompleteRequest("own-port", "8", NUMBER)),
    "get": (
        {"public_key": KEY, "salt": "bmV3cw==", "all": True, "first": True},
        GetRequest(public_key=bytes.fromhex(KEY), salt=b"news", all=True, first=True),
    ),
    "put": (
        {"data": "aGVsbG8=", "public_key": KEY, "salt": "bmV3cw==", "seq": 2, "signature": SIGNATURE, "cas": 1}
        | {"keep": False, "min_replicas": 3, "within_s": 2.5},
        PutRequest(
            *(b"hello", bytes.fromhex(KEY), b"news", 2, bytes.fromhex(SIGNATURE), 1),
            keep=False,
            min_replicas=3,
            within_s=2.5,
        ),
    ),
    "keep": (
        {"id": ID, "min_replicas": 3, "within_s": 2.5},
        KeepRequest(NUMBER, min_replicas=3, within_s=2.5),
    ),
    "drop": ({"id": ID}, DropRequest(NUMBER)),
}
OPTIONAL = {
    ("complete", "entry"),
    ("enter", "wait"),
    ("enter", "min_replicas"),
    ("enter", "within_s"),
    ("enter", "check"),
    ("enter", "every"),
    ("enter", "pid"),
    ("enter", "attached"),
    ("lookup", "first"),
    ("health", "within_s"),
    ("doctor", "id"),
    ("doctor", "name"),
    ("token", "renew"),
    ("trace", "name"),
    ("events", "after"),
    ("events", "kind"),
    ("delete", "port"),
    ("info", "section"),
    ("get", "salt"),
    ("get", "all"),
    ("get", "first"),
    ("put", "salt"),
    ("put", "cas"),
    ("put", "keep"),
    ("put", "min_replicas"),
    ("put", "within_s"),
    ("keep", "min_replicas"),
    ("keep", "within_s"),
}
# Each of these may be missing, but not where the others are there, or all are missing.
TOGETHER = {
    *(("put", name) for name in ("public_key", "seq", "signature")),
    *(("get", "public_key"), ("keep", "id"), ("drop", "id")),
}
NULLABLE = {("doctor", "id")}  # unlike in other methods
PARAMETERS = [(method, name) for method, (params, _) in VALID.items() for name in params]

WRONG_TYPES: dict[str, list[object]] = {
    "endpoint": [1, None, True, [AT_TEXT], {}],
    "endpoints": [AT_TEXT, None, 1, {}, [1], [None], [[AT_TEXT]], []],
    "id": [1, None, True, [ID], NUMBER],
    "name": [1, True, ["wiki"], {}],
    "after": [True, "1", 1.0, [1], {}],
    "kind": [1, True, ["limit"], {}],
    "port": [True, False, "80", 80.0, [80], {}],
    "section": [1, True, ["store"], {}],
    "token": [1, None, True, ["00"]],
    "wait": [None, 0, 1, "true", []],
    "min_replicas": [None, True, "1", 1.0, []],
    "within_s": [None, True, "1", [], {}],
    "entries": [None, ID, {}, [], [ID], [{"id": ID}], [{"port": 80}], [{"id": ID, "port": "80"}]],
    "check": [1, True, ["tcp"], {}],
    "every": [True, "5", [5], {}],
    "pid": [True, "1", 1.0, [1], {}],
    "attached": [None, 0, "yes", []],
    "first": [None, 0, "yes", []],
    "renew": [None, 0, "yes", []],
    "ids": [None, ID, {}, [], [ID], [{}], [{"name": "wiki"}], [{"id": 1}], [{"id": ID, "port": 80}]],
    "entry": [1, True, [ID], NUMBER],
    "what": [1, None, True, ["id"]],
    "prefix": [1, None, True, ["8"]],
    "data": [1, None, True, ["00"], "!", "aGVsbG8"],
    "public_key": [1, True, [KEY], {}],
    "salt": [1, True, ["00"], "!", "bmV3cw"],
    "seq": [True, "1", 1.0, [1]],
    "cas": [True, "1", 1.0, [1]],
    "signature": [1, True, [SIGNATURE]],
    "keep": [None, 0, "yes", []],
    "all": [None, 0, "yes", []],
}
OUT_OF_RANGE: dict[str, tuple[type[errors.DhtdError], list[object]]] = {
    "endpoint": (errors.InvalidEndpoint, ["", "host", ":1", "::1:1", "[::1]", "[::1", "1.2.3.4"]),
    "endpoints": (errors.InvalidEndpoint, [[""], [AT_TEXT, "host"], ["::1:1"]]),
    "id": (
        errors.InvalidId,
        ["", "0", ID[1:], ID + "0", "g" * 64, " " + ID[1:], "0x" + ID[2:], "é" * 64],
    ),
    "after": (errors.BadRequest, [-1, 1 << 53]),
    "kind": (errors.BadRequest, ["", "Limit", "everything"]),
    "name": (errors.InvalidId, ["", "a\nb", "x" * 256]),
    "port": (errors.InvalidPort, [0, -1, 65_536, 10**30]),
    "section": (errors.BadRequest, ["", "Store", "everything"]),
    "token": (errors.InvalidToken, ["", "0", "zz", "00 ff", "0x00", "00" * (TOKEN_MAX + 1)]),
    "wait": (errors.BadRequest, ["yes"]),
    "min_replicas": (errors.BadRequest, [-1, 65_536]),
    "within_s": (errors.BadRequest, [0, -1.5]),
    "entries": (errors.InvalidPort, [[{"id": ID, "port": 0}]]),
    "check": (errors.InvalidCheck, ["", "udp", "exec", "https://127.0.0.1/", "http://example.org/"]),
    "every": (errors.BadRequest, [0, -5, 0.49, 3_600.1, 10**400]),
    "pid": (errors.InvalidPid, [0, -1, 1 << 31, 10**30]),
    "attached": (errors.BadRequest, ["yes"]),
    "first": (errors.BadRequest, ["yes"]),
    "renew": (errors.BadRequest, ["yes"]),
    "ids": (errors.InvalidId, [[{"id": ""}], [{"id": ID}, {"id": ID[1:]}], [{"id": ID, "name": ""}]]),
    "entry": (errors.InvalidId, ["", "0", ID[1:]]),
    "what": (errors.BadRequest, ["", "ID", "name"]),
    "prefix": (errors.BadRequest, [8]),
    "data": (errors.InvalidValue, ["QUFB" * 334]),
    "public_key": (errors.InvalidPublicKey, ["", KEY[1:], KEY + "00", "x" * 64]),
    "salt": (errors.InvalidValue, ["QUFB" * 22]),
    "seq": (errors.InvalidValue, [-1, 2**63]),
    "cas": (errors.InvalidValue, [-1, 2**63]),
    "signature": (errors.InvalidValue, ["", SIGNATURE[1:], SIGNATURE + "00", "x" * 128]),
    "keep": (errors.BadRequest, ["yes"]),
    "all": (errors.BadRequest, ["yes"]),
}


def test_there_is_a_valid_request_of_every_method() -> None:
    assert sorted(VALID) == sorted(METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_valid_request_is_understood(method: str) -> None:
    params, request = VALID[method]
    assert ask(method, **params) == request


@pytest.mark.parametrize(("method", "name"), PARAMETERS)
def test_only_optional_parameters_may_be_missing(method: str, name: str) -> None:
    params = {key: value for key, value in VALID[method][0].items() if key != name}
    if (method, name) in OPTIONAL:
        ask(method, **params)
    elif (method, name) in TOGETHER:
        with pytest.raises(errors.BadRequest, match=f"`{name}`"):
            ask(method, **params)
    else:
        with pytest.raises(errors.BadRequest, match=f"{method} needs the parameter '{name}'"):
            ask(method, **params)


@pytest.mark.parametrize(("method", "name"), PARAMETERS)
def test_a_parameter_of_another_type_is_refused(method: str, name: str) -> None:
    for value in WRONG_TYPES[name]:
        if value is None and (method, name) in NULLABLE:
            continue
        with pytest.raises(errors.BadRequest) as caught:
            ask(method, **{**VALID[method][0], name: value})
        assert type(caught.value) is errors.BadRequest, value
        assert name in str(caught.value)


@pytest.mark.parametrize(("method", "name"), PARAMETERS)
def test_a_value_out_of_range_has_its_own_code(method: str, name: str) -> None:
    kind, values = OUT_OF_RANGE[name]
    for value in values:
        with pytest.raises(kind) as caught:
            ask(method, **{**VALID[method][0], name: value})
        assert caught.value.code == kind.code


@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_parameter_is_refused(method: str) -> None:
    with pytest.raises(errors.BadRequest, match=f"{method} has no parameter 'colour'"):
        ask(method, **VALID[method][0], colour="red")


def test_what_may_be_left_out_has_these_defaults() -> None:
    assert ask("enter", id=ID, port=1) == EnterRequest(NUMBER, 1, wait=True)
    assert ask("delete", id=ID) == ask("delete", id=ID, port=None) == DeleteRequest(NUMBER, None)
    assert ask("info") == ask("info", section=None) == InfoRequest(None)
    assert parse({"method": "node-id"}) == parse({"v": 1, "id": None, "method": "node-id", "params": {}})


def test_null_is_taken_where_none_is_the_default() -> None:
    for method in METHODS.values():
        params = VALID[method.name][0]
        for name, _, default in method.parameters:
            if (method.name, name) in TOGETHER:
                continue
            if default is None:
                without = {key: value for key, value in params.items() if key != name}
                assert method.read({**params, name: None}) == method.read(without)
            else:
                with pytest.raises(errors.BadRequest):
                    method.read({**params, name: None})


def test_the_edges_of_a_range_are_in_it() -> None:
    assert ask("enter", id=ID.upper(), port=65_535) == EnterRequest(NUMBER, 65_535, wait=True)
    assert ask("enter", id=ID, port=1, min_replicas=0, within_s=10**400) == EnterRequest(NUMBER, 1, True, 0, 1e6)
    token = "Ff" * TOKEN_MAX
    params = {**VALID["store"][0], "token": token}
    assert ask("store", **params) == StoreRequest(AT, NUMBER, 80, b"\xff" * TOKEN_MAX)
    for section in SECTIONS:
        assert ask("info", section=section) == InfoRequest(section)


def test_an_unknown_method_lists_the_known_ones() -> None:
    for method in ("", "Ping", "node_id", "x" * 1000):
        with pytest.raises(errors.UnknownMethod, match="find-node") as caught:
            ask(method)
        assert len(str(caught.value)) < 300


def test_a_request_pings_no_more_than_documented() -> None:
    endpoints = ["192.0.2.7:1729"] * BOOTSTRAP_MAX
    assert ask("bootstrap", endpoints=endpoints) == BootstrapRequest((("192.0.2.7", 1729),) * 256)
    with pytest.raises(errors.BadRequest, match="256 elements at most"):
        ask("bootstrap", endpoints=[*endpoints, "192.0.2.7:1729"])


def test_watches_of_one_request_are_limited() -> None:
    ids = [{"id": ID}] * WATCHED_MAX
    ask("watch", ids=ids)
    with pytest.raises(errors.BadRequest, match=rf"'ids' has {WATCHED_MAX} elements at most"):
        ask("watch", ids=[*ids, ids[0]])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"params": {}},
        {"method": None},
        {"method": 1},
        {"method": ["ping"]},
        {"method": "node-id", "params": None},
        {"method": "node-id", "params": []},
        {"method": "node-id", "param": {}},
        {"method": "node-id", "version": 1},
        {"v": 0, "method": "node-id"},
        {"v": 2, "method": "node-id"},
        {"v": 1.0, "method": "node-id"},
        {"v": True, "method": "node-id"},
        {"v": "1", "method": "node-id"},
        {"v": None, "method": "node-id"},
        {"v": [[]], "method": "node-id"},
    ],
)
def test_an_object_that_is_no_request_is_refused(body: object) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        parse(body)
    assert type(caught.value) is errors.BadRequest


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[]",
        b"1",
        b'"node-id"',
        b"{",
        b"{}{}",
        b"\xff\xfe",
        b'{"method": "\xff"}',
        b'{"method": "node-id", "params": NaN}',
        b'{"id": Infinity, "method": "node-id"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        '{"method": "node-id"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"method": "node-id"}',
        b"\0",
    ],
)
def test_a_line_that_is_no_json_object_is_refused(line: bytes) -> None:
    with pytest.raises(errors.BadRequest) as caught:
        decode_frame(line)
    assert type(caught.value) is errors.BadRequest


@pytest.mark.parametrize("depth", [50, 500, 900, 950, 990, 1_000, 5_000])
@pytest.mark.parametrize("place", ['{"v":%s}', '{"params":%s}', '{"method":"info","params":{"section":%s}}'])
def test_deep_nesting_is_only_refused(place: str, depth: int) -> None:
    with pytest.raises(errors.BadRequest):
        decode_frame((place % ("[" * depth + "]" * depth)).encode())[1]()


@pytest.mark.parametrize("id", ["", "a b", "\u2028\ud800", 0, -1, 2**70, 1.5, None])
def test_a_request_id_returns_as_it_was(id: object) -> None:
    found, parse_rest = decode_frame(json.dumps({"id": id, "method": "node-id"}).encode())
    parse_rest()
    assert json.loads(encode({"id": found, "result": {}})) == {"v": 1, "id": id, "result": {}}


@pytest.mark.parametrize("text", ["true", "[]", "{}", "1e999", "-1e999"])
def test_any_other_id_is_refused(text: str) -> None:
    with pytest.raises(errors.BadRequest):
        decode_frame(f'{{"id": {text}, "method": "node-id"}}'.encode())


def test_a_bad_request_still_has_its_id() -> None:
    id, parse_rest = decode_frame(b'{"id": 7, "method": "no-such"}')
    assert id == 7
    with pytest.raises(errors.UnknownMethod):
        parse_rest()


def test_what_is_sent_is_one_line_of_ascii() -> None:
    line = encode({"id": "é\n\r\u2028", "error": error_body(errors.NoPong("☠\n"))})
    assert line.isascii()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["error"] == {"code": "no-pong", "message": "☠\n"}


def test_no_message_repeats_a_long_request() -> None:
    long = "x" * 50_000
    for body in ({"v": long}, {long: 1}, {"method": long}, {"method": "node-id", "params": {long: 1}}):
        with pytest.raises(errors.BadRequest) as caught:
            parse(body)
        assert len(str(caught.value)) < 300
    for section in (long, [long], {long: long}):
        with pytest.raises(errors.BadRequest) as caught:
            ask("info", section=section)
        assert len(str(caught.value)) < 300


def test_error_codes_are_unique() -> None:
    def classes(root: type[errors.DhtdError]) -> list[type[errors.DhtdError]]:
        return [root, *(found for child in root.__subclasses__() for found in classes(child))]

    ours = [kind for kind in classes(errors.DhtdError) if kind.__module__ == errors.__name__]
    for kind in ours:
        assert errors.by_code(kind.code) is kind
    assert errors.by_code("of-a-newer-version") is errors.DhtdError

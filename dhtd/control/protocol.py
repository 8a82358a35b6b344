"""Requests and results of the control socket, and what frames them.

A request is `{"v": 1, "id": ANY, "method": NAME, "params": {…}}`; `id` and `params` may be left out. It is answered by
any number of `{"v": 1, "id": ANY, "event": {…}}` and then one `{"v": 1, "id": ANY, "result": {…}}` or
`{"v": 1, "id": ANY, "error": {"code": …, "message": …}}`. Results are `TypedDict`s: what is typed is what is sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from dhtd.core.endpoint import check_port, split_host_port
from dhtd.core.metric import NATIVE, Id
from dhtd.errors import BadRequest, DhtdError, InvalidToken, UnknownMethod

VERSION = 1
FRAME_MAX = 65_536  # bytes of a request, with its newline
TOKEN_MAX = 64  # bytes of a store token, twice as many hex digits

SECTIONS = ("node", "routing_table", "store", "tracking", "network")

HostPort = tuple[str, int]  # the host may be a name; the daemon resolves it


# Requests


@dataclass(frozen=True, slots=True)
class Ping:
    """Is a node there?"""

    endpoint: HostPort


@dataclass(frozen=True, slots=True)
class Enter:
    """This machine serves `id` on `port`. Answered when it is published, or (`wait` false) once it is durable."""

    id: Id
    port: int
    wait: bool


@dataclass(frozen=True, slots=True)
class Lookup:
    """Who serves `id`? Events tell of progress."""

    id: Id


@dataclass(frozen=True, slots=True)
class Delete:
    """This machine no longer serves `id` (on `port`; None is all)."""

    id: Id
    port: int | None


@dataclass(frozen=True, slots=True)
class Info:
    """What is inside the daemon? One section, or (None) all."""

    section: str | None


@dataclass(frozen=True, slots=True)
class NodeId:
    """Who is this node?"""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Join the network by these nodes."""

    endpoints: tuple[HostPort, ...]


@dataclass(frozen=True, slots=True)
class FindNode:
    """Ask one node for the nodes nearest to `id`."""

    endpoint: HostPort
    id: Id


@dataclass(frozen=True, slots=True)
class FindValue:
    """Ask one node who serves `id`."""

    endpoint: HostPort
    id: Id


@dataclass(frozen=True, slots=True)
class Store:
    """Ask one node to hold an entry, once."""

    endpoint: HostPort
    id: Id
    port: int
    token: bytes


Request = Ping | Enter | Lookup | Delete | Info | NodeId | Bootstrap | FindNode | FindValue | Store


# Results


class PingResult(TypedDict):
    """A pong."""

    node_id: str
    endpoint: str
    rtt_ms: float


class Replica(TypedDict):
    """A node that holds an entry."""

    node_id: str
    endpoint: str


class EnterResult(TypedDict):
    """What has become of an entry."""

    id: str
    port: int
    replicas: list[Replica]
    refresh_in_s: float
    expires_in_s: float


class Stats(TypedDict):
    """How a lookup went."""

    hops: int
    queries: int
    responses: int
    timeouts: int
    elapsed_ms: float


class LookupEvent(TypedDict):
    """A node has answered a lookup; `peers` are those that are new."""

    peers: list[str]
    stats: Stats


class LookupResult(TypedDict):
    """Who serves an ID."""

    id: str
    peers: list[str]
    stats: Stats


class DeleteResult(TypedDict):
    """The ports that were entered, and how many nodes have let go."""

    id: str
    removed: list[int]
    withdrawn: int


class Member(TypedDict):
    """A contact in a bucket."""

    id: str
    endpoint: str
    state: str
    reachable: bool
    last_activity_s: float | None
    timeouts: int


class BucketInfo(TypedDict):
    """A bucket of the routing table."""

    low: str
    high: str
    last_activity_s: float
    members: list[Member]


class RoutingTableInfo(TypedDict):
    """The routing table."""

    buckets: list[BucketInfo]


class HeldInfo(TypedDict):
    """An entry held for another node."""

    id: str
    endpoint: str
    age_s: float
    expires_in_s: float


class TrackedInfo(TypedDict):
    """An own entry."""

    id: str
    port: int
    replicas: int
    refresh_in_s: float


class NodeInfo(TypedDict):
    """The daemon itself. `endpoints` is where others reach it, as far as it knows."""

    node_id: str
    endpoints: list[str]
    version: str
    pid: int
    uptime_s: float
    connected: bool
    contacts: dict[str, int]
    listening: list[str]
    state: str
    socket: str


class InfoResult(TypedDict, total=False):
    """All sections, or one."""

    node: NodeInfo
    routing_table: RoutingTableInfo
    store: list[HeldInfo]
    tracking: list[TrackedInfo]
    network: dict[str, Any]


class NodeIdResult(TypedDict):
    """Who this node is."""

    node_id: str
    endpoints: list[str]


class BootstrapResult(TypedDict):
    """How many nodes answered, how many did not, and how many contacts there are now."""

    contacted: int
    failed: int
    table_size: int


class NamedNode(TypedDict):
    """A node that another one has named."""

    id: str
    endpoint: str


class FindNodeResult(TypedDict):
    """One node's answer to find_node."""

    node_id: str
    token: str
    nodes: list[NamedNode]


class FindValueResult(FindNodeResult):
    """One node's answer to find_value."""

    peers: list[str]


class StoreResult(TypedDict):
    """The node that has taken the entry."""

    node_id: str


class ErrorBody(TypedDict):
    """Why there is no result."""

    code: str
    message: str


Result = (
    PingResult
    | EnterResult
    | LookupResult
    | DeleteResult
    | InfoResult
    | NodeIdResult
    | BootstrapResult
    | FindNodeResult
    | FindValueResult
    | StoreResult
)
Event = LookupEvent


# Frames


def encode(body: Mapping[str, Any]) -> bytes:
    """Return one line: the JSON object and a newline. Only ASCII, so that no line can hold half a character."""
    return json.dumps({"v": VERSION, **body}, separators=(",", ":")).encode() + b"\n"


def error_body(error: DhtdError) -> ErrorBody:
    """Return what the error says to programs."""
    return {"code": error.code, "message": str(error)}


def decode_frame(line: bytes) -> tuple[object, Callable[[], Request]]:
    """Return the `id` of a request and a function that parses the rest; both raise `BadRequest`.

    In two steps, so that an error about the rest can be sent with the right `id`.
    """
    body = decode_object(line)
    id = body.get("id")
    if not (id is None or isinstance(id, str) or type(id) is int or (type(id) is float and math.isfinite(id))):
        raise BadRequest("a request's `id` is text or a number")
    return id, lambda: _parse(body)


def decode_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object that a line holds; raise `BadRequest`."""
    try:
        body = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"a frame is one JSON object on one line: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("a frame is one JSON object on one line")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _shown(value: object) -> str:
    """Return a value of a request for a message: short, however long or deep it is."""
    if isinstance(value, list | dict):
        return "an array" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _parse(body: dict[str, Any]) -> Request:
    version = body.get("v", VERSION)
    if type(version) is not int or version != VERSION:
        raise BadRequest(f"this daemon speaks version {VERSION} of the control protocol, not {_shown(version)}")
    method, params = body.get("method"), body.get("params", {})
    unknown = sorted(body.keys() - {"v", "id", "method", "params"})
    if unknown:
        raise BadRequest(f"a request has v, id, method and params, and no {_shown(unknown[0])}")
    if not isinstance(method, str):
        raise BadRequest("a request names its `method`")
    if not isinstance(params, dict):
        raise BadRequest("`params` is an object")
    parse = _METHODS.get(method)
    if parse is None:
        raise UnknownMethod(f"no method {_shown(method)}; there are: {', '.join(sorted(_METHODS))}")
    reader = _Params(method, params)
    request = parse(reader)
    reader.finish()
    return request


_REQUIRED = object()


class _Params:
    """Reads parameters by name and type, and complains about what is missing, wrong or left over."""

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self._method = method
        self._params = dict(params)

    def take(self, name: str, kind: type, default: object = _REQUIRED) -> Any:
        if name not in self._params or (self._params[name] is None and default is None):
            self._params.pop(name, None)
            if default is _REQUIRED:
                raise BadRequest(f"{self._method} needs the parameter {name!r}")
            return default
        value = self._params.pop(name)
        if type(value) is not kind:
            raise BadRequest(f"{self._method}: {name!r} is {_KINDS[kind]}, not {_shown(value)}")
        return value

    def id(self) -> Id:
        return NATIVE.parse(self.take("id", str))

    def port(self) -> int:
        return check_port(self.take("port", int))

    def endpoint(self) -> HostPort:
        return split_host_port(self.take("endpoint", str))

    def finish(self) -> None:
        if self._params:
            raise BadRequest(f"{self._method} has no parameter {_shown(min(self._params))}")


_KINDS: dict[type, str] = {str: "text", int: "a whole number", bool: "true or false", list: "an array"}


def _parse_delete(params: _Params) -> Delete:
    port = params.take("port", int, None)
    return Delete(params.id(), None if port is None else check_port(port))


def _parse_info(params: _Params) -> Info:
    section = params.take("section", str, None)
    if section is not None and section not in SECTIONS:
        raise BadRequest(f"no section {_shown(section)}; there are: {', '.join(SECTIONS)}")
    return Info(section)


def _parse_bootstrap(params: _Params) -> Bootstrap:
    endpoints = params.take("endpoints", list)
    if not endpoints or not all(isinstance(endpoint, str) for endpoint in endpoints):
        raise BadRequest("bootstrap: 'endpoints' is an array of HOST:PORT texts, one at least")
    return Bootstrap(tuple(split_host_port(endpoint) for endpoint in endpoints))


def _parse_store(params: _Params) -> Store:
    return Store(params.endpoint(), params.id(), params.port(), parse_token(params.take("token", str)))


def parse_token(text: str) -> bytes:
    """Return the store token that hex digits spell; raise `InvalidToken`."""
    try:
        token = bytes.fromhex(text) if not any(character.isspace() for character in text) else b""
    except ValueError:
        token = b""
    if not 1 <= len(token) <= TOKEN_MAX:
        raise InvalidToken(f"{_shown(text)} is not a token: the hex digits that find-node or find-value print")
    return token


_METHODS: dict[str, Callable[[_Params], Request]] = {
    "ping": lambda params: Ping(params.endpoint()),
    "enter": lambda params: Enter(params.id(), params.port(), params.take("wait", bool, default=True)),
    "lookup": lambda params: Lookup(params.id()),
    "delete": _parse_delete,
    "info": _parse_info,
    "node-id": lambda params: NodeId(),
    "bootstrap": _parse_bootstrap,
    "find-node": lambda params: FindNode(params.endpoint(), params.id()),
    "find-value": lambda params: FindValue(params.endpoint(), params.id()),
    "store": _parse_store,
}
METHODS = tuple(sorted(_METHODS))

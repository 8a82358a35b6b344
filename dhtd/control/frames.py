"""How requests and answers look on the control socket: one JSON object a line, each way.

A request is `{"v": 1, "id": ANY, "method": NAME, "params": {…}}`; `id` and `params` may be left out. It is answered by
any number of `{"v": 1, "id": ANY, "event": {…}}` and then one `{"v": 1, "id": ANY, "result": {…}}` or
`{"v": 1, "id": ANY, "error": {"code": …, "message": …}}`. Parsing is strict: what is not understood is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from dhtd.control.protocol import (
    COMPLETIONS,
    ENTER_WITHIN,
    SECTIONS,
    BackupRequest,
    BootstrapRequest,
    CompleteRequest,
    DeleteRequest,
    EnterRequest,
    ErrorBody,
    FindNodeRequest,
    FindValueRequest,
    HostPort,
    InfoRequest,
    LookupRequest,
    NodeIdRequest,
    PingRequest,
    Request,
    StatusRequest,
    StopRequest,
    StoreRequest,
)
from dhtd.core.endpoint import check_port, split_host_port
from dhtd.core.ids import NATIVE, Id
from dhtd.errors import BadRequest, DhtdError, InvalidToken, UnknownMethod

VERSION = 1
FRAME_MAX = 65_536  # bytes of a request, with its newline
TOKEN_MAX = 64  # bytes of a store token, twice as many hex digits
WITHIN_MAX = 1_000_000.0  # seconds that a client can wait
BOOTSTRAP_MAX = 256  # endpoints in one request: all are pinged at once


def encode(body: Mapping[str, Any]) -> bytes:
    """Return one line: the JSON object and a newline. Only ASCII, so that no line can hold half a character."""
    return json.dumps({"v": VERSION, **body}, separators=(",", ":")).encode() + b"\n"


def error_body(error: DhtdError) -> ErrorBody:
    """Return what the error says to programs."""
    return {"code": error.code, "message": str(error)}


def decode_frame(line: bytes) -> tuple[object, Callable[[], Request | StopRequest]]:
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


def _parse(body: dict[str, Any]) -> Request | StopRequest:
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

    def seconds(self, name: str, default: float) -> float:
        """Return a time, which need not be whole; `default` without one."""
        value = self._params.pop(name, default)
        if type(value) not in (int, float) or value <= 0:
            raise BadRequest(f"{self._method}: {name!r} is a number of seconds, not {_shown(value)}")
        return float(min(value, WITHIN_MAX))

    def finish(self) -> None:
        if self._params:
            raise BadRequest(f"{self._method} has no parameter {_shown(min(self._params))}")


_KINDS: dict[type, str] = {str: "text", int: "a whole number", bool: "true or false", list: "an array"}


def _parse_delete(params: _Params) -> DeleteRequest:
    port = params.take("port", int, None)
    return DeleteRequest(params.id(), None if port is None else check_port(port))


def _parse_enter(params: _Params) -> EnterRequest:
    wait, replicas = params.take("wait", bool, default=True), params.take("min_replicas", int, 0)
    if replicas < 0:
        raise BadRequest(f"enter: 'min_replicas' is a number from 0 up, not {replicas}")
    return EnterRequest(params.id(), params.port(), wait, replicas, params.seconds("within_s", ENTER_WITHIN))


def _parse_info(params: _Params) -> InfoRequest:
    section = params.take("section", str, None)
    if section is not None and section not in SECTIONS:
        raise BadRequest(f"no section {_shown(section)}; there are: {', '.join(SECTIONS)}")
    return InfoRequest(section)


def _parse_bootstrap(params: _Params) -> BootstrapRequest:
    endpoints = params.take("endpoints", list)
    if not endpoints or not all(isinstance(endpoint, str) for endpoint in endpoints):
        raise BadRequest("bootstrap: 'endpoints' is an array of HOST:PORT texts, one at least")
    if len(endpoints) > BOOTSTRAP_MAX:
        raise BadRequest(f"bootstrap: 'endpoints' has {BOOTSTRAP_MAX} elements at most")
    return BootstrapRequest(tuple(split_host_port(endpoint) for endpoint in endpoints))


def _parse_complete(params: _Params) -> CompleteRequest:
    what = params.take("what", str)
    if what not in COMPLETIONS:
        raise BadRequest(f"nothing to complete as {_shown(what)}; there are: {', '.join(COMPLETIONS)}")
    entry = params.take("entry", str, None)
    return CompleteRequest(what, params.take("prefix", str), None if entry is None else NATIVE.parse(entry))


def _parse_store(params: _Params) -> StoreRequest:
    return StoreRequest(params.endpoint(), params.id(), params.port(), parse_token(params.take("token", str)))


def parse_token(text: str) -> bytes:
    """Return the store token that hex digits spell; raise `InvalidToken`."""
    try:
        token = bytes.fromhex(text) if not any(character.isspace() for character in text) else b""
    except ValueError:
        token = b""
    if not 1 <= len(token) <= TOKEN_MAX:
        raise InvalidToken(f"{_shown(text)} is not a token: the hex digits that find-node or find-value print")
    return token


_METHODS: dict[str, Callable[[_Params], Request | StopRequest]] = {
    "ping": lambda params: PingRequest(params.endpoint()),
    "enter": _parse_enter,
    "lookup": lambda params: LookupRequest(params.id()),
    "delete": _parse_delete,
    "info": _parse_info,
    "node-id": lambda params: NodeIdRequest(),
    "status": lambda params: StatusRequest(),
    "bootstrap": _parse_bootstrap,
    "backup": lambda params: BackupRequest(),
    "find-node": lambda params: FindNodeRequest(params.endpoint(), params.id()),
    "find-value": lambda params: FindValueRequest(params.endpoint(), params.id()),
    "store": _parse_store,
    "complete": _parse_complete,
    "stop": lambda params: StopRequest(),
}
METHODS = tuple(sorted(_METHODS))

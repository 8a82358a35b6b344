"""Reads the frames of clients by the table of methods. Unknown keys and values of another type are errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dhtd.control.frames import VERSION, decode_object
from dhtd.core.ids import NATIVE, Keyspace
from dhtd.errors import BadRequest
from dhtd.service.method import Request
from dhtd.service.methods import named
from dhtd.service.params import shown


def decode_frame(line: bytes, keyspace: Keyspace = NATIVE) -> tuple[object, Callable[[], Request]]:
    """Return the `id` of a request and a function that parses the rest; both raise `BadRequest`.

    In two steps, so that an error about the rest can be sent with the right `id`. IDs are those of the `keyspace`.
    """
    body = decode_object(line)
    id = body.get("id")
    if not (id is None or isinstance(id, str) or type(id) is int or (type(id) is float and math.isfinite(id))):
        raise BadRequest("a request's `id` is text or a number")
    return id, lambda: _parse(body, keyspace)


def _parse(body: dict[str, Any], keyspace: Keyspace) -> Request:
    version = body.get("v", VERSION)
    if type(version) is not int or version != VERSION:
        raise BadRequest(f"this daemon speaks version {VERSION} of the control protocol, not {shown(version)}")
    method, params = body.get("method"), body.get("params", {})
    unknown = sorted(body.keys() - {"v", "id", "method", "params"})
    if unknown:
        raise BadRequest(f"a request has v, id, method and params, and no {shown(unknown[0])}")
    if not isinstance(method, str):
        raise BadRequest("a request names its `method`")
    if not isinstance(params, dict):
        raise BadRequest("`params` is an object")
    request: Request = named(method).read(params, keyspace)
    return request

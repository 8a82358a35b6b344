"""How requests and answers look on the control socket: one JSON object a line, each way.

A request is `{"v": 1, "id": ANY, "method": NAME, "params": {…}}`; `id` and `params` may be left out. It is answered by
any number of `{"v": 1, "id": ANY, "event": {…}}` and then one `{"v": 1, "id": ANY, "result": {…}}` or
`{"v": 1, "id": ANY, "error": {"code": …, "message": …}}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict

from dhtd.errors import BadRequest, DhtdError
from dhtd.service.written import Written

VERSION = 1
FRAME_MAX = 65_536  # bytes of a request, with its newline
_BATCH_MAX = FRAME_MAX - 1_024  # bytes of an array in a request, beside the rest of it


class ErrorBody(TypedDict):
    """Why there is no result."""

    code: str
    message: str


def encode(body: Mapping[str, Any]) -> bytes:
    """Return one line: the JSON object and a newline. Only ASCII, so that no line can hold half a character."""
    return _dumped({"v": VERSION, **body}).encode() + b"\n"


def encode_event(id: object, event: Written) -> bytes:
    """Return the line of an event that is JSON already."""
    return f'{{"v":{VERSION},"id":{_dumped(id)},"event":{event.text}}}\n'.encode()


def batches(elements: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Yield the elements of a long array in as many requests as it takes."""
    batch: list[Mapping[str, Any]] = []
    room = _BATCH_MAX
    for element in elements:
        size = len(_dumped(element)) + 1
        if size > room and batch:
            yield batch
            batch, room = [], _BATCH_MAX
        batch.append(element)
        room -= size
    if batch:
        yield batch


def error_body(error: DhtdError) -> ErrorBody:
    """Return what the error says to programs."""
    return {"code": error.code, "message": str(error)}


def decode_object(line: bytes) -> dict[str, Any]:
    """Return the JSON object that a line holds; raise `BadRequest`."""
    try:
        body = json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"a frame is one JSON object on one line: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest("a frame is one JSON object on one line")
    return body


def _dumped(body: object) -> str:
    return json.dumps(body, separators=(",", ":"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

"""Reads the parameters of a method from a path, a query and a body.

Text in a path or a query stands for a JSON value of the parameter's kind: `80` for a port, `true` for a flag. A path
may have `name:` and a name in place of an ID. A list in a path has commas between its elements. A slash or a comma of
a name is `%2F` or `%2C` there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from dhtd.core.ids import Keyspace
from dhtd.core.names import clean_name, id_of_name
from dhtd.errors import BadRequest
from dhtd.http.resources import Resource
from dhtd.service.method import Request
from dhtd.service.params import ID, WATCHED_IDS, Kind, shown

NAMED: Final = "name:"  # in front of a name in a path
BODY_MAX: Final = 65_536  # bytes; the control socket takes as many

_WORDS: Final[dict[str, object]] = {"true": True, "false": False}


def read_request(
    resource: Resource,
    path: Mapping[str, str],
    query: Iterable[tuple[str, str]],
    body: bytes,
    keyspace: Keyspace,
) -> Request:
    """Return the request that stands in the parts of an HTTP request; raise a `UsageError`."""
    given = read_body(body) if resource.has_body else {}
    for name, text in query:
        if resource.has_body:
            raise BadRequest(
                f"{resource.verb} takes its parameters in the body, and there is {shown(name)} in the query"
            )
        if name in given:
            raise BadRequest(f"{shown(name)} is there twice")
        given[name] = _read_text(resource, name, text)
    for name in given:
        if name in resource.in_path:
            raise BadRequest(f"{name!r} is in the path already")
        if name in resource.without:
            raise BadRequest(f"{resource.verb} {resource.path} has no parameter {name!r}")
    for name, text in path.items():
        given.update(_read_element(resource, name, text, keyspace))
    request: Request = resource.method.read(given, keyspace)
    return request


def _read_element(resource: Resource, name: str, text: str, keyspace: Keyspace) -> dict[str, Any]:
    """Return the parameters that an element of the path stands for."""
    kind = resource.parameters[name].kind
    if kind is WATCHED_IDS:
        return {name: [_identified(decoded(part), keyspace) for part in text.split(",")]}
    text = decoded(text)
    if kind is ID:
        found = _identified(text, keyspace)
        return found if resource.takes_name else {"id": found["id"]}
    return {name: _read_text(resource, name, text)}


def decoded(text: str) -> str:
    """Return the text of an element in percent-encoding; raise `BadRequest`."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest(f"{shown(text)} in the path is not UTF-8 in percent-encoding") from None


def read_query(text: bytes) -> list[tuple[str, str]]:
    """Return the pairs in a query; raise `BadRequest`."""
    try:
        return parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the query is not UTF-8 in percent-encoding") from None


def _identified(text: str, keyspace: Keyspace) -> dict[str, str]:
    """Return the ID, and the name if there is one instead."""
    if not text.startswith(NAMED):
        return {"id": text}
    name = clean_name(text.removeprefix(NAMED))
    return {"id": keyspace.format(id_of_name(name, keyspace)), "name": name}


def _read_text(resource: Resource, name: str, text: str) -> object:
    parameter = resource.parameters.get(name)
    return text if parameter is None else value_of(parameter.kind, text)


def value_of(kind: Kind, text: str) -> object:
    """Return the JSON value that a text stands for: the text itself if it is none of this kind."""
    if bool in kind.json:
        return _WORDS.get(text, text)
    if int in kind.json and re.fullmatch(r"-?[0-9]{1,20}", text):
        return int(text)
    if float in kind.json and re.fullmatch(r"[0-9]{1,20}\.[0-9]{1,20}", text):
        return float(text)
    return text


def read_body(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body; an empty body has no parameters."""
    if not body:
        return {}
    try:
        read = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is one JSON object: {error}") from None
    if not isinstance(read, dict):
        raise BadRequest(f"the body is one JSON object, not {shown(read)}")
    return read


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a key is there twice")
    return read


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

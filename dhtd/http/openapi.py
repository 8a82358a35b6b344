"""The OpenAPI document (3.1) of the HTTP door, from the table of resources and the table of methods."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING
from http import HTTPStatus
from typing import Any, Final

from dhtd import __version__
from dhtd.core.ids import Keyspace
from dhtd.errors import DhtdError, FrameTooLarge, FrameTooSlow, NoAnswer, NotFound
from dhtd.http import paging
from dhtd.http.event_stream import EVENT_STREAM
from dhtd.http.exchange import JSON, OCTETS
from dhtd.http.problems import PROBLEM_JSON, Problem, status_of
from dhtd.http.resources import RESOURCES, Resource
from dhtd.http.schemas import Components, Schema, of_kind
from dhtd.service.method import Parameter, Stream
from dhtd.service.methods import COMMON
from dhtd.service.params import HOST_PORT, ID, WATCHED_IDS
from dhtd.service.values import GET

_BY_GUARD: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST)
_NAMED: Final = "An ID, or `name:` and the name that stands for it"


def document(keyspace: Keyspace) -> dict[str, Any]:
    """Return the document for a daemon of the network with this keyspace."""
    components = Components()
    paths: dict[str, dict[str, Any]] = {}
    for resource in RESOURCES:
        paths.setdefault(resource.path, {})[resource.verb.lower()] = _operation(resource, components, keyspace)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "dhtd",
            "version": __version__,
            "description": "A node of a distributed hash table, by HTTP. See dht-http(7).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "`dht token` prints it."}},
        },
    }


def _operation(resource: Resource, components: Components, keyspace: Keyspace) -> dict[str, Any]:
    method = resource.method
    words = " ".join((method.request.__doc__ or "").split())
    operation: dict[str, Any] = {
        "operationId": "-".join([method.name, *(f"by-{name}" for name in resource.in_path)]),
        "summary": method.summary,
        "description": words,
        "parameters": [_parameter(resource, each, keyspace) for each in _outside_body(resource)],
        "responses": {**_done(resource, components), **_problems(resource, components)},
    }
    if resource.is_paged:
        operation["parameters"] += _paging()
    if resource.has_body:
        inside = [each for each in resource.parameters.values() if each.name not in resource.in_path]
        operation["requestBody"] = {
            "required": any(each.default is MISSING for each in inside),
            "content": {JSON: {"schema": _body(inside, keyspace)}},
        }
    return operation


def _outside_body(resource: Resource) -> list[Parameter]:
    return [each for each in resource.parameters.values() if each.name in resource.in_path or not resource.has_body]


def _parameter(resource: Resource, parameter: Parameter, keyspace: Keyspace) -> dict[str, Any]:
    in_path = parameter.name in resource.in_path
    schema = of_kind(parameter.kind, keyspace)
    if in_path and parameter.kind is ID:
        schema = {"type": "string", "pattern": f"^([0-9a-fA-F]{{{2 * keyspace.width}}}|name:.+)$"}
    elif parameter.kind is WATCHED_IDS:
        schema = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    described = {"description": _NAMED} if in_path and parameter.kind in {ID, WATCHED_IDS} else {}
    if in_path and parameter.kind is HOST_PORT:
        described = {"description": "HOST:PORT, or [IPv6]:PORT"}
    return {
        "name": parameter.name,
        "in": "path" if in_path else "query",
        "required": in_path or parameter.default is MISSING,
        "schema": schema,
        **described,
    }


def _paging() -> list[dict[str, Any]]:
    bounds = {"limit": (1, paging.LIMIT_MAX, paging.LIMIT), "offset": (0, paging.OFFSET_MAX, 0)}
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": least, "maximum": most, "default": default},
        }
        for name, (least, most, default) in bounds.items()
    ]


def _body(inside: Iterable[Parameter], keyspace: Keyspace) -> Schema:
    properties = {}
    required = []
    for name, kind, default in inside:
        schema = of_kind(kind, keyspace)
        if default is None:
            schema = {"anyOf": [schema, {"type": "null"}]}
        elif default is MISSING:
            required.append(name)
        else:
            schema = {**schema, "default": default}
        properties[name] = schema
    body: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**body, "required": required} if required else body


def _done(resource: Resource, components: Components) -> dict[str, Any]:
    """Return the answer where all goes well."""
    method, content = resource.method, {}
    if not resource.is_endless:
        schema = components.of(method.result)
        if resource.gathered:
            assert isinstance(method, Stream)
            events = {"type": "array", "items": components.of(method.event)}
            schema = {"allOf": [schema, {"type": "object", "properties": {resource.gathered: events}}]}
        if resource.is_paged:
            links = {"type": "object", "additionalProperties": {"type": "string"}}
            schema = {"allOf": [schema, {"type": "object", "properties": {"next": links}, "required": ["next"]}]}
        content[JSON] = {"schema": schema}
    if method is GET:
        content[OCTETS] = {"schema": {"type": "string", "format": "binary"}}
    if isinstance(method, Stream):
        told = [method.result] if resource.is_endless else [method.event, method.result]
        components.of(method.event)
        names = ", ".join(sorted(components.of(each)["$ref"].rpartition("/")[2] for each in told))
        content[EVENT_STREAM] = {
            "schema": {"type": "string", "description": f"Server-sent events; their data: {names}"}
        }
    return {"200": {"description": " ".join((method.result.__doc__ or "").split()), "content": content}}


def _problems(resource: Resource, components: Components) -> dict[str, Any]:
    """Return the answers that tell of problems, by status, each with its codes."""
    kinds: set[type[DhtdError]] = {*resource.method.errors, *COMMON, FrameTooLarge, FrameTooSlow}
    if resource.method is GET:
        kinds |= {NotFound, NoAnswer}
    codes: dict[HTTPStatus, list[str]] = {status: [] for status in _BY_GUARD}
    if resource.is_endless:
        codes[HTTPStatus.NOT_ACCEPTABLE] = []
    for kind in sorted(kinds, key=lambda each: each.code):
        codes.setdefault(status_of(kind), []).append(kind.code)
    content = {PROBLEM_JSON: {"schema": components.of(Problem)}}
    return {
        str(status.value): {
            "description": f"{status.phrase}: {', '.join(codes[status])}" if codes[status] else status.phrase,
            "content": content,
        }
        for status in sorted(codes)
    }

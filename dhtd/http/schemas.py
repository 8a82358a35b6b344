"""JSON schemas (draft 2020-12) of parameters and answers, from the table of methods."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Final, NotRequired, Required, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from dhtd.core.ids import Keyspace
from dhtd.core.records import PUBLIC_KEY_SIZE, SEQ_MAX, SIGNATURE_SIZE
from dhtd.service import params
from dhtd.service.checks import EVERY_MAX, EVERY_MIN
from dhtd.service.params import Kind

Schema = dict[str, Any]

_PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65_535}
_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 255}
_ENDPOINT: Final[Schema] = {"type": "string", "description": "HOST:PORT, or [IPv6]:PORT"}
_BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}

# Kinds whose values have bounds that their JSON type does not tell.
_OF_KINDS: Final[dict[Kind, Schema]] = {
    params.COUNT: {"type": "integer", "minimum": 0, "maximum": params.COUNT_MAX},
    params.SECONDS: {"type": "number", "exclusiveMinimum": 0},
    params.EVERY: {"type": "number", "minimum": EVERY_MIN, "maximum": EVERY_MAX},
    params.PID: {"type": "integer", "minimum": 1, "maximum": params.PID_MAX},
    params.CHECK: {"type": "string", "description": "tcp, http://127.0.0.1:PORT/PATH or exec COMMAND"},
    params.NAME: _NAME,
    params.PORT: _PORT,
    params.TOKEN: {"type": "string", "pattern": f"^([0-9a-fA-F]{{2}}){{1,{params.TOKEN_MAX}}}$"},
    params.DATA: _BASE64,
    params.SALT: _BASE64,
    params.SERIAL: {"type": "integer", "minimum": 0, "maximum": params.SERIAL_MAX},
    params.SEQ: {"type": "integer", "minimum": 0, "maximum": SEQ_MAX},
    params.PUBLIC_KEY: {"type": "string", "pattern": f"^[0-9a-fA-F]{{{2 * PUBLIC_KEY_SIZE}}}$"},
    params.SIGNATURE: {"type": "string", "pattern": f"^[0-9a-fA-F]{{{2 * SIGNATURE_SIZE}}}$"},
    params.HOST_PORT: _ENDPOINT,
    params.HOST_PORTS: {"type": "array", "items": _ENDPOINT, "minItems": 1, "maxItems": params.BOOTSTRAP_MAX},
}
_TYPES: Final[dict[type, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def of_kind(kind: Kind, keyspace: Keyspace) -> Schema:
    """Return the schema of a parameter in JSON."""
    if kind.choices:
        return {"type": "string", "enum": list(kind.choices)}
    id: Schema = {"type": "string", "pattern": f"^[0-9a-fA-F]{{{2 * keyspace.width}}}$"}
    if kind is params.ID:
        return id
    if kind is params.WATCHED_IDS:
        return _objects({"id": id, "name": _NAME}, ["id"], params.WATCHED_MAX)
    if kind is params.WANTED_ENTRIES:
        return _objects({"id": id, "port": _PORT, "name": _NAME}, ["id", "port"], None)
    known = _OF_KINDS.get(kind)
    return known if known is not None else {"type": _TYPES[kind.json[-1]]}


def _objects(properties: Schema, required: list[str], most: int | None) -> Schema:
    items = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    bound = {} if most is None else {"maxItems": most}
    return {"type": "array", "items": items, "minItems": 1, **bound}


class Components:
    """The schemas of answers, by the names of their classes."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def of(self, hint: Any) -> Schema:
        """Return the schema of a type of the table: a reference for a class of its own."""
        if hint is Any or isinstance(hint, TypeVar):
            return {}
        if hint is type(None):
            return {"type": "null"}
        if hint in _TYPES:
            return {"type": _TYPES[hint]}
        if is_typeddict(hint):
            return self._of_class(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        if origin in {Required, NotRequired}:
            return self.of(arguments[0])
        if origin in {types.UnionType, Union}:
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        if origin in {dict, Mapping}:
            return {"type": "object", "additionalProperties": self.of(arguments[1])}
        raise TypeError(f"no schema for {hint}")

    def _of_class(self, kind: Any) -> Schema:
        name = kind.__name__.lstrip("_")
        if name not in self.schemas:
            self.schemas[name] = {}  # a class may hold itself
            hints = get_type_hints(kind)
            schema: Schema = {"type": "object", "properties": {key: self.of(hint) for key, hint in hints.items()}}
            if kind.__required_keys__:
                schema["required"] = [key for key in hints if key in kind.__required_keys__]
            if kind.__doc__ is not None and not kind.__doc__.startswith("dict("):
                schema["description"] = " ".join(kind.__doc__.split())
            self.schemas[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

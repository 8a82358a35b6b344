"""The golden datagrams of tests/vectors, read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    Acknowledged,
    Changed,
    Contact,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Renew,
    Renewed,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.wire.native_values import key_of

FILE = Path(__file__).parent.parent / "vectors" / "native-v1.toml"
SEALED_FILE = FILE.with_name("sealed-v1.toml")  # which test_sealed reads


@dataclass(frozen=True)
class Vector:
    """One golden datagram: its bytes, and its fields by its file."""

    name: str
    kind: str
    data: bytes
    fields: dict[str, Any]

    @property
    def tid(self) -> bytes:
        return bytes.fromhex(self.fields["tid"])

    @property
    def sender(self) -> Id:
        return NATIVE.parse(self.fields["sender"])

    @property
    def observed(self) -> Endpoint:
        return Endpoint.parse(self.fields["observed"])

    @property
    def token(self) -> bytes | None:
        return bytes.fromhex(self.fields["token"]) if "token" in self.fields else None

    @property
    def session(self) -> bytes:
        return bytes.fromhex(self.fields["session"])

    @property
    def held(self) -> Value | int | None:
        """The value, or the seq that an answer has in its place."""
        fields = self.fields
        if "public_key" in fields:
            of = {name: bytes.fromhex(fields[name]) for name in ("public_key", "salt", "data", "signature")}
            return Mutable(of["public_key"], of["salt"], fields["seq"], of["data"], of["signature"])
        return Immutable(bytes.fromhex(fields["data"])) if "data" in fields else fields.get("seq")

    @property
    def is_canonical(self) -> bool:
        return bool(self.fields.get("canonical", True))

    @property
    def request(self) -> Request:
        method = self.fields["method"]
        if method == "ping":
            return Ping()
        if method == "renew":
            assert self.token is not None
            return Renew(self.session, self.fields["lease"], self.token)
        if method == "put":
            assert self.token is not None
            assert isinstance(self.held, Value)
            return Put(key_of(self.held), self.token, self.held, self.fields.get("cas"), self.fields["lasts"])
        target = NATIVE.parse(self.fields["target"])
        if method == "get":
            return Get(target, self.token, self.fields.get("seq"))
        if method == "find_node":
            return FindNode(target, self.token)
        if method == "find_value":
            return FindValue(target, self.token)
        if method == "changed":
            return Changed(target, self.fields["version"], self.endpoints("added"), self.endpoints("removed"))
        assert self.token is not None
        if method == "watch":
            return Watch(target, self.token, self.fields["lease"], self.session)
        if method == "store":
            return Store(target, self.fields["port"], self.token, self.fields["lease"], self.session)
        return Withdraw(target, self.fields["port"], self.token, self.session)

    @property
    def answered_request(self) -> Request:
        """A request of the kind that a reply answers."""
        kinds: dict[str, Request] = {
            "ping": Ping(),
            "find_node": FindNode(Id(0)),
            "find_value": FindValue(Id(0)),
            "renew": Renew(b"", 0, b""),
            "watch": Watch(Id(0), b"", 0, b""),
            "get": Get(Id(0)),
        }
        return kinds[self.fields["answers"]]

    @property
    def result(self) -> Result:
        if self.fields["answers"] == "ping":
            return Acknowledged()
        assert self.token is not None
        if self.fields["answers"] == "renew":
            return Renewed(self.token, self.fields.get("held"))
        if self.fields["answers"] == "watch":
            return Watched(self.token, self.fields["version"], self.endpoints("endpoints"), self.fields["more"])
        contacts = tuple(
            Contact(NATIVE.parse(node["id"]), Endpoint.parse(node["endpoint"])) for node in self.fields["nodes"]
        )
        found = Found(self.token, contacts, self.endpoints("endpoints"), self.fields["more"])
        if self.fields["answers"] == "get":
            found = replace(found, held=self.held, lasts=self.fields["lasts"])
        return found

    def endpoints(self, field: str) -> tuple[Endpoint, ...]:
        return tuple(map(Endpoint.parse, self.fields.get(field, [])))


def unhex(text: str) -> bytes:
    """Return the bytes of annotated hex."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


def load() -> dict[str, Vector]:
    """Return every golden datagram by its name."""
    entries = tomllib.loads(FILE.read_text())["datagram"]
    vectors = {entry["name"]: Vector(entry["name"], entry["kind"], unhex(entry["hex"]), entry) for entry in entries}
    assert len(vectors) == len(entries)
    return vectors


VECTORS = load()

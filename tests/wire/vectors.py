"""The golden datagrams of tests/vectors, read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import (
    Acknowledged,
    Contact,
    FindNode,
    FindValue,
    Found,
    Ping,
    Request,
    Result,
    Store,
    Withdraw,
)

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
    def is_canonical(self) -> bool:
        return bool(self.fields.get("canonical", True))

    @property
    def request(self) -> Request:
        method = self.fields["method"]
        if method == "ping":
            return Ping()
        target = NATIVE.parse(self.fields["target"])
        if method == "find_node":
            return FindNode(target, self.token)
        if method == "find_value":
            return FindValue(target, self.token)
        assert self.token is not None
        kind = Store if method == "store" else Withdraw
        return kind(target, self.fields["port"], self.token)

    @property
    def answered_request(self) -> Request:
        """A request of the kind that a reply answers."""
        kinds: dict[str, Request] = {"ping": Ping(), "find_node": FindNode(Id(0)), "find_value": FindValue(Id(0))}
        return kinds[self.fields["answers"]]

    @property
    def result(self) -> Result:
        if self.fields["answers"] == "ping":
            return Acknowledged()
        assert self.token is not None
        contacts = tuple(
            Contact(NATIVE.parse(node["id"]), Endpoint.parse(node["endpoint"])) for node in self.fields["nodes"]
        )
        endpoints = tuple(map(Endpoint.parse, self.fields.get("endpoints", [])))
        return Found(self.token, contacts, endpoints, self.fields["more"])


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

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
    Changed,
    Contact,
    FindNode,
    FindValue,
    Found,
    Ping,
    Renew,
    Renewed,
    Request,
    Result,
    Store,
    Watch,
    Watched,
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
    def session(self) -> bytes:
        return bytes.fromhex(self.fields["session"])

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
        target = NATIVE.parse(self.fields["target"])
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
        return Found(self.token, contacts, self.endpoints("endpoints"), self.fields["more"])

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

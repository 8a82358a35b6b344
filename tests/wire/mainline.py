"""The datagrams of real clients in tests/vectors/mainline.toml, read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bencode2 import bdecode

FILE = Path(__file__).parent.parent / "vectors" / "mainline.toml"

Fields = dict[bytes, Any]


def fields_of(data: bytes) -> Fields:
    return cast("Fields", bdecode(data))


@dataclass(frozen=True)
class Captured:
    """One datagram, as its client sent it."""

    name: str
    client: str
    kind: str  # query, reply or error
    method: str  # of a query
    data: bytes
    answers: str | None  # the name of the query

    @property
    def fields(self) -> Fields:
        return fields_of(self.data)

    @property
    def tid(self) -> bytes:
        return cast("bytes", self.fields[b"t"])


def _read() -> dict[str, Captured]:
    captured = {}
    for entry in tomllib.loads(FILE.read_text())["datagram"]:
        name, data = entry["name"], bytes.fromhex(entry["hex"])
        method, answers = entry.get("method", ""), entry.get("answers")
        captured[name] = Captured(name, entry["client"], entry["kind"], method, data, answers)
    return captured


CAPTURED = _read()

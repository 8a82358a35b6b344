"""A node in the Mainline network, asked as its clients ask."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

from bencode2 import bdecode, bencode

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.ids import Id
from dhtd.core.node import Node
from dhtd.core.policy import MAINLINE, Policy
from dhtd.wire.bep5 import Bep5Codec

CODEC = Bep5Codec()
POLICY = replace(MAINLINE, lonely_lookups=0, region=0.0, size_samples=0, newcomer_stays=0.0)
ASKER = KEYSPACE.to_bytes(KEYSPACE.digest(b"somebody"))
KEY = KEYSPACE.digest(b"a key")

Fields = dict[bytes, Any]

_NUMBERS = count()


def make(policy: Policy = POLICY, *families: Family, seed: int = 1) -> Node:
    """Return a node at time 0."""
    return Node(
        KEYSPACE.digest(b"us"), CODEC, rng=Random(seed), now=0.0, policy=policy, families=families or (Family.IPV4,)
    )


def packed(method: bytes, args: Fields, **top: object) -> bytes:
    """Return a query as a client sends it."""
    tid = next(_NUMBERS).to_bytes(2, "big")
    fields: Fields = {b"t": tid, b"y": b"q", b"q": method, b"a": {b"id": ASKER, **args}}
    return bencode(fields | {name.encode(): value for name, value in top.items()})


def answered(node: Node, data: bytes, source: Endpoint, now: float = 0.0) -> Fields | None:
    """Return all fields of the answer to a datagram, or None."""
    answer = node.handle_datagram(data, source, now)
    if answer is None:
        return None
    fields: Fields = bdecode(answer)
    assert (fields[b"t"], bencode(fields)) == (bdecode(data)[b"t"], answer)
    return fields


def result(node: Node, method: bytes, args: Fields, source: Endpoint, now: float = 0.0) -> Fields:
    """Return the result that a query brings."""
    fields = answered(node, packed(method, args), source, now)
    assert fields is not None
    body: Fields = fields[b"r"]
    return body


def key(id: Id = KEY) -> Fields:
    """Return the argument of a get_peers, and of an announce."""
    return {b"info_hash": KEYSPACE.to_bytes(id)}


def announce(node: Node, source: Endpoint, id: Id = KEY, now: float = 0.0, **args: object) -> None:
    """Announce a peer there, with a token."""
    token = result(node, b"get_peers", key(id), source, now)[b"token"]
    given = {name.encode(): value for name, value in args.items()} or {b"port": source.port}
    assert result(node, b"announce_peer", {**key(id), b"token": token, **given}, source, now).keys() == {b"id"}

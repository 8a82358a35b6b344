"""A node that places and reads values, with every peer played by the test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dhtd.core.events import GetDone, Handle
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, Get, Put
from dhtd.core.policy import DEFAULT, Policy
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.wire.native_encoder import _node
from dhtd.wire.native_values import fields_of
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import by_id
from tests.core.small import CODEC, contact
from tests.values import LASTS, by_owner

OLD, VALUE, NEW = by_owner(1, b"old"), by_owner(2, b"data"), by_owner(3, b"new")
TWIN = by_owner(2, b"twin")  # of the same seq as VALUE
KEY = CODEC.key_of(VALUE)
DATA = Immutable(b"data that never change")
DATA_KEY = CODEC.key_of(DATA)
FEW = replace(QUIET, k=2)
THRICE = replace(QUIET, k=3)
TIMEOUT = DEFAULT.query_timeout
# A quiet node refreshes nothing meanwhile.
STILL = replace(QUIET, good_for=1e9, bucket_refresh=1e9, probe_interval=1e9, introduction=1e9)


def at(distance: int, key: Id = KEY) -> int:
    """Return the ID at this distance from the key."""
    return key ^ distance


def near(*distances: int, key: Id = KEY) -> list[Contact]:
    """Return contacts at these distances from the key."""
    return [contact(at(distance, key)) for distance in distances]


def knowing(*distances: int, policy: Policy = QUIET, key: Id = KEY) -> Bench:
    """Return a node that knows the contacts at these distances from the key, and is itself the farthest from it."""
    bench = Bench(own_id=at(127, key), policy=policy)
    bench.know(*near(*distances, key=key))
    return bench


def got(
    bench: Bench,
    sent: Sent,
    held: Value | int | None = None,
    contacts: Sequence[Contact] = (),
    *,
    lasts: int | None = None,
    token: bytes = b"token",
    more: bool = False,
    id: int | None = None,
) -> None:
    """Answer a get as the node that it was sent to, or as another one there."""
    assert isinstance(sent.request, Get)
    seq = 0 if isinstance(held, Immutable) else held.seq if isinstance(held, Mutable) else None
    if seq is not None and sent.request.seq is not None and seq <= sent.request.seq:
        held = seq
    nodes4 = b"".join(map(_node, contacts))
    record = fields_of(held) if isinstance(held, Immutable | Mutable) else held
    seconds = (0 if held is None else LASTS) if lasts is None else lasts
    result = [token, nodes4, b"", more, record, seconds]
    own_id = id_of(sent) if id is None else Id(id)
    bench.deliver(bench.codec._encode(1, sent.query.tid, own_id, bytes(US), result), sent.to)


def id_of(sent: Sent) -> Id:
    """Return the ID of the node that a query was sent to: contacts are at machines of the same number."""
    return Id(sent.to[2] << 8 | sent.to[3])


def converge(
    bench: Bench,
    asked: dict[int, Sent],
    held: Mapping[int, Value] = MappingProxyType({}),
    full: Collection[int] = (),
) -> dict[int, Sent]:
    """Answer all gets with what the nodes hold, by distance, until none goes out; return the puts.

    Nodes that are `full` give no token. The others give one with their distance.
    """
    placed, queries = {}, list(asked.values())
    while queries:
        for sent in queries:
            if isinstance(sent.request, FindNode):  # the search explores
                bench.found(sent, id_of(sent))
                continue
            distance = id_of(sent) ^ _key(sent)
            if isinstance(sent.request, Get):
                got(bench, sent, held.get(distance), token=b"" if distance in full else b"token%d" % distance)
            else:
                placed[distance] = sent
        queries = bench.sent()
    return placed


def place(bench: Bench, held: dict[int, Value] | None = None) -> list[Put]:
    """Have a placement that has begun end, and return what is put; all nodes take it."""
    placed = converge(bench, gets(bench), held or {})
    for sent in placed.values():
        take(bench, sent)
    return [sent.request for sent in placed.values() if isinstance(sent.request, Put)]


def next_get(bench: Bench, seconds: float) -> float:
    """Let time pass until a get goes out, and return how long that took; it is left to be taken."""
    began = bench.now
    while (when := bench.node.poll_timeout()) is not None and when <= began + seconds:
        bench.advance(max(0.0, when - bench.now))
        if any(isinstance(query.request, Get) for query in bench.node.requester.transactions):
            return bench.now - began
    raise AssertionError("no get goes out")


def gets(bench: Bench) -> dict[int, Sent]:
    """Return the gets that go out, by the distance of the node from the key; nothing else does."""
    return _by_distance(bench, Get)


def puts(bench: Bench) -> dict[int, Sent]:
    """Return the puts that go out, by the distance of the node from the key; nothing else does."""
    return _by_distance(bench, Put)


def _by_distance(bench: Bench, kind: type[Get | Put]) -> dict[int, Sent]:
    found = by_id(bench.sent())
    assert all(isinstance(sent.request, kind) for sent in found.values()), found
    return {id ^ _key(sent): sent for id, sent in found.items()}


def _key(sent: Sent) -> Id:
    assert isinstance(sent.request, Get | Put)
    return sent.request.key


def take(bench: Bench, sent: Sent) -> None:
    """Hold a value, as the node that it was sent to."""
    assert isinstance(sent.request, Put)
    bench.pong(sent, id_of(sent))


def begun(bench: Bench, key: Id = KEY, **options: Any) -> tuple[Handle, dict[int, Sent]]:
    """Get a value, and return the handle and the gets that go out."""
    op = bench.node.commands.get(key, bench.now, **options)
    return op, gets(bench)


def done(bench: Bench) -> GetDone:
    """Return how the get has ended; what it reported before is forgotten."""
    return bench.event(GetDone)


def read(bench: Bench, held: Mapping[int, Value], key: Id = KEY, **options: bool) -> tuple[GetDone, dict[int, Sent]]:
    """Get a value of nodes that hold these, by distance; return the end of it and the puts."""
    _, asked = begun(bench, key, **options)
    placed = converge(bench, asked, held)
    return done(bench), placed

"""A node that watches a key, and the holders around it, played by tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id
from dhtd.core.messages import (
    Changed,
    Error,
    FindNode,
    Ping,
    Renew,
    Reply,
    Watch,
)
from dhtd.core.policy import Policy
from tests.core.bench import QUIET, US, Bench, Sent
from tests.core.played import KEY, by_id
from tests.core.small import contact
from tests.records import SESSION

POLICY = replace(QUIET, heartbeat=20.0, bucket_refresh=1e9, good_for=1e9, probe_interval=1e9)
LEASE, PERIOD, MOMENT, BETWEEN = 60, 20.0, 0.15, 0.05
A, B, C = (Endpoint.of(f"10.1.0.{number}", 80) for number in (1, 2, 3))
VERSION = 1_000


def knowing(*ids: int, policy: Policy = POLICY) -> Bench:
    bench = Bench(policy=policy)
    bench.know(*map(contact, ids))
    return bench


def tell(
    bench: Bench,
    sent: Sent,
    endpoints: Iterable[Endpoint] = (),
    *,
    version: int = VERSION,
    id: int | None = None,
    token: bytes = b"session",
) -> None:
    """Answer a watch, as the node that it was sent to or as another one there."""
    assert isinstance(sent.request, Watch)
    own, bench_room = Id(sent.to[3] if id is None else id), bench.node.responder.rooms.whole
    data, _ = bench.codec.encode_watched(sent.query, own, US, token, version, bench_room, list(endpoints))
    bench.deliver(data, sent.to)


def change(
    bench: Bench,
    id: int,
    added: Iterable[Endpoint] = (),
    removed: Iterable[Endpoint] = (),
    *,
    version: int = VERSION + 1,
) -> Reply | Error | None:
    """Have a holder say that something has changed."""
    return bench.query(Changed(KEY, version, tuple(added), tuple(removed)), contact(id))


def find(bench: Bench, *, token: bytes = b"token") -> dict[int, Sent]:
    """Answer pings and searches, and return the watches that follow."""
    asked: dict[int, Sent] = {}
    while sent := bench.sent():
        for each in sent:
            id = each.to[3]
            if isinstance(each.request, FindNode):
                bench.found(each, id, token=token)
            elif isinstance(each.request, Ping):
                bench.pong(each, id)
            elif not isinstance(each.request, Renew) or not each.request.token:
                asked[id] = each
    return asked


def find_three(bench: Bench) -> dict[int, Sent]:
    """Have a search for two holders find a third node that is nearer; return the watches that follow."""
    for sent in bench.sent():
        bench.found(sent, sent.to[3], [contact(79)])
    return find(bench)


def watching(*holders: int, named: Iterable[Endpoint] = (), policy: Policy = POLICY) -> tuple[Bench, Handle]:
    """Return a node that watches KEY at these holders, each of which has named these endpoints."""
    bench = knowing(*holders, policy=policy)
    op = bench.node.commands.watch(KEY, bench.now)
    asked = find(bench)
    assert set(asked) == set(holders)
    for sent in asked.values():
        assert sent.request == Watch(KEY, b"token", LEASE, SESSION)
        tell(bench, sent, named)
    bench.advance(BETWEEN)
    bench.events()
    return bench, op


def updates(bench: Bench) -> list[tuple[set[Endpoint], set[Endpoint]]]:
    """Return what was added and removed since the last call, once that which was put off is told."""
    bench.advance(BETWEEN)
    told = []
    for event in bench.events():
        if isinstance(event, WatchUpdate):
            assert event.key == KEY
            told.append((set(event.added), set(event.removed)))
    return told


def asked(bench: Bench) -> dict[int, Sent]:
    """Return the holders that are asked now, each once."""
    sent = {each.query.tid: each for each in bench.sent() if isinstance(each.request, Watch)}
    return by_id(list(sent.values()))


def beats(bench: Bench) -> dict[int, Sent]:
    return by_id(list({sent.query.tid: sent for sent in bench.sent() if isinstance(sent.request, Renew)}.values()))


def renew(bench: Bench, sent: Sent, held: int) -> None:
    bench.deliver(bench.codec.encode_renewed(sent.query.tid, Id(sent.to[3]), US, b"next", held), sent.to)

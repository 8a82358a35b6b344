"""A node with every peer played by the test, and an entry that it publishes."""

from __future__ import annotations

from dhtd.core.ids import Id
from dhtd.core.messages import (
    FindNode,
    Request,
)
from dhtd.core.policy import DEFAULT, Policy
from tests.core.bench import QUIET, Bench, Sent
from tests.core.small import contact
from tests.records import to_store

KEY = Id(77)
TIMEOUT = DEFAULT.query_timeout
SLOW, LATE = DEFAULT.slow_floor, DEFAULT.late_floor  # where answers came at once so far
STALE = 2 * TIMEOUT + 0.1  # every attempt at a query has timed out by then


def knowing(*ids: int, policy: Policy = QUIET) -> Bench:
    bench = Bench(policy=policy)
    bench.know(*map(contact, ids))
    return bench


def by_id(queries: list[Sent]) -> dict[int, Sent]:
    """Return queries by the number of their recipient, one each."""
    machines = {sent.to[2] << 8 | sent.to[3]: sent for sent in queries}
    assert len(machines) == len(queries)
    return machines


def publish(bench: Bench, ids: tuple[int, ...]) -> tuple[int, dict[int, Sent]]:
    """Enter KEY, let the search find these nodes, and return the handle and the stores that go out."""
    op = bench.node.commands.enter(KEY, 80, bench.now)
    for id, sent in by_id(bench.sent()).items():
        assert sent.request == FindNode(KEY)
        bench.found(sent, id, [], token=b"token%d" % id)
    stores = by_id(bench.sent())
    for id, sent in stores.items():
        assert sent.request == to_store(KEY, 80, b"token%d" % id)
    assert set(stores) == set(ids)
    return op, stores


def entered(bench: Bench, *ids: int) -> None:
    """Have KEY published on these nodes."""
    _, stores = publish(bench, ids)
    for id, sent in stores.items():
        bench.pong(sent, id)
    bench.events()


def of_kind(queries: list[Sent], kind: type[Request]) -> dict[int, Sent]:
    """Return the queries of one kind, by the number of their recipient."""
    return by_id([sent for sent in queries if isinstance(sent.request, kind)])

"""A node on the bench with an entry of its own, seen from its publisher."""

from __future__ import annotations

from dhtd.core.events import Published
from dhtd.core.membership.waiting import Patience
from dhtd.core.publishing.own_entry import OwnEntry
from dhtd.core.querying.attempts import Attempts
from tests.core.bench import Bench
from tests.core.both import KEY
from tests.core.small import contact
from tests.records import own_key

OWN = own_key(KEY, 80)


def holding(*ids: int) -> Bench:
    """Return a node that knows these contacts, which may hold its entries."""
    bench = Bench()
    bench.know(*map(contact, ids))
    return bench


def entry_of(bench: Bench) -> OwnEntry:
    entry = bench.node.publisher.records.get(OWN)
    assert entry is not None
    return entry


def published(bench: Bench) -> list[Published]:
    return [event for event in bench.events() if isinstance(event, Published)]


def nameless() -> Bench:
    """Return a node that awaits names, so that every operation waits."""
    bench = Bench()
    bench.node.start([], bench.now, awaits_names=True)
    return bench


def waiting_for(bench: Bench) -> list[Patience]:
    return list(bench.node.waiting._operations.values())


def publish_due(bench: Bench, now: float) -> None:
    """Have the publisher do what is due."""
    attempts = Attempts()
    bench.node.publisher.publish_due(now, attempts)
    attempts.conclude()


def wait_no_longer(bench: Bench, now: float) -> None:
    """Have the publisher ask what has waited too long for the disk."""
    attempts = Attempts()
    bench.node.publisher.wait_no_longer(now, attempts)
    attempts.conclude()

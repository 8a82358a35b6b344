"""The life of publications: in both families, held back, joined, begun anew, and put back after a restart."""

from __future__ import annotations

from dhtd.core.events import Published, Withdrawn
from dhtd.core.messages import Store, Withdraw
from tests.core.both import KEY, answer_all, both
from tests.core.small import contact, six


def test_an_entry_is_stored_in_both_families() -> None:
    bench = both(k=2)
    bench.know(*map(contact, (4, 7, 64)), *map(six, (1, 4, 64)))
    bench.node.commands.enter(KEY, 80, bench.now)
    stores = [query.to for query in answer_all(bench) if isinstance(query.request, Store)]
    nearest = {contact(4), contact(7), six(4), six(1)}
    assert sorted(stores) == sorted(member.endpoint for member in nearest)
    published = bench.event(Published)
    assert set(published.replicas) == nearest
    assert published.asked == 4
    bench.node.commands.delete(KEY, None, bench.now)
    withdrawn = [query.to for query in answer_all(bench) if isinstance(query.request, Withdraw)]
    assert set(withdrawn) >= {member.endpoint for member in nearest}
    assert bench.event(Withdrawn).nodes == len(nearest)  # others are told to be sure, and not counted


def test_one_family_publishes_before_the_other() -> None:
    bench = both(k=1)
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.found(of_ipv4, 4)
    store = bench.sent_one()
    assert (type(store.request), store.to) == (Store, contact(4).endpoint)
    bench.pong(store, 4)
    assert bench.events() == []
    bench.found(of_ipv6, 1)
    bench.pong(bench.sent_one(), 1)
    assert set(bench.event(Published).replicas) == {contact(4), six(1)}


def test_a_cancelled_publication_asks_no_family() -> None:
    bench = both()
    bench.know(contact(4), six(1))
    bench.node.commands.enter(KEY, 80, bench.now)
    of_ipv4, of_ipv6 = bench.sent()
    bench.node.commands.delete(KEY, 80, bench.now)
    bench.sent()
    bench.found(of_ipv4, 4, [contact(7), six(7)])
    bench.found(of_ipv6, 1, [contact(6), six(6)])
    assert bench.sent() == []
    assert bench.event(Published).cancelled

"""The time of lookups among dead contacts, against the textbook: in the simulator, same networks, askers and keys.

Run it with `python3 dev.py bench lookups`. The nodes of an old network have measured the round trips of their contacts.
A part of the nodes dies at once. Then the network is asked by the lookup of Kademlia section 2.3 as it is usually built
(alpha = 3, a query fails after 2 s and holds its slot until then), and by nodes of dhtd. All lookups begin in the same
moment, and nobody asks twice, so nobody knows the dead before.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from statistics import mean, median

from dhtd.core.events import LookupDone
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.report import percentile
from tests.records import hold_peer

ALPHA = 3
TIMEOUT = 2.0  # seconds
MEASURED = 4  # round trips with each contact, as of an hour of refreshes
PATIENCE = 60.0  # virtual seconds for a lookup


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one lookup."""

    seconds: float
    queries: int
    recall: float  # the part of the K nearest live nodes that has answered


def main(arguments: Sequence[str] | None = None) -> int:
    """Look up, and print the results of both."""
    options = _parser().parse_args(arguments)
    textbook: list[Outcome] = []
    ours: list[Outcome] = []
    for seed in range(1, 1 + options.seeds):
        net = aged(seed, options.nodes, options.dead)
        askers = net.rng.sample(net.live, min(options.lookups, len(net.live)))
        keys = [NATIVE.random(net.rng) for _ in askers]
        for key in keys:
            for host in net.closest(key):
                hold_peer(host.node.store, key, askers[0].endpoint, net.now)
        # The textbook first: it changes no table.
        textbook += [look_up_by_the_book(net, asker, key) for asker, key in zip(askers, keys, strict=True)]
        ours += look_up(net, list(zip(askers, keys, strict=True)))
    print(
        f"{options.seeds} networks of {options.nodes} nodes, {options.dead:.0%} of them dead; {len(ours)} lookups each"
    )
    print(f"\n{'':<10} {'':>7} {'':>7} {'queries':>8} {'queries':>8}")
    print(f"{'':<10} {'p50 s':>7} {'p99 s':>7} {'p50':>8} {'mean':>8} {'recall':>7}")
    theirs, mine = _figures(textbook), _figures(ours)
    ratio = [one / other for one, other in zip(mine, theirs, strict=True)]
    for name, row in (("textbook", theirs), ("dhtd", mine), ("ratio", ratio)):
        p50, p99, usual, queries, recall = row
        print(f"{name:<10} {p50:>7.3f} {p99:>7.3f} {usual:>8.3g} {queries:>8.2f} {recall:>7.4f}")
    return 0


def aged(seed: int, nodes: int, dead: float) -> Network:
    """Return a network that knows itself well, just after a part of it has died."""
    net = Network(seed)
    hosts = [net.add(start=False) for _ in range(nodes)]
    warm.acquaint(net, hosts)
    for host in hosts:
        state, everybody = host.node.state, host.node.requester.transactions.round_trips
        for contact in list(state.table):
            heard_at = state.meta.get(contact.id).heard_at
            assert heard_at is not None
            for _ in range(MEASURED):
                rtt = _round_trip(net, host, contact)
                state.answered(contact, rtt, heard_at)
                everybody.add(rtt)
    for host in net.rng.sample(hosts, round(nodes * dead)):
        net.kill(host)
    return net


def look_up(net: Network, asked: Sequence[tuple[Host, Id]]) -> list[Outcome]:
    """Look keys up as dhtd does, all at once."""
    truths = [_truth(net, asker, key) for asker, key in asked]
    handles = [(asker, asker.node.commands.lookup(key, net.now)) for asker, key in asked]
    for asker, _ in handles:
        net.flush(asker)
    net.run_until(lambda: all(handle in asker.done for asker, handle in handles), PATIENCE)
    outcomes = []
    for (asker, handle), truth in zip(handles, truths, strict=True):
        done = asker.done[handle]
        assert isinstance(done, LookupDone)
        found = {contact.id for contact in done.closest}
        outcomes.append(Outcome(done.stats.elapsed, done.stats.queries, len(truth & found) / len(truth)))
    return outcomes


def look_up_by_the_book(net: Network, asker: Host, key: Id) -> Outcome:
    """Look a key up by asking the nearest that were not asked, ALPHA at a time, until the K nearest have answered."""
    k = net.policy.k
    rng = Random(f"textbook {key}")
    known = dict.fromkeys(asker.node.state.closest(key, k))
    asked: set[Contact] = set()
    answered: set[Contact] = set()
    failed: set[Contact] = set()
    ends: list[tuple[float, int, Contact, bool]] = []  # when each query in flight ends, and whether with an answer
    now = 0.0
    while True:
        nearest = sorted((contact for contact in known if contact not in failed), key=lambda one: one.id ^ key)[:k]
        for contact in [contact for contact in nearest if contact not in asked][: ALPHA - len(ends)]:
            asked.add(contact)
            there = net.at(contact.endpoint)
            lives = there is not None and there.alive
            taken = _round_trip(net, asker, contact, rng) if lives else TIMEOUT
            heappush(ends, (now + taken, len(asked), contact, lives))
        if answered.issuperset(nearest):
            break
        now, _, contact, lives = heappop(ends)
        if not lives:
            failed.add(contact)
            continue
        answered.add(contact)
        there = net.at(contact.endpoint)
        assert there is not None
        known.update(dict.fromkeys(other for other in there.node.state.closest(key, k) if other.id != asker.id))
    truth = _truth(net, asker, key)
    return Outcome(now, len(asked), len(truth & {contact.id for contact in nearest}) / len(truth))


def _round_trip(net: Network, asker: Host, contact: Contact, rng: Random | None = None) -> float:
    """Return the time of a query and its answer, this time."""
    rng = rng or net.rng
    latency = net.weather.latency(asker.endpoint, contact.endpoint)
    return latency * (2 + (rng.random() + rng.random()) * net.weather.links.jitter)


def _truth(net: Network, asker: Host, key: Id) -> set[Id]:
    nearest = [host.id for host in net.closest(key, net.policy.k + 1) if host is not asker]
    return set(nearest[: net.policy.k])


def _figures(outcomes: Sequence[Outcome]) -> tuple[float, float, float, float, float]:
    seconds = sorted(outcome.seconds for outcome in outcomes)
    return (
        percentile(seconds, 0.5),
        percentile(seconds, 0.99),
        median(outcome.queries for outcome in outcomes),
        mean(outcome.queries for outcome in outcomes),
        mean(outcome.recall for outcome in outcomes),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench lookups", description="Compare lookups with the textbook's.")
    parser.add_argument("--nodes", type=int, default=3_000, metavar="N", help="nodes of a network (3000)")
    parser.add_argument("--dead", type=float, default=0.2, metavar="P", help="part of them that is dead (0.2)")
    parser.add_argument("--lookups", type=int, default=500, metavar="N", help="lookups in a network (500)")
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="networks (4)")
    return parser


if __name__ == "__main__":
    sys.exit(main())

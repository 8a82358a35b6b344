"""How often chance looks like a crowd, and a crowd like chance, for each threshold.

Run it with `python3 dev.py bench crowding`. A publication or a lookup widens if the K-th nearest node has less than a
share of the usual room: `crowded` in the policy. A high threshold widens often in a network of honest nodes, and costs
queries and more holders. With a low one, attackers that are just a little nearer than all others pass for the nearest.
Each network is asked twice, by nodes that never widen and by nodes that always do. The first run shows the room, the
second the cost of widening. The thresholds are then applied to these.

The attackers are those of the scenario eclipse: each key has its own network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from random import Random
from statistics import mean

from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim import warm
from dhtd.sim.eclipse import Eclipse
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import scattered

THRESHOLDS = (0.8, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3)
GANGS = ((4, False), (8, False), (24, False), (4, True), (24, True))  # networks; whether they are very near
JOINING = 30.0  # seconds for attackers
NEVER = replace(DEFAULT, region=0.0)
ALWAYS = replace(DEFAULT, crowded=inf, crowded_in_vain=inf)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one publication, or of one lookup."""

    room: float  # of the K nearest, as a share of the usual room
    queries: int  # stores included
    holders: int  # that it has found, or made


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    for nodes in options.nodes:
        never, always = (
            [pair for seed in range(1, 1 + options.seeds) for pair in honest(seed, nodes, options.entries, policy)]
            for policy in (NEVER, ALWAYS)
        )
        print(f"\n{options.seeds} honest networks of {nodes} nodes, {len(never)} entries")
        print(f"\n{'':<9} {'published':>9} {'':>8} {'':>8} {'looked up':>10}")
        print(f"{'threshold':<9} {'widened':>9} {'queries':>8} {'holders':>8} {'widened':>10} {'queries':>8}")
        for threshold in THRESHOLDS:
            published, looked_up = (
                _by(threshold, [pair[place] for pair in never], [pair[place] for pair in always]) for place in (0, 1)
            )
            print(
                f"{threshold:<9} {published[0]:>9.1%} {published[1]:>8.2f} {published[2]:>8.2f}"
                f" {looked_up[0]:>10.1%} {looked_up[1]:>8.2f}"
            )
    gangs = {
        gang: [hidden(seed, options.among, gang[0], is_closest=gang[1]) for seed in range(options.keys)]
        for gang in GANGS
    }
    if options.keys:
        print(f"\npublications, and lookups, that notice the attackers: of {options.keys} keys each\n")
        print(f"{'threshold':<9} {'':>3}" + "".join(f"{_name(gang):>14}" for gang in GANGS))
        for threshold in THRESHOLDS:
            noticed = (mean(room < threshold for pair in rooms for room in pair) for rooms in gangs.values())
            print(f"{threshold:<9} {'':>3}" + "".join(f"{part:>14.1%}" for part in noticed))


def honest(seed: int, nodes: int, entries: int, policy: Policy) -> list[tuple[Outcome, Outcome]]:
    """Publish and look up in a network without attackers; return the result of each entry."""
    net = _network(seed, nodes, policy)
    rng = Random(seed)
    outcomes = []
    for _ in range(entries):
        owner, asker = rng.sample(net.hosts, 2)
        outcomes.append(_published_and_looked_up(net, owner, asker, NATIVE.random(rng)))
    return outcomes


def hidden(seed: int, nodes: int, networks: int, *, is_closest: bool) -> tuple[float, float]:
    """Return the room of the nearest for a publisher under an attacked key, and for a lookup of it."""
    net = _network(seed, nodes, NEVER)
    rng = Random(seed)
    key = NATIVE.random(rng)
    owner, asker = rng.sample(net.hosts, 2)
    Eclipse(net, networks, closest=is_closest, site=False).attack(key)
    net.run_for(JOINING)
    published, looked_up = _published_and_looked_up(net, owner, asker, key)
    return published.room, looked_up.room


def _network(seed: int, nodes: int, policy: Policy) -> Network:
    net = Network(seed, policy=policy, address=scattered)
    warm.acquaint(net, [net.add(start=False) for _ in range(nodes)])
    return net


def _published_and_looked_up(net: Network, owner: Host, asker: Host, key: Id) -> tuple[Outcome, Outcome]:
    before = owner.node.counters.queries_sent
    replicas = net.enter(owner, key, 80).replicas
    queries = owner.node.counters.queries_sent - before
    found = net.lookup(asker, key)
    return (
        Outcome(_room(owner, key, replicas), queries, len(replicas)),
        Outcome(_room(asker, key, found.closest), found.stats.queries, len(replicas)),
    )


def _room(host: Host, key: Id, contacts: Iterable[Contact]) -> float:
    """Return the distance of the K-th nearest of these, as a share of the usual distance."""
    distances = sorted(contact.id ^ key for contact in contacts)
    return distances[host.node.policy.k - 1] / host.node.overlays.first.usual_room


def _by(threshold: float, never: Sequence[Outcome], always: Sequence[Outcome]) -> tuple[float, float, float]:
    """Return the share that widens, with its mean number of queries and holders."""
    outcomes = [two if one.room < threshold else one for one, two in zip(never, always, strict=True)]
    return (
        mean(one.room < threshold for one in never),
        mean(each.queries for each in outcomes),
        mean(each.holders for each in outcomes),
    )


def _name(gang: tuple[int, bool]) -> str:
    networks, is_closest = gang
    return f"{networks}, {'very near' if is_closest else 'near'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench crowding", description="Measure thresholds for a crowd.")
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 1_000], metavar="N", help="in each (100 1000)")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="networks of each size (10)")
    parser.add_argument("--entries", type=int, default=100, metavar="N", help="entries in each (100)")
    parser.add_argument("--keys", type=int, default=100, metavar="N", help="attacked, in each way (100)")
    parser.add_argument("--among", type=int, default=100, metavar="N", help="honest nodes there (100)")
    return parser


if __name__ == "__main__":
    main()

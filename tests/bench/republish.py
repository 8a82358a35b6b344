"""The datagrams that contacts with changing IDs, near, far and near again, make a node send: in the simulator.

Run it with `python3 dev.py bench republish`. A node among others has own entries. Eight neighbours at their own
addresses take new IDs again and again: near to the node, then far away, so that its network seems to grow.

With `--undefended` everything is off that a policy can switch off: new contacts count at once and without limit, and an
endpoint may change its ID at will. The robust estimate of the network's size stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from dhtd.core.ids import NATIVE, Id
from dhtd.core.policy import DEFAULT, Policy
from dhtd.sim import warm
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.places import scattered

CHANGERS = 8
EVERY = 20.0  # seconds between two changes
UNDEFENDED = replace(
    DEFAULT, id_change=0.0, newcomer_stays=0.0, newcomer_gap=DEFAULT.republish_gap, newcomer_credit=1_000_000
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Count what a node sends, and print it."""
    options = _parser().parse_args(arguments)
    policy = UNDEFENDED if options.undefended else DEFAULT
    size = options.nodes, options.entries, options.minutes
    calm = sent(options.seed, *size, changing=False, policy=policy)
    changing = sent(options.seed, *size, changing=True, policy=policy)
    print(f"{options.entries} entries of a node among {options.nodes}, in {options.minutes} minutes")
    print(f"datagrams sent: {calm}; {changing} while {CHANGERS} nodes change their IDs; ratio {changing / calm:.2f}")
    return 0


def sent(seed: int, nodes: int, entries: int, minutes: int, *, changing: bool, policy: Policy = DEFAULT) -> int:
    """Return how many datagrams the node has sent by itself."""
    net = Network(seed, address=scattered, policy=policy)
    victim, *others = [net.add(start=False) for _ in range(nodes)]
    changers = others[:CHANGERS]
    warm.acquaint(net, [victim, *others])
    net.run_for(5)
    for number in range(entries):
        net.enter(victim, NATIVE.digest(b"%d" % number), 3_000)
    before = victim.node.counters.queries_sent
    for step in range(int(minutes * 60 / EVERY)):
        net.run_for(EVERY)
        if changing:
            _change(net, victim, changers, near=step % 2 == 0)
    return victim.node.counters.queries_sent - before


def _change(net: Network, victim: Host, changers: Sequence[Host], *, near: bool) -> None:
    """Bring each changer up under a new ID, and have it ask the victim something."""
    for changer in changers:
        net.kill(changer)
        id = victim.id ^ net.rng.getrandbits(180 if near else NATIVE.bits)
        changer.bootstrap = (victim.endpoint,)
        net.restart(changer, id=Id(id))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench republish", description="Count what contacts with new IDs cost.")
    parser.add_argument("--nodes", type=int, default=100, metavar="N", help="nodes of the network (100)")
    parser.add_argument("--entries", type=int, default=30, metavar="N", help="entries of the node (30)")
    parser.add_argument("--minutes", type=int, default=60, metavar="N", help="virtual minutes (60)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what all chance follows from (1)")
    parser.add_argument("--undefended", action="store_true", help="without what nodes do against it, to compare")
    return parser


if __name__ == "__main__":
    sys.exit(main())

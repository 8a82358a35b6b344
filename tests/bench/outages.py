"""How often a node takes lost datagrams for an outage, and how soon it notices a real one: in the simulator.

Run it with `python3 dev.py bench outages`. Small idle networks live through hours of loss, or of churn; each outage
that a node reports is a false alarm. Then nothing arrives any more, and the time is measured until each node reports
it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dhtd.core.events import Event, Isolated
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network
from dhtd.sim.report import percentile

HOUR = 3_600.0
WARM = 60.0  # seconds that a network is given to get together
PATIENCE = 2 * HOUR  # for an outage to be noticed
PACE = 90.0  # seconds from one death to the next, under churn: of 24 nodes, 5 in 3 die within an hour


@dataclass(frozen=True, slots=True)
class Quiet:
    """Some hours without an outage."""

    node_hours: float
    alarms: int
    datagrams: int  # sent by all nodes


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the effects of loss and churn."""
    options = _parser().parse_args(arguments)
    print(f"{options.seeds} networks of {options.nodes} nodes, {options.hours:g} h each, in which nobody asks\n")
    print(
        f"{'':<10} {'false alarms':>12} {'a node-hour':>12} {'datagrams':>10} {'noticed after s: p50':>21} {'p90':>6}"
    )
    for loss in options.loss:
        quiet = [live_through(seed, options.nodes, options.hours, loss=loss) for seed in range(options.seeds)]
        noticed = [seconds for seed in range(options.seeds) for seconds in notice(seed, options.nodes, loss)]
        print(f"{_row(f'{loss:.0%} lost', quiet)} {percentile(noticed, 0.5):>21.1f} {percentile(noticed, 0.9):>6.1f}")
    churned = [live_through(seed, options.nodes, options.hours, pace=PACE) for seed in range(options.seeds)]
    print(_row("churn", churned))
    return 0


def live_through(seed: int, nodes: int, hours: float, *, loss: float = 0.0, pace: float = 0.0) -> Quiet:
    """Let a network live with so much loss, and with a node replaced every `pace` seconds, if that is not 0."""
    net = _grown(seed, nodes, loss)
    alarms = _alarms(net)
    before, until = net.datagrams, net.now + hours * HOUR
    while net.now < until:
        net.run_for(min(pace or HOUR, until - net.now))
        if pace:
            net.kill(net.rng.choice(net.live))
            net.grow(1, every=0.0)
    return Quiet(nodes * hours, len(alarms), net.datagrams - before)


def notice(seed: int, nodes: int, loss: float) -> list[float]:
    """Let nothing arrive any more, from some moment of a quarter of an hour; return when each node reports it."""
    net = _grown(seed, nodes, loss)
    net.run_for(net.rng.uniform(0.0, 900.0))
    alarms = _alarms(net)
    begun_at = net.now
    net.outage()
    while len({host for _, host in alarms}) < nodes and net.now < begun_at + PATIENCE:
        net.run_for(60.0)
    first = {host: when - begun_at for when, host in reversed(alarms)}
    return [first.get(host, PATIENCE) for host in net.hosts]


def _grown(seed: int, nodes: int, loss: float) -> Network:
    net = Network(seed, links=LinkModels(loss=loss))
    net.grow(nodes)
    net.run_for(WARM)
    return net


def _alarms(net: Network) -> list[tuple[float, Host]]:
    """Return a list that will have each outage that a node reports: the time, and the node."""
    alarms: list[tuple[float, Host]] = []

    def listen(host: Host, event: Event) -> None:
        if isinstance(event, Isolated):
            alarms.append((net.now, host))

    net.listener = listen
    return alarms


def _row(name: str, quiet: Sequence[Quiet]) -> str:
    hours, alarms = sum(each.node_hours for each in quiet), sum(each.alarms for each in quiet)
    rate = sum(each.datagrams for each in quiet) / hours
    return f"{name:<10} {alarms:>12} {alarms / hours:>12.5f} {rate:>10.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py bench outages", description="Count outages that are none.")
    parser.add_argument("--nodes", type=int, default=24, metavar="N", help="in each network (24)")
    parser.add_argument("--seeds", type=int, default=12, metavar="N", help="networks (12)")
    parser.add_argument("--hours", type=float, default=1.0, metavar="H", help="that each lives (1)")
    parser.add_argument(
        "--loss", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.3], metavar="P", help="of datagrams (0 0.1 0.2 0.3)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What must hold of a ring in the end, found out without the nodes' own code: from a sorted list of live IDs."""

from __future__ import annotations

from collections.abc import Iterable

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace
from dhtd.sim.chord.node import ChordNode
from dhtd.sim.chord.overlay import Chord, chord_node
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.standing import Standing
from dhtd.sim.host import Host
from dhtd.sim.links import LinkModels
from dhtd.sim.network import Network

SMALL = Keyspace(7)
# Records outlive the tests: what is lost does not come back by a renewal. Rounds are short: a test has fewer events.
LASTING = ChordPolicy(lease=1e6, renew=3e5, stabilise=3.0, hurry=0.5, fix_finger=2.0, first_fingers=0.2, probe=6.0)
QUICK = LinkModels(latency=0.01, sigma=0.0)


def network(seed: int, keyspace: Keyspace = SMALL, links: LinkModels = QUICK, policy: ChordPolicy = LASTING) -> Network:
    return Network(seed, links=links, overlay=Chord(keyspace, policy))


def node(host: Host) -> ChordNode:
    return chord_node(host.member)


def ring(net: Network) -> list[Host]:
    """Return the live hosts in the order of their IDs."""
    return sorted(net.live, key=lambda host: host.id)


def successors(hosts: list[Host], key: Id, count: int) -> list[Host]:
    """Return the first host at `key` or after it, and the next ones."""
    place = next((place for place, host in enumerate(hosts) if host.id >= key), 0)
    return [hosts[(place + step) % len(hosts)] for step in range(min(count, len(hosts)))]


def wrongs(net: Network, records: Iterable[tuple[Id, Endpoint]] = (), *, fingers: bool = True) -> list[str]:
    """Return in words what is not right yet."""
    hosts, found = ring(net), []
    size = net.keyspace.size
    for place, host in enumerate(hosts):
        it = node(host)
        after = [hosts[(place + step) % len(hosts)].contact for step in range(1, min(9, len(hosts)))]
        if list(it.ring.successors) != after:
            found.append(f"{host.id}: successors {[c.id for c in it.ring.successors]}, not {[c.id for c in after]}")
        before = hosts[place - 1].contact if len(hosts) > 1 else None
        if it.ring.predecessor != before:
            found.append(f"{host.id}: predecessor {it.ring.predecessor}, not {before}")
        if len(hosts) > 1 and it.standing is not Standing.JOINED:
            found.append(f"{host.id}: {it.standing.name}")
        for number in range(net.keyspace.bits) if fingers else ():
            (true,) = successors(hosts, Id((host.id + (1 << number)) % size), 1)
            finger = it.fingers.at(number)
            if (None if finger is None else finger.id) != (None if true is host else true.id):
                found.append(f"{host.id}: finger {number} is {finger}, not {true.id}")
    for key, endpoint in records:
        without = [host for host in successors(hosts, key, 8) if endpoint not in node(host).shelf.under(key, net.now)]
        found += [f"{key} at {endpoint} is not held by {host.id}" for host in without]
    return found


def heals(net: Network, records: Iterable[tuple[Id, Endpoint]] = (), limit: float = 300.0) -> float:
    """Let time pass until all is right; return the seconds that it took."""
    began, records = net.now, list(records)
    while found := wrongs(net, records):
        assert net.now < began + limit, f"seed {net.seed}, after {limit:g} s: {found[:8]}"
        net.run_for(2.0)
    return net.now - began

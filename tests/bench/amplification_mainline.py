"""Bytes out for bytes in, in the Mainline network: what forged queries have a node send, sustained.

Run it with `python3 dev.py bench amplification-mainline`. The node is that of `dhtd start --network mainline`, on a
clock of the bench, with a full table of each family. For a minute it gets the queries that bring the longest answers,
as many a second as it answers, from addresses of the Internet that were never heard before. So what is printed is the
same on each machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dhtd.config.networks import MAINLINE as NETWORK
from dhtd.config.networks import NETWORKS
from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from tests.core.mainline import KEY, Fields, announce, packed, result

SECONDS = 60
RATE = 2_000  # queries a second, the limit of all sources together
VALUE = b"990:" + bytes(990)
WANT = [b"n4", b"n6"]


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of query has brought."""

    name: str
    taken: int
    brought: int

    @property
    def beyond(self) -> float:
        """The bytes a second above four times those that came in."""
        return max(0.0, (self.brought - 4 * self.taken) / SECONDS)


def main() -> None:
    rng = Random(1)
    target = KEYSPACE.to_bytes(KEYSPACE.digest(VALUE))
    kinds: dict[str, tuple[bytes, Fields]] = {
        "ping": (b"ping", {}),
        "find_node": (b"find_node", {b"target": KEYSPACE.to_bytes(KEY)}),
        "find_node, both families": (b"find_node", {b"target": KEYSPACE.to_bytes(KEY), b"want": WANT}),
        "get_peers of sixty": (b"get_peers", {b"info_hash": KEYSPACE.to_bytes(KEY)}),
        "get_peers, scrape": (b"get_peers", {b"info_hash": KEYSPACE.to_bytes(KEY), b"scrape": 1}),
        "get of 990 bytes": (b"get", {b"target": target}),
        "sample_infohashes": (b"sample_infohashes", {b"target": KEYSPACE.to_bytes(KEY)}),
    }
    budget = NETWORKS[NETWORK.name].policy.spare_bytes
    print(f"{SECONDS} s of {RATE:,} queries a second from new addresses; the budget is {budget:,.0f} bytes a second")
    print(f"{'query':<26} {'family':<6} {'in':>12} {'out':>12} {'out ÷ in':>9} {'beyond 4, bytes/s':>18}")
    for family in (Family.IPV4, Family.IPV6):
        for name, (method, arguments) in kinds.items():
            row = _flood(name, packed(method, arguments), family, rng)
            ratio = row.brought / row.taken
            print(f"{name:<26} {family!s:<6} {row.taken:>12,} {row.brought:>12,} {ratio:>9.2f} {row.beyond:>18,.0f}")


def _flood(name: str, query: bytes, family: Family, rng: Random) -> Row:
    node, now = _node(rng), 100.0
    taken = brought = 0
    for number in range(SECONDS * RATE):
        answer = node.handle_datagram(query, _public(family, 100_000 + number), now + number / RATE)
        taken += len(query)
        brought += 0 if answer is None else len(answer)
    return Row(name, taken, brought)


def _node(rng: Random) -> Node:
    network = NETWORKS[NETWORK.name]
    codec, families = network.codec(dual_stack=True), (Family.IPV4, Family.IPV6)
    node = Node(KEYSPACE.digest(b"us"), codec, rng=rng, now=0.0, policy=network.policy, families=families)
    for number in range(200):
        for family in families:
            contact = Contact(KEYSPACE.digest(b"%d %d" % (number, len(str(family)))), _public(family, number))
            node.overlays[family].state.answered(contact, 0.1, 0.0)
    for number in range(60):
        for family in families:
            announce(node, _public(family, 1_000 + number))
            announce(node, _public(family, 2_000 + number), KEYSPACE.digest(b"%d" % number))
    source = _public(Family.IPV4, 3_000)
    value = {b"target": KEYSPACE.to_bytes(KEYSPACE.digest(VALUE))}
    token = result(node, b"get", value, source)[b"token"]
    assert result(node, b"put", {b"token": token, b"v": VALUE[4:]}, source).keys() == {b"id"}
    return node


def _public(family: Family, number: int) -> Endpoint:
    """Return an endpoint in a network of its own."""
    if family is Family.IPV4:
        return Endpoint.of(f"{11 + number // 62_500}.{number // 250 % 250}.{number % 250}.1", 6881)
    return Endpoint.of(f"2a{number // 65_536:02x}:{number % 65_536:x}::1", 6881)


if __name__ == "__main__":
    main()

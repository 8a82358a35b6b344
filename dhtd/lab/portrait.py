"""One node in detail: its contacts, and what it holds."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.lab.roll import Roll
from dhtd.sim.chord.node import ChordNode
from dhtd.sim.host import Host
from dhtd.sim.network import Network

HELD: Final = 1_000  # held entries that are told


class Portraits:
    """Draws the nodes of a run."""

    def __init__(self, net: Network, roll: Roll) -> None:
        self._net = net
        self._roll = roll
        self._format = net.keyspace.format

    def draw(self, host: Host) -> dict[str, Any]:
        """Return what a node knows and holds now."""
        clock = host.clock(self._net.now)
        member = host.member
        if isinstance(member, Node):
            return self._kademlia(member, clock)
        assert isinstance(member, ChordNode)
        return self._chord(member)

    def _kademlia(self, node: Node, clock: float) -> dict[str, Any]:
        overlay = node.overlays.first
        state = overlay.state
        held = ((each.key, each.record.endpoint) for each in node.store)
        return {
            "contacts": [self._contact(each, state.standing(each, clock).value) for each in state.table],
            "buckets": [
                {"low": self._format(each.low), "high": self._format(each.high), "size": len(each.contacts)}
                for each in state.table.buckets
            ],
            "own": [self._format(each.record_key.key) for each in node.own_records],
            "holds": len(node.store),
            "held": self._held(held),
        }

    def _chord(self, node: ChordNode) -> dict[str, Any]:
        ring, fingers = node.ring, node.fingers
        far = dict.fromkeys(filter(None, map(fingers.at, range(fingers.bits))))
        held = [(key, endpoint) for key, (_, endpoint) in node.shelf.places()]
        return {
            "contacts": [self._contact(each, "good") for each in fingers.contacts],
            "fingers": [self._number(each) for each in far],
            "successors": [self._number(each) for each in ring.successors],
            "predecessor": None if ring.predecessor is None else self._number(ring.predecessor),
            "own": [self._format(each.key) for each in node.publisher.entries.values()],
            "holds": len(held),
            "held": self._held(held),
        }

    def _contact(self, contact: Contact, state: str) -> dict[str, Any]:
        return {
            "n": self._number(contact),
            "id": self._format(contact.id),
            "endpoint": str(contact.endpoint),
            "state": state,
        }

    def _number(self, contact: Contact) -> int | None:
        """Return the number of a contact's node; None if nobody remembers it."""
        n = self._roll.number(str(contact.endpoint))
        named = None if n is None else self._roll.named(n)
        return n if named is not None and named.id == self._format(contact.id) else None

    def _held(self, held: Iterable[tuple[Id, Endpoint]]) -> list[dict[str, str]]:
        return [{"id": self._format(id), "endpoint": str(endpoint)} for id, endpoint in islice(held, HELD)]

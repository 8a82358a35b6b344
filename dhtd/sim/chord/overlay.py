"""Chord as an overlay: the node, what is in its state file, and what must hold of it at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import NATIVE, Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.records import Peer, RecordKey
from dhtd.errors import WireError
from dhtd.sim.chord import sayings
from dhtd.sim.chord.node import DEFAULT, ChordNode
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.standing import Standing
from dhtd.sim.chord.wire import ChordWire
from dhtd.sim.overlay import Member, Metric, Sizes
from dhtd.sim.saved import Saved


class Chord:
    """Networks of Chord nodes."""

    metric = Metric.CLOCKWISE

    def __init__(self, keyspace: Keyspace = NATIVE, policy: ChordPolicy = DEFAULT) -> None:
        self.keyspace = keyspace
        self._policy = policy
        self._wire = ChordWire(keyspace)

    def member(
        self, id: Id, endpoints: tuple[Endpoint, ...], rng: Random, now: float, session: bytes | None
    ) -> ChordNode:
        """Make a node. It draws a session at each start, since it forgets the records of others."""
        (endpoint,) = endpoints
        return ChordNode(Contact(id, endpoint), self.keyspace, rng=rng, now=now, policy=self._policy)

    def save(self, member: Member, clock: float, late: float) -> Saved:
        """Return the node's state file: its contacts and own entries. What it holds for others, others hold as well."""
        node = chord_node(member)
        own = tuple(
            RecordKey.of(entry.key, Peer.on(entry.port))
            for entry in node.publisher.entries.values()
            if not entry.is_withdrawn
        )
        contacts = dict.fromkeys((*node.fingers.contacts, *node.ring.lost.values()))
        return Saved(node.own_id, tuple(contacts), own, held=())

    def load(self, member: Member, saved: Saved, clock: float, late: float) -> None:
        """Put back what was saved."""
        node = chord_node(member)
        node.restore(saved.contacts)
        for record_key in saved.own:
            node.publisher.enter(record_key.key, record_key.peer.port, None, clock)

    def contacts(self, member: Member) -> Sequence[Contact]:
        """Return the distinct fingers and successors."""
        return chord_node(member).fingers.contacts

    def say_goodbye(self, member: Member, now: float) -> None:
        """Withdraw what the node has entered, hand over what it holds, and leave the ring."""
        node = chord_node(member)
        node.publisher.delete_all(now)
        node.leave(now)

    def has_gone(self, member: Member) -> bool:
        """Whether it has left."""
        return chord_node(member).standing is Standing.LEFT

    def renewals(self, member: Member) -> int:
        """Return how many stores have arrived: each is a renewal, or the first one."""
        return chord_node(member).server.stores

    def check(self, member: Member, endpoints: tuple[Endpoint, ...], clock: float, *, has_jumped: bool) -> None:
        """The successor list goes round the circle once at most, and has no place for the node itself."""
        node = chord_node(member)
        ring, circle = node.ring, node.ring.circle
        ways = [circle.way(contact.id) for contact in ring.successors]
        assert ways == sorted(set(ways)), "the successors are not clockwise"
        assert len(ways) <= node.policy.successors, "the successor list is too long"
        neighbours = [*ring.successors, *filter(None, [ring.predecessor])]
        assert all(contact.id != node.own_id for contact in neighbours), "a node is its own neighbour"
        for number in range(node.fingers.bits):
            finger = node.fingers.at(number)
            assert finger is None or circle.way(finger.id) >= 1 << number, "a finger ends before it starts"

    def check_answer(self, query: bytes, answer: bytes) -> None:
        """No answer is too long for a datagram."""
        assert len(answer) <= self._policy.datagram_max, f"an answer of {len(answer)} bytes"

    def sizes(self, member: Member) -> Sizes:
        """Return how much a node knows."""
        node = chord_node(member)
        return Sizes(len(node.fingers.contacts), None, len(node.publisher.entries), len(node.shelf))

    def told(self, data: bytes) -> str:
        """Return what a datagram says."""
        try:
            return sayings.told(self.keyspace, self._wire.decode(data))
        except WireError as error:
            return f"{len(data)} bytes that are no message: {error}"


def chord_node(member: Member) -> ChordNode:
    """Return a member of a Chord ring as what it is."""
    assert isinstance(member, ChordNode)
    return member

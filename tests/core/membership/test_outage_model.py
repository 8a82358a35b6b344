"""A total outage, seen by one node: contacts remain, nobody answers for hours, and nothing is lost.

The world around the node is one object that answers every query at once, or none. Contacts that the node knows to be
alive at the start of the outage are its contacts at its end, and none of them is bad. Own entries are tracked
throughout. Soon afterwards the node has joined again, its entries are with the living nodes, and no range is stale.
"""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dhtd.core.codec import Room
from dhtd.core.events import Event, Isolated, Joined
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, FindValue, Query
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.routing.standing import Standing
from tests.core.small import CODEC, SEVEN, contact
from tests.strategies import ids, scaled

POLICY = Policy(k=4)
OWN_ID = Id(1)
OBSERVED = contact(1).endpoint


class World:
    """A node, and all the others as one."""

    def __init__(self, others: set[Id], dead: set[Id], seed: int) -> None:
        self.node = Node(OWN_ID, CODEC, rng=Random(seed), now=0.0, policy=POLICY)
        self.now = 0.0
        self.others = {contact(id).endpoint: contact(id) for id in others}
        self.dead = dead
        self.is_up = True
        self.events: list[Event] = []

    def run(self, seconds: float) -> None:
        """Let time pass: do due work, and deliver queries and answers."""
        until = self.now + seconds
        while True:
            self._exchange()
            when = self.node.poll_timeout()
            if when is None or when > until:
                self.now = until
                return
            self.now = max(self.now, when)
            self.node.handle_timeout(self.now)

    def _exchange(self) -> None:
        while (sent := self.node.poll_transmit()) is not None:
            other = self.others.get(sent.endpoint)
            if self.is_up and other is not None and other.id not in self.dead:
                self.node.handle_datagram(self._answer(other, sent.data), sent.endpoint, self.now)
        while (event := self.node.poll_event()) is not None:
            self.events.append(event)

    def _answer(self, other: Contact, data: bytes) -> bytes:
        query = CODEC.decode(data)
        assert isinstance(query, Query)
        match query.request:
            case FindNode(target) | FindValue(target):
                nearest = sorted(self.others.values(), key=lambda contact: contact.id ^ target)[: POLICY.k]
                packed = CODEC.pack_contacts(nearest)
                return CODEC.encode_found(query, other.id, OBSERVED, b"token", packed, Room(1_200, proved=True))
            case _:
                return CODEC.encode_acknowledged(query.tid, other.id, OBSERVED)


commands = st.sampled_from(["lookup", "enter", "ping", "bootstrap", "delete", "wait"])


@scaled(25)
@given(
    st.sets(ids(SEVEN).filter(lambda id: id != OWN_ID), min_size=2, max_size=30),
    st.sets(ids(SEVEN), max_size=8),
    st.booleans(),
    st.lists(st.tuples(commands, st.sampled_from([0.0, 0.0, 3.0, 2_000.0])), max_size=8),
    st.sampled_from([30.0, 3_600.0, 24 * 3_600.0]),
    st.integers(0, 99),
)
def test_a_total_outage_takes_nothing_from_a_node(
    others: set[Id], dead: set[Id], has_entry: bool, asked: list[tuple[str, float]], seconds: float, seed: int
) -> None:
    world = World(others, dead, seed)
    node = world.node
    node.start(world.others, world.now)
    own: set[tuple[Id, int]] = set()
    if has_entry:
        node.commands.enter(Id(77), 80, world.now)
        own.add((Id(77), 80))
    world.run(3_000.0)
    alive = {contact(id) for id in others - dead}
    before = alive.intersection(node.state.table)
    assert bool(before) == bool(alive)
    for member in before:
        node.commands.ping(member.endpoint, world.now)  # the network was up until this very moment
    world.run(0.0)

    world.is_up = False
    for command, wait in asked:
        ask(world, command, own)
        world.run(wait)
    world.run(seconds)
    check_that_nothing_is_lost(world, before, own)
    assert not node.overlays.first.is_connected or seconds < 3_600.0

    if node.overlays.first.is_connected or not alive:
        return
    world.is_up = True
    world.events.clear()
    up_since = world.now
    while not any(isinstance(event, Joined) for event in world.events):
        world.run(1.0)
        assert world.now - up_since <= POLICY.rejoin_max + POLICY.query_timeout + 1.0
    world.run(POLICY.startup_spread)
    check_that_nothing_is_lost(world, before, own)
    assert all(entry.replicas for entry in node.own_records)
    nearest = min(member.id ^ OWN_ID for member in node.state.table)
    for bucket in node.state.table.buckets:
        is_far = all(id ^ OWN_ID > nearest for id in range(bucket.low, bucket.high + 1))
        assert not is_far or bucket.activity >= up_since
    assert not any(isinstance(event, Isolated) for event in world.events)


def ask(world: World, command: str, own: set[tuple[Id, int]]) -> None:
    """Give the node a command, and note its entries in `own`."""
    match command:
        case "lookup":
            world.node.commands.lookup(Id(99), world.now)
        case "enter":
            world.node.commands.enter(Id(78), 443, world.now)
            own.add((Id(78), 443))
        case "ping":
            for endpoint in world.others:
                world.node.commands.ping(endpoint, world.now)
        case "bootstrap":
            world.node.commands.bootstrap(world.others, world.now)
        case "delete":
            world.node.commands.delete(Id(78), None, world.now)
            own.discard((Id(78), 443))
        case _:
            pass


def check_that_nothing_is_lost(world: World, contacts: set[Contact], own: set[tuple[Id, int]]) -> None:
    state = world.node.state
    assert contacts <= set(state.table)
    assert all(state.standing(contact, world.now) is not Standing.BAD for contact in contacts)
    assert {(entry.key, entry.port) for entry in world.node.own_records} == own

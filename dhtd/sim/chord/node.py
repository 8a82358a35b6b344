"""A Chord node. It composes its parts behind `handle_*`, `poll_*` and commands."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, Joined
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact
from dhtd.core.querying.requester import Transmit
from dhtd.errors import WireError
from dhtd.sim.chord.circle import Circle
from dhtd.sim.chord.comparer import Comparer
from dhtd.sim.chord.fingers import Fingers
from dhtd.sim.chord.fixer import Fixer
from dhtd.sim.chord.lookups import Lookups
from dhtd.sim.chord.messages import Copies, Leave, Message, Neighbourhood, NotMine, Result, Route, Values, Yes
from dhtd.sim.chord.policy import ChordPolicy
from dhtd.sim.chord.publisher import Publisher
from dhtd.sim.chord.replicator import Replicator
from dhtd.sim.chord.requester import Query, Requester
from dhtd.sim.chord.ring import Ring
from dhtd.sim.chord.searches import Searches
from dhtd.sim.chord.seeker import Seeker
from dhtd.sim.chord.server import Server
from dhtd.sim.chord.shelf import Shelf
from dhtd.sim.chord.stabiliser import Stabiliser
from dhtd.sim.chord.standing import TRANSITIONS, Standing
from dhtd.sim.chord.wire import SESSION_SIZE, ChordWire

_RESULTS = (Yes, Route, Neighbourhood, Values, NotMine, Copies)
_LEAVING = 15.0  # seconds that the hand-over at a leave may take
DEFAULT = ChordPolicy()


class ChordNode:
    """One node, at one endpoint."""

    def __init__(
        self, own: Contact, keyspace: Keyspace, *, rng: Random, now: float, policy: ChordPolicy = DEFAULT
    ) -> None:
        wire = ChordWire(keyspace)
        self.policy = policy
        self.standing = Standing.ALONE
        self.ring = ring = Ring(own, Circle(keyspace, own.id), policy)
        self.shelf = shelf = Shelf()
        self.fingers = fingers = Fingers(ring)
        self._session = rng.randbytes(SESSION_SIZE)
        self._wire = wire
        self._events: deque[Event] = deque()
        self._misses: dict[Endpoint, int] = {}  # timeouts in a row
        self._handles = 0
        self._sweep_at = now + policy.sweep
        self._alone_at: float | None = None  # when the node takes itself for a ring of one, if it has joined none
        self._leave_at: float | None = None  # when the leave is said, whatever was handed over until then
        self._goodbyes = 0  # that are under way
        self._requester = requester = Requester(own, self._session, wire, policy, rng, self)
        room = policy.datagram_max - wire.overhead() - 3
        self.replicator = replicator = Replicator(ring, shelf, requester, policy, room // wire.size_of_copy())
        self._stabiliser = stabiliser = Stabiliser(ring, requester, policy, rng, now)
        endpoint_size = 1 + len(own.endpoint)
        self.server = server = Server(ring, fingers, shelf, replicator, policy, room // endpoint_size, stabiliser.doubt)
        self._comparer = Comparer(ring, shelf, self.replicator, requester, server.keep, policy)
        self._searches = searches = Searches(ring, requester, policy, server.route, server.values)
        self._fixer = Fixer(ring, fingers, searches, policy, rng, now)
        self._seeker = Seeker(ring, fingers, searches, stabiliser.consider, stabiliser.notify, policy, rng, now)
        tell = self._events.append
        self._lookups = Lookups(searches, tell, policy)
        self.publisher = Publisher(ring, requester, searches, server.keep_own, tell, policy)

    @property
    def own_id(self) -> Id:
        """Our ID."""
        return self.ring.own.id

    @property
    def commands(self) -> ChordNode:
        """What the owner of the node may ask of it: `lookup`, `enter` and `delete`."""
        return self

    # Commands

    def start(self, bootstrap: Iterable[Endpoint], now: float) -> None:
        """Begin: in the ring that was restored, or by way of these endpoints, or as a ring of one."""
        self._seeker.bootstrap = tuple(endpoint for endpoint in bootstrap if endpoint != self.ring.own.endpoint)
        self._seeker.hurry(now)
        if self.ring.head is not None:
            self._stabiliser.hurry(now)
        elif self._seeker.knows_any:
            self._go(Standing.SEEKING)
        self._alone_at = now + self.policy.patience
        self._settle(now)

    def restore(self, contacts: Iterable[Contact]) -> None:
        """Know these nodes, as before a restart; to be called before `start`."""
        circle = self.ring.circle
        known = sorted({contact for contact in contacts if contact.id != self.own_id}, key=lambda c: circle.way(c.id))
        if known:
            self.ring.adopt(known[0], known[1:])
        for contact in known[self.policy.successors :]:
            self.ring.remember(contact)

    def settled(
        self, neighbours: Neighbourhood, far: dict[int, Contact], bootstrap: Iterable[Endpoint], now: float
    ) -> None:
        """Begin as a node that has been in the ring for a long time: a warm start."""
        self._seeker.bootstrap = tuple(bootstrap)
        predecessor, successors = neighbours
        if predecessor is not None and successors:
            self.ring.adopt(successors[0], successors[1:])
            self.ring.notified(predecessor, now)
        for number, contact in far.items():
            self.fingers.set(number, contact)
        self._fixer.is_settled(now)
        self._settle(now)

    def lookup(self, key: Id, now: float, *, traced: bool = False) -> Handle:
        """Find the endpoints under `key`: `LookupProgress` as they are found, ends with `ChordLookupDone`.

        A `traced` lookup has a `LookupStep` for each thing that becomes of a query as well.
        """
        op = self._handle()
        waits = self.standing is Standing.SEEKING and not self.server.has_joined
        self._lookups.begin(key, op, now, waits=waits, traced=traced)
        self._settle(now)
        return op

    def enter(self, key: Id, port: int, now: float) -> Handle:
        """Serve `key` on a port from now on; ends with `Published`, and `Republished` tells of later holders."""
        op = self._handle()
        self.publisher.enter(key, port, op, now)
        self._settle(now)
        return op

    def delete(self, key: Id, port: int | None, now: float) -> tuple[Handle, list[int]]:
        """Serve `key` no more, on this port or on any. If that were some ports, it ends with `Withdrawn`."""
        op = self._handle()
        ports = self.publisher.delete(key, port, op, now)
        self._settle(now)
        return op, ports

    def leave(self, now: float) -> None:
        """Hand all records over and end the withdrawals, tell the neighbours, and answer nobody any more."""
        head = self.ring.head
        if head is None:
            self._go(Standing.LEFT)
            return
        self._go(Standing.LEAVING)
        self._leave_at = now + _LEAVING
        self.publisher.forget_all()
        self.replicator.hand_all_to(head, now)
        self._settle(now)

    # Input

    def handle_datagram(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        """Take a datagram; return the answer to it, if it asks for one."""
        if self.standing is Standing.LEFT:
            return None
        try:
            message = self._wire.decode(data)
        except WireError:
            return None  # it is no message, and nobody is to be told
        body = message.body
        answer = None
        if isinstance(body, _RESULTS):
            self._requester.handle_result(message, body, source, now)
        elif message.sender != self.own_id:
            result = self.server.answer(body, Contact(message.sender, source), message.session, now)
            answer = self._wire.encode(Message(message.tid, self._session, self.own_id, result))
        self._settle(now)
        return answer

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        if self.standing is Standing.LEFT:
            return
        self._requester.handle_timeout(now)
        if self._stabiliser.due_at <= now:
            self._stabiliser.begin(now)
            self.replicator.push(now)
            self._comparer.begin(now)
        if self._seeker.due_at <= now:
            self._seeker.begin(now)
        if self._fixer.due_at <= now:
            self._fixer.begin(now)
        if self._sweep_at <= now:
            self._sweep_at = now + self.policy.sweep
            self.shelf.sweep(now)
        if self._alone_at is not None and self._alone_at <= now:
            self._alone_at = None
            self.server.has_joined = True  # else nodes that know only each other would wait for each other
        self._lookups.handle_timeout(now)
        if self._may_publish:
            self.publisher.handle_timeout(now)
        self._settle(now)

    # Output

    def poll_transmit(self) -> Transmit | None:
        """Return the next datagram to send."""
        outbox = self._requester.outbox
        return outbox.popleft() if outbox else None

    def poll_event(self) -> Event | None:
        """Return the next event for the owner."""
        return self._events.popleft() if self._events else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is due."""
        if self.standing is Standing.LEFT:
            return None
        due = min(self._stabiliser.due_at, self._seeker.due_at, self._fixer.due_at, self._sweep_at)
        others = [self._requester.poll_timeout(), self._lookups.poll_timeout(), self._leave_at, self._alone_at]
        if self._may_publish:
            others.append(self.publisher.poll_timeout())
        return min([due, *(other for other in others if other is not None)])

    # What queries tell of other nodes

    def heard(self, contact: Contact, session: bytes, now: float) -> None:
        """A node has answered."""
        self._misses.pop(contact.endpoint, None)
        self.replicator.heard(contact, session)

    def missed(self, contact: Contact, now: float) -> None:
        """A node has not answered in time: a neighbour is looked after, and a finger is dropped after some times."""
        misses = self._misses[contact.endpoint] = self._misses.get(contact.endpoint, 0) + 1
        if contact in self.ring.successors or contact == self.ring.predecessor:
            self._stabiliser.hurry(now)
        if misses >= self.policy.misses:
            del self._misses[contact.endpoint]
            number = self.fingers.drop(contact)
            if number is not None:
                self.ring.remember(contact)
                self._fixer.dropped(number, now)

    def replaced(self, contact: Contact, now: float) -> None:
        """Another node is at the endpoint of one that we knew."""
        self._fixer.dropped(self.fingers.drop(contact), now)
        if self.ring.forget(contact):
            self._stabiliser.hurry(now)
        if self.ring.lost.get(contact.endpoint) == contact:
            del self.ring.lost[contact.endpoint]

    # The last step

    def answered(self, query: Query, result: Result, now: float) -> None:
        """A neighbour knows that we leave."""
        self._said_goodbye()

    def silent(self, query: Query, now: float) -> None:
        """A neighbour is not there to know it."""
        self._said_goodbye()

    def _said_goodbye(self) -> None:
        self._goodbyes -= 1
        if not self._goodbyes:
            self._go(Standing.LEFT)

    def _say_goodbye(self, now: float) -> None:
        ring = self.ring
        self._leave_at = None
        leave = Leave(ring.predecessor, ring.successors)
        neighbours = dict.fromkeys(each for each in (ring.head, ring.predecessor) if each is not None)
        self._goodbyes = len(neighbours)
        for contact in neighbours:
            self._requester.ask(contact.endpoint, contact.id, leave, self, now, attempts=self.policy.attempts)
        if not neighbours:
            self._go(Standing.LEFT)

    # After any input

    def _settle(self, now: float) -> None:
        """Draw the consequences of a change in the ring."""
        self.replicator.settle(now)
        self._comparer.settle(now)
        match self.standing:
            case Standing.ALONE | Standing.SEEKING if self.ring.head is not None:
                self._go(Standing.JOINED)
                self.server.has_joined = True
                self._events.append(Joined(len(self.fingers.contacts), self.ring.own.endpoint.family))
                self._lookups.joined(now)
            case Standing.JOINED if self.ring.head is None:
                self._go(Standing.SEEKING)
                self._seeker.hurry(now)
            case Standing.ALONE:
                self.server.has_joined = True  # a ring of one is a ring
                if self.ring.predecessor is not None:
                    self._stabiliser.hurry(now)
            case Standing.SEEKING if self.ring.predecessor is not None:
                self._stabiliser.hurry(now)
            case Standing.LEAVING if self._leave_at is not None:
                if now >= self._leave_at or not (self.replicator.pending or self.publisher.entries):
                    self._say_goodbye(now)
            case _:
                pass

    @property
    def _may_publish(self) -> bool:
        return self.server.has_joined

    def _handle(self) -> Handle:
        self._handles += 1
        return Handle(self._handles)

    def _go(self, to: Standing) -> None:
        assert to in TRANSITIONS[self.standing], f"{self.standing.name} to {to.name}"
        self.standing = to

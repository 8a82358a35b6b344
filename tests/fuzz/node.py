"""The node: any order of datagrams, commands and passing time, held to the invariants of every node at any moment.

The bytes are a program: an operation, its arguments, the next operation. 256 machines beside the node ask and answer,
well or wrongly, as the program says; time is virtual. After every operation, and until all is over while the clock runs
on at the end, this holds:

- the invariants of simulations: `dhtd.sim.invariants`;
- every contact in the table has answered a query of ours, from its address and with its ID;
- every held entry was stored from its own address with a token given to that address for that key;
- every held value is genuine and under its key, and no older one takes its place;
- no timer is forgotten, none fires for ever, and every operation ends, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from random import Random
from typing import Final

import msgpack

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.events import (
    Event,
    GetProgress,
    Handle,
    LookupProgress,
    Unasked,
)
from dhtd.core.ids import Id
from dhtd.core.messages import (
    VALUE_LASTS,
    Acknowledged,
    Changed,
    Contact,
    Error,
    Find,
    FindNode,
    FindValue,
    Found,
    Get,
    Ping,
    Put,
    Query,
    Renew,
    Reply,
    Request,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.publishing.write_ahead import Chosen
from dhtd.core.records import SEQ_MAX, Peer, Value, supersedes
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.held_values import HeldValue
from dhtd.errors import WireError
from dhtd.sim import invariants
from dhtd.sim.kademlia import Kademlia, check_answer
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_layout import MAGIC, REPLY
from tests.fuzz.reader import Reader
from tests.fuzz.target import Target
from tests.fuzz.values import VALUE_KEYS, VALUES, fields_of
from tests.records import KEPT, LEASE, SESSION, own_key, to_store, to_withdraw

OWN: Final = Id(1 << 255)
HERE: Final = Endpoint.of("10.0.0.1", 1729)
OPERATIONS_MAX: Final = 64  # of one program
ENDS_WITHIN: Final = 60.0  # seconds in which every operation ends, whether or not anybody answers
TIMEOUTS_MAX: Final = (
    2_000  # of one program, which then ends: to publish many entries for hours takes more, and teaches less
)

SETTLED_EVERY: Final = 8  # timeouts: to look at the whole node takes longer than most of them

_SPANS: Final = (0.001, 0.02, 0.3, 0.6, 2.0, 2.5, 7.0, 65.0, 130.0, 1_000.0, 3_700.0)
_PORTS: Final = (1, 80, 443, 65_535)
_SEQS: Final = (None, 0, 1, 2, SEQ_MAX)
_LASTS: Final = (1, 59, 60, 3_600, VALUE_LASTS)
_FIRST_KEY: Final = 96  # the number of the first key of a value


@cache
def endpoint(number: int) -> Endpoint:
    """Return where the machine with this number is; the last ones are behind one address, at different ports.

    One says that it is where the node itself is.
    """
    if number == 239:
        return HERE
    return Endpoint.of(f"10.0.1.{number}", 1729) if number < 240 else Endpoint.of("10.0.2.1", number)


@cache
def id_of(number: int) -> Id:
    """Return the ID of a machine, or of a key: half of them are near the node, each nearer than the one before."""
    codec = NativeCodec()
    return codec.traits.keyspace.digest(b"%d" % number) if number < 128 else Id(OWN ^ (1 << (255 - number)))


@cache
def number_at(place: Endpoint) -> int:
    """Return the number of the machine at an endpoint; 0 if there is none."""
    return next((number for number in range(256) if endpoint(number) == place), 0)


class World:
    """A node, and the knowledge from its input and output. `invariants` take it for a host of a simulation."""

    ahead = 0.0
    codec: Codec = NativeCodec()
    policy = DEFAULT
    here = HERE
    values: tuple[Value, ...] = VALUES
    value_keys = VALUE_KEYS
    first_id = OWN  # that the node begins with
    endpoint_of, id_of, number_at = staticmethod(endpoint), staticmethod(id_of), staticmethod(number_at)
    ends_within = ENDS_WITHIN

    def __init__(self, data: bytes) -> None:
        self.read = Reader(data)
        self.now = 1_000.0
        self.endpoint, self.endpoints = self.here, (self.here,)
        self.node = Node(
            self.first_id,
            self.codec,
            rng=Random(7),
            now=self.now,
            policy=self.policy,
            local=(self.here,),
            write_ahead=True,
        )
        self.chosen: list[Chosen] = []  # unwritten holders of own entries
        self.is_disk_slow = False
        self.sent: list[tuple[Query, Endpoint]] = []
        self.seen: list[bytes] = []  # datagrams, to be replayed
        self.timeouts = 0
        self.open: set[Handle] = set()
        self.answered: set[Contact] = set()
        self.tokens: set[tuple[bytes, Id, bytes]] = set()  # given: to which address, for which key
        self.stored: set[tuple[Id, Endpoint]] = set()
        self.held: dict[Id, HeldValue] = {}  # values, when last looked at

    @property
    def overlay(self) -> Kademlia:
        """The kind of network, as `invariants` ask for it."""
        return Kademlia(self.codec, self.codec, self.policy)

    @property
    def member(self) -> Node:
        """The node, as `invariants` call it."""
        return self.node

    @property
    def wake_at(self) -> float | None:
        """When the node is woken: always when it wants to be."""
        return self.node.poll_timeout()

    @property
    def own(self) -> Id:
        """The ID of the node."""
        return self.node.own_id

    @property
    def id(self) -> Id:
        """The same, as `invariants` call it."""
        return self.node.own_id

    def clock(self, now: float) -> float:
        """Return the node's time."""
        return now

    def run(self) -> None:
        """Execute the program, and let everything open come to its end."""
        for _ in range(OPERATIONS_MAX):
            if self.read.is_over or self.timeouts >= TIMEOUTS_MAX:
                break
            getattr(self, self.read.one_of(OPERATIONS).__name__)()
            self.settle()
        self.timeouts = -100_000  # as many as it takes
        self.is_disk_slow = False
        self.take_all()
        self.pass_time(self.ends_within)
        assert not self.open, "an operation does not end"

    def settle(self) -> None:
        """Take the output of the node, and look at the node."""
        self.take_all()
        invariants.check_host(self, self.now)  # type: ignore[arg-type]
        for contact in self.node.state.table:
            assert contact in self.answered, f"{contact} has never answered"
        for entry in self.node.store:
            assert (entry.key, entry.record.endpoint) in self.stored, f"{entry} was never stored"
        before, self.held = self.held, {held.key: held for held in self.node.values.held}
        for key, held in self.held.items():
            assert self.is_good(key, held.value), f"{held} proves nothing"
            assert held.expires_at <= self.now + VALUE_LASTS
            old = before.get(key)
            assert old is None or old.expires_at <= self.now or not supersedes(old.value, held.value), "it is older"

    def is_good(self, key: Id, value: Value) -> bool:
        return self.codec.key_of(value) == key and self.codec.is_genuine(value)

    def take_all(self) -> None:
        while (transmit := self.node.poll_transmit()) is not None:
            query = self.codec.decode(transmit.data)
            assert isinstance(query, Query)
            self.check_sent(query, transmit.data)
            self.sent.append((query, transmit.endpoint))
            self.seen.append(transmit.data)
        while (event := self.node.poll_event()) is not None:
            self.take(event)
        self.chosen += self.node.publisher.poll_unwritten()
        if self.chosen and not self.is_disk_slow:
            chosen, self.chosen = self.chosen, []
            self.node.publisher.written(chosen, self.now)
            self.take_all()

    def check_sent(self, query: Query, data: bytes) -> None:
        assert query.sender == self.own
        request = query.request
        longest = 1_250 + len(request.token) if isinstance(request, Put) else self.policy.datagram_sent_max
        assert len(data) <= longest

    def take(self, event: Event) -> None:
        if isinstance(event, Unasked):
            return
        assert event.op in self.open, "it was over, or cancelled, or never begun"
        if not isinstance(event, LookupProgress | GetProgress):
            self.open.remove(event.op)

    # Operations

    def pass_time(self, span: float) -> None:
        """Let time pass, and wake the node when it wants to be woken."""
        until = self.now + span
        while self.timeouts < TIMEOUTS_MAX:
            self.timeouts += 1
            deadline = self.node.poll_timeout()
            assert deadline is not None
            if deadline > until:
                self.now = until
                return
            self.now = max(self.now, deadline)
            self.node.handle_timeout(self.now)
            after = self.node.poll_timeout()
            assert after is not None
            assert after > self.now, "it wakes and wakes, and time stands still"
            self.take_all()
            if self.timeouts % SETTLED_EVERY == 0:
                self.settle()

    def wait(self) -> None:
        self.pass_time(self.read.one_of(_SPANS))

    def wake_early(self) -> None:
        self.node.handle_timeout(self.now)

    def noise(self) -> None:
        self.deliver(self.read.some(2_048), self.source())

    def replay(self) -> None:
        """Deliver an old datagram, from anywhere: a reflection, if the node itself has sent it."""
        if self.seen:
            self.deliver(self.seen[self.read.number() % len(self.seen)], self.source())

    def ask(self) -> None:
        key = self.key()
        token = self.token(key)
        requests: tuple[Callable[[], Request], ...] = (
            Ping,
            lambda: FindNode(key),
            lambda: FindValue(key),
            lambda: FindNode(key, token),
            lambda: FindValue(key, token),
            lambda: to_store(key, self.read.one_of(_PORTS), token),
            lambda: to_withdraw(key, self.read.one_of(_PORTS), token),
            lambda: Renew(SESSION, self.read.number() % 2 * LEASE, self.read.one_of((b"", token))),
            lambda: Watch(key, token, LEASE, SESSION),
            lambda: Changed(key, self.read.number(), tuple(self.source() for _ in range(self.read.number() % 9)), ()),
            lambda: Get(key, None, self.read.one_of(_SEQS)),
            lambda: Get(key, token, self.read.one_of(_SEQS)),
            self.put,
        )
        request = self.read.one_of(requests)()
        sender, source = self.machine()
        self.deliver(self.codec.encode_query(self.read.take(8), sender, request), source)

    def put(self) -> Put:
        """Return a put of some value. Its token is one for its key, if it has one."""
        value = self.read.one_of(self.values)
        key = self.codec.key_of(value)
        return Put(key, self.token(key), value, self.read.one_of(_SEQS), self.read.one_of(_LASTS))

    def answer(self) -> None:
        """Answer a query of the node's, in the form of its request."""
        if not self.sent:
            return
        query, to = self.sent[-1 - self.read.number() % len(self.sent)]
        body: list[object] = []
        if isinstance(query.request, Find):
            near = [Contact(*self.machine()) for _ in range(self.read.number() % 9)]
            nodes4 = b"".join(self.codec.traits.keyspace.to_bytes(each.id) + each.endpoint for each in near)
            body = [self.read.take(8), nodes4, b""]
            if isinstance(query.request, FindValue):
                body.append([bytes(self.source()) for _ in range(self.read.number() % 9)])
            body.append(bool(self.read.number() % 2))
            if isinstance(query.request, Get):
                held = self.read.one_of((None, 0, 2, SEQ_MAX, *map(fields_of, self.values)))
                body += [held, self.read.one_of((0, *_LASTS))]
        if isinstance(query.request, Renew):
            body = [self.read.take(8), self.read.one_of((None, 0, 1, 2**32))]
        if isinstance(query.request, Watch):
            named = [bytes(self.source()) for _ in range(self.read.number() % 9)]
            body = [self.read.take(8), self.read.number(), named, bool(self.read.number() % 2)]
        self.reply(query, to, body)

    def answer_wrongly(self) -> None:
        """Answer a query with some msgpack object, or from elsewhere."""
        if not self.sent:
            return
        query, to = self.sent[-1 - self.read.number() % len(self.sent)]
        try:
            body = msgpack.unpackb(self.read.some(255), strict_map_key=False)
            msgpack.packb(body)
        except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
            body = []
        self.reply(query, to if self.read.number() % 4 else self.source(), body)

    def refuse(self) -> None:
        """Answer a query with an error."""
        if self.sent:
            query, to = self.sent[-1 - self.read.number() % len(self.sent)]
            code = self.read.one_of((201, 202, 203, 204, 0, -1, 206, 301, 302))
            self.deliver(self.codec.encode_error(query.tid, self.sender_at(to), code, "no"), to)

    def command(self) -> None:
        node, now, key, to = self.node, self.now, self.key(), self.source()
        port = self.read.one_of(_PORTS)
        commands: tuple[Callable[[], Handle | None], ...] = (
            lambda: node.commands.ping(to, now),
            lambda: node.commands.find_node(to, key, now),
            lambda: node.commands.find_value(to, key, now),
            lambda: node.commands.store_at(to, key, port, self.read.take(8), now),
            lambda: node.commands.lookup(key, now),
            lambda: node.commands.enter(key, port, now),
            lambda: self.delete(key, port),
            lambda: self.delete(key, None),
            lambda: node.commands.get(key, now, signed=port == 80, thorough=port == 443),
            self.publish,
            lambda: self.drop_value(key),
            lambda: node.commands.bootstrap([self.source() for _ in range(self.read.number() % 4)], now),
        )
        op = self.read.one_of(commands)()
        if op is not None:
            assert op not in self.open
            self.open.add(op)

    def delete(self, key: Id, port: int | None) -> Handle | None:
        op, ports = self.node.commands.delete(key, port, self.now)
        return op if ports else None

    def publish(self) -> Handle | None:
        """Put a value, as the daemon does: it has seen that the value is genuine."""
        value, cas, keep = self.read.one_of(self.values), self.read.one_of(_SEQS), self.read.number() % 3 > 0
        key = self.codec.key_of(value)
        if not self.codec.is_genuine(value):
            return None
        wanted = self.read.number() % 10
        return self.node.commands.put(key, value, self.now, wanted=wanted, cas=cas, keep=keep)

    def drop_value(self, key: Id) -> None:
        self.node.commands.drop_value(key, self.now)
        own = self.node.values.own.get(key)
        assert own is None, "it is kept yet"

    def cancel(self) -> None:
        if self.open:
            op = sorted(self.open)[self.read.number() % len(self.open)]
            self.open.remove(op)
            self.node.commands.cancel(op)

    def begin(self) -> None:
        """Start it like a daemon, with something to join through and something from an earlier life."""
        for _ in range(self.read.number() % 9):
            contact = Contact(*self.machine())
            if contact.endpoint != self.here:
                self.answered.add(contact)
                self.node.overlays.restore(contact)
        for _ in range(self.read.number() % 4):
            self.node.publisher.restore_own(own_key(self.key(), self.read.one_of(_PORTS)), self.now)
        for _ in range(self.read.number() % 4):
            entry = HeldRecord(
                self.key(),
                Peer(self.source()),
                self.now + min(self.read.one_of(_SPANS), self.policy.store_expiry),
                3_600,
                KEPT,
            )
            self.stored.add((entry.key, entry.record.endpoint))
            self.node.store.restore(entry, self.now)
        for _ in range(self.read.number() % 4):
            held_until = self.now + self.read.one_of(_SPANS)
            self.node.publisher.restore_holder(
                own_key(self.key(), self.read.one_of(_PORTS)), Contact(*self.machine()), held_until, self.now
            )
        for _ in range(self.read.number() % 4):
            value, lasts = self.read.one_of(self.values), self.read.one_of(_LASTS)
            key = self.codec.key_of(value)
            if self.codec.is_genuine(value):
                self.node.values.held.restore(HeldValue(key, value, self.source().ip, self.now + lasts), self.now)
                if lasts == VALUE_LASTS:
                    self.node.values.keeping.restore(key, value, self.read.number() % 10, self.now)
        self.node.start([self.source() for _ in range(self.read.number() % 4)], self.now)

    def limit(self) -> None:
        """Have the node answer few queries, or all."""
        self.node.gate.limit_rate(self.read.one_of((0.0, 0.6, 1.0, 4.0, 256.0)), self.read.one_of((0.0, 2.0, 65_536.0)))

    def stall(self) -> None:
        """Have the disk stall, or write again."""
        self.is_disk_slow = not self.is_disk_slow

    # Their parts

    def key(self) -> Id:
        """Return a key. Some are those of the values."""
        number = self.read.number()
        place = number - _FIRST_KEY
        return self.value_keys[place] if 0 <= place < len(self.value_keys) else self.id_of(number)

    def source(self) -> Endpoint:
        return self.endpoint_of(self.read.number())

    def machine(self) -> tuple[Id, Endpoint]:
        """Return a machine's ID and its endpoint; now and then with another's ID, or the node's own."""
        number, lie = self.read.number(), self.read.number()
        return self.own if lie == 255 else self.id_of(lie if lie > 240 else number), self.endpoint_of(number)

    def sender_at(self, to: Endpoint) -> Id:
        """Return the ID of the node that answers there; now and then another one."""
        lie = self.read.number()
        return self.own if lie == 255 else self.id_of(lie if lie > 240 else self.number_at(to))

    def token(self, key: Id) -> bytes:
        """Return a token that the node has given for this key, or an invented one."""
        given = sorted(token for _, of, token in self.tokens if of == key)
        choice = self.read.number()
        return given[choice % len(given)] if given and choice < 240 else bytes([choice]) * 8

    def reply(self, query: Query, source: Endpoint, body: object) -> None:
        observed = self.here if self.read.number() < 200 else self.source()
        sender = self.codec.traits.keyspace.to_bytes(self.sender_at(source))
        self.deliver(MAGIC + msgpack.packb([REPLY, query.tid, sender, bytes(observed), body]), source)

    def deliver(self, data: bytes, source: Endpoint) -> None:
        """Hand the node a datagram, and learn from its answer."""
        self.seen.append(data)
        try:
            message = self.codec.decode(data)
        except WireError:
            assert self.node.handle_datagram(data, source, self.now) is None
            return
        if isinstance(message, Reply | Error):
            if message.sender is None:
                assert isinstance(message, Error), "an answer without an ID"
                assert self.node.handle_datagram(data, source, self.now) is None
                return
            if source == self.here and message.sender != self.own:
                return  # only the node is at its own place, and a node elsewhere cannot have seen the query
            if any(query.tid == message.tid and to == source for query, to in self.sent):
                self.answered.add(Contact(message.sender, source))
        answer = self.node.handle_datagram(data, source, self.now)
        if answer is None:
            return
        check_answer(self.codec, self.policy, data, answer)
        said = self.codec.decode(answer)
        assert isinstance(said, Reply | Error), "it answers with a query"
        assert said.tid == message.tid
        assert said.sender == self.own or (said.sender is None and isinstance(said, Error))
        if isinstance(said, Reply):
            assert isinstance(message, Query)
            self.learn(message, said, source)

    def learn(self, query: Query, said: Reply, source: Endpoint) -> None:
        assert said.observed == source
        result = self.codec.decode_result(query.request, said.body)
        match query.request:
            case FindNode(key) | FindValue(key) | Get(key):
                assert isinstance(result, Found)
                assert result.token is not None
                if isinstance(result.held, Value):
                    assert self.is_good(key, result.held), "it shows what proves nothing"
                self.tokens.add((source.ip, key, result.token))
            case Store(key, port, token) | Withdraw(key, port, token):
                assert isinstance(result, Acknowledged)
                assert (source.ip, key, token) in self.tokens, "a token is taken that was never given"
                if isinstance(query.request, Store):
                    self.stored.add((key, source.with_port(port)))
            case Put(key, token, value):
                assert isinstance(result, Acknowledged)
                assert (source.ip, key, token) in self.tokens, "a token is taken that was never given"
                held = self.node.values.held.get(key, self.now)
                assert held is not None
                assert held[0] == value, "it is acknowledged, and not held"
            case _:
                pass


OPERATIONS: Final[tuple[Callable[[World], None], ...]] = (
    World.wait,
    World.answer,
    World.ask,
    World.command,
    World.answer_wrongly,
    World.refuse,
    World.noise,
    World.replay,
    World.cancel,
    World.begin,
    World.wake_early,
    World.limit,
    World.stall,
)


def check(data: bytes) -> None:
    World(data).run()


def _seeds() -> Iterator[bytes]:
    """Yield programs: one operation each, many answers to the first queries, and random ones."""
    rng = Random(5)
    for operation in range(len(OPERATIONS)):
        yield bytes([operation]) + rng.randbytes(24)
    names = (World.begin, World.answer, World.wait, World.ask, World.command, World.limit, World.stall)
    begin, answer, wait, ask, command, limit, stall = (OPERATIONS.index(each) for each in names)
    for _ in range(6):
        program = bytes([begin, 3]) + rng.randbytes(6) + bytes([0, 0, 0, 0, 2]) + rng.randbytes(2)
        for _ in range(8):
            program += bytes([answer]) + bytes([rng.randrange(4), 4]) + rng.randbytes(16) + bytes([1, 0, 0])
            program += bytes([rng.randrange(len(OPERATIONS))]) + rng.randbytes(8) + bytes([wait, rng.randrange(8)])
        yield program
    contact = bytes([5, 0])  # a machine, under its own ID
    joined = bytes([begin, 1]) + contact + bytes(5) + bytes([wait, 0, answer, 0, 0, 0])
    busy = joined + bytes([limit, 1, 0])
    for request in b"\0\1\1\2\3\4\5\6\0\0":  # with a token and without, above the limits of a source and of a contact
        port = bytes(request in b"\5\6")
        busy += bytes([ask, 9, 0, request]) + port + contact + rng.randbytes(8)
    yield busy
    valued = joined
    for number in range(len(VALUES)):  # a token for each key, a put of each value, and a get of what is there
        key = bytes([_FIRST_KEY + VALUE_KEYS.index(NativeCodec().key_of(VALUES[number]))])
        valued += bytes([ask]) + key + bytes([0, 10, number % 5]) + contact + rng.randbytes(8)
        valued += bytes([ask]) + key + bytes([0, 12, number, 0, 0, 4]) + contact + rng.randbytes(8)
        valued += bytes([ask]) + key + bytes([0, 11, 0]) + contact + rng.randbytes(8)
    yield valued
    for number in range(len(VALUES)):  # `get`, and `put` to be kept; answers with each value, and an hour without any
        key = bytes([_FIRST_KEY + VALUE_KEYS.index(NativeCodec().key_of(VALUES[number]))])
        reading = bytes([command]) + key + bytes([5, 0, 8])
        putting = bytes([command]) + key + bytes([5, 0, 9, number, 0, 1, 1])
        told = bytes([answer, 0, 0]) + rng.randbytes(8) + bytes([0, 4 + number, 4, 0, 0])
        yield joined + reading + 2 * told + putting + 3 * told + bytes([wait, 9, wait, 10]) + 3 * told
    entering = bytes([command, 9, 3, 0, 5])  # a key, a machine, a port; and `enter`
    yield (
        joined
        + bytes([stall])
        + entering
        + 4 * (bytes([answer, 0, 0]) + rng.randbytes(8) + bytes([0, 0, 0]))
        + bytes([wait, 5, stall, wait, 5])
    )
    for size in (60, 120, 240, 480):
        yield rng.randbytes(size)


TARGET: Final = Target("node", "the node, by programs of datagrams, commands and time", check, _seeds, 1_024)

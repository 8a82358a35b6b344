"""Whole nodes, held to a plain model of each, in any order of commands, datagrams, timeouts and restarts.

The nodes of a machine share a network. Every datagram lies in a bag until a rule delivers, drops, copies, delays or
changes it, or forges its source. The model sees only the input and the output of each node. It keeps the consequences
as sets and lists: open operations, queries in flight, own entries, tokens given out, held entries with their leases,
and nodes that have ever answered or taken an entry.

Time is bounded, too. Once the clock runs freely, everything open ends within `SETTLED_WITHIN`, with or without answers.
With answers, every node is back within five minutes, and an hour later the held entries are the served ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from math import ceil, floor
from random import Random
from typing import Any, ClassVar, NamedTuple, TypeVar

import pytest
from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint, Family, means_the_same
from dhtd.core.events import (
    Answered,
    Bootstrapped,
    CannotWithdraw,
    GetDone,
    GetProgress,
    Handle,
    Isolated,
    Joined,
    LookupDone,
    LookupProgress,
    Published,
    Renamed,
    Republished,
    Unanswered,
    Unheld,
    Unreached,
    ValuePut,
    ValueSuperseded,
    Withdrawn,
)
from dhtd.core.events import Event as NodeEvent
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import (
    ERROR_CAS,
    ERROR_PROTOCOL,
    ERROR_SEQ,
    ERROR_SERVER,
    ERROR_SIGNATURE,
    SESSION_SIZE,
    Acknowledged,
    BadQuery,
    Changed,
    Contact,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Withdraw,
)
from dhtd.core.node import Node
from dhtd.core.policy import Policy
from dhtd.core.querying.requester import Transmit
from dhtd.core.records import Immutable, Mutable, Value, supersedes
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.leases import SESSION_KEPT
from dhtd.errors import WireError
from dhtd.sim.json_codec import JsonCodec
from dhtd.wire.native import NativeCodec
from tests.core.small import SmallCodec
from tests.core.small import endpoint as endpoint4
from tests.records import own_key
from tests.strategies import scaled
from tests.values import by_owner

Entry = tuple[Id, int]
T = TypeVar("T")

SETTLED_WITHIN = 60.0  # seconds in which every operation ends
REJOINED_WITHIN = 310.0  # seconds after an outage in which every node has somebody to talk to
QUERY_TIMEOUT = 2.0
COPIES = 3  # datagrams that one attempt of a query is worth, at most
# Seconds for which a token is good at least, and at most; sums of times are rounded.
TOKEN_SURE, TOKEN_MAX = 59.999, 120.001
RENEWABLE = 60  # seconds for which a token for renewals is good, at least
AN_HOUR_AND_MORE = 4_000.0  # until unserved entries have expired and were swept
PORTS = (80, 443)

# The ends of each command, by its docstring
SINGLE = (Answered, Unanswered)
FINALS: dict[str, tuple[type, ...]] = {
    "ping": SINGLE,
    "find_node": SINGLE,
    "find_value": SINGLE,
    "store_at": SINGLE,
    "lookup": (LookupDone,),
    "enter": (Published,),
    "delete": (Withdrawn, CannotWithdraw),
    "bootstrap": (Bootstrapped,),
    "get": (GetDone,),
    "put": (ValuePut,),
}
# What owners put: two of them have one seq, and some are so long that they need further queries.
VALUES = [by_owner(seq, data) for seq in (1, 2, 3) for data in (b"data", bytes(1_000))]


def endpoint(number: int, family: Family = Family.IPV4) -> Endpoint:
    """Return the endpoint of the machine with this number in a family."""
    return endpoint4(number) if family is Family.IPV4 else Endpoint.of(f"2001:db8:{number:x}::1", 1729)


class StrictCodec(SmallCodec):
    """The native wire, without IDs beyond the 128: a changed datagram with one is no message."""

    def decode(self, data: bytes) -> Message:
        """Return the message, unless an ID in it is too large."""
        message = super().decode(data)
        if message.sender is not None:
            self._check(message.sender)
        match message:
            case Query(_, _, FindNode(target) | FindValue(target)):
                self._check(target)
            case Query(_, _, Store(key) | Withdraw(key) | Watch(key) | Changed(key) | Get(key)):
                self._check(key)
            case _:
                pass
        return message

    def decode_result(self, request: Request, body: object) -> Result:
        """Return the result, unless an ID in it is too large."""
        result = super().decode_result(request, body)
        for contact in result.contacts if isinstance(result, Found) else ():
            self._check(contact.id)
        return result

    def _check(self, id: Id) -> None:
        if id >= self.traits.keyspace.size:
            raise WireError("an ID beyond the keyspace")


@dataclass(frozen=True, slots=True)
class Parcel:
    data: bytes
    source: Endpoint
    to: Endpoint
    mutated: bool = False


class Held(NamedTuple):
    """An entry that a node holds for another; on a wire without leases, `session` is empty."""

    key: Id
    endpoint: Endpoint
    session: bytes  # what a holder keeps of it


@dataclass(slots=True)
class Command:
    """A command of a node's owner."""

    name: str
    args: tuple[Any, ...]
    since: float
    found: set[Endpoint] = field(default_factory=set)  # by a lookup, so far
    value: Value | None = None  # the best one of a get, so far


@dataclass(slots=True)
class OnItsWay:
    """A query that was sent and not answered yet."""

    to: Endpoint
    request: Request
    data: bytes
    first_sent: float
    tried_at: float  # the beginning of the latest attempt, which lasts for `QUERY_TIMEOUT`
    copies: int = 1  # datagrams in this attempt


@dataclass(slots=True)
class Call:
    """One call of a node, and its consequences."""

    name: str
    args: tuple[Any, ...]
    result: Any
    transmits: list[Transmit]
    events: list[NodeEvent]


@dataclass
class Tally:
    """The expected counts."""

    malformed: int = 0
    rate_limited: int = 0
    cut_short: int = 0
    unmatched: int = 0
    own_id_claimed: int = 0
    repeated: int = 0
    bad_queries: int = 0
    queries_sent: int = 0
    replies_received: int = 0
    errors_received: int = 0
    retries: int = 0


class Machine:
    """One node, through all its lives, and the model's knowledge of it."""

    def __init__(self, number: int, id: Id, families: tuple[Family, ...], *, of_each: bool) -> None:
        """`of_each`: it has an ID of its own in each family's network."""
        self.id = id
        self.of_each = of_each
        self.number = number
        self.families = families
        self.endpoints = [endpoint(number, family) for family in families]
        self.own: set[Entry] = set()  # as the state file has them at any time
        self.ever_answered: set[Contact] = set()
        self.saved: tuple[tuple[Contact, ...], tuple[HeldRecord, ...]] = ((), ())
        self.deleted: dict[Entry, dict[Contact, float]] = {}  # the possible holders of each entry, as in the state file
        self.sessions = 0
        self.draw_session()
        self.lives = 0
        self.up = False

    def towards(self, other: Endpoint) -> Endpoint | None:
        """Return the endpoint from which it sends to `other`."""
        return next((own for own in self.endpoints if len(own) == len(other)), None)

    @property
    def ids(self) -> dict[Family, Id]:
        """Its ID in the network of each family."""
        return {family: Id(self.id ^ (self.of_each and family is Family.IPV6)) for family in self.families}

    def id_towards(self, other: Endpoint) -> Id:
        """Return the ID under which `other` knows it; the first one for a foreign family."""
        return self.ids.get(Family(len(other)), self.ids[self.families[0]])

    def draw_session(self) -> None:
        """Take a session that no node has had."""
        self.sessions += 1
        self.session = bytes([self.number, self.sessions]) * (SESSION_SIZE // 2)

    def begin_life(self, codec: Codec, policy: Policy, now: float) -> None:
        self.lives += 1
        self.seed = self.lives << 8 | self.number
        self.born = now
        self.node = self.new_node(codec, policy)
        self.up = True
        self.calls: list[Call] = []
        self.open: dict[Handle, Command] = {}
        self.cancelled: set[Handle] = set()
        self.on_their_way: dict[bytes, OnItsWay] = {}
        self.tokens: dict[
            tuple[bytes, bytes, Id], float
        ] = {}  # the owner and the key of each token, and when it was last given
        self.renewable: set[tuple[bytes, bytes, bytes]] = set()  # the token, address and session of each renewal
        self.held: dict[Held, float] = {}  # and until when; some have expired
        self.entrusted: set[Endpoint] = set()  # nodes that took an entry in this life, or may have before
        self.told: dict[Endpoint, list[int]] = {}  # what each of these has said that it holds of ours
        self.changes: set[tuple[bytes, bytes, Store | Withdraw]] = (
            set()
        )  # taken with a good token: their source, token and tid
        self.replicas: dict[Entry, list[Endpoint]] = {}  # the holders of an entry from its last publication
        self.took: dict[Entry, set[Endpoint]] = {}  # all that took it in this life
        self.values: dict[Id, tuple[Value, float]] = {}  # that it holds for others, and until when; some have expired
        self.learned: set[tuple[Id, Value]] = set()  # that it was told in answers, or has put: it holds nothing older
        self.tally = Tally()
        self.limited = False

    def new_node(self, codec: Codec, policy: Policy) -> Node:
        return Node(
            self.id,
            codec,
            rng=Random(self.seed),
            now=self.born,
            policy=policy,
            families=self.families,
            own_ids=self.ids,
            session=self.session,
        )


def method(node: Node, name: str) -> Any:
    """Return the method of this name, of the node or of a part."""
    match name:
        case "restore_contact":
            return node.overlays.restore
        case "restore_held":
            return node.store.restore
        case "restore_own" | "restore_holder":
            return getattr(node.publisher, name)
        case "limit_rate":
            return node.gate.limit_rate
        case "put":
            return partial(node.commands.put, keep=False)
        case _:
            return getattr(node if hasattr(Node, name) else node.commands, name)


def call(node: Node, name: str, args: tuple[Any, ...]) -> Call:
    """Call the node and collect its output."""
    result = method(node, name)(*args)
    transmits, events = [], []
    while (transmit := node.poll_transmit()) is not None:
        transmits.append(transmit)
    while (told := node.poll_event()) is not None:
        events.append(told)
    return Call(name, args, result, transmits, events)


def held_by(node: Node) -> dict[Held, float]:
    """Return what a node holds, and until when; some may have expired."""
    return {Held(each.key, each.record.endpoint, each.session): each.expires_at for each in node.store}


def end_of(lease: int, now: float) -> float:
    """Return when a lease of so many seconds ends: on a full second, unless it ends at once."""
    return float(floor(now + lease)) if lease else now


def withdraws(machine: NodeMachine) -> bool:
    return Withdraw in machine.codec.traits.requests


picks = st.integers(0, 1_000)
who = st.integers(0, 4)
some = st.sampled_from([0, 5, 20, 60])  # datagrams
spans = st.sampled_from([0.02, 0.3, 0.6, 2.0, 2.0, 7.0, 65.0, 1_000.0, 3_000.0, 8_000.0])


class NodeMachine(RuleBasedStateMachine):
    """Two to five nodes, and everything that can happen to them."""

    codec: ClassVar[Codec] = StrictCodec()
    of_each: ClassVar[bool] = False
    families: ClassVar[tuple[tuple[Family, ...], ...]] = ((Family.IPV4,),) * 5  # of each machine

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.bag: list[Parcel] = []
        self.held_back: list[Parcel] = []
        self.machines: list[Machine] = []
        self.by_endpoint: dict[Endpoint, Machine] = {}
        self.outage = False
        self.tainted = False  # a changed datagram was delivered, so nobody need know the truth
        self.ever_entered: set[tuple[Id, Endpoint]] = set()
        self.stores_taken: set[tuple[Endpoint, Id, Endpoint]] = set()  # holder, key, announced endpoint
        self.ever_put: set[Value] = set()
        self.values_taken: set[tuple[Endpoint, Value]] = set()  # with the holder

    @initialize(
        numbers=st.lists(st.integers(0, 127), unique=True, min_size=2, max_size=5),
        k=st.sampled_from([2, 3, 8]),
        joined=st.sampled_from([True, True, False]),
        ends=st.sampled_from(["answered", "answered", "in silence"]),
        looks_far=st.booleans(),
    )
    def begin(self, numbers: list[int], k: int, joined: bool, ends: str, looks_far: bool) -> None:
        self.policy = Policy(k=k, alpha=min(k, 4), region=0.0)
        self.ends, self.looks_far = ends, looks_far
        for place, number in enumerate(numbers):
            machine = Machine(place + 1, self.make_id(number), self.families[place], of_each=self.of_each)
            self.machines.append(machine)
            self.by_endpoint.update(dict.fromkeys(machine.endpoints, machine))
        for machine in self.machines:
            self.start(machine)
        if joined:
            self.run_for(30.0)

    @property
    def has_leases(self) -> bool:
        return Renew in self.codec.traits.requests

    @property
    def lease(self) -> int:
        """The seconds that each owner asks for, on a wire with leases: nobody has many holders."""
        return ceil(self.policy.heartbeats_in_lease * self.policy.heartbeat)

    def may_be_told(self, truth: T) -> tuple[T | None, ...]:
        """Return what an answer may tell of a fact: the truth."""
        return (truth,)

    def make_id(self, number: int) -> Id:
        """Return one of 128 IDs that are spread over the keyspace."""
        return Id(number << (self.codec.traits.keyspace.bits - 7))

    def pick_machine(self, which: int) -> Machine:
        machine = self.machines[which % len(self.machines)]
        if not machine.up:
            self.revive(which)
        return machine

    # Into and out of a node

    def do(self, machine: Machine, name: str, *args: Any) -> Any:
        """Call a node, and put its output into the network and the model. Return the result of the call."""
        made = call(machine.node, name, args)
        machine.calls.append(made)
        if name in FINALS:
            self.note_command(machine, name, args, made.result)
        for transmit in made.transmits:
            self.take_transmit(machine, transmit)
        if name == "handle_timeout":
            self.expire(machine)
        for told in made.events:
            self.take_event(machine, told)
        return made.result

    def note_command(self, machine: Machine, name: str, args: tuple[Any, ...], result: Any) -> None:
        op = result
        if name == "delete":
            op, ports = result
            key, port, _ = args
            assert ports == sorted(own for of, own in machine.own if of == key and port in (None, own))
            machine.own -= {(key, own) for own in ports}
            args = (key, tuple(ports))
            if not ports:
                return  # and nothing follows
        elif name == "enter":
            machine.own.add((args[0], args[1]))
            self.ever_entered |= {(args[0], own.with_port(args[1])) for own in machine.endpoints}
        elif name == "put":
            self.ever_put.add(args[1])
            machine.learned.add((args[0], args[1]))
        elif name == "store_at":
            self.ever_entered |= {(args[1], own.with_port(args[2])) for own in machine.endpoints}
        assert op not in machine.open
        machine.open[op] = Command(name, args, self.now)

    def take_transmit(self, machine: Machine, transmit: Transmit) -> None:
        query = self.codec.decode(transmit.data)
        assert isinstance(query, Query)
        assert len(transmit.data) <= (1_280 if isinstance(query.request, Put) else 1_200)
        assert query.sender == machine.id_towards(transmit.endpoint)
        known = machine.on_their_way.get(query.tid)
        if known is None:
            self.check_asked(machine, transmit.endpoint, query.request)
            machine.tally.queries_sent += 1
            machine.on_their_way[query.tid] = OnItsWay(
                transmit.endpoint, query.request, transmit.data, self.now, self.now
            )
        else:
            event("a query is sent again")
            machine.tally.retries += 1
            assert (known.to, known.data) == (transmit.endpoint, transmit.data)
            if known.tried_at + QUERY_TIMEOUT <= self.now:
                known.tried_at, known.copies = self.now, 1
            else:
                known.copies += 1
                assert known.copies <= COPIES
        self.send(machine, transmit.data, transmit.endpoint)

    def check_asked(self, machine: Machine, to: Endpoint, request: Request) -> None:
        """It stores and renews what is its own, under its own session."""
        assert type(request) in self.codec.traits.requests
        match request:
            case Store(key, port, _, lease, session):
                by_command = machine.calls[-1].name == "store_at"
                assert by_command or (key, port) in machine.own
                assert (lease, session) == ((self.lease, machine.session) if self.has_leases else (0, b""))
            case Withdraw(key, port, _, session):
                # It may be entered again already. Then it is stored once this is over.
                assert any((key, own.with_port(port)) in self.ever_entered for own in machine.endpoints)
                assert session == machine.session
            case Renew(session, lease, _):
                assert session == machine.session
                assert to in machine.entrusted
                assert lease in (self.lease, 0)
                # Not checked: how many entries it took. It is told to drop all if it has said twice that it has more.
                assert lease or all(machine.told[to][-2:])
            case Put(_, _, value):
                assert value in self.ever_put
            case _:
                pass

    def expire(self, machine: Machine) -> None:
        for tid, query in list(machine.on_their_way.items()):
            if query.tried_at + QUERY_TIMEOUT <= self.now:
                del machine.on_their_way[tid]
        # Expired entries are dropped some time soon. Until then, a renewal brings them back.
        left = held_by(machine.node)
        for one, expires_at in list(machine.held.items()):
            if one not in left:
                assert expires_at <= self.now
                del machine.held[one]
            assert expires_at + 1 + self.policy.store_sweep >= self.now or one not in left
        after = machine.node.poll_timeout()
        assert after is not None
        assert after > self.now, "it wakes and wakes, and time stands still"

    def take_event(self, machine: Machine, told: NodeEvent) -> None:
        if isinstance(told, Joined | Isolated | Unheld | Unreached):
            names = {
                Joined: "a node has joined",
                Isolated: "a node is cut off",
                Unheld: "a node is refused by all",
                Unreached: "a node reaches nobody",
            }
            event(names[type(told)])
            return
        assert not isinstance(told, ValueSuperseded | Renamed), "it keeps no values, and its ID"
        if isinstance(told, Republished):
            self.check_published(machine, told)
            return
        assert told.op not in machine.cancelled, "it was cancelled"
        command = machine.open[told.op]
        if isinstance(told, LookupProgress | GetProgress):
            self.take_progress(command, told)
            return
        assert isinstance(told, FINALS[command.name])
        del machine.open[told.op]
        match told:
            case Answered(_, contact, result, rtt):
                assert contact.endpoint == command.args[0]
                assert isinstance(result, Found if command.name in ("find_node", "find_value") else Acknowledged)
                assert 0 <= rtt <= self.now - command.since
            case Unanswered(_, to, error):
                assert to == command.args[0]
                assert error is not None or command.since + QUERY_TIMEOUT + QUERY_TIMEOUT <= self.now
            case LookupDone(_, key, endpoints, stats):
                assert key == command.args[0]
                assert len(set(endpoints)) == len(endpoints)
                assert command.found <= set(endpoints)
                assert stats.responses + stats.timeouts <= stats.queries
                assert stats.elapsed == self.now - command.since
                assert self.tainted or {(key, one) for one in endpoints} <= self.ever_entered
                event(f"a lookup has found {'something' if endpoints else 'nothing'}")
            case GetDone() | ValuePut():
                self.check_value_told(command, told)
            case Published(_, key, port):
                assert (key, port) == command.args[:2]
                self.check_published(machine, told)
            case Withdrawn(_, key, ports, nodes):
                assert (key, tuple(ports)) == command.args
                assert Withdraw in self.codec.traits.requests
                event("withdrawn from somebody" if nodes else "withdrawn from nobody")
            case CannotWithdraw(_, key, ports, holders, until):
                assert (key, tuple(ports)) == command.args
                assert Withdraw not in self.codec.traits.requests
                deleted = {own_key(key, port) for port in ports}
                owed = [pending for pending in machine.node.withdrawals if pending.record_key in deleted]
                assert holders == len({pending.holder for pending in owed})
                assert until == max((pending.until for pending in owed), default=None)
                event("somebody holds what is deleted" if holders else "nobody holds what is deleted")
            case Bootstrapped(_, contacted, failed, silent):
                assert contacted + failed == len(set(command.args[0]))
                assert len(silent) == failed
            case _:
                raise AssertionError(told)

    def take_progress(self, command: Command, told: LookupProgress | GetProgress) -> None:
        """Endpoints are told once each, and values if they are better than those before."""
        if isinstance(told, LookupProgress):
            assert command.name == "lookup"
            assert not command.found & set(told.endpoints), "it was told before"
            command.found.update(told.endpoints)
        else:
            assert command.name == "get"
            assert command.value is None or supersedes(told.value, command.value)
            command.value = told.value

    def check_value_told(self, command: Command, told: GetDone | ValuePut) -> None:
        """A get finds what somebody has put, since nobody can forge that; and a put tells the true holders."""
        assert told.key == command.args[0]
        if isinstance(told, GetDone):
            found = [other.value for other in (*told.stale, *told.conflicting)]
            assert (told.value is None) == (command.value is None)
            assert {*found, told.value} <= {*self.ever_put, None}
            event(f"a get has found {'nothing' if told.value is None else 'something'}")
            return
        value = command.args[1]
        assert len(told.replicas) <= told.asked
        assert told.newer is None or (told.newer in self.ever_put and supersedes(told.newer, value))
        assert self.tainted or {(holder.endpoint, value) for holder in told.replicas} <= self.values_taken
        event(f"a value is {'put' if told.replicas else 'not put'}")

    def check_published(self, machine: Machine, told: Published | Republished) -> None:
        tracked = (told.key, told.port) in machine.own
        if told.cancelled:
            event("deleted while it is being published")
        else:
            assert tracked
            event(f"published on {'some' if told.replicas else 'no'} nodes")
            machine.replicas[told.key, told.port] = [replica.endpoint for replica in told.replicas]
        machine.took.setdefault((told.key, told.port), set()).update(replica.endpoint for replica in told.replicas)
        assert len(set(told.replicas)) == len(told.replicas) <= told.asked
        for own in machine.endpoints:
            takers = [replica.endpoint for replica in told.replicas if len(replica.endpoint) == len(own)]
            assert len(takers) <= self.policy.k
            us = own.with_port(told.port)
            assert self.tainted or {(taker, told.key, us) for taker in takers} <= self.stores_taken

    # The network

    def send(self, machine: Machine, data: bytes, to: Endpoint) -> None:
        source = machine.towards(to)
        if source is not None and not self.outage:
            self.bag.append(Parcel(data, source, to))

    def deliver(self, parcel: Parcel) -> None:
        machine = self.by_endpoint.get(parcel.to)
        if machine is None or not machine.up or self.outage:
            return
        self.tainted |= parcel.mutated
        tally, counters = machine.tally, machine.node.counters
        limited, cut_short = counters.rate_limited, counters.cut_short
        message: Query | BadQuery | Reply | Error | None
        try:
            message = self.codec.decode(parcel.data)
        except WireError:
            message = None
        taken = self.take_answer(machine, message, parcel.source) if isinstance(message, Reply | Error) else None
        answer = self.do(machine, "handle_datagram", parcel.data, parcel.source, self.now)
        if isinstance(message, Query | BadQuery) and message.sender in machine.ids.values():
            event("a query of the node's own comes back")
            tally.own_id_claimed += message.tid not in machine.on_their_way
            assert answer is None
        elif isinstance(message, Query | BadQuery):
            if answer is None:
                event("a query above the limit")
                tally.rate_limited += 1
                assert machine.limited
                assert counters.rate_limited == limited + 1
            else:
                if counters.cut_short > cut_short:
                    tally.cut_short += 1
                    assert machine.limited
                    if self.is_busy(message, answer):
                        event("a find is answered with an error, above the limit")
                        self.send(machine, answer, parcel.source)
                        return
                    self.check_brief(machine, message, parcel, answer)
                self.take_reply(machine, message, parcel.source, answer, len(parcel.data))
        else:
            assert answer is None
            tally.malformed += message is None
        if taken is not None and taken.sender is not None:
            contact = Contact(taken.sender, parcel.source)
            machine.ever_answered.add(contact)

    def is_busy(self, query: Query | BadQuery, answer: bytes) -> bool:
        """Whether a find above the limit gets an error, as it must where an answer cannot say that it is cut."""
        reply, is_find = self.codec.decode(answer), isinstance(query, Query) and not isinstance(query.request, Ping)
        must_be = is_find and not self.codec.traits.tells_more
        assert must_be == (isinstance(reply, Error) and reply.code == ERROR_SERVER)
        return must_be

    def check_brief(self, machine: Machine, query: Query | BadQuery, parcel: Parcel, answer: bytes) -> None:
        """Above the limit, a node that has answered still hears that we are here, and how to prove itself."""
        assert parcel.source in {contact.endpoint for contact in machine.ever_answered}
        reply = self.codec.decode(answer)
        assert isinstance(reply, Reply)
        assert isinstance(query, Query)
        result = self.codec.decode_result(query.request, reply.body)
        event(f"a {type(query.request).__name__} is answered briefly")
        if isinstance(query.request, Ping):
            assert result == Acknowledged()
        elif isinstance(query.request, Renew):
            assert isinstance(result, Renewed)
        else:
            assert isinstance(result, Found)
            assert result == Found(result.token, (), (), more=True)
            assert len(answer) <= len(parcel.data)

    def take_answer(self, machine: Machine, message: Reply | Error, source: Endpoint) -> Reply | Error | None:
        """Return the answer if it belongs to a query on its way, which is then over."""
        query = machine.on_their_way.get(message.tid)
        if query is None or query.to != source:
            event("an answer to no query on its way")
            machine.tally.unmatched += 1
            return None
        if message.sender in machine.ids.values():
            event("an answer under our own ID")
            machine.tally.own_id_claimed += 1
            return None
        result = None
        if isinstance(message, Reply):
            try:
                result = self.codec.decode_result(query.request, message.body)
            except WireError:
                machine.tally.malformed += 1
                return None
        if self.now - query.first_sent >= 0.5:
            event("an answer to a late query")
        if isinstance(message, Reply):
            machine.tally.replies_received += 1
        else:
            machine.tally.errors_received += 1
        if isinstance(query.request, Store) and result is not None:
            machine.entrusted.add(source)
        if isinstance(query.request, Get) and isinstance(result, Found) and isinstance(result.held, Mutable):
            self.learn(machine, query.request.key, result.held)
        if isinstance(result, Renewed) and result.held is not None:
            machine.told.setdefault(source, []).append(result.held)
        del machine.on_their_way[message.tid]
        return message

    def take_reply(
        self, machine: Machine, query: Query | BadQuery, source: Endpoint, answer: bytes, asked_with: int
    ) -> None:
        """Check the answer of a node, and note the promises in it."""
        self.send(machine, answer, source)
        reply = self.codec.decode(answer)
        assert isinstance(reply, Reply | Error)
        assert reply.tid == query.tid
        if isinstance(reply, Reply):
            assert reply.sender == machine.id_towards(source)
            assert reply.observed in self.may_be_told(source)
        else:
            assert reply.sender in self.may_be_told(machine.id_towards(source))
            machine.tally.bad_queries += 1
        if isinstance(query, BadQuery):
            assert isinstance(reply, Error)
            return
        match query.request:
            case Ping():
                assert isinstance(reply, Reply)
            case FindNode(target, token) | FindValue(target, token):
                assert isinstance(reply, Reply)
                assert len(answer) <= 1_200
                if token is None:
                    assert len(answer) <= 3 * asked_with
                found = self.codec.decode_result(query.request, reply.body)
                assert isinstance(found, Found)
                self.check_found(machine, source, target, found, isinstance(query.request, FindValue))
                if found.token is not None:
                    machine.tokens[found.token, source.ip, target] = self.now
            case Store() | Withdraw():
                self.take_change(machine, query.tid, query.request, source, reply)
            case Renew():
                assert isinstance(reply, Reply)
                renewed = self.codec.decode_result(query.request, reply.body)
                assert isinstance(renewed, Renewed)
                self.take_renewal(machine, query.request, source, renewed)
            case Watch() | Changed():
                assert isinstance(reply, Error)
            case Get() | Put():
                self.take_of_values(machine, query.request, source, reply, len(answer), asked_with)

    def take_of_values(
        self, machine: Machine, request: Get | Put, source: Endpoint, reply: Reply | Error, size: int, asked_with: int
    ) -> None:
        if isinstance(request, Put):
            self.take_put(machine, request, source, reply)
            return
        assert isinstance(reply, Reply)
        assert size <= 1_280
        if request.token is None:
            assert size <= 3 * asked_with
        found = self.codec.decode_result(request, reply.body)
        assert isinstance(found, Found)
        self.check_got(machine, request, found)
        if found.token is not None:
            machine.tokens[found.token, source.ip, request.key] = self.now

    def take_change(
        self, machine: Machine, tid: bytes, request: Store | Withdraw, source: Endpoint, reply: Reply | Error
    ) -> None:
        """A store or a withdrawal is done once, however often the same datagram comes while its token is good."""
        accepted = not (isinstance(reply, Error) and reply.code == ERROR_PROTOCOL)
        if not self.check_token(machine, source, request.key, request.token, accepted):
            return
        announced, again = source.with_port(request.port), (source.ip, tid, request) in machine.changes
        machine.changes.add((source.ip, tid, request))
        machine.tally.repeated += again
        event(f"a change comes {'again' if again else 'for the first time'}")
        if again:
            there = self.is_held(machine, request.key, announced)
            assert isinstance(reply, Reply) is (isinstance(request, Withdraw) or there)
            return
        assert isinstance(reply, Reply)
        one = Held(request.key, announced, request.session[:SESSION_KEPT])
        if isinstance(request, Store):
            lease = request.lease if self.has_leases else int(self.policy.store_expiry)
            self.prolong(machine, source, one.session, lease)
            machine.held[one] = end_of(lease, self.now)
            holder = machine.towards(source)
            assert holder is not None
            self.stores_taken.add((holder, request.key, announced))
        else:
            machine.held.pop(one, None)

    def take_renewal(self, machine: Machine, request: Renew, source: Endpoint, renewed: Renewed) -> None:
        """A renewal with a good token holds all entries of the session at the address; another one changes nothing."""
        until = int.from_bytes(request.token[:8], "big")
        is_good = (request.token, source.ip, request.session) in machine.renewable and until >= self.now
        event(f"a renewal with a {'good' if is_good else 'bad'} token")
        count = self.prolong(machine, source, request.session[:SESSION_KEPT], request.lease) if is_good else None
        assert renewed.held == count
        if is_good and not request.lease:  # they are dropped at once
            whose = source.ip, request.session[:SESSION_KEPT]
            machine.held = {
                one: until for one, until in machine.held.items() if (one.endpoint.ip, one.session) != whose
            }
        assert int.from_bytes(renewed.token[:8], "big") == ceil(self.now + max(request.lease, RENEWABLE))
        machine.renewable.add((renewed.token, source.ip, request.session))

    def prolong(self, machine: Machine, source: Endpoint, session: bytes, lease: int) -> int:
        """Hold what this session has at this address for so long. Return how many entries these are."""
        ours = [one for one in machine.held if session and (one.endpoint.ip, one.session) == (source.ip, session)]
        machine.held.update(dict.fromkeys(ours, end_of(lease, self.now)))
        return len(ours)

    def is_held(self, machine: Machine, key: Id, at: Endpoint) -> bool:
        """Whether a machine holds this endpoint under the key, in any session."""
        return any(one[:2] == (key, at) and until > self.now for one, until in machine.held.items())

    def check_found(self, machine: Machine, source: Endpoint, target: Id, found: Found, of_value: bool) -> None:
        """An answer names members of the tables, and held, unexpired and usable entries, each once."""
        assert set(found.contacts) <= set(machine.node.overlays.contacts())
        for family in Family:
            assert sum(len(contact.endpoint) == family for contact in found.contacts) <= self.policy.k
        held = {one.endpoint for one, until in machine.held.items() if one.key == target and until > self.now}
        own = {
            seen.with_port(port)
            for seen in machine.node.external.endpoints()
            for key, port in machine.own
            if key == target
        }
        known = {one for one in held | own if means_the_same(one, source)}
        if of_value and not found.more and self.codec.traits.tells_more:
            assert set(found.endpoints) == known
        else:
            assert set(found.endpoints) <= known
        assert len(set(found.endpoints)) == len(found.endpoints)

    def learn(self, machine: Machine, key: Id, value: Mutable) -> None:
        """A machine was told of a value. It serves nothing older than that, if it proves itself."""
        if self.codec.is_genuine(value) and self.codec.key_of(value) == key:
            machine.learned.add((key, value))

    def may_hold(self, machine: Machine, key: Id) -> dict[Value, float]:
        """Return what a machine may hold for others, and until when: the value put there, or a newer one it found."""
        held, until = machine.values.get(key, (None, 0.0))
        if held is None or until <= self.now:
            return {}
        newer = {other for of, other in machine.learned if of == key and supersedes(other, held)}
        return dict.fromkeys([held, *newer], until)

    def check_got(self, machine: Machine, request: Get, found: Found) -> None:
        """An answer has the value that is held, if it is wanted and has room, or its seq."""
        assert set(found.contacts) <= set(machine.node.overlays.contacts())
        held = self.may_hold(machine, request.key)
        if found.held is None:
            assert not held or found.more
            return
        lasts = {int(until - self.now) for until in held.values()}
        assert found.lasts in lasts
        seqs = {value: 0 if isinstance(value, Immutable) else value.seq for value in held}
        if isinstance(found.held, int):
            assert request.seq is not None
            assert found.held <= request.seq
            assert found.held in seqs.values()
        else:
            assert request.seq is None or seqs[found.held] > request.seq
            machine.values[request.key] = found.held, held[found.held]
            event("a get is answered with a value")

    def take_put(self, machine: Machine, request: Put, source: Endpoint, reply: Reply | Error) -> None:
        """A put is taken if its token is good, and its value is new here."""
        accepted = not (isinstance(reply, Error) and reply.code == ERROR_PROTOCOL)
        if not self.check_token(machine, source, request.key, request.token, accepted):
            return
        value, held = request.value, self.may_hold(machine, request.key)
        if isinstance(reply, Reply):
            assert not held or any(value == other or supersedes(value, other) for other in held)
            until = max([float(int(self.now) + request.lasts), *held.values()])
            machine.values[request.key] = value, until
            holder = machine.towards(source)
            assert holder is not None
            self.values_taken.add((holder, value))
            event("a put is taken")
        elif reply.code == ERROR_SIGNATURE:
            assert self.tainted
            assert not self.codec.is_genuine(value)
        else:
            assert reply.code == ERROR_SEQ or (reply.code == ERROR_CAS and request.cas is not None)
            assert any(value != other and not supersedes(value, other) for other in held) or request.cas is not None
            event("a put is refused")

    def check_token(self, machine: Machine, source: Endpoint, key: Id, token: bytes, accepted: bool) -> bool:
        """A token is good for the address that it was given to, for the key of its query, for a minute or two."""
        given = machine.tokens.get((token, source.ip, key))
        age = float("inf") if given is None else self.now - given
        assert accepted or age >= TOKEN_SURE
        assert not accepted or age <= TOKEN_MAX
        event("a token is accepted" if accepted else "a token is refused")
        return accepted

    def flush(self, most: int | None = None, shuffle: Random | None = None) -> None:
        """Deliver in order, or in any, with the consequences: all, or so many at `most`."""
        held_back = len(self.bag)
        for _ in range(5_000 + 20 * held_back if most is None else most):
            if not self.bag:
                return
            self.deliver(self.bag.pop(shuffle.randrange(len(self.bag)) if shuffle else 0))
        assert most is not None, f"they talk without end, after {held_back} were held back"

    def flush_until_one_is(self, kind: Callable[[Query | Reply], bool]) -> Parcel | None:
        """Deliver in order until a datagram of this kind is next; return it, if it comes."""
        for _ in range(200):
            if not self.bag:
                break
            try:
                message = self.codec.decode(self.bag[0].data)
            except WireError:
                message = None
            if isinstance(message, Query | Reply) and kind(message):
                return self.bag[0]
            self.deliver(self.bag.pop(0))
        return None

    # Time

    def next_timeout(self) -> float:
        return max(self.now, min((self.timeout_of(machine) for machine in self.living()), default=float("inf")))

    def timeout_of(self, machine: Machine) -> float:
        when = machine.node.poll_timeout()
        assert when is not None
        return when

    def wake(self) -> None:
        for machine in self.living():
            if self.timeout_of(machine) <= self.now:
                self.do(machine, "handle_timeout", self.now)

    def run_for(self, seconds: float, *, answered: bool = True, shuffle: Random | None = None) -> None:
        """Let time pass; each node is woken in time, and datagrams arrive at once, or not at all meanwhile."""
        until = self.now + seconds
        for _ in range(20_000 + round(10 * seconds)):  # five nodes have twenty holders to renew, with copies
            if answered:
                self.flush(shuffle=shuffle)
            when = self.next_timeout()
            if when > until:
                self.now = until
                return
            self.now = when
            self.wake()
        raise AssertionError(f"they do not get past {self.now}")

    @rule(seconds=spans, answered=st.booleans())
    def pass_time(self, seconds: float, answered: bool) -> None:
        self.run_for(seconds, answered=answered)

    @rule(times=st.integers(1, 5))
    def pass_to_the_next_timeouts(self, times: int) -> None:
        for _ in range(times):
            if any(self.living()):
                self.now = self.next_timeout()
                self.wake()

    @rule(seconds=spans)
    def oversleep(self, seconds: float) -> None:
        """Due work is late: datagrams may come before it is done."""
        self.now += seconds

    @rule(which=who, times=st.integers(1, 3))
    def wake_for_nothing(self, which: int, times: int) -> None:
        machine = self.pick_machine(which)
        before = self.timeout_of(machine)
        for _ in range(times):
            self.do(machine, "handle_timeout", self.now)
            made = machine.calls[-1]
            if before > self.now:
                assert not made.transmits
                assert not made.events
                assert self.timeout_of(machine) == before
            before = self.timeout_of(machine)

    # Datagrams

    @rule(most=st.integers(1, 60))
    def deliver_in_order(self, most: int) -> None:
        self.flush(most)

    @rule(picked=st.lists(picks, min_size=1, max_size=6))
    def deliver_any(self, picked: list[int]) -> None:
        for pick in picked:
            if self.bag:
                self.deliver(self.bag.pop(pick % len(self.bag)))

    @rule(picked=st.lists(picks, min_size=1, max_size=6))
    def drop(self, picked: list[int]) -> None:
        for pick in picked:
            if self.bag:
                self.bag.pop(pick % len(self.bag))

    @rule(pick=picks)
    def duplicate(self, pick: int) -> None:
        if self.bag:
            self.bag.append(self.bag[pick % len(self.bag)])

    @rule(picked=st.lists(picks, min_size=1, max_size=6))
    def hold_back(self, picked: list[int]) -> None:
        for pick in picked:
            if self.bag:
                self.held_back.append(self.bag.pop(pick % len(self.bag)))

    @rule()
    def let_go(self) -> None:
        self.bag += self.held_back
        self.held_back.clear()

    @rule(pick=picks, place=picks, byte=st.integers(1, 255), cut=st.booleans())
    def change(self, pick: int, place: int, byte: int, cut: bool) -> None:
        if self.bag:
            parcel = self.bag.pop(pick % len(self.bag))
            place %= len(parcel.data)
            data = parcel.data[:place]
            if not cut:
                data += bytes([parcel.data[place] ^ byte]) + parcel.data[place + 1 :]
            self.deliver(Parcel(data, parcel.source, parcel.to, mutated=True))

    @rule(pick=picks, which=who, port=st.sampled_from([1729, 1729, 1730]))
    def forge_a_source(self, pick: int, which: int, port: int) -> None:
        """The source is forged: one of our machines, or none."""
        if self.bag:
            parcel = self.bag[pick % len(self.bag)]
            source = endpoint(which + 1, parcel.to.family).with_port(port)
            self.deliver(Parcel(parcel.data, source, parcel.to))

    @rule(outage=st.sampled_from([False, False, True]))
    def cut_or_mend_the_network(self, outage: bool) -> None:
        self.outage = outage
        if outage:
            self.bag.clear()

    # Commands

    @rule(which=who, to=st.integers(0, 6), name=st.sampled_from(["ping", "find_node", "find_value"]), on=who)
    def ask_one(self, which: int, to: int, name: str, on: int) -> None:
        machine = self.pick_machine(which)
        args = () if name == "ping" else (self.key(on),)
        self.do(machine, name, self.somewhere(to), *args, self.now)

    @rule(which=who, pick=picks, port=st.sampled_from(PORTS), true=st.booleans())
    def store_at(self, which: int, pick: int, port: int, true: bool) -> None:
        """With a token given to this node, or to another, or with an invented one."""
        machine = self.pick_machine(which)
        given = [
            (to, token, key)
            for other in self.machines
            if other.up
            for token, ip, key in other.tokens
            for to in other.endpoints
            if len(to.ip) == len(ip) and (not true or ip in [own.ip for own in machine.endpoints])
        ]
        nobody = (self.machines[0].endpoints[0], b"invented", self.key(pick))
        to, token, key = given[pick % len(given)] if given else nobody
        self.do(machine, "store_at", to, key, port, token, self.now)

    @rule(which=who, on=who, most=some)
    def lookup(self, which: int, on: int, most: int) -> None:
        self.do(self.pick_machine(which), "lookup", self.key(on), self.now)
        self.flush(most)

    @precondition(lambda self: Get in self.codec.traits.requests)
    @rule(which=who, value=st.sampled_from(VALUES), most=some, puts=st.booleans())
    def put_or_get(self, which: int, value: Value, most: int, puts: bool) -> None:
        machine, key = self.pick_machine(which), self.codec.key_of(value)
        if puts:
            self.do(machine, "put", key, value, self.now)
        else:
            self.do(machine, "get", key, self.now)
        self.flush(most)

    @rule(which=who, on=who, port=st.sampled_from(PORTS), most=some)
    def enter(self, which: int, on: int, port: int, most: int) -> None:
        self.do(self.pick_machine(which), "enter", self.key(on), port, self.now)
        self.flush(most)

    @rule(which=who, pick=picks, all_of_it=st.booleans(), most=some)
    def delete(self, which: int, pick: int, all_of_it: bool, most: int) -> None:
        machine = self.pick_machine(which)
        own = sorted(machine.own)
        key, port = own[pick % len(own)] if own else (self.key(pick), 80)
        self.do(machine, "delete", key, None if all_of_it else port, self.now)
        self.flush(most)

    def is_at_peace(self) -> bool:
        return not self.outage and all(machine.up and not machine.limited for machine in self.machines)

    def entered(self, which: int, pick: int) -> tuple[Machine, Id, int]:
        """Return a machine and a new own entry of it, published just now."""
        machine = self.pick_machine(which)
        self.flush()
        if not machine.own:
            self.do(machine, "enter", self.key(pick), 80, self.now)
            self.run_for(5.0)
        return machine, *sorted(machine.own)[pick % len(machine.own)]

    def holders(self, machine: Machine, key: Id, port: int) -> set[Endpoint]:
        """Return the holders of an entry of this machine, stored under its session, with their families."""
        session = machine.session[:SESSION_KEPT] if self.has_leases else b""
        return {
            at
            for other in self.machines
            if other.up
            for own in machine.endpoints
            if other.held.get(Held(key, own.with_port(port), session), 0.0) > self.now
            if (at := other.towards(own)) is not None
        }

    @precondition(withdraws)
    @rule(which=who, pick=picks, seed=picks)
    def an_entry_deleted_in_peace_is_held_by_no_holder(self, which: int, pick: int, seed: int) -> None:
        """All ports of the key at once."""
        machine, key, _ = self.entered(which, pick)
        for port in PORTS:
            self.do(machine, "enter", key, port, self.now)
        self.run_for(5.0)
        self.do(machine, "delete", key, None, self.now)
        self.run_for(20.0, shuffle=Random(seed))
        if self.is_at_peace():
            event("deleted in peace")
            for port in PORTS:
                took = machine.took.get((key, port), set())
                assert not self.holders(machine, key, port) & took

    @precondition(withdraws)
    @rule(which=who, pick=picks, away=who, killed=st.sampled_from(["before", "after", "owner too"]))
    def what_is_deleted_while_a_holder_is_down_is_not_held_when_it_is_back(
        self, which: int, pick: int, away: int, killed: str
    ) -> None:
        """The same for a holder that was killed before it saved the withdrawal, and for a restarted owner."""
        machine, key, port = self.entered(which, pick)
        other = self.pick_machine(away)
        self.run_for(5.0)
        if other is machine or not self.is_at_peace():
            return
        self.held_back.clear()
        self.save(other)
        took = set(other.endpoints) & self.holders(machine, key, port)
        if killed != "after":
            self.stop(away, gently=False)
        self.do(machine, "delete", key, port, self.now)
        if killed == "owner too":
            self.stop(which, gently=True)
            self.now += 5.0
            self.revive(which)
        self.run_for(20.0)
        if killed == "after":
            self.stop(away, gently=False)
            self.run_for(5.0)
        self.revive(away)
        event(f"a holder is killed {killed}" if took else "a node is killed that is no holder")
        assert not took or self.holders(machine, key, port) & took
        self.run_for(90.0)
        assert not self.holders(machine, key, port) & took

    @rule(which=who, on=who)
    def what_is_deleted_while_it_is_published_is_held_by_no_more(self, which: int, on: int) -> None:
        """Not even if the stores on their way are lost, and would be sent again."""
        machine, key, port = self.pick_machine(which), self.key(on), PORTS[0]
        self.flush()
        self.do(machine, "enter", key, port, self.now)
        self.flush_until_one_is(lambda message: isinstance(message, Query) and isinstance(message.request, Store))
        self.bag.clear()
        before = self.holders(machine, key, port)
        self.do(machine, "delete", key, port, self.now)
        self.run_for(20.0)
        event("deleted while stores are lost")
        assert self.holders(machine, key, port) <= before

    @rule(which=who, pick=picks, most=st.integers(0, 30), seed=picks)
    def what_is_entered_again_while_it_is_deleted_is_held(self, which: int, pick: int, most: int, seed: int) -> None:
        machine, key, port = self.entered(which, pick)
        self.do(machine, "delete", key, port, self.now)
        self.flush(most)
        self.do(machine, "enter", key, port, self.now)
        self.run_for(20.0, shuffle=Random(seed))
        if self.is_at_peace():
            event("entered again in peace")
            assert set(machine.replicas[key, port]) <= self.holders(machine, key, port)

    @rule(which=who, to=st.integers(0, 4), on=who, byte=st.integers(1, 3))
    def spoil_a_result(self, which: int, to: int, on: int, byte: int) -> None:
        """The datagram is right except for its result: the query stays on its way."""
        self.flush()
        self.do(self.pick_machine(which), "find_node", self.somewhere(to), self.key(on), self.now)
        parcel = self.flush_until_one_is(lambda message: isinstance(message, Reply) and bool(message.body))
        if parcel is not None:
            event("a result is spoilt")
            data = parcel.data[:-1] + bytes([parcel.data[-1] ^ byte])
            self.deliver(Parcel(data, parcel.source, parcel.to, mutated=True))

    @rule(which=who, to=st.lists(st.integers(0, 6), max_size=4))
    def bootstrap(self, which: int, to: list[int]) -> None:
        self.do(self.pick_machine(which), "bootstrap", [self.somewhere(other) for other in to], self.now)

    @rule(which=who, pick=picks)
    def cancel(self, which: int, pick: int) -> None:
        machine = self.pick_machine(which)
        if machine.open:
            op = sorted(machine.open)[pick % len(machine.open)]
            event(f"{machine.open[op].name} is cancelled")
            del machine.open[op]
            machine.cancelled.add(op)
            self.do(machine, "cancel", op)

    @rule(which=who, rate=st.sampled_from([0.0, 0.0, 0.5, 4.0]))
    def limit_rate(self, which: int, rate: float) -> None:
        machine = self.pick_machine(which)
        self.do(machine, "limit_rate", rate)
        machine.limited = rate > 0

    def somewhere(self, number: int) -> Endpoint:
        """Return the place of a machine, or an empty one; the asker need not speak its family."""
        families = self.families[number % len(self.families)]
        return endpoint(number + 1, families[number % len(families)])

    def key(self, on: int) -> Id:
        """Return one of a few keys: some are near a node, and one is a node's ID."""
        return (self.machines[0].id, *map(self.make_id, (1, 64)))[on % 3]

    # Ends and beginnings

    def start(self, machine: Machine) -> None:
        """Begin a life, with the content of the state file."""
        contacts, held = machine.saved
        machine.begin_life(self.codec, self.policy, self.now)
        self.do(machine, "limit_rate", 0.0)
        for contact in contacts:
            self.do(machine, "restore_contact", contact)
        for key, port in sorted(machine.own):
            self.do(machine, "restore_own", own_key(key, port), self.now)
        for own, holders in sorted(machine.deleted.items()):
            self.restore_holders(machine, own, holders)
        for entry in held:
            # Its owner may have renewed it since it was saved, so it has one more lease.
            self.do(machine, "restore_held", entry, self.now)
            machine.held[Held(entry.key, entry.record.endpoint, entry.session)] = end_of(entry.lease, self.now)
        self.do(machine, "start", [at for other in self.machines[:2] for at in other.endpoints], self.now)

    def restore_holders(self, machine: Machine, own: Entry, holders: dict[Contact, float]) -> None:
        """They may hold an own entry, or a deleted one: with leases, for one of ours at most."""
        restored = {}
        for contact, saved in holders.items():
            until = self.now + self.lease if self.has_leases else saved
            if self.do(machine, "restore_holder", own_key(*own), contact, saved, self.now):
                restored[contact] = until
                machine.entrusted.add(contact.endpoint)
            else:
                assert until <= self.now or contact.id in machine.ids.values()
        assert machine.node.publisher.holders(own_key(*own), self.now) == restored

    def save(self, machine: Machine) -> None:
        machine.saved = (tuple(machine.node.overlays.contacts()), tuple(machine.node.store))

    @rule(which=who)
    def save_now_and_then(self, which: int) -> None:
        self.save(self.pick_machine(which))

    @rule(which=who, gently=st.booleans())
    def stop(self, which: int, gently: bool) -> None:
        """A kill leaves the contacts and held entries of an earlier moment; enters and deletes are saved."""
        machine = self.pick_machine(which)
        node = machine.node
        entries = machine.own | {(pending.record_key.key, pending.record_key.port) for pending in node.withdrawals}
        machine.deleted = {own: node.publisher.holders(own_key(*own), self.now) for own in entries}
        if machine.on_their_way:
            event("stopped with queries on their way")
        if gently:
            self.save(machine)
        machine.up = False
        self.check_that_it_repeats(machine)

    @rule(which=who)
    def revive(self, which: int) -> None:
        machine = self.machines[which % len(self.machines)]
        if not machine.up:
            self.start(machine)

    @rule(which=who, gently=st.booleans(), seconds=st.sampled_from([0.0, 0.0, 5.0, 500.0]))
    def restart(self, which: int, gently: bool, seconds: float) -> None:
        self.stop(which, gently)
        self.now += seconds
        self.revive(which)

    @rule(which=who, number=st.integers(0, 127), seconds=st.sampled_from([0.0, 5.0, 500.0]))
    def lose_the_state_file(self, which: int, number: int, seconds: float) -> None:
        """Another node begins at the same endpoint."""
        machine, id = self.pick_machine(which), self.make_id(number)
        if id not in {other.id for other in self.machines}:
            event("another node at the same endpoint")
            self.stop(which, gently=False)
            machine.id, machine.saved = id, ((), ())
            machine.own.clear()
            machine.deleted.clear()
            machine.ever_answered.clear()
            machine.draw_session()
            self.now += seconds
            self.start(machine)

    # Invariants

    def living(self) -> Iterable[Machine]:
        return (machine for machine in self.machines if machine.up)

    @invariant()
    def own_entries_are_tracked_through_all(self) -> None:
        for machine in self.living():
            tracked = [(entry.key, entry.port) for entry in machine.node.own_records]
            assert len(set(tracked)) == len(tracked)
            assert set(tracked) == machine.own

    @invariant()
    def nothing_is_withdrawn_that_is_an_own_entry(self) -> None:
        for machine in self.living():
            withdrawn = {(pending.record_key.key, pending.record_key.port) for pending in machine.node.withdrawals}
            assert not withdrawn & machine.own
            assert withdrawn <= {(key, at.port) for key, at in self.ever_entered}

    @invariant()
    def no_contact_has_never_answered(self) -> None:
        for machine in self.living():
            for overlay in machine.node.overlays:
                table = list(overlay.state.table)
                assert set(table) <= machine.ever_answered
                ids, endpoints = {contact.id for contact in table}, {contact.endpoint for contact in table}
                assert machine.ids[overlay.family] not in ids
                assert len(ids) == len(endpoints) == len(table)
                assert {len(each) for each in endpoints} <= {overlay.family}

    @invariant()
    def only_what_was_asked_for_with_a_good_token_is_held(self) -> None:
        for machine in self.living():
            held = held_by(machine.node)
            assert held == machine.held
            assert len(machine.node.store) == len(held)

    @invariant()
    def only_what_was_put_is_held(self) -> None:
        for machine in self.living():
            for held in machine.node.values.held:
                may = self.may_hold(machine, held.key)
                assert held.expires_at <= self.now or may.get(held.value) == held.expires_at

    @invariant()
    def everything_is_counted_once(self) -> None:
        for machine in self.living():
            counters = machine.node.counters
            for name, count in vars(machine.tally).items():
                counted = getattr(counters, name)
                may_be_named_elsewhere = name == "own_id_claimed" and self.tainted
                assert counted == count or (may_be_named_elsewhere and counted > count), name
            settled = counters.replies_received + counters.errors_received + counters.timeouts
            assert counters.queries_sent - settled == len(machine.on_their_way)

    def check_all(self) -> None:
        self.own_entries_are_tracked_through_all()
        self.no_contact_has_never_answered()
        self.only_what_was_asked_for_with_a_good_token_is_held()
        self.everything_is_counted_once()

    # Results in the end

    def teardown(self) -> None:
        if not self.machines or not hasattr(self, "ends"):
            return
        for which in range(len(self.machines)):
            self.revive(which)
        self.settle()
        if self.looks_far and self.ends == "answered":
            self.look_far_ahead()
        for machine in self.machines:
            self.check_that_it_repeats(machine)

    def settle(self) -> None:
        """With the clock running freely, every operation ends in time, and no query stays."""
        self.outage = self.ends == "in silence"
        self.bag.clear() if self.outage else self.let_go()
        until = self.now + SETTLED_WITHIN
        for machine in self.machines:
            self.do(machine, "limit_rate", 0.0)
            machine.limited = False
        began = self.now
        while self.is_unsettled(began):
            self.flush()
            if not self.is_unsettled(began):
                break
            self.now = self.next_timeout()
            assert self.now <= until, [machine.open for machine in self.machines]
            self.wake()
        self.check_all()
        if not self.outage:  # in an outage, lookups of our own go on, and everything that waits for them
            assert not any(machine.node.handles.running for machine in self.machines)

    def is_unsettled(self, began: float) -> bool:
        """Whether a command is open, or a query of that time on its way. Heartbeats go on for ever."""
        queries = (query for machine in self.machines for query in machine.on_their_way.values())
        return any(machine.open for machine in self.machines) or any(query.first_sent <= began for query in queries)

    def look_far_ahead(self) -> None:
        """Served entries are held where lookups find them, and no others are held."""
        # A node that has come back under other IDs again and again is let into tables later.
        if any(machine.sessions > 2 for machine in self.machines):
            self.run_for(self.policy.id_change_max)
        self.run_for(REJOINED_WITHIN)
        assert all(machine.node.overlays.is_connected for machine in self.machines)
        self.run_for(AN_HOUR_AND_MORE)
        self.check_all()
        entered = [
            (machine, key, own.with_port(port))
            for machine in self.machines
            for own in machine.endpoints
            for key, port in machine.own
        ]
        served = {  # by others: where nobody else speaks a family, nobody can hold what is served there
            (key, at)
            for machine, key, at in entered
            if any(other is not machine and other.towards(at) for other in self.machines)
        }
        held = {one[:2] for machine in self.machines for one, until in machine.held.items() if until > self.now}
        assert held == served, (held - served, served - held)
        for machine in self.machines:
            for key in {key for key, _ in served}:
                self.do(machine, "lookup", key, self.now)
                self.flush()
                done = [told for made in machine.calls[-200:] for told in made.events if isinstance(told, LookupDone)]
                found = {(key, one) for one in done[-1].endpoints}
                assert {one for one in served if one[0] == key and machine.towards(one[1])} <= found
                assert found <= {(key, at) for _, key, at in entered}

    def check_that_it_repeats(self, machine: Machine) -> None:
        """The same inputs give the same outputs, in the same order."""
        node = machine.new_node(self.codec, self.policy)
        for made in machine.calls:
            assert call(node, made.name, made.args) == made


class NativeMachine(NodeMachine):
    """The same at 256 bits, on the native wire."""

    codec = NativeCodec()


class StrictDualStackCodec(StrictCodec):
    """The same, padded for both families."""

    def __init__(self) -> None:
        super().__init__(dual_stack=True)


class DualStackMachine(NodeMachine):
    """The same with machines of IPv4, of IPv6, and a first one of both."""

    codec: ClassVar[Codec] = StrictDualStackCodec()
    families = (
        (Family.IPV4, Family.IPV6),
        (Family.IPV6,),
        (Family.IPV4,),
        (Family.IPV6, Family.IPV4),
        (Family.IPV4, Family.IPV6),
    )


class BareMachine(DualStackMachine):
    """The same on a wire that has no more than BEP 5 has, where a machine has an ID of its own in each family.

    What is deleted stays with its holders until it expires.
    """

    codec = JsonCodec(Keyspace(8), bare=True)
    of_each = True

    def may_be_told(self, _: T) -> tuple[T | None, ...]:
        """A reply does not tell the observed address, and an error does not tell its sender."""
        return (None,)


TestNodesKeepTheirPromises = NodeMachine.TestCase
TestNodesKeepTheirPromises.settings = scaled(30)
TestNodesKeepThemAt256BitsToo = NativeMachine.TestCase
TestNodesKeepThemAt256BitsToo.settings = scaled(12)
TestNodesKeepThemAt256BitsToo.pytestmark = [pytest.mark.slow]  # type: ignore[attr-defined]
TestNodesOfBothFamiliesKeepThemToo = DualStackMachine.TestCase
TestNodesOfBothFamiliesKeepThemToo.settings = scaled(20)
TestNodesOfABareWireKeepThemToo = BareMachine.TestCase
TestNodesOfABareWireKeepThemToo.settings = scaled(20)

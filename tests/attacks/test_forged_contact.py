"""Floods in the name of a contact, or from its address: the contact and we must not lose each other."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, cycle
from random import Random

import pytest

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Answered, Event, Handle
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact, FindNode, FindValue, Found, Ping, Reply, Request
from dhtd.core.policy import DEFAULT
from dhtd.core.routing.standing import Standing
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.wire.native import NativeCodec
from tests.bench.load import resident
from tests.records import to_store, to_withdraw

CODEC = NativeCodec()
MIB = 2**20
RATE = 10_000  # datagrams of the flood a second: forty times what a source may send
TICK = 0.02
LONG = 2.2 * DEFAULT.token_rotation  # every token of the start is void by then
KEYS = [NATIVE.digest(bytes([number])) for number in range(8)]

Forge = Iterator[tuple[bytes, Endpoint]]


class Flood:
    """What one of the network's hosts is flooded with from now on, and what it has sent for it.

    Whatever else it gets comes right behind the flood: no moment is left in which a limit may have recovered.
    """

    def __init__(self, net: Network, target: Host, forge: Forge) -> None:
        self.sent = 0  # datagrams
        self.bytes_sent = 0
        self.bytes_back = 0
        self.answers: Counter[str] = Counter()
        self.most_lanes = 0
        self._net = net
        self._target = target
        self._forge = forge
        self._began = net.now
        self._take = target.node.handle_datagram
        target.node.handle_datagram = self._take_behind_it  # type: ignore[method-assign]
        self._run()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return self._net.now - self._began

    def _run(self) -> None:
        self._catch_up(self._net.now)
        self._net.flush(self._target)
        self._net.schedule.at(self._net.now + TICK, self._run)

    def _take_behind_it(self, data: bytes, source: Endpoint, now: float) -> bytes | None:
        self._catch_up(now)
        return self._take(data, source, now)

    def _catch_up(self, now: float) -> None:
        """Send what is due by now."""
        for _ in range(int((now - self._began) * RATE) - self.sent):
            data, source = next(self._forge)
            answer = self._take(data, source, now)
            self.sent += 1
            self.bytes_sent += len(data)
            if answer is not None:
                self.bytes_back += len(answer)
                self.answers["long" if len(answer) > 120 else "short"] += 1
        limit = self._target.node.gate.limit
        self.most_lanes = max(self.most_lanes, len(limit._lanes))


def forged(requests: list[Request], contacts: list[Contact], source: Callable[[Contact], Endpoint]) -> Forge:
    """Yield queries of all these kinds, each under the ID of a contact."""
    rng = Random(7)
    made = [
        (CODEC.encode_query(rng.randbytes(8), contact.id, request), source(contact))
        for contact in contacts
        for _ in range(8)
        for request in requests
    ]
    rng.shuffle(made)
    yield from cycle(made)


def anything(token: bytes = b"guessed!") -> list[Request]:
    """Return requests of each kind, with what may be a token."""
    requests: list[Request] = [Ping()]
    for key in KEYS:
        requests += [FindNode(key), FindValue(key), FindNode(key, token), FindValue(key, token)]
        requests += [to_store(key, 80, token), to_withdraw(key, 80, token)]
    return requests


def exact(contact: Contact) -> Endpoint:
    return contact.endpoint


def next_port(contact: Contact) -> Endpoint:
    return contact.endpoint.with_port(contact.endpoint.port + 1)


def grown() -> Network:
    net = Network(5, policy=DEFAULT, codec=NativeCodec())
    net.grow(32)
    net.run_for(600)
    return net


def friends(net: Network, target: Host) -> list[Host]:
    """Return the hosts that are answering contacts of the target, and that have it as a good contact."""
    return [
        host
        for host in net.hosts
        if target.node.state.answers_us(host.endpoint) and knows(net, host, target) is Standing.GOOD
    ]


def knows(net: Network, host: Host, other: Host) -> Standing | None:
    """Return the standing of a host in the table of another."""
    state = host.node.state
    return state.standing(other.contact, net.now) if state.table.get(other.id) == other.contact else None


class Asking:
    """The ways in which hosts ask another one, and how often each has worked."""

    def __init__(self, net: Network, target: Host) -> None:
        self.net = net
        self.target = target
        self.key = target.id  # so that nobody is nearer to it than the target
        self.served = {server.endpoint.with_port(80) for server in net.hosts[:3] if server is not target}
        for server in net.hosts[:3]:
            if server is not target:
                net.enter(server, self.key, 80)
        self.asked: Counter[str] = Counter()
        self.worked: Counter[str] = Counter()
        self._ports = count(3_000)

    def everything(self, host: Host) -> None:
        """Have a host ask for one thing of each kind, one after the other."""
        for what in (self.ping, self.find, self.lookup, self.enter_and_delete):
            self.asked[what.__name__] += 1
            self.worked[what.__name__] += what(host)

    def ping(self, host: Host) -> bool:
        return isinstance(self._answer(host, host.node.commands.ping(self.target.endpoint, self.net.now)), Answered)

    def find(self, host: Host) -> bool:
        event = self._answer(host, host.node.commands.find_value(self.target.endpoint, self.key, self.net.now))
        if not isinstance(event, Answered) or not isinstance(event.result, Found):
            return False
        return self.served <= set(event.result.endpoints) and len(event.result.contacts) == self.net.policy.k

    def lookup(self, host: Host) -> bool:
        done = self.net.lookup(host, self.key)
        return self.served <= set(done.endpoints) and self.target.contact in done.closest

    def enter_and_delete(self, host: Host) -> bool:
        port = next(self._ports)
        here = (self.key, host.endpoint.with_port(port))
        stored = self.target.contact in self.net.enter(host, self.key, port).replicas and here in held(self.target)
        self.net.delete(host, self.key, port)
        return stored and here not in held(self.target)

    def _answer(self, host: Host, op: Handle) -> Event:
        self.net.flush(host)
        self.net.run_until(lambda: op in host.done)
        return host.done[op]


def held(host: Host) -> set[tuple[Id, Endpoint]]:
    return {(entry.key, entry.record.endpoint) for entry in host.node.store}


def keep_asking(net: Network, asking: Asking, host: Host, seconds: float) -> None:
    """Have a host ask for everything, a second apart, for a while."""
    until = net.now + seconds
    while net.now < until:
        asking.everything(host)
        net.run_for(1.0)


@pytest.mark.parametrize("seconds", [10.0, pytest.param(LONG, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "whose", [pytest.param("its exact endpoint", marks=pytest.mark.slow), "another port of its address"]
)
def test_a_flood_in_a_contacts_name_costs_nothing(
    whose: str, seconds: float, figure: Callable[[str, object], None]
) -> None:
    net = grown()
    target = net.closest(KEYS[0])[0]
    friend, *others = friends(net, target)
    asking, of_others = Asking(net, target), Asking(net, target)
    is_exact = whose == "its exact endpoint"
    flood = Flood(net, target, forged(anything(), [friend.contact], exact if is_exact else next_port))
    net.run_for(5.0)
    counters, memory, began = target.node.counters, resident(os.getpid()), net.now
    timeouts = {host: host.node.counters.timeouts for host in net.hosts if host is not target}
    cut_short, limited = counters.cut_short, counters.rate_limited
    keep_asking(net, asking, friend, seconds)
    for other in others[:8]:
        of_others.everything(other)
    stranger = Contact(NATIVE.digest(b"stranger"), Endpoint.of("198.51.100.1", 1_729))
    answers = [reply_of(target, FindNode(KEYS[0]), stranger, net.now) for _ in range(200)]
    took = net.now - began
    figure("what the contact has asked that worked", f"{dict(asking.worked)} of {dict(asking.asked)}")
    figure("the same, of other contacts", f"{dict(of_others.worked)} of {dict(of_others.asked)}")
    figure("where the contact has us", str(knows(net, friend, target)))
    figure("forged queries a second", f"{flood.sent / flood.seconds:.0f} for {flood.seconds:.0f} s")
    figure(
        "of these cut short, met with silence", f"{counters.cut_short - cut_short}, {counters.rate_limited - limited}"
    )
    figure("bytes back for one sent", f"{flood.bytes_back / flood.bytes_sent:.2f}")
    assert asking.worked == asking.asked
    assert min(asking.asked.values()) > seconds / 6
    assert of_others.worked == of_others.asked
    assert all(answer is not None for answer in answers)
    assert knows(net, friend, target) is Standing.GOOD
    assert knows(net, target, friend) is Standing.GOOD
    assert {host: host.node.counters.timeouts for host in timeouts} == timeouts
    assert flood.most_lanes <= 1
    if sys.platform == "linux":
        grown_by = resident(os.getpid()) - memory
        figure("memory grown by", f"{grown_by / MIB:.2f} MiB")
        assert grown_by < 8 * MIB
    if is_exact:
        assert counters.cut_short - cut_short > 0.1 * RATE * took
    else:
        assert counters.cut_short == 0  # in its own lane the contact has been served whole
        assert counters.rate_limited - limited > 0.9 * RATE * took


def reply_of(target: Host, request: Request, sender: Contact, now: float) -> bytes | None:
    return target.node.handle_datagram(CODEC.encode_query(bytes(8), sender.id, request), sender.endpoint, now)


@pytest.mark.slow
def test_a_flood_in_all_names_loses_no_contact(
    figure: Callable[[str, object], None],
) -> None:
    net = grown()
    target = net.closest(KEYS[0])[0]
    contacts = friends(net, target)
    asking = Asking(net, target)
    flood = Flood(net, target, forged([Ping(), FindNode(KEYS[0])], [host.contact for host in contacts], exact))
    target.node.gate.limit_rate(16.0)  # so that each of them is above it
    net.run_for(5.0)
    for friend in contacts:
        asking.everything(friend)
    figure("what contacts have asked that worked", f"{dict(asking.worked)} of {dict(asking.asked)}")
    figure("lanes, and contacts", f"{flood.most_lanes}, {len(contacts)}")
    assert asking.worked == asking.asked
    assert flood.most_lanes == len(contacts)
    assert all(knows(net, host, target) is Standing.GOOD for host in contacts)


@pytest.mark.slow
def test_a_flooding_contact_is_held_to_its_rates(
    figure: Callable[[str, object], None],
) -> None:
    net = grown()
    target = net.closest(KEYS[0])[0]
    friend, other, *_ = friends(net, target)
    asking = Asking(net, target)
    answer = reply_of(target, FindNode(KEYS[0]), friend.contact, net.now)
    assert answer is not None
    reply = CODEC.decode(answer)
    assert isinstance(reply, Reply)
    found = CODEC.decode_result(FindNode(KEYS[0]), reply.body)
    assert isinstance(found, Found)
    with_token: list[Request] = [FindNode(KEYS[0], found.token), FindValue(KEYS[0], found.token)]
    flood = Flood(net, target, forged([*with_token, FindNode(KEYS[0]), Ping()], [friend.contact], exact))
    keep_asking(net, asking, other, 20.0)
    most = 3 * DEFAULT.rate_limit * (DEFAULT.rate_burst + flood.seconds)
    figure("whole answers", f"{flood.answers['long']} of {flood.sent} queries; {most:.0f} are allowed")
    assert 0.5 * most < flood.answers["long"] <= most
    assert asking.worked == asking.asked


@pytest.mark.slow
def test_a_flood_in_one_name_spares_the_reserve(
    figure: Callable[[str, object], None],
) -> None:
    net = grown()
    target = net.closest(KEYS[0])[0]
    friend, *others = friends(net, target)
    asking = Asking(net, target)
    target.node.gate.limit_rate(64.0, 2_048.0)
    flood = Flood(net, target, forged([Ping()], [friend.contact], exact))
    net.run_for(5.0)
    asked = answered = 0
    for _ in range(10):
        for other in others:
            for _ in range(9):
                asked += 1
                answered += reply_of(target, Ping(), other.contact, net.now) is not None
        asking.everything(others[0])
        net.run_for(1.0)
    figure("pings of other contacts answered", f"{answered} of {asked}")
    figure("pongs a second for the flood", f"{flood.answers.total() / flood.seconds:.0f} of {RATE}")
    assert answered == asked > 1_000
    assert asking.worked == asking.asked
    assert flood.answers.total() < 2_048 * (DEFAULT.rate_burst + flood.seconds)

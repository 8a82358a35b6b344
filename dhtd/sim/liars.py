"""Nodes that lie. A liar runs an honest node, so that it gets into routing tables, and falsifies its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dhtd.core.codec import Named, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, closest
from dhtd.core.messages import VALUE_LASTS, Contact, Find, FindNode, Get, Put, Query, Store
from dhtd.core.records import Value
from dhtd.sim.lie import Forged, Machine, Truth

if TYPE_CHECKING:
    from random import Random


class _Finds:
    """A lie told in answers to finds, and no value to gets; other queries are answered honestly."""

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        assert isinstance(query, Query)
        if isinstance(query.request, Find):
            honest = self.lie(net, host, query, source)
        yield Forged(honest, host.endpoint, source)

    def lie(self, net: Truth, host: Machine, query: Query, source: Endpoint) -> bytes:
        target = _target(query)
        contacts = self.contacts(net, host, target)
        return _found(net, query, self.sender(net, host, target), source, contacts, self.endpoints(net))

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        return host.node.state.closest(target, net.policy.k)

    def endpoints(self, net: Truth) -> Sequence[Endpoint]:
        return ()

    def sender(self, net: Truth, host: Machine, target: Id) -> Id:
        return host.id


class FakeContacts(_Finds):
    """Names nodes that do not exist, as near to the target as it likes, and other ones each time."""

    def __init__(self, count: int = 25) -> None:
        self._count = count

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        return [Contact(near(net, target), nowhere(net.rng)) for _ in range(self._count)]


class FakeEndpoints(_Finds):
    """Names the true nearest nodes, at addresses without a machine."""

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        return [Contact(other.id, nowhere(net.rng)) for other in net.closest(target)]


class FakeIds(_Finds):
    """Names the endpoints of the true nearest nodes, under IDs as far from the target as can be."""

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        far = net.codec.traits.keyspace.size - 1 ^ target
        return [Contact(Id(near(net, Id(far))), other.endpoint) for other in net.closest(target)]


class Aimed(_Finds):
    """Names one victim's endpoint under many IDs, and says that it serves the key."""

    def __init__(self, victim: Endpoint) -> None:
        self._victim = victim

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        return [Contact(near(net, target), self._victim) for _ in range(20)]

    def endpoints(self, net: Truth) -> Sequence[Endpoint]:
        return [self._victim]


class Inventor(_Finds):
    """Names its contacts honestly, and invents many machines that serve the key."""

    def __init__(self, count: int = 100) -> None:
        self._count = count

    def endpoints(self, net: Truth) -> Sequence[Endpoint]:
        return [nowhere(net.rng) for _ in range(self._count)]


class ManyIds(_Finds):
    """Answers under another ID each time, near the target."""

    def sender(self, net: Truth, host: Machine, target: Id) -> Id:
        return near(net, target)


class Impostor(_Finds):
    """Answers under the ID of the true nearest node to the target."""

    def sender(self, net: Truth, host: Machine, target: Id) -> Id:
        return net.closest(target, 1)[0].id


class Mute(_Finds):
    """Answers pings, and never a find query."""

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        assert isinstance(query, Query)
        if not isinstance(query.request, Find):
            yield Forged(honest, host.endpoint, source)


class Refuser(_Finds):
    """Answers every find query with an error."""

    def lie(self, net: Truth, host: Machine, query: Query, source: Endpoint) -> bytes:
        return net.codec.encode_error(query.tid, host.id, 202, "no")


class Empty(_Finds):
    """Knows nobody and nothing."""

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        return ()


class Conspirator(_Finds):
    """Names its accomplices nearest to the target, and denies that anybody serves anything.

    It claims to hold what it is asked to store, so that nobody looks for another holder.
    """

    def __init__(self, accomplices: Sequence[Machine]) -> None:
        self._accomplices = accomplices  # may be added to, and may hold the liar itself

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        if isinstance(query, Query) and isinstance(query.request, Store | Put):
            yield Forged(net.codec.encode_acknowledged(query.tid, host.id, source), host.endpoint, source)
        else:
            yield from super().answer(net, host, data, honest, source)

    def contacts(self, net: Truth, host: Machine, target: Id) -> Sequence[Contact]:
        others = [other.contact for other in self._accomplices if other is not host]
        return closest(others, target, net.policy.k)


class Pretender:
    """Gives one of these values, or none, to each get. It says that it holds what it is asked to hold, and does not."""

    def __init__(self, *values: Value | None) -> None:
        self._values = values

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        assert isinstance(query, Query)
        lie = honest
        if isinstance(query.request, Get):
            packed = net.codec.pack_contacts(host.node.state.closest(query.request.key, net.policy.k))
            room = Room(net.policy.datagram_sent_max, proved=True)
            value = net.rng.choice(self._values)
            lasts = 0 if value is None else VALUE_LASTS
            lie = net.codec.encode_got(query, host.id, source, b"a token!", packed, room, value, lasts)
        elif isinstance(query.request, Put):
            lie = net.codec.encode_acknowledged(query.tid, host.id, source)
        yield Forged(lie, host.endpoint, source)


class Misleader(_Finds):
    """Answers honestly, and lies only about the address at which it sees the requester."""

    def __init__(self, observed: Endpoint) -> None:
        self._observed = observed

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        assert isinstance(query, Query)
        if isinstance(query.request, Find):
            contacts = self.contacts(net, host, _target(query))
            lie = _found(net, query, host.id, self._observed, contacts, ())
        else:
            lie = net.codec.encode_acknowledged(query.tid, host.id, self._observed)
        yield Forged(lie, host.endpoint, source)


class WrongTid:
    """Answers with another transaction ID."""

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        query = net.codec.decode(data)
        assert isinstance(query, Query)
        tid = net.rng.randbytes(net.codec.traits.tid_size)
        yield Forged(net.codec.encode_acknowledged(tid, host.id, source), host.endpoint, source)


class WrongSource:
    """Answers from addresses that were not asked, and repeats what it has answered before from its own."""

    def __init__(self) -> None:
        self._before: list[bytes] = []

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        yield Forged(honest, nowhere(net.rng), source)
        yield Forged(honest, net.rng.choice(net.hosts).endpoint, source)
        if self._before:
            yield Forged(net.rng.choice(self._before), host.endpoint, source)
        self._before = [*self._before[-15:], honest]


class Garbage:
    """Answers with noise, and with its honest answer damaged."""

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterator[Forged]:
        yield Forged(net.rng.randbytes(net.rng.randrange(1500)), host.endpoint, source)
        yield Forged(damaged(honest, net.rng), host.endpoint, source)


def near(net: Truth, target: Id) -> Id:
    """Return an ID nearer to `target` than honest nodes happen to be."""
    return Id(target ^ net.rng.getrandbits(max(1, net.codec.traits.keyspace.bits // 2)))


def nowhere(rng: Random) -> Endpoint:
    """Return an endpoint without a host."""
    return Endpoint(bytes((10, 255)) + rng.randbytes(4))


def damaged(data: bytes, rng: Random) -> bytes:
    """Return `data` cut, lengthened, or with some of its bytes changed."""
    changed = bytearray(data)
    match rng.randrange(3):
        case 0:
            del changed[rng.randrange(len(changed)) :]
        case 1:
            changed += rng.randbytes(rng.randrange(1, 9))
        case _:
            for _ in range(rng.randrange(1, 9)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _target(query: Query) -> Id:
    request = query.request
    assert isinstance(request, Find)
    return request.target if isinstance(request, FindNode) else request.key


def _found(
    net: Truth,
    query: Query,
    sender: Id,
    observed: Endpoint,
    contacts: Sequence[Contact],
    endpoints: Sequence[Endpoint],
) -> bytes:
    packed = net.codec.pack_contacts(contacts)
    room = Room(net.policy.datagram_sent_max, proved=True)
    if isinstance(query.request, Get):
        return net.codec.encode_got(query, sender, observed, b"a token!", packed, room, None, 0)
    return net.codec.encode_found(query, sender, observed, b"a token!", packed, room, Named(endpoints))

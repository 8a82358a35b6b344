"""No dictionary and no set of a node is keyed by an integer that strangers choose, since they can make integers
collide.

The hash of an integer is its rest modulo 2**61 - 1. So the IDs k, k + (2**61 - 1), k + 2 * (2**61 - 1) ... fall into
one place of a dictionary, and each step in it is a walk over them all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from types import FunctionType, MethodType

import pytest

from dhtd.core.endpoint import Family
from dhtd.core.ids import NATIVE, Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT
from dhtd.core.records import Peer
from dhtd.core.storage.held_record import HeldRecord
from dhtd.core.storage.store import HeldRecords
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.wire import native_decoder, native_fields
from tests.core.small import endpoint
from tests.records import KEPT

PRIME = 2**61 - 1  # the modulus of the hash of an integer
SMALL = 2**32  # counters, ports and families are less
KEYS = [NATIVE.digest(b"%d" % number) for number in range(6)]


def is_keyed_by_integer(key: object) -> bool:
    """Whether the hash of a key follows from a wide integer; a class with its own hash is trusted."""
    if isinstance(key, int) and not isinstance(key, Enum):
        return key >= SMALL
    return type(key).__hash__ is tuple.__hash__ and any(map(is_keyed_by_integer, key))  # type: ignore[call-overload]


def parts(thing: object) -> Iterator[tuple[str, object]]:
    """Yield the parts of an object by name; those of closures and bound methods as well."""
    if isinstance(thing, Mapping):
        for key, value in thing.items():
            yield "[]", key
            yield "[]", value
    elif isinstance(thing, list | tuple | deque | AbstractSet):
        yield from (("[]", each) for each in thing)
    elif isinstance(thing, MethodType):
        yield "self", thing.__self__
        yield "()", thing.__func__
    elif isinstance(thing, FunctionType):
        yield from (("cell", cell.cell_contents) for cell in thing.__closure__ or ())
    elif isinstance(thing, partial):
        yield from (("()", each) for each in (thing.func, *thing.args, *thing.keywords.values()))
    if type(thing).__module__.startswith(("dhtd.", "tests.")):
        names = {name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())}
        for name in sorted(names | set(getattr(thing, "__dict__", {}))):
            if hasattr(thing, name):
                yield name, getattr(thing, name)


def keyed_by_integers(root: object) -> set[str]:
    """Return the reachable containers with integer keys, by class and attribute."""
    found, seen = set(), {id(root)}
    waiting: list[tuple[str, object]] = [(type(root).__name__, root)]
    while waiting:
        place, thing = waiting.pop()
        if isinstance(thing, Mapping | AbstractSet) and any(map(is_keyed_by_integer, thing)):
            found.add(place)
        for name, part in parts(thing):
            if isinstance(part, int | float | str | bytes) or part is None or id(part) in seen:
                continue
            seen.add(id(part))
            waiting.append((place if name == "[]" else f"{type(thing).__name__}.{name}", part))
    return found


class Unhashable(int):
    """An ID that no dictionary and no set takes."""

    __hash__ = None  # type: ignore[assignment]


def run(seed: int) -> Iterator[Node]:
    """Have a network of both families do everything, and yield a node of it at each step."""
    net = Network(seed)
    families = [Family.IPV4, Family.IPV6]
    ids = [Unhashable(NATIVE.random(net.rng)) for _ in range(12)]

    def add(id: int) -> Host:
        host = net.add(bootstrap=net.live[:2], id=Id(id), families=families)
        net.run_for(0.2)
        return host

    hosts = [add(id) for id in ids]
    net.run_for(5.0)
    keys = [Id(Unhashable(key)) for key in KEYS]
    for place, key in enumerate(keys):
        hosts[place % 4].node.commands.enter(key, 80, net.now)
        hosts[place % 4].node.commands.enter(key, 443, net.now)
        net.flush(hosts[place % 4])
        yield hosts[place % 4].node
    net.run_for(5.0)
    dead = [net.kill(host) for host in hosts[8:]]
    for key in keys:
        hosts[1].node.commands.lookup(key, net.now)
        net.flush(hosts[1])
        net.run_for(0.05)
        yield hosts[1].node
    for place, key in enumerate(keys[:3]):
        owner = hosts[place % 4]
        owner.node.commands.delete(key, None, net.now)
        net.flush(owner)
        yield owner.node
    for _ in range(7):
        net.run_for(3.0)
        yield from (host.node for host in hosts[:4])
    for host, saved in zip(hosts[8:], dead, strict=True):
        net.restart(host, saved)
    net.run_for(30.0)
    yield from (host.node for host in hosts)


@pytest.mark.no_cover
def test_no_container_is_keyed_by_their_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no ID is ever hashed, not even for a moment: any integer off the wire would raise here."""
    for module in (native_decoder, native_fields):
        monkeypatch.setattr(module, "to_id", lambda data, order: Unhashable(int.from_bytes(data, order)))
    found: set[str] = set()
    for node in run(1):
        found |= keyed_by_integers(node)
    assert found == set()


def test_the_walk_finds_keys_wherever_they_are() -> None:
    wide, store = KEYS[0], HeldRecords(DEFAULT)
    assert keyed_by_integers([{wide: 1}]) == {"list"}
    assert keyed_by_integers(deque([{(wide, 80)}])) == {"deque"}
    assert keyed_by_integers([{(1, (b"x", wide)): 1}]) == {"list"}
    assert keyed_by_integers([{Contact(wide, endpoint(1)): 1, (b"x", 80): 2, Family.IPV4: 3}]) == set()
    counter = Counter({wide: 1})
    assert keyed_by_integers([lambda: counter]) == {"function.cell"}
    assert keyed_by_integers([partial(print, counter)]) == {"partial.()"}
    store.changed._keys = {wide}  # type: ignore[arg-type]
    assert keyed_by_integers([store.put]) == {"ChangedKeys._keys"}


def test_colliding_keys_do_not_collide_in_a_store() -> None:
    store, count = HeldRecords(DEFAULT), 1_000
    colliding = [Id(KEYS[0] % 2**200 + number * PRIME) for number in range(count)]
    assert len(set(map(hash, colliding))) == 1
    for number, key in enumerate(colliding):
        store.restore(HeldRecord(key, Peer(endpoint(number)), 9.0, 3_600, KEPT), 0.0)
    assert len(set(map(hash, store._held))) == count


def test_colliding_contact_ids_do_not_collide() -> None:
    count = 1_000
    assert len({hash(Contact(Id(1 + number * PRIME), endpoint(1))) for number in range(count)}) == count

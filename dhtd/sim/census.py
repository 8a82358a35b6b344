"""The reachable hosts in the order of their IDs: the true answer, by which lookups are judged.

It does not use the routing table. It is fast enough for thousands of lookups among 100,000 hosts: the IDs nearest to a
target share its longest prefix, so they lie side by side.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from dhtd.core.ids import Id, Keyspace
from dhtd.sim.host import Host


class Census:
    """Hosts by ID."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._hosts: list[Host] = []
        self._ids: list[Id] = []  # theirs: a search among them calls nothing in Python

    def __len__(self) -> int:
        """How many hosts there are."""
        return len(self._hosts)

    def __iter__(self) -> Iterator[Host]:
        """Yield each host, in the order of their IDs."""
        return iter(self._hosts)

    def __getitem__(self, place: int) -> Host:
        """Return the host at this place in the order of the IDs."""
        return self._hosts[place]

    def add(self, host: Host) -> None:
        """Count this host, unless it is behind NAT."""
        if host.nat is None:
            place = bisect_right(self._ids, host.id)
            self._ids.insert(place, host.id)
            self._hosts.insert(place, host)

    def remove(self, host: Host) -> None:
        """Stop counting this host. It must still have the ID under which it was added."""
        if host.nat is not None:
            return
        place = self.place(host)
        del self._hosts[place], self._ids[place]

    def place(self, host: Host) -> int:
        """Return the place of a host that is counted."""
        place = bisect_left(self._ids, host.id)
        while self._hosts[place] is not host:  # a few may share an ID in a small keyspace
            place += 1
        return place

    def renamed(self) -> None:
        """A host has another ID: put all in order again."""
        self._hosts.sort(key=_id)
        self._ids = [host.id for host in self._hosts]

    def between(self, low: int, high: int) -> range:
        """Return the places of the hosts with IDs from `low` to `high`, both included."""
        return range(bisect_left(self._ids, low), bisect_left(self._ids, high + 1))

    def halves(self, places: range, id: Id, free: int) -> tuple[range, range]:
        """Part `places` of hosts that share all but the last `free` + 1 bits with `id`.

        The first part are those that share one bit more.
        """
        middle = bisect_left(self._ids, (id >> free | 1) << free, places.start, places.stop)
        lower, upper = range(places.start, middle), range(middle, places.stop)
        return (upper, lower) if id >> free & 1 else (lower, upper)

    def successor(self, key: Id) -> Host:
        """Return the host at `key`, or the first one clockwise after it."""
        return self._hosts[bisect_left(self._ids, key) % len(self._hosts)]

    def closest(self, target: Id, count: int) -> list[Host]:
        """Return up to `count` hosts, nearest to `target` first."""
        ids, hosts = self._ids, self._hosts
        if len(hosts) <= 2 * count:
            near = range(len(hosts))
        else:
            # The bits in which an ID differs from the target are the more, the farther it is in the order of the IDs.
            # So the nearest `count` are among those with no more such bits than the `count` nearest in that order.
            place = bisect_left(ids, target)
            around = ids[max(0, place - count) : place + count]
            free = sorted([(id ^ target).bit_length() for id in around])[count - 1]
            low = target >> free << free
            near = self.between(low, low | (1 << free) - 1)
        return [hosts[place] for place in sorted(near, key=lambda place: ids[place] ^ target)[:count]]


def _id(host: Host) -> Id:
    return host.id

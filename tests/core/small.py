"""A node's surroundings in small: a keyspace of seven bits, where every edge is near, and contacts to fill it.

And slow, obvious versions of a node's parts, as models for the fast ones.
"""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, Keyspace
from dhtd.core.messages import Contact, Message, Put, Query
from dhtd.core.policy import Policy
from dhtd.core.records import Value
from dhtd.core.routing.standing import Standing
from dhtd.wire.native import TRAITS, NativeCodec

SEVEN = Keyspace(7)


class SmallCodec(NativeCodec):
    """The native wire, restricted to 128 IDs."""

    traits = replace(TRAITS, keyspace=SEVEN)

    def key_of(self, value: Value) -> Id:
        """Return the leading bits of the key on the native wire."""
        return Id(super().key_of(value) >> 256 - SEVEN.bits)

    def decode(self, data: bytes) -> Message:
        """Return the message in a datagram, with such a key if it is a put."""
        message = super().decode(data)
        if isinstance(message, Query) and isinstance(message.request, Put):
            return replace(message, request=replace(message.request, key=self.key_of(message.request.value)))
        return message


CODEC = SmallCodec()
MAPPED = Endpoint(bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 9)) + b"\0P")  # IPv4 in IPv6


def endpoint(number: int) -> Endpoint:
    return Endpoint.of(f"10.0.{number // 256}.{number % 256}", 1729)


def contact(id: int, machine: int | None = None) -> Contact:
    """Return the contact with this ID, on a machine of the same number unless another is given."""
    return Contact(Id(id), endpoint(id if machine is None else machine))


def six(id: int, machine: int | None = None) -> Contact:
    """Return the contact with this ID, on an IPv6 machine of the same number unless another is given."""
    return Contact(Id(id), Endpoint.of(f"2001:db8:{id if machine is None else machine:x}::1", 1729))


class Beats:
    """Which secret a node has issued tokens with: the number of the beat, counted when somebody asks.

    Beats are a rotation apart. Where nobody asked for two of them, the next begins with the question.
    """

    def __init__(self, rotation: float, now: float) -> None:
        self.rotation = rotation
        self.number = 0
        self.began_at = now

    def ask(self, now: float) -> int:
        """Return the number of the beat at `now`; only tokens from it and from the beat before are good."""
        missed = (now - self.began_at) // self.rotation
        if missed >= 2:
            self.number += 2
            self.began_at = now
        elif missed == 1:
            self.number += 1
            self.began_at += self.rotation
        return self.number


class SlowTable:
    """The routing table, the slow way: a list of contacts, and ranges that are searched."""

    def __init__(self, own_id: Id, k: int, now: float) -> None:
        self.own_id = own_id
        self.k = k
        self.members: list[Contact] = []  # in the order in which they entered
        self.ranges = {range(SEVEN.size): now}  # and when there was last something going on in each

    def range_of(self, id: Id) -> range:
        (ids,) = [ids for ids in self.ranges if id in ids]
        return ids

    def inside(self, ids: range) -> list[Contact]:
        return [member for member in self.members if member.id in ids]

    def by_id(self, id: Id) -> Contact | None:
        return next((member for member in self.members if member.id == id), None)

    def by_endpoint(self, endpoint: Endpoint) -> Contact | None:
        return next((member for member in self.members if member.endpoint == endpoint), None)

    def nearest(self, target: Id) -> list[Contact]:
        """Return all contacts, nearest to `target` first."""
        return sorted(self.members, key=lambda member: member.id ^ target)

    def make_room(self, id: Id) -> bool:
        """Split ranges until the one of this ID has room, as far as the rule allows; return whether it has.

        A range splits that holds our own ID, or that is full when a node comes that is among the K nearest to us
        (Kademlia section 2.4, "unbalanced trees"). One ID cannot be split.
        """
        among_nearest = sum(member.id ^ self.own_id < id ^ self.own_id for member in self.members) < self.k
        while len(self.inside(ids := self.range_of(id))) >= self.k:
            if len(ids) == 1 or not (self.own_id in ids or among_nearest):
                return False
            activity = self.ranges.pop(ids)
            half = len(ids) // 2
            self.ranges[ids[:half]] = self.ranges[ids[half:]] = activity
        return True

    def has_room(self, id: Id) -> bool:
        """Whether there would be room for this ID. Splits nothing."""
        ranges = dict(self.ranges)
        room = self.make_room(id)
        self.ranges = ranges
        return room


class History:
    """Everything that happened to a contact since it entered the table; each answer follows from all of it."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.events: list[tuple[float, str]] = []  # "answered" or "timed out", and when
        self.rtts: list[float] = []

    @property
    def reachable(self) -> bool:
        return any(what == "answered" for _, what in self.events)

    @property
    def missed(self) -> int:
        """Queries in a row that it has missed by now."""
        row = 0
        for _, what in self.events:
            row = {"answered": 0, "timed out": row + 1}[what]
        return row

    @property
    def bad(self) -> bool:
        return self.missed > self.policy.bad_after

    @property
    def heard_at(self) -> float | None:
        return max((when for when, what in self.events if what == "answered"), default=None)

    def standing(self, now: float) -> Standing:
        """Return bad after too many misses, else good for a while after it was heard, else questionable."""
        if self.bad:
            return Standing.BAD
        if self.heard_at is None or now >= self.heard_at + self.policy.good_for:
            return Standing.QUESTIONABLE
        return Standing.GOOD

    def mean(self) -> float | None:
        """Return the smoothed round trip: each new one weighs an eighth."""
        smoothed = None
        for rtt in self.rtts:
            smoothed = rtt if smoothed is None else 7 / 8 * smoothed + 1 / 8 * rtt
        return smoothed

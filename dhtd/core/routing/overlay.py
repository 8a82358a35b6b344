"""One address family's network as a node takes part in it: its contacts, what it keeps fresh, how it stays connected.

IPv4 and IPv6 are two networks, since a node that speaks only one of them reaches no node in the other (BEP 32
"Operation"). A node has an ID in each that it is bound to, mostly the same one. It looks up and publishes in each, with
contacts of that network alone. One thing leads from one network to the other: a node of both names the nodes of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Family
from dhtd.core.enums import plain
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.routing.admission import RoutingState
from dhtd.core.routing.network_size import NetworkSize
from dhtd.core.routing.refresh import Refresher

if TYPE_CHECKING:
    from random import Random

_MOVES = 60.0  # seconds between introductions, however often our address changes


@plain
class Joining(Enum):
    """How far a node has come with joining the network of one family. `dhtd.core.membership.joining` has the table."""

    ALONE = auto()  # no node has answered yet: this one pings its bootstrap endpoints and some contacts
    CONNECTED = auto()  # somebody has answered: the lookup of our own ID is under way
    JOINED = auto()  # that lookup was answered: own entries may be published
    SILENT = auto()  # the last attempt had no answer, or the network was lost; else as ALONE


_CONNECTED, _JOINED = Joining.CONNECTED, Joining.JOINED  # an attribute of an enumeration is looked up slowly


class Overlay:
    """A network of one family, with its routing table and its timers."""

    __slots__ = (
        "_introduce_at",
        "_introduced_at",
        "_introduction",
        "_k",
        "_region",
        "_rng",
        "_rumours",
        "family",
        "joining",
        "keyspace",
        "own_id",
        "refresher",
        "rumoured_at",
        "size",
        "state",
    )

    def __init__(
        self,
        family: Family,
        own_id: Id,
        codec: Codec,
        rng: Random,
        policy: Policy,
        now: float,
        caps_hit: dict[str, int] | None = None,
    ) -> None:
        """`caps_hit`: where it is counted which caps are reached."""
        self._k = policy.k
        self._introduction = policy.introduction
        self._introduced_at = float("-inf")  # when the latest lookup of our own ID began
        self._introduce_at = now  # once we have joined
        self._region = policy.region
        self._rng = rng
        self.family = family
        self.own_id = own_id
        self.keyspace = codec.traits.keyspace
        self.size = NetworkSize(codec.traits.keyspace, policy.k)
        self.state = RoutingState(own_id, codec, policy, now, caps_hit)
        self.joining = Joining.ALONE
        self.refresher = Refresher(self.state.table, rng, policy)
        self._rumours: dict[Contact, None] = {}  # the latest contacts that the other family has named; latest last
        self.rumoured_at: float | None = None  # when the first one came, until it is followed

    @property
    def is_lonely(self) -> bool:
        """Whether so few contacts are known that one lost datagram may cost us the way to the others."""
        return len(self.state.table) < self._k

    @property
    def is_connected(self) -> bool:
        """Whether a node has answered, and the network has not been lost since."""
        return self.joining is _CONNECTED or self.joining is _JOINED

    @property
    def is_joined(self) -> bool:
        """Whether our neighbours are known as well."""
        return self.joining is _JOINED

    @property
    def is_silent(self) -> bool:
        """Whether the last attempt to join had no answer, or the network was lost."""
        return self.joining is Joining.SILENT

    @property
    def is_in_use(self) -> bool:
        """Whether there are contacts that may be expected to answer."""
        return len(self.state.table) > 0 and not self.is_silent

    def slept(self, seconds: float) -> None:
        """Take what is known of this network as so much older."""
        self.state.slept(seconds)
        self.refresher.slept()
        self._introduce_at -= seconds

    def rename(self, own_id: Id, now: float) -> None:
        """Have another ID of our own."""
        self.own_id = own_id
        self.state.rename(own_id, now)
        self.refresher.slept()

    def looks_itself_up(self, now: float) -> None:
        """A lookup of our own ID begins. Our nearest nodes get to know us after it, and may drop us later."""
        self._introduced_at = now
        self._introduce_at = now + self._introduction

    def has_moved(self, now: float) -> None:
        """We have another address: our nearest nodes are to know us by it, but not every minute."""
        self._introduce_at = min(self._introduce_at, max(now, self._introduced_at + _MOVES))

    def next_introduction(self) -> float | None:
        """Return when `is_introduction_due` changes."""
        return self._introduce_at if self.joining is _JOINED else None

    def is_introduction_due(self, now: float) -> bool:
        """Whether to look ourselves up again, so that nodes which have dropped us know us again."""
        return self.is_joined and now >= self._introduce_at

    @property
    def estimated_size(self) -> int:
        """About how many nodes the network has, ourselves included.

        Samples tell. While these are few, because we have just joined, it is at least the size that our own
        neighbourhood suggests.
        """
        sampled = self.size.estimate or 0
        return sampled if self.size.is_settled else max(sampled, self.size_by_neighbours())

    @property
    def measured_size(self) -> int | None:
        """About how many nodes the network has, ourselves included: the median of samples alone; None while unknown.

        It errs by 16 to 20 % in the mean. Other than `estimated_size`, it may be too small: for people, not for safety.
        """
        return self.size.estimate if self.is_joined else None

    def size_by_neighbours(self, without: Iterable[Contact] = ()) -> int:
        """Return about how many nodes the network has, ourselves included: from how near the K nearest to us are.

        The contacts in `without` do not count.
        """
        table = self.state.table
        passed_over = self.state.meta.bad.union(packed(contact.id) for contact in without)
        nearest = table.closest(table.own_id, self._k, passed_over)
        if len(nearest) < self._k:
            return len(nearest) + 1
        return self.keyspace.size * self._k // (nearest[-1].id ^ table.own_id)

    @property
    def usual_room(self) -> int:
        """How far from a place the K-th nearest node usually is."""
        return self.keyspace.size * self._k // max(self._k, self.estimated_size)

    @property
    def region(self) -> int:
        """How far from a place its region reaches. Where the nodes nearest to a key crowd, its region is asked."""
        return min(self.keyspace.size, max(1, int(self._region * self.usual_room)))

    def draw_lot(self) -> int:
        """Return a number of the keyspace that no other node can guess."""
        return self._rng.getrandbits(self.keyspace.bits)

    def hear_of(self, contacts: Iterable[Contact], now: float) -> None:
        """Take what nodes of the other family say of this network, while we are short of contacts of our own.

        The first rumour of all is followed at once. Later ones wait for the next attempt to join, which has its pauses:
        if this family leads nowhere, the other one still goes on naming its nodes for ever. One node of each network
        (/24 or /64) is kept, the latest: liars may name a victim under many IDs, on many ports.
        """
        if self.is_connected and not self.is_lonely:
            return
        is_first = not self._rumours
        for contact in contacts:
            for other in [each for each in self._rumours if each == contact or self.state.are_kin(each, contact)]:
                del self._rumours[other]
            self._rumours[contact] = None
            if len(self._rumours) > self._k:
                del self._rumours[next(iter(self._rumours))]
        if is_first and self._rumours and not self.is_connected:
            self.rumoured_at = now

    def rumours(self) -> list[Contact]:
        """Return the latest rumours of nodes that are no contacts yet."""
        get = self.state.table.get
        return [contact for contact in self._rumours if get(contact.id) is None]

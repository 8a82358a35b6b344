"""How long answers may be: see `responder`."""

from __future__ import annotations

from collections.abc import Callable

from dhtd.core.codec import Codec, PackedContacts, Room
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id, closest
from dhtd.core.policy import Policy
from dhtd.core.serving.byte_budget import ByteBudget


class Rooms(dict[int, Room]):
    """The room for an answer to a stranger, by the size of its query; made where it is missing.

    `budget`: for what is longer than that, on a wire on which no stranger can prove itself.
    """

    __slots__ = ("_amplification", "_by_limit", "budget", "longest", "ping_size", "sent_max", "whole")

    def __init__(self, policy: Policy, ping_size: int, budget: ByteBudget | None = None) -> None:
        """Begin with none. `ping_size`: bytes of a ping of ours."""
        super().__init__()
        self.budget = budget
        self._amplification = policy.amplification
        self._by_limit: dict[int, Room] = {}  # no more than a query and a budget have bytes
        self.ping_size = ping_size
        self.sent_max = policy.datagram_sent_max
        self.whole = Room(policy.datagram_sent_max, proved=True)  # for one that has proved its address
        # For an answer that has more to say than contacts, where there is a budget: it pays, or the answer is cut.
        self.longest = None if budget is None else Room(policy.datagram_sent_max)

    def __missing__(self, size: int) -> Room:
        """Return the room for an answer to a query of this size."""
        limit = self._amplification * size
        # Short of a whole datagram, a part is kept for the ping that finds out whether the stranger is a node.
        room = self[size] = Room(self.sent_max if limit >= self.sent_max else limit - self.ping_size)
        return room

    def most(self, size: int) -> Room:
        """Return the room for an answer that has more to say than contacts.

        What is kept for a ping is of more use there.
        """
        return self._of(min(self.sent_max, self._amplification * size))

    def pays(self, size: int, source: Endpoint, sent: int, now: float) -> bool:
        """Whether the budget has what an answer of `sent` bytes has more than its query allows; then it is charged."""
        more = sent - self._amplification * size
        return self.budget is None or more <= 0 or self.budget.pays(source, more, now)

    def afford(
        self,
        size: int,
        source: Endpoint,
        target: Id,
        packed: PackedContacts,
        encode: Callable[[PackedContacts, Room], bytes],
        codec: Codec,
        now: float,
    ) -> bytes:
        """Return an answer that the budget has not paid for as a whole, cut to what there is; it is charged for that.

        `encode` makes it of contacts and a room. Contacts of one family may be too long as well: those farthest from
        the `target` go.
        """
        assert self.budget is not None
        room = self._of(self._amplification * size + self.budget.spare(source, now))
        answer = encode(packed, room)
        while len(answer) > room.limit and packed.contacts:
            packed = codec.pack_contacts(closest(packed.contacts, target, len(packed.contacts) - 1))
            answer = encode(packed, room)
        more = len(answer) - self._amplification * size
        if more > 0:
            self.budget.charge(source, more, now)
        return answer

    def _of(self, limit: int) -> Room:
        return self._by_limit.get(limit) or self._by_limit.setdefault(limit, Room(limit))

"""How long answers may be: see `responder`."""

from __future__ import annotations

from dhtd.core.codec import Room
from dhtd.core.policy import Policy


class Rooms(dict[int, Room]):
    """The room for an answer to a stranger, by the size of its query; made where it is missing."""

    __slots__ = ("_amplification", "ping_size", "sent_max", "whole")

    def __init__(self, policy: Policy, ping_size: int) -> None:
        """Begin with none. `ping_size`: bytes of a ping of ours."""
        super().__init__()
        self._amplification = policy.amplification
        self.ping_size = ping_size
        self.sent_max = policy.datagram_sent_max
        self.whole = Room(policy.datagram_sent_max, proved=True)  # for one that has proved its address

    def __missing__(self, size: int) -> Room:
        """Return the room for an answer to a query of this size."""
        limit = self._amplification * size
        # Short of a whole datagram, a part is kept for the ping that finds out whether the stranger is a node.
        room = self[size] = Room(self.sent_max if limit >= self.sent_max else limit - self.ping_size)
        return room

    def all_of(self, size: int) -> Room:
        """Return this room with the part that is kept for a ping."""
        return Room(self._amplification * size)

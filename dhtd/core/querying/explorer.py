"""How a search finds nodes that no answer has named, because dead ones took their places in the answers.

An answer names K nodes. Where some of these are dead, live ones that are nearly as near stay unnamed. So a thorough
search asks nodes that have answered already for the nodes of the range behind the named ones.

A range is a part of the keyspace: all places whose distance to the target has one certain highest bit. It lies next to
the half that the target is in. A node that is asked about the place of a range that is nearest to the target names the
nodes of the range from the nearest on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import Candidate


class Explorer:
    """The places that a search asks about, and how far around its target it knows all nodes by that."""

    __slots__ = ("_begun", "_known_to", "_most", "_names_in_answer", "_target", "_under_way")

    def __init__(self, target: Id, policy: Policy) -> None:
        self._target = target
        self._most = policy.search_explorations
        self._names_in_answer = policy.k
        self._begun: set[bytes] = set()  # the ranges that were asked about
        self._under_way: set[bytes] = set()  # the places that are being asked about
        self._known_to = 1  # the distance up to which the answers have named all nodes

    @property
    def under_way(self) -> Collection[bytes]:
        """The places that are being asked about, packed."""
        return self._under_way

    @property
    def is_exhausted(self) -> bool:
        """Whether the search has asked about as many ranges as it may."""
        return len(self._begun) >= self._most

    def next(self, answered: Sequence[Candidate], farthest: int) -> tuple[Contact, Id] | None:
        """Return the contact to ask, and the place to ask about, if that may tell of nodes nearer than `farthest`.

        `answered`: the candidates that have answered, the nearest first.
        """
        # 1. How far have all nodes been named? The nearest node knows its surroundings best, explorations add to it.
        if not answered or answered[0].reach is None:
            return None
        named_to = max(answered[0].reach, self._known_to)
        # 2. The first range that reaches beyond this and was not asked about.
        begin = 1 << named_to.bit_length() >> 1
        while begin <= farthest and packed(Id(self._target ^ begin)) in self._begun:
            begin <<= 1
        # 3. Nodes in it only matter if the K nearest candidates reach as far.
        if farthest <= named_to or farthest < begin:
            return None
        # 4. Ask the nearest to its beginning.
        about = Id(self._target ^ begin)
        self._begun.add(packed(about))
        contact = min((candidate.contact for candidate in answered), key=lambda contact: contact.id ^ about)
        return contact, about

    def begin(self, about: Id) -> None:
        """Note that a contact is asked about this place."""
        self._under_way.add(packed(about))

    def heard(self, about: Id, named: Sequence[Contact]) -> None:
        """Take the answer about a place: all nodes up to the farthest of its nodes are known by it."""
        distances = [contact.id ^ self._target for contact in named]
        begin = about ^ self._target
        if len(distances) >= self._names_in_answer and min(distances) >= begin:
            self._known_to = max(self._known_to, *distances)
        else:  # an answer with room left, or with nodes before the place, has named the whole range
            self._known_to = max(self._known_to, 2 * begin - 1)
        self.end(about)

    def end(self, about: Id) -> None:
        """Wait no longer for the answer about this place."""
        self._under_way.discard(packed(about))

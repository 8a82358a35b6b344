"""The region of a target: the nodes that a search asks where the nearest ones crowd more than chance makes them.

An attacker that wants to hide a key has nodes nearer to it than all others, and has them name each other only. The
others are still there, a little farther away. So the entry is stored, and looked for, all over the region: the places
around the target where somewhat more than K nodes usually are.

Attackers can fill any part of it, but not all of it at once. It is cut into parts of equal width. Each has an equal
share of the nodes that are asked, so that a crowd in one part takes nothing from the others. Within a part, our own
contacts come first. A lot decides among the rest, and no node can know it when it chooses its ID.

When do the nearest crowd? Chance makes crowds as well, though seldom. With half of the usual room for a threshold, it
makes one in 6 % of all searches. Attackers that know all other nodes pass for the nearest at one key in 55: where no
other node is nearer to the key than the threshold. With 0.8, these are 31 % and one key in 600; with 0.35, they are 1 %
and one key in 16. No rule that sees nothing but distances does better. A lookup that has found nothing can afford more
false alarms: where there is something to find, hardly any lookup finds nothing, unless it is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.policy import Policy
from dhtd.core.querying.candidate import ANSWERED, FRESH, WAITING, Candidate


def crowds(farthest: int, usual: int, policy: Policy, *, in_vain: bool) -> bool:
    """Whether K nodes that reach as far as `farthest` have too little room to be there by chance.

    `usual`: how far they usually reach. `in_vain`: the lookup has found nothing.
    """
    return farthest < (policy.crowded_in_vain if in_vain else policy.crowded) * usual


class Region:
    """All places nearer than `radius` to `target`; at most `nodes` of those there are asked."""

    __slots__ = ("_crowd", "_lot", "_share", "_surveyed", "_target", "_width", "radius")

    def __init__(self, target: Id, radius: int, nodes: int, lot: int, crowd: int) -> None:
        """`crowd`: how far from the target the farthest node of the crowd is."""
        self.radius = radius
        self._crowd = crowd
        self._surveyed: set[bytes] = set()  # the parts that were asked about: from outside, from within
        self._target = target
        self._width = 1 << max(0, radius.bit_length() - 3)  # of a part; so there are four to eight
        self._share = max(1, nodes // -(-radius // self._width))
        self._lot = lot

    def places(self) -> Iterator[Id]:
        """Yield a place in the middle of each part, the nearest first."""
        for begin in range(0, self.radius, self._width):
            yield Id(self._target ^ begin ^ self._width >> 1)

    def survey(self, answered: Sequence[Contact], busy: Collection[bytes]) -> tuple[Contact, Id] | None:
        """Return which of those that answered to ask about which place next, so that each part is known.

        Places that are `busy` are being asked about.
        """
        # 1. Nodes of the crowd would name accomplices. They are asked only where no other node has answered.
        outside = [contact for contact in answered if contact.id ^ self._target > self._crowd] or answered
        for part, about in enumerate(self.places()):
            # 2. The node nearest to a part knows it best. Once a node of the part has answered, it is asked as well.
            guide = min(outside, key=lambda contact: contact.id ^ about)
            is_within = (guide.id ^ self._target) // self._width == part
            survey = bytes((part, is_within))
            if survey not in self._surveyed and packed(about) not in busy:
                self._surveyed.add(survey)
                return guide, about
        return None

    def choose(self, inside: Sequence[Candidate], may_be_asked: Callable[[Candidate], bool]) -> list[Candidate]:
        """Return those of the candidates `inside` that hold a place, and those that are to get one, by parts."""
        # 1. Which part is each in?
        parts: dict[bytes, list[Candidate]] = {}
        for candidate in inside:
            part = (candidate.contact.id ^ self._target) // self._width
            parts.setdefault(part.to_bytes(1, "big"), []).append(candidate)
        chosen: list[Candidate] = []
        for members in parts.values():
            # 2. Those that answered, or were just asked, have their places.
            held = [each for each in members if each.progress is ANSWERED or each.progress is WAITING]
            chosen += held
            # 3. The share of the part that is left goes to our own contacts, and to others by lot.
            if len(held) < self._share:
                fresh = [
                    each for each in members if each.progress is FRESH and not each.is_doubtful and may_be_asked(each)
                ]
                chosen += sorted(fresh, key=self._rank)[: self._share - len(held)]
        return chosen

    def _rank(self, candidate: Candidate) -> tuple[bool, int]:
        return None not in candidate.namers, (candidate.contact.id ^ self._lot) % self._width

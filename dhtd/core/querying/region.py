"""The region of a target: whom a search asks where the nodes nearest to it crowd more than chance makes them.

Whoever wants to hide a key has nodes nearer to it than all others, and has them name each other only. The others are
still there, a little farther away. So the entry is stored, and looked for, all over the region: the places around the
target where somewhat more than K nodes usually are.

Attackers can fill any part of it, but not all of it at once. It is cut into parts of equal width. Each has an equal
share of the nodes that are asked, so that crowding one part takes nothing from the others. Within a part our own
contacts come first. Of the rest a lot decides, which nobody can know when he chooses his ID.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact
from dhtd.core.querying.candidate import ANSWERED, FRESH, WAITING, Candidate


class Region:
    """All places nearer than `radius` to `target`; at most `nodes` of those there are asked."""

    __slots__ = ("_crowd", "_lot", "_share", "_surveyed", "_target", "_width", "radius")

    def __init__(self, target: Id, radius: int, nodes: int, lot: int, crowd: int) -> None:
        """`crowd`: how far from the target the farthest of those is who crowd around it."""
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

        Whoever is nearest to a part knows it best. That is nobody of the crowd, who would name accomplices: these are
        asked only where nobody else has answered. Once a node of the part itself has answered, it is asked as well.
        Places that are `busy` are being asked about.
        """
        outside = [contact for contact in answered if contact.id ^ self._target > self._crowd] or answered
        for part, about in enumerate(self.places()):
            guide = min(outside, key=lambda contact: contact.id ^ about)
            is_within = (guide.id ^ self._target) // self._width == part
            survey = bytes((part, is_within))
            if survey not in self._surveyed and packed(about) not in busy:
                self._surveyed.add(survey)
                return guide, about
        return None

    def choose(self, inside: Sequence[Candidate], may_be_asked: Callable[[Candidate], bool]) -> list[Candidate]:
        """Return those of the candidates `inside` that hold a place, and those that are to get one, by parts."""
        parts: dict[bytes, list[Candidate]] = {}
        for candidate in inside:
            part = (candidate.contact.id ^ self._target) // self._width
            parts.setdefault(part.to_bytes(1, "big"), []).append(candidate)
        chosen: list[Candidate] = []
        for members in parts.values():
            held = [each for each in members if each.progress is ANSWERED or each.progress is WAITING]
            chosen += held
            if len(held) < self._share:
                fresh = [
                    each for each in members if each.progress is FRESH and not each.is_doubtful and may_be_asked(each)
                ]
                chosen += sorted(fresh, key=self._rank)[: self._share - len(held)]
        return chosen

    def _rank(self, candidate: Candidate) -> tuple[bool, int]:
        return None not in candidate.namers, (candidate.contact.id ^ self._lot) % self._width

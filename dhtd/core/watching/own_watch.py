"""One key that this node watches: what its holders have told of it, and what that comes to.

An endpoint is there while some node near the key, a *holder*, has it. What a holder says is not counted:

- while it is in doubt: another holder tells of a removal, and this one does not answer the question about that;
- once it is lost, and the nodes near the key were looked up anew since. Until then it counts, since the endpoint may be
  at another holder that is not watched yet.

Where nodes do not tell of changes, the key is looked up again and again instead, and what is found counts as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Handle, WatchUpdate
from dhtd.core.ids import Id, packed
from dhtd.core.messages import Contact

_PATIENCE: Final = 3  # rounds of questions; then the moment doubles with each that nothing comes of
_MOMENT_MAX: Final = 5.0  # seconds
_MOMENT: Final = 0.15  # seconds: most holders tell of the same removal within these


class Word:
    """What one holder says."""

    __slots__ = ("endpoints", "fading", "is_doubtful", "is_unsure", "questioned", "version")

    def __init__(self, version: int, endpoints: Iterable[Endpoint]) -> None:
        self.version = version
        self.endpoints = dict.fromkeys(endpoints)
        self.fading: dict[Endpoint, None] = {}  # named before; the last answer had no room for all
        self.is_unsure = False  # it has not answered, and may have more to say
        self.is_doubtful = False  # that, and its word does not count
        self.questioned: set[Endpoint] = set()  # that another holder has removed

    def named(self) -> set[Endpoint]:
        """Return the endpoints that count as named."""
        return self.endpoints.keys() | self.fading


class OwnWatch:
    """A watched key, the commands that it is watched for, and its holders."""

    __slots__ = (
        "_answering",
        "_found",
        "_left",
        "_local",
        "_missed",
        "_shown",
        "_told",
        "is_refused",
        "key",
        "ops",
        "packed_key",
        "pause",
        "rounds",
        "told_at",
        "words",
    )

    def __init__(self, key: Id, pause: float) -> None:
        self.key = key
        self.packed_key = packed(key)
        self.ops: dict[Handle, None] = {}
        self.words: dict[Contact, Word] = {}
        self.pause = pause  # seconds until the next attempt to find holders
        self.rounds = 0  # of questions that nothing came of
        self.is_refused = False  # some nodes near the key do not tell us of changes
        self.told_at = float("-inf")  # when the commands were told last
        self._local: dict[Endpoint, None] = {}  # what this node knows itself
        self._left: dict[int, dict[Endpoint, None]] = {}  # what lost holders have said, by the family of these
        self._found: dict[Endpoint, None] = {}  # by the last lookups
        self._missed: set[Endpoint] = set()  # of these, what the last one has not found
        self._answering = 0  # nodes that have answered it
        self._shown: dict[Endpoint, None] = {}  # what the commands know
        self._told = -1  # holders at the last update; -1 before the first one

    # What holders say

    def has_heard(
        self, contact: Contact, version: int, endpoints: Iterable[Endpoint], *, more: bool = False
    ) -> set[Endpoint]:
        """A holder has told all that it has, or there is `more` in notices. Return what it has no longer."""
        before = self.words.get(contact)
        self.words[contact] = word = Word(version, endpoints)
        gone = set() if before is None else before.named() - word.endpoints.keys()
        if more and before is not None:
            word.fading = {each: None for each in (*before.endpoints, *before.fading) if each in gone}
            gone.clear()
        return gone

    def faded(self, contact: Contact) -> set[Endpoint]:
        """A holder has told all. Return what it has no longer."""
        word = self.words.get(contact)
        gone: set[Endpoint] = set() if word is None else set(word.fading)
        if word is not None:
            word.fading.clear()
        return gone

    def change(self, contact: Contact, added: Iterable[Endpoint], removed: Iterable[Endpoint], most: int) -> None:
        """A holder has told of a change. It has `most` endpoints at most."""
        word = self.words[contact]
        word.is_doubtful = word.is_unsure = False
        word.version += 1
        for endpoint in removed:
            word.endpoints.pop(endpoint, None)
            word.fading.pop(endpoint, None)
        for endpoint in added:
            word.fading.pop(endpoint, None)
            if len(word.endpoints) < most:
                word.endpoints[endpoint] = None

    def lose(self, contact: Contact) -> None:
        """A holder is lost."""
        word = self.words.pop(contact)
        if not word.is_doubtful:
            self._left.setdefault(len(contact.endpoint), {}).update(dict.fromkeys((*word.endpoints, *word.fading)))

    def doubt(self, contact: Contact) -> None:
        """A holder does not answer, and is to be asked again. The last one that is not in doubt stays so."""
        word = self.words[contact]
        word.is_unsure = True
        if any(not each.is_doubtful for each in self.words.values() if each is not word):
            word.is_doubtful = True

    def removed(self, endpoints: Iterable[Endpoint], by: Contact) -> bool:
        """A holder has no longer these endpoints. Return whether another one still names one of them."""
        gone = set(endpoints)
        for left in self._left.values():
            for endpoint in gone:
                left.pop(endpoint, None)
        found = False
        for contact, word in self.words.items():
            named = gone & word.named() if contact != by else None
            if named:
                word.questioned |= named
                found = True
        return found

    def to_be_asked(self) -> list[Contact]:
        """Return the holders that did not answer, or still name what another one has removed."""
        asked = []
        for contact, word in self.words.items():
            if word.is_unsure or not word.questioned.isdisjoint(word.named()):
                asked.append(contact)
            word.questioned = set()
        self.rounds += 1
        return asked

    @property
    def moment(self) -> float:
        """Seconds until holders are asked about what another one has removed."""
        patience_lost = min(max(0, self.rounds - _PATIENCE), 8)
        return min(_MOMENT * float(1 << patience_lost), _MOMENT_MAX)

    def forget_lost(self, families: Collection[int]) -> None:
        """The nodes near the key have told what they have: what lost holders of these families said counts no more."""
        for family in families:
            self._left.pop(family, None)

    def knows_itself(self, endpoints: Iterable[Endpoint]) -> None:
        """This node knows these endpoints itself."""
        self._local = dict.fromkeys(endpoints)

    def found(self, endpoints: Iterable[Endpoint], answering: int) -> bool:
        """A lookup has found these, at so many nodes; return whether that is news.

        One that was found before is kept if one lookup misses it, and not if the next one does, too. Where no node has
        answered, there is no news.
        """
        before, self._answering = self._found, answering
        if answering:
            found = dict.fromkeys(endpoints)
            missed = before.keys() - found.keys()
            kept = missed - self._missed
            self._missed = missed
            self._found = dict.fromkeys([*found, *(endpoint for endpoint in before if endpoint in kept)])
        return self._found.keys() != before.keys()

    def needs_no_lookup(self) -> None:
        """The nodes near the key tell of changes."""
        self.is_refused = False
        self._answering = 0
        self._found = {}

    # What the commands are told

    @property
    def holders(self) -> int:
        """How many nodes tell of changes, or have answered the last lookup."""
        return len(self.words) or self._answering

    def update(self, now: float, *, first: bool = False) -> list[WatchUpdate]:
        """Return what is new, for each command. The `first` update tells all, and nothing comes before it."""
        if self._told < 0 and not first:
            return []
        there = self._there()
        added = tuple(endpoint for endpoint in there if endpoint not in self._shown)
        removed = tuple(endpoint for endpoint in self._shown if endpoint not in there)
        holders, before = self.holders, self._told
        if not added and not removed and before >= 0 and bool(holders) == bool(before):
            return []
        self._shown, self._told, self.told_at = there, holders, now
        if removed:
            self.rounds = 0
        return [WatchUpdate(op, self.key, tuple(there), added, removed, holders) for op in self.ops]

    def add(self, op: Handle) -> list[WatchUpdate]:
        """Another command watches the key. Return its first update, if there was one already."""
        self.ops[op] = None
        if self._told < 0:
            return []
        shown = tuple(self._shown)
        return [WatchUpdate(op, self.key, shown, shown, (), self.holders)]

    def _there(self) -> dict[Endpoint, None]:
        """Return the endpoints that are there, in the order in which the commands know them, new ones last."""
        found = dict.fromkeys(self._local)
        for word in self.words.values():
            if not word.is_doubtful:
                found.update(word.endpoints)
                found.update(word.fading)
        for left in self._left.values():
            found.update(left)
        found.update(self._found)
        known = [endpoint for endpoint in self._shown if endpoint in found]
        return dict.fromkeys([*known, *found])

"""What is known of the names that were asked for: pure, with `now` as an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import inf
from typing import Final, Generic, TypeVar

from dhtd.core.ids import Id, packed
from dhtd.dns.records import Place
from dhtd.dns.wire import Answer

TTL: Final = 20  # seconds: a third of a lease, and the time after which its owner renews it
IN_PART_FOR: Final = 5.0  # seconds for which endpoints count if most nodes did not answer: there may be more
NEGATIVE_FOR: Final = 5.0  # seconds for which nothing counts
FAILED_FOR: Final = 1.0  # seconds after a failure in which the network is not asked again (RFC 9520)
AHEAD: Final = 0.25  # of its time: a name that is asked for in this last part is looked up again
PLACES_MAX: Final = 128  # endpoints of a name
NAMES_MAX: Final = 1_024
ANSWERS_SIZE_MAX: Final = 4_194_304  # bytes of all answers that are kept


class Known:
    """What the network said of a name, until it counts no longer. `due`: who asks from then on has it looked up again.

    The clock of a watch is the network: `until` is then far away, and comes when the watch says so.
    """

    __slots__ = ("asked", "due", "id", "is_kept", "places", "until")

    def __init__(
        self, id: Id | None, places: Sequence[Place], until: float, due: float = inf, *, is_kept: bool = True
    ) -> None:
        self.id = id  # None for what the network has no part in
        self.places = tuple(places[:PLACES_MAX])
        self.until = until
        self.due = due
        self.asked = 0
        self.is_kept = is_kept  # else it is for those alone who have waited for it

    def ttl(self, now: float) -> int:
        """Return the seconds for which others may keep this."""
        return TTL if self.until - now > TTL else max(0, int(self.until - now))


S = TypeVar("S")  # a search
W = TypeVar("W")  # a watch


class Name(Generic[S, W]):
    """A name, by its ID, with what goes on for it."""

    __slots__ = ("failed_until", "id", "known", "search", "waiting", "watch")

    def __init__(self, id: Id) -> None:
        self.id = id
        self.known = Known(id, (), -inf)
        self.failed_until = -inf
        self.search: S | None = None
        self.watch: W | None = None
        self.waiting = 0  # askers

    def learn(self, known: Known) -> None:
        """Have something count from now on, and what was known before no longer."""
        self.forget()
        self.known = known

    def forget(self) -> None:
        """Have nothing be known. Answers that were made of it may be kept for a while, but not its endpoints."""
        self.known.until, self.known.places = -inf, ()


class Names(Generic[S, W]):
    """The names that were asked for last."""

    def __init__(self, most: int = NAMES_MAX) -> None:
        self._most = most
        self._names: OrderedDict[bytes, Name[S, W]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._names)

    def of(self, id: Id) -> Name[S, W]:
        """Return the name of an ID. A new one takes the place of the one that nobody has asked for the longest time."""
        key = packed(id)
        name = self._names.get(key)
        if name is None:
            if len(self._names) >= self._most:
                self._forget_one()
            name = self._names[key] = Name(id)
        self._names.move_to_end(key)
        return name

    def _forget_one(self) -> None:
        """Forget the name that was asked for the longest time ago, of those for which nothing goes on."""
        for key, name in self._names.items():
            if name.search is None and name.watch is None and not name.waiting:
                del self._names[key]
                name.forget()
                return


class Answers:
    """Answers by the key of their question, each with what it was made of. The oldest goes where there is no room."""

    def __init__(self, size_max: int = ANSWERS_SIZE_MAX) -> None:
        self.by_key: OrderedDict[bytes, tuple[Answer, Known]] = OrderedDict()
        self.size = 0
        self._size_max = size_max

    def keep(self, key: bytes, answer: Answer, known: Known) -> None:
        """Keep an answer in place of an older one."""
        old = self.by_key.pop(key, None)
        if old is not None:
            self.size -= len(key) + len(old[0])
        self.by_key[key] = (answer, known)
        self.size += len(key) + len(answer)
        while self.size > self._size_max:
            key, (oldest, _) = self.by_key.popitem(last=False)
            self.size -= len(key) + len(oldest)

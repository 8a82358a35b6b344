"""A get of a value for the user: it asks the nodes near the key, and believes the newest value that proves itself.

1. A value that never changes ends the search: there is no newer one. After a signed one the search goes on to its end,
   since a newer one may be at a node that answers last.
2. Of two values with one seq, the owner has signed both. The one that more nodes hold is taken.
3. The K nearest nodes that hold nothing, or something older, are sent the value: *read repair*.
4. So is the nearest of the others that was asked and holds nothing (Kademlia section 4.1). It is to hold the value for
   half as long for each node between it and the K nearest. So what many ask for spreads along the ways to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from dhtd.core.endpoint import Family
from dhtd.core.events import Copy, GaveUp, GetDone, GetProgress, Handle, LookupStats
from dhtd.core.ids import Id, closest
from dhtd.core.messages import VALUE_LASTS, Contact, Error, Find, Found, Get, Put, Result
from dhtd.core.querying.operations import Report
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.querying.traversal import Traversal
from dhtd.core.records import PUBLIC_KEY_SIZE, SALT_MAX, Immutable, Mutable, Value, supersedes
from dhtd.core.routing.overlay import Overlay
from dhtd.core.routing.overlays import Overlays
from dhtd.core.traces import Purpose
from dhtd.core.values.verifier import Verifier

_SHORTEST: Final = 60  # seconds: it is not worth a datagram to have a value held for less
_NAMELIKE: Final = range(PUBLIC_KEY_SIZE, PUBLIC_KEY_SIZE + SALT_MAX + 1)  # bytes of a public key and a salt


class Wanted(NamedTuple):
    """What a get looks for.

    - Where it is `signed`, others can put nothing in its way: see `records.supersedes`.
    - A `thorough` get finds all that hold the value, also if it never changes.
    - `salt`: that of a signed value, for wires whose answers have none.
    """

    key: Id
    signed: bool = False
    thorough: bool = False
    salt: bytes = b""


class Reading:
    """Finds the value under a key, in the network of each family."""

    __slots__ = (
        "_best",
        "_expected",
        "_first",
        "_has_ended",
        "_held",
        "_known",
        "_lasts",
        "_learned",
        "_op",
        "_overlays",
        "_report",
        "_requester",
        "_started_at",
        "_traversal",
        "_verifier",
        "_wanted",
    )

    def __init__(
        self,
        op: Handle,
        requester: Requester,
        overlays: Overlays,
        verifier: Verifier,
        report: Report[GetProgress | GetDone | GaveUp],
        wanted: Wanted,
        known: tuple[Value, int] | None,
        learned: Callable[[Id, Value, float], None],
        now: float,
    ) -> None:
        """`known` is the value that this node has itself, and for how many seconds; `learned` takes better ones."""
        self._op = op
        self._requester = requester
        self._overlays = overlays
        self._verifier = verifier
        self._report = report
        self._wanted = wanted
        self._traversal = Traversal(
            requester,
            overlays,
            wanted.key,
            Purpose.GET,
            finished=self._finished,
            gave_up=self.give_up,
            patient=True,
            thorough=True,
            regional=True,
            request=Get(wanted.key, salt=wanted.salt),
            reader=self,
        )
        self._known = known if known is not None and self._is_wanted(known[0]) else None
        self._learned = learned
        self._best: Value | None = None
        self._held: dict[Contact, Value | None] = {}  # what each node that answered holds
        self._lasts: dict[Value, int] = {}  # for how many seconds some node holds a value yet
        self._expected: list[Family] = []  # the families in which this node knows contacts
        self._started_at = now
        self._first: float | None = None  # see `LookupStats.first`
        self._has_ended = False  # the outcome was told, or no owner waits for it

    def start(self, now: float) -> None:
        """Begin with what this node knows itself."""
        if self._known is not None:
            self._take(*self._known, now)
            if self._is_final(self._known[0]):
                self._conclude(now, complete=True)
                return
        self._traversal.goes_on(in_vain=self._best is None)
        self._expected = [overlay.family for overlay in self._overlays if len(overlay.state.table)]
        self._traversal.start(now)

    def cancel(self) -> None:
        """Ask no more nodes, send nothing again, and report nothing."""
        self._has_ended = True
        self._traversal.stop()

    def give_up(self, now: float) -> None:
        """Report that a defect has ended it."""
        if not self._has_ended:
            self._report(GaveUp(self._op))
        self.cancel()

    # The search

    def found(self, contact: Contact, request: Find, found: Found, now: float) -> None:
        """Note what a node holds, and believe it if it proves itself."""
        held = found.held
        self._held.setdefault(contact, None)
        if not isinstance(held, Immutable | Mutable) or not self._is_wanted(held):
            return
        if not self._verifier.accepts(self._wanted.key, held):
            return
        self._held[contact] = held
        if self._first is None:
            self._first = now - self._started_at
        self._take(held, found.lasts, now)
        self._traversal.goes_on(in_vain=False)
        if self._is_final(held):
            self._traversal.stop()
            self._conclude(now, complete=True)

    def progressed(self, now: float) -> None:
        """Wait for the end of the search: news were told as they came."""

    def _take(self, value: Value, lasts: int, now: float) -> None:
        self._lasts[value] = min(max(lasts, self._lasts.get(value, 0)), VALUE_LASTS)
        if self._best is None or supersedes(value, self._best):
            self._best = value
            self._learned(self._wanted.key, value, now)
            self._report(GetProgress(self._op, value, self._stats(now)))

    def _is_wanted(self, value: Value) -> bool:
        return isinstance(value, Mutable) or not self._wanted.signed

    def _is_final(self, value: Value) -> bool:
        """Whether no other can be found. One that looks like a public key may stand in the way of a signed one."""
        is_unsigned = isinstance(value, Immutable) and len(value.data) not in _NAMELIKE
        return is_unsigned and not self._wanted.thorough

    # The end

    def _finished(self, now: float) -> None:
        traversal = self._traversal
        is_whole = not traversal.is_exhausted and self._stats(now).responses > 0
        self._conclude(now, complete=is_whole and all(map(traversal.is_heard, self._expected)))

    def _conclude(self, now: float, *, complete: bool) -> None:
        self._has_ended = True
        key, best = self._wanted.key, self._chosen()
        # 1. What holds each node?
        copies, stale, conflicting = [], [], []
        for contact in closest(self._held, key, len(self._held)):
            held = self._held[contact]
            if held is None or best is None:
                continue
            if held == best:
                copies.append(contact)
            elif supersedes(best, held):
                stale.append(Copy(contact, held))
            else:
                conflicting.append(Copy(contact, held))
        # 2. Who is to hold it as well?
        if best is not None:
            for contact, lasts in self._in_need(best):
                self._send(contact, best, lasts, now)
        # 3. Tell the user.
        is_ours = best is not None and self._known is not None and self._known[0] == best
        found = tuple(copies), tuple(stale), tuple(conflicting)
        self._report(
            GetDone(self._op, key, best, *found, is_ours, self._stats(now), self._traversal.closest(), complete)
        )

    def _chosen(self) -> Value | None:
        """Return the newest value; of several with its seq, the one that most nodes hold."""
        best = self._best
        if best is None:
            return None
        rivals = [value for value in self._lasts if not supersedes(best, value)]
        holders = list(self._held.values())
        return max(rivals, key=lambda value: (holders.count(value), value))

    def _in_need(self, best: Value) -> Iterator[tuple[Contact, int]]:
        """Yield the nodes that are to be sent the value, and for how many seconds they are to hold it."""
        key, lasts = self._wanted.key, self._lasts[best]
        for overlay in self._overlays:
            caches = self._requester.policy.caches
            for contact in closest(self._held, key, len(self._held)):
                held = self._held[contact]
                if len(contact.endpoint) != overlay.family or not (held is None or supersedes(best, held)):
                    continue
                if held is None and not self._requester.traits.tells_lasts:
                    continue
                between = self._between(overlay, contact)
                if not between:
                    yield contact, lasts
                elif held is not None:  # it has an old copy, from a get before
                    yield contact, max(lasts >> between, _SHORTEST)
                elif caches:
                    caches -= 1
                    yield contact, lasts >> between

    def _between(self, overlay: Overlay, contact: Contact) -> int:
        """Return about how many nodes are between a contact and the K nearest to the key."""
        nearer = (contact.id ^ self._wanted.key) * overlay.estimated_size // overlay.keyspace.size
        return max(0, nearer - self._requester.policy.k)

    def _send(self, contact: Contact, value: Value, lasts: int, now: float) -> None:
        token = self._traversal.tokens[contact.endpoint]
        if token and lasts >= _SHORTEST:
            request = Put(self._wanted.key, token, value, None, lasts)
            self._requester.ask(_UNHEARD, request, contact.endpoint, contact.id, now)

    def _stats(self, now: float) -> LookupStats:
        stats = self._traversal.stats()
        elapsed = now - self._started_at
        return LookupStats(stats.hops, stats.queries, stats.responses, stats.timeouts, elapsed, self._first)


class _Unheard:
    """The owner of puts that nobody waits for."""

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The node holds the value."""

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """It does not: the next get repairs that."""

    def give_up(self, now: float) -> None:
        """There is nothing to end."""


_UNHEARD: Final = _Unheard()

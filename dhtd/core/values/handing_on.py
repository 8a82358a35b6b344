"""Held values are handed on to nodes that are new near their keys (Kademlia section 2.5).

A node that has come near a key is one of the K nearest that readers ask, and knows nothing. So the holders give it the
value, once it has stayed for a while. Each waits for another time, and first asks the newcomer. That brings a token,
and tells whether another holder has come before, so the value is given once. Kademlia has the nearest holder alone give
it. But nodes come and go, and the nearest that a node knows may be gone.

Most nodes that are new to us are far away. Only those among our own neighbours come near keys that we hold values of.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from dhtd.core.ids import Id, unpacked
from dhtd.core.messages import Contact, Error, Found, Get, Put, Result
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.records import Immutable, Mutable, salt_of
from dhtd.core.routing.overlays import Overlays
from dhtd.core.timers import Timers
from dhtd.core.values.known_values import KnownValues
from dhtd.core.values.verifier import Verifier

if TYPE_CHECKING:
    from random import Random

_MOST: Final = 256  # newcomers that wait
_NEAR: Final = 2  # a newcomer is near us if it is among so many times K nearest
_REACH: Final = 1.5  # so many times K nearest to a key are near it: see `_is_near`
_LOOKED: Final = 128  # keys that one turn looks at: a few milliseconds
_PAUSE: Final = 0.01  # seconds to the next turn
_LEAST: Final = 60  # seconds: a value that is held for less is not handed on


class HandingOn:
    """Gives held values to newcomers."""

    __slots__ = (
        "_came",
        "_held",
        "_keys",
        "_known",
        "_newcomer",
        "_overlays",
        "_ready",
        "_requester",
        "_rng",
        "_turn_at",
        "_under_way",
        "_verifier",
    )

    def __init__(
        self, requester: Requester, overlays: Overlays, verifier: Verifier, known: KnownValues, rng: Random
    ) -> None:
        self._requester = requester
        self._overlays = overlays
        self._verifier = verifier
        self._held = known.held
        self._known = known
        self._rng = rng
        self._came: Timers[Contact] = Timers()  # newcomers, and when each has stayed long enough
        self._ready: deque[Contact] = deque()  # those that have
        self._newcomer: Contact | None = None  # the one whose turn it is
        self._keys: deque[bytes] = deque()  # to be looked at for it
        self._under_way: set[Asked] = set()
        self._turn_at = 0.0

    def met(self, contact: Contact, now: float) -> None:
        """A contact is new."""
        overlay = self._overlays.of(contact.endpoint)
        if overlay is None or not self._requester.traits.tells_lasts or not len(self._held) or len(self._came) >= _MOST:
            return
        if contact in overlay.state.closest(overlay.own_id, _NEAR * self._requester.policy.k):
            stays = self._requester.policy.newcomer_stays
            self._came.set(contact, now + stays * (1 + self._rng.random()))  # others hand on, too, and one is enough

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do."""
        if self._newcomer is not None or self._ready:
            return self._turn_at if self._has_room() else None
        return self._came.next()

    def go_on(self, now: float) -> None:
        """Look which values the newcomers should hold, some at a time."""
        if len(self._came):
            self._ready.extend(self._came.pop_due(now))
        if now < self._turn_at:
            return
        self._turn_at = now + _PAUSE
        for _ in range(_LOOKED):
            if not self._has_room():
                return
            # 1. Whose turn is it?
            if self._newcomer is None or not self._keys or not self._is_there(self._newcomer):
                self._newcomer = self._ready.popleft() if self._ready else None
                if self._newcomer is None:
                    return
                self._keys = deque(self._held.keys())
                continue
            # 2. Is it near the next key?
            key = unpacked(self._keys.popleft())
            if self._is_near(key, self._newcomer):
                self._give(key, self._newcomer, now)

    def _has_room(self) -> bool:
        return len(self._under_way) < self._requester.policy.replicating

    def _is_there(self, contact: Contact) -> bool:
        overlay = self._overlays.of(contact.endpoint)
        return overlay is not None and overlay.state.is_live(contact)

    def _is_near(self, key: Id, contact: Contact) -> bool:
        """Whether a newcomer is one of the K nearest to a key, or soon may be: some of these may be gone."""
        overlay = self._overlays[len(contact.endpoint)]
        return contact in overlay.state.closest(key, int(_REACH * self._requester.policy.k))

    def _give(self, key: Id, contact: Contact, now: float) -> None:
        known = self._held.get(key, now)
        if known is None or known[1] < _LEAST:
            return
        value, _ = known
        request = Get(key, None, 0 if isinstance(value, Immutable) else value.seq, salt_of(value))
        self._ask(request, contact, now)

    def _ask(self, request: Get | Put, contact: Contact, now: float) -> None:
        self._under_way.add(self._requester.ask(self, request, contact.endpoint, contact.id, now, insistent=True))

    # What a newcomer answers

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """Give the newcomer the value, unless it has it, or a newer one."""
        self._under_way.discard(query)
        request = query.request
        if not isinstance(request, Get) or not isinstance(result, Found) or contact.id != query.id:
            return
        held, seq = result.held, request.seq
        if isinstance(held, Immutable | Mutable):
            if self._verifier.accepts(request.key, held):
                self._known.learned(request.key, held, now)
            return
        known = self._held.get(request.key, now)
        if known is None or held == seq or not result.token:
            return
        value, lasts = known
        self._ask(Put(request.key, result.token, value, None, max(lasts, 1)), contact, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The newcomer is silent, or does not take it: an hour later it is replicated."""
        self._under_way.discard(query)

    def give_up(self, now: float) -> None:
        """Count nothing as under way: a value that is forgotten here is replicated an hour later."""
        self._under_way.clear()

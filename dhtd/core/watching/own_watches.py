"""The keys that this node watches: finds holders for each, follows what they tell, and tells the commands.

1. A search finds the nodes near the key, and each is asked to tell us of changes (`Placing`, `Ask`). It goes on as long
   as there is a command for it, again and again: nodes come and go.
2. A holder tells of a change (`changed`). If it has skipped a version, it is asked anew.
3. What it has removed may be at other holders still. Those that have not told of it within a moment are asked: some may
   be dead, and what a holder said that does not answer is not counted.
4. `Heartbeats` renews the watches together with own records, and tells of a holder that is lost, or has forgotten us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from dhtd.core.counters import OWN_WATCHES
from dhtd.core.endpoint import Endpoint, Family, is_contactable
from dhtd.core.events import Handle, LookupDone, WatchUpdate
from dhtd.core.ids import Id, packed
from dhtd.core.membership.waiting import Waiting
from dhtd.core.messages import Changed, Contact, Watched
from dhtd.core.publishing.heartbeats import Heartbeats
from dhtd.core.querying.attempts import Attempts
from dhtd.core.querying.operations import Operations
from dhtd.core.querying.requester import Requester
from dhtd.core.routing.overlays import Overlays
from dhtd.core.storage.watched_keys import WatchedKeys
from dhtd.core.timers import Timers
from dhtd.core.watching.ask import Ask, AsksUnderWay
from dhtd.core.watching.known_endpoints import KnownEndpoints
from dhtd.core.watching.leaving import Leaving
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.core.watching.placing import Placed, Placing
from dhtd.core.watching.questions import Questions
from dhtd.core.watching.searches import Searches
from dhtd.core.watching.telling import Telling
from dhtd.errors import TooManyWatches

if TYPE_CHECKING:
    from random import Random

_FADES: Final = 2.0  # seconds without a notice: then a holder has named all that it has


class OwnWatches:
    """The watches of this node, by packed key."""

    __slots__ = (
        "_asks",
        "_caps_hit",
        "_fading",
        "_heartbeats",
        "_known",
        "_leaving",
        "_of_op",
        "_questions",
        "_requester",
        "_searches",
        "_telling",
        "_unwanted",
        "_watched",
        "_watches",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        heartbeats: Heartbeats,
        known: KnownEndpoints,
        watched: WatchedKeys,
        tell: Callable[[WatchUpdate, float], None],
        caps_hit: dict[str, int],
        rng: Random,
    ) -> None:
        """`tell` takes the updates for commands."""
        self._requester = requester
        self._heartbeats = heartbeats
        self._known = known
        self._watched = watched
        self._telling = Telling(tell)
        self._caps_hit = caps_hit
        self._searches = Searches(requester, overlays, operations, waiting, self, caps_hit, rng)
        self._leaving = Leaving(requester, heartbeats)
        self._watches: dict[bytes, OwnWatch] = {}
        self._of_op: dict[Handle, OwnWatch] = {}
        self._unwanted: dict[bytes, None] = {}  # keys that a command has left
        self._asks = AsksUnderWay()
        self._questions = Questions(requester.policy.watch_gap)
        self._fading: Timers[tuple[OwnWatch, Contact]] = Timers()  # when what a holder did not name again is gone

    def __len__(self) -> int:
        """How many keys are watched."""
        return len(self._watches)

    # Commands

    def check_room(self, key: Id) -> None:
        """Raise `TooManyWatches` if the watch of this key is one too many."""
        most = self._requester.policy.own_watches
        wanted = len(self) if len(self) < most else sum(bool(watch.ops) for watch in self._watches.values())
        if wanted >= most and packed(key) not in self._watches:
            self._caps_hit[OWN_WATCHES] += 1
            raise TooManyWatches(f"this node watches as many IDs as it can ({most}): end another watch first")

    def begin(self, op: Handle, key: Id, now: float) -> None:
        """Watch a key for a command."""
        watch = self._watches.get(packed(key))
        if watch is None:
            watch = self._watches[packed(key)] = OwnWatch(key, self._requester.policy.watch_retry)
            self._watched.watch(watch.packed_key)
            self._searches.begin(watch, now)
        self._of_op[op] = watch
        self._telling.join(watch, op, now)

    def end(self, op: Handle) -> None:
        """A command needs its watch no longer."""
        watch = self._of_op.pop(op, None)
        if watch is not None:
            del watch.ops[op]
            self._unwanted[watch.packed_key] = None

    def end_all(self, now: float) -> None:
        """This node stops: end all watches, or holders count them after a restart, when nobody needs them any more."""
        self._of_op.clear()
        for watch in list(self._watches.values()):
            self._drop(watch, now)

    # What happens

    def changed(self, request: Changed, contact: Contact, now: float) -> bool:
        """A node says that what it holds has changed; return whether it is a holder of this watch."""
        watch = self._watches.get(packed(request.key))
        if watch is None:
            return False
        # 1. Its answer to a question is on the way, and may be older, or newer.
        ask = self._asks.of(watch, contact)
        if ask is not None:
            ask.meanwhile.append(request)
            return True
        word = watch.words.get(contact)
        if word is None:
            return False
        # 2. It was told before, and our acknowledgement was lost.
        if request.version == word.version:
            return True
        # 3. Something was lost in between, or somebody forges this.
        if request.version != word.version + 1:
            self.ask(watch, contact, self._heartbeats.token(contact), None, now)
            return True
        # 4. Take it.
        self._take(watch, contact, request, now)
        self._telling.news(watch, now)
        return True

    def stirred(self, key: bytes, now: float) -> None:
        """What this node knows itself under a packed key may have changed."""
        watch = self._watches.get(key)
        if watch is not None:
            watch.knows_itself(self._known.for_us(watch.key, now))
            self._telling.news(watch, now)

    def reached(self, now: float) -> None:
        """A network is reached: look for holders where there are none."""
        for watch in self._watches.values():
            if not watch.words:
                self._searches.begin(watch, now)

    def met(self, contact: Contact, now: float) -> None:
        """A contact is new: a key with fewer than K holders may need it."""
        family, k = len(contact.endpoint), self._requester.policy.k
        for watch in self._watches.values():
            if sum(len(holder.endpoint) == family for holder in watch.words) < k:
                self._searches.soon(watch, now)

    def cut_off(self, family: Family, now: float) -> None:
        """No node of a family answers any more, which is no news of endpoints. There are no holders until one does."""
        for watch in self._watches.values():
            for contact in [contact for contact in watch.words if len(contact.endpoint) == family]:
                watch.lose(contact)
                self._heartbeats.watches_no_longer(contact, watch.packed_key)
            self._telling.news(watch, now)

    def lost(self, key: bytes, contact: Contact, now: float) -> None:
        """A holder does not answer any more: look for another one, but keep what it said until then."""
        watch = self._watches[key]
        watch.lose(contact)
        self._searches.soon(watch, now)
        self._telling.news(watch, now)

    def missing(self, key: bytes, contact: Contact, now: float) -> None:
        """A holder may have forgotten us."""
        self.ask(self._watches[key], contact, self._heartbeats.token(contact), None, now)

    # What is due

    def next_timeout(self) -> float | None:
        """Return when `go_on` has something to do."""
        if self._unwanted:
            return 0.0
        due = (
            self._searches.next_timeout(),
            self._questions.next_timeout(),
            self._fading.next(),
            self._telling.next_timeout(),
        )
        return min((at for at in due if at is not None), default=None)

    def go_on(self, now: float, attempts: Attempts) -> None:
        """End what no command needs, begin the searches that are due, and ask holders about what others have told."""
        unwanted, self._unwanted = self._unwanted, {}
        for key in unwanted:
            watch = self._watches.get(key)
            if watch is not None and not watch.ops:
                attempts.do(self._drop, watch, now)
        self._searches.go_on(now, attempts)
        for watch, holders in self._questions.due(now):
            for contact in holders:
                attempts.do(self.ask, watch, contact, self._heartbeats.token(contact), None, now)
        for watch, contact in self._fading.pop_due(now):
            attempts.do(self._faded, watch, contact, now)
        attempts.do(self._telling.go_on, now)

    # Searches

    def placed(self, watch: OwnWatch, placed: Placed, now: float) -> None:
        """Let go of nodes that are not near the key any more, and of what lost holders said."""
        if placed.families:
            for contact in [contact for contact in watch.words if contact not in placed.near]:
                watch.lose(contact)
                self._leaving.leave(watch.key, contact, b"", now)
            watch.forget_lost(placed.families)
            watch.is_refused = placed.is_refused
        if not watch.is_refused:
            watch.needs_no_lookup()
        self._searched(watch, now)

    def looked_up(self, watch: OwnWatch, done: LookupDone | None, now: float) -> bool:
        """Take what a lookup has found; return whether it was news."""
        is_news = watch.found(done.endpoints, len(done.closest)) if done is not None else watch.found((), 0)
        self._searched(watch, now)
        return is_news

    def _searched(self, watch: OwnWatch, now: float) -> None:
        watch.knows_itself(self._known.for_us(watch.key, now))
        self._telling.searched(watch, now)

    def _drop(self, watch: OwnWatch, now: float) -> None:
        key = watch.packed_key
        del self._watches[key]
        self._watched.leave(key)
        self._questions.forget(watch)
        self._telling.forget(watch)
        self._searches.forget(watch)
        for contact in watch.words:
            self._fading.cancel((watch, contact))
            self._leaving.leave(watch.key, contact, b"", now)
        for ask in self._asks.end(watch):
            if ask.contact not in watch.words:
                self._leaving.leave(watch.key, ask.contact, ask.token, now)

    # Asks

    def ask(self, watch: OwnWatch, contact: Contact, token: bytes, placing: Placing | None, now: float) -> None:
        """Have a node tell us of changes, and what it has now; once more where that is under way."""
        under_way = self._asks.of(watch, contact)
        if under_way is not None:
            under_way.is_repeated = True
            under_way.placing = placing or under_way.placing
            return
        self._leaving.stay(watch.packed_key, contact)
        ask = Ask(self._requester, self._heartbeats.lease, self, watch, contact, placing)
        self._asks.begin(ask, token, now)

    def told(self, ask: Ask, watched: Watched, now: float) -> None:
        """Take what a holder has."""
        watch, contact = ask.watch, ask.contact
        self._asks.over(ask)
        self._heartbeats.watches_at(contact, watch.packed_key, self, watched.token, now)
        most = self._requester.policy.watch_endpoints
        named = _contactable(watched.endpoints[:most], contact.endpoint, self._requester)
        gone = watch.has_heard(contact, watched.version, named, more=watched.more)
        self._fades_soon(watch, contact, now)
        self._questions.removed(watch, gone, contact, now)
        if ask.placing is not None:
            ask.placing.taken(contact, now)
        changes, is_stale = ask.later_than(watched.version)
        for request in changes:
            self._take(watch, contact, request, now)
        if is_stale:
            self.ask(watch, contact, watched.token, None, now)
        self._telling.news(watch, now)

    def refused(self, ask: Ask, now: float) -> None:
        """A node does not tell us of changes, or not any more."""
        watch, contact = ask.watch, ask.contact
        self._asks.over(ask)
        if contact in watch.words:
            watch.lose(contact)
            self._heartbeats.watches_no_longer(contact, watch.packed_key)
            self._searches.soon(watch, now)
        if ask.placing is not None:
            ask.placing.refused(contact, now)
        self._telling.news(watch, now)

    def silent(self, ask: Ask, now: float) -> None:
        """A node has not answered. If it is a holder, its heartbeat will tell whether it is lost."""
        self._asks.over(ask)
        self._in_doubt(ask, now)
        if ask.placing is not None:
            ask.placing.not_taken(ask.contact, now)

    def overdue(self, ask: Ask, now: float) -> None:
        """A node takes long to answer."""
        self._in_doubt(ask, now)
        if ask.placing is not None:
            ask.placing.overdue(ask.contact, now)

    def _in_doubt(self, ask: Ask, now: float) -> None:
        if self._questions.doubtful(ask.watch, ask.contact, now):
            self._telling.news(ask.watch, now)

    def _take(self, watch: OwnWatch, contact: Contact, request: Changed, now: float) -> None:
        added = _contactable(request.added, contact.endpoint, self._requester)
        gone = watch.words[contact].named().intersection(request.removed)
        watch.change(contact, added, request.removed, self._requester.policy.watch_endpoints)
        self._fades_soon(watch, contact, now)
        self._questions.removed(watch, gone, contact, now)

    def _fades_soon(self, watch: OwnWatch, contact: Contact, now: float) -> None:
        """Wait for the notices that name the rest of what a holder has, as long as these come."""
        if watch.words[contact].fading:
            self._fading.set((watch, contact), now + _FADES)

    def _faded(self, watch: OwnWatch, contact: Contact, now: float) -> None:
        """A holder has named all that it has."""
        self._questions.removed(watch, watch.faded(contact), contact, now)
        self._telling.news(watch, now)


def _contactable(endpoints: Iterable[Endpoint], teller: Endpoint, requester: Requester) -> list[Endpoint]:
    """Return those of the endpoints that a node has told that can be used from here."""
    beside_us = requester.is_beside_us(teller)
    return [each for each in endpoints if is_contactable(each, teller, beside_us=beside_us)]

"""One node is asked to tell us of changes under a key, and what it has there now.

The query needs a token: that of a find for the key, or one for our session. Without a good one, an empty renewal brings
one, and the query goes out once more.
"""

from __future__ import annotations

from typing import Protocol

from dhtd.core.messages import ERROR_PROTOCOL, Changed, Contact, Error, Renew, Renewed, Result, Watch, Watched
from dhtd.core.publishing.own_lease import OwnLease
from dhtd.core.querying.requester import Asked, Requester
from dhtd.core.watching.own_watch import OwnWatch
from dhtd.core.watching.placing import Placing


class Listener(Protocol):
    """Is told what becomes of an ask."""

    def told(self, ask: Ask, watched: Watched, now: float) -> None:
        """The node tells us of changes, and this is what it has."""

    def refused(self, ask: Ask, now: float) -> None:
        """The node does not tell us, or another node is there."""

    def overdue(self, ask: Ask, now: float) -> None:
        """The answer takes longer than nearly all answers do."""

    def silent(self, ask: Ask, now: float) -> None:
        """The node has not answered."""


class Ask:
    """The queries to one node about one watch."""

    __slots__ = (
        "_lease",
        "_listener",
        "_query",
        "_requester",
        "contact",
        "has_fresh_token",
        "is_over",
        "is_repeated",
        "meanwhile",
        "placing",
        "token",
        "watch",
    )

    def __init__(
        self,
        requester: Requester,
        lease: OwnLease,
        listener: Listener,
        watch: OwnWatch,
        contact: Contact,
        placing: Placing | None,
    ) -> None:
        self._requester = requester
        self._lease = lease
        self._listener = listener
        self.watch = watch
        self.contact = contact
        self.placing = placing  # waits for this
        self.has_fresh_token = False  # one was asked for
        self.token = b""  # that the latest query has shown
        self.is_over = False  # nobody needs the answer any more
        self.is_repeated = False  # it was to be asked again meanwhile
        self.meanwhile: list[Changed] = []  # that the node has sent, and of which the answer may know

    def start(self, token: bytes, now: float) -> None:
        """Begin."""
        self.token = token
        if token:
            self._send(Watch(self.watch.key, token, self._lease.seconds, self._lease.session), now)
        else:
            self._ask_for_token(now)

    def later_than(self, version: int) -> tuple[list[Changed], bool]:
        """Return the changes that follow an answer one by one, and whether to ask again, since something is missing."""
        changes, is_stale = [], self.is_repeated
        for request in sorted(self.meanwhile, key=lambda each: each.version):
            if request.version == version + 1:
                changes.append(request)
                version += 1
            else:
                is_stale |= request.version > version
        return changes, is_stale

    def answered(self, query: Asked, contact: Contact, result: Result, now: float) -> None:
        """The node has given a token, or has told what it has."""
        if self.is_over:
            return
        if contact != self.contact:
            self._listener.refused(self, now)
        elif isinstance(result, Renewed):
            self.start(result.token, now)
        else:
            assert isinstance(result, Watched)
            self._listener.told(self, result, now)

    def overdue(self, query: Asked, now: float, *, late: bool) -> None:
        """The answer takes long."""
        if late and not self.is_over:
            self._listener.overdue(self, now)

    def failed(self, query: Asked, error: Error | None, now: float) -> None:
        """The node was silent, or refuses; where that may be for the token, ask for another one, once."""
        if self.is_over:
            return
        if error is None:
            self._listener.silent(self, now)
        elif error.code == ERROR_PROTOCOL and not self.has_fresh_token:
            self._ask_for_token(now)
        else:
            self._listener.refused(self, now)

    def give_up(self, now: float) -> None:
        """A defect has stopped it."""
        if not self.is_over:
            self._listener.silent(self, now)

    def end(self) -> None:
        """Nobody needs it any more."""
        self.is_over = True
        self._query.send_no_more()

    def _ask_for_token(self, now: float) -> None:
        self.has_fresh_token = True
        self._send(Renew(self._lease.session, self._lease.seconds, b""), now)

    def _send(self, request: Watch | Renew, now: float) -> None:
        id, endpoint = self.contact
        self._query = self._requester.ask(self, request, endpoint, id, now, insistent=True, impatient=self)


class AsksUnderWay:
    """The asks under way: one for each watch and node."""

    __slots__ = ("_under_way",)

    def __init__(self) -> None:
        self._under_way: dict[bytes, dict[Contact, Ask]] = {}  # by packed key

    def of(self, watch: OwnWatch, contact: Contact) -> Ask | None:
        """Return the ask about a watch to a node, if there is one."""
        return self._under_way.get(watch.packed_key, {}).get(contact)

    def begin(self, ask: Ask, token: bytes, now: float) -> None:
        """Begin one."""
        self._under_way.setdefault(ask.watch.packed_key, {})[ask.contact] = ask
        ask.start(token, now)

    def over(self, ask: Ask) -> None:
        """One is over."""
        ask.is_over = True
        asks = self._under_way[ask.watch.packed_key]
        del asks[ask.contact]
        if not asks:
            del self._under_way[ask.watch.packed_key]

    def end(self, watch: OwnWatch) -> list[Ask]:
        """Send no ask about a watch again; return those that were under way."""
        asks = list(self._under_way.pop(watch.packed_key, {}).values())
        for ask in asks:
            ask.end()
        return asks

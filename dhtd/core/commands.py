"""The commands of the node's owner.

Each returns at once. Its handle comes back in events, and the docstring of the command names the last one. While
`operations` commands are under way, all but `enter` and `delete` raise `Busy`. The caller of these two has a disk to
change as well, and first of all: before that, it asks `check_free` and `check_room` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Bootstrapped, GaveUp, Handle, Outcome, Progress
from dhtd.core.ids import Id, packed
from dhtd.core.membership.bootstrap import Bootstrap, Tried
from dhtd.core.membership.waiting import Patience, Waiting
from dhtd.core.messages import Contact, FindNode, FindValue, Ping, Request, Store
from dhtd.core.publishing.publisher import Publisher
from dhtd.core.querying.handles import Handles
from dhtd.core.querying.lookup import Lookup
from dhtd.core.querying.operations import Operations, start
from dhtd.core.querying.requester import Requester
from dhtd.core.querying.single_query import SingleQuery
from dhtd.core.records import Peer, RecordKey, Value
from dhtd.core.routing.overlays import Overlays
from dhtd.core.values.reading import Reading, Wanted
from dhtd.core.values.values import Values
from dhtd.core.watching.watching import Watching


class Commands:
    """Begins the operations that the owner asks for."""

    __slots__ = (
        "_asking",
        "_caps_hit",
        "_handles",
        "_operations",
        "_overlays",
        "_publisher",
        "_requester",
        "_settle",
        "_values",
        "_waiting",
        "_watching",
    )

    def __init__(
        self,
        requester: Requester,
        overlays: Overlays,
        operations: Operations,
        waiting: Waiting,
        handles: Handles,
        publisher: Publisher,
        watching: Watching,
        values: Values,
        settle: Callable[[float], None],
        caps_hit: dict[str, int],
    ) -> None:
        """`settle` hands on what came about."""
        self._requester = requester
        self._overlays = overlays
        self._operations = operations
        self._waiting = waiting
        self._handles = handles
        self._publisher = publisher
        self._watching = watching
        self._values = values
        self._settle = settle
        self._caps_hit = caps_hit
        self._asking: dict[
            Handle, SingleQuery | Lookup | Reading | Bootstrap
        ] = {}  # commands that end with their owner

    def ping(self, endpoint: Endpoint, now: float) -> Handle:
        """Ping an endpoint; ends with `Answered` or `Unanswered`."""
        return self._ask(Ping(), endpoint, now)

    def find_node(self, endpoint: Endpoint, target: Id, now: float) -> Handle:
        """Ask one node for the nodes nearest to `target`; ends with `Answered` or `Unanswered`."""
        return self._ask(FindNode(target), endpoint, now)

    def find_value(self, endpoint: Endpoint, key: Id, now: float) -> Handle:
        """Ask one node for the endpoints under `key`; ends with `Answered` or `Unanswered`."""
        return self._ask(FindValue(key), endpoint, now)

    def store_at(self, endpoint: Endpoint, key: Id, port: int, token: bytes, now: float) -> Handle:
        """Ask one node to hold an entry, once; ends with `Answered` or `Unanswered`."""
        lease = self._publisher.lease
        return self._ask(Store(key, port, token, lease.seconds, lease.session), endpoint, now)

    def lookup(self, key: Id, now: float, *, traced: bool = False) -> Handle:
        """Find the endpoints under `key`; `LookupProgress` as answers come in, ends with `LookupDone`.

        A `traced` lookup has a `LookupStep` for each thing that becomes of a query as well.
        """
        self.check_free()
        known = self._watching.known.for_us(key, now)
        op, report = self._handles.begin(), self._operations.report_to(self._told)
        lookup = self._asking[op] = Lookup(
            op, self._requester, self._overlays, report, key, known, self._caps_hit, now, traced=traced
        )
        try:
            self._waiting.begin(lookup, Patience.SOME, now)
        finally:
            self._settle(now)
        return op

    def enter(self, key: Id, port: int, now: float, *, patient: bool = False) -> Handle:
        """Track an own entry and publish it; ends with `Published`, once for this publication.

        Where the entry is being published already, this waits for that publication. A `patient` command waits until
        the network is reached, however long that takes; another one ends with no replicas where the first attempts to
        join have failed. Raises `TooManyEntries`.
        """
        record_key = RecordKey.of(key, Peer.on(port))
        self.check_room(record_key)
        op = self._handles.begin()
        try:
            self._publisher.enter(op, record_key, now, patient=patient)
        finally:
            self._watching.keys.note(record_key.packed_key)
            self._settle(now)
        return op

    def track(self, record_keys: Iterable[RecordKey], now: float) -> None:
        """Track own entries, and publish them soon, without a command that tells how it went.

        The caller has asked `check_room`.
        """
        for record_key in record_keys:
            self._publisher.track(record_key, now)
            self._watching.keys.note(record_key.packed_key)

    def delete(self, key: Id, port: int | None, now: float) -> tuple[Handle, list[int]]:
        """Stop tracking a key's entries (all, or that of `port`) and withdraw them; ends with `Withdrawn`.

        Holders that have not let go of them by then are asked again until none is left in `withdrawals`. On a wire that
        has no withdrawals it ends with `CannotWithdraw`, and `withdrawals` has the holders until their copies expire.
        Also returns the ports that were tracked; if there were none, nothing follows.
        """
        op = self._handles.begin()
        try:
            ports = self._publisher.delete(op, key, port, now)
            if not ports:
                self._handles.end(op)
        finally:
            self._watching.keys.note(packed(key))
            self._settle(now)
        return op, ports

    def watch(self, key: Id, now: float) -> Handle:
        """Follow the endpoints under `key`; `WatchUpdate` at each change, until it is cancelled.

        Raises `TooManyWatches`.
        """
        self._watching.own.check_room(key)
        op = self._handles.begin_lasting()
        try:
            self._watching.own.begin(op, key, now)
        finally:
            self._settle(now)
        return op

    def get(self, key: Id, now: float, *, signed: bool = False, thorough: bool = False, salt: bytes = b"") -> Handle:
        """Find the value under `key`; `GetProgress` at each better one, ends with `GetDone`.

        - Only a `signed` value counts, where that is said: others can put an unsigned one in its way.
        - A `thorough` get finds all holders. Else a value that never changes ends it.
        - `salt` is that of a signed value.
        """
        self.check_free()
        op, report = self._handles.begin(), self._operations.report_to(self._told)
        reading = self._asking[op] = self._values.read(op, Wanted(key, signed, thorough, salt), report, now)
        try:
            self._waiting.begin(reading, Patience.SOME, now)
        finally:
            self._settle(now)
        return op

    def put(
        self, key: Id, value: Value, now: float, *, wanted: int = 1, cas: int | None = None, keep: bool = True
    ) -> Handle:
        """Publish a value, and keep it in the network if that is said; ends with `ValuePut`.

        - The caller has seen that the value is genuine, and that `check_value_room` does not object.
        - A kept one is published again until so many nodes as are `wanted` hold it.
        - With a `cas`, a node takes it in place of a value with this seq only.
        """
        op = self._handles.begin()
        try:
            self._values.keeping.put(op, key, value, now, wanted=wanted, cas=cas, keep=keep)
        finally:
            self._settle(now)
        return op

    def keep_value(self, key: Id, value: Value, replicas: tuple[Contact, ...], now: float, *, wanted: int = 1) -> None:
        """Keep a value in the network that a `put` has placed at these nodes; see there."""
        try:
            self._values.keeping.keep(key, value, replicas, wanted, now)
        finally:
            self._settle(now)

    def drop_value(self, key: Id, now: float) -> bool:
        """Keep the value under `key` no longer; return whether one was kept. Its copies expire."""
        try:
            return self._values.keeping.drop(key)
        finally:
            self._settle(now)

    def check_value_room(self, key: Id) -> None:
        """Raise `TooManyValues` where a value under this key is not taken."""
        self._values.own.check_room(key)

    def bootstrap(self, endpoints: Iterable[Endpoint], now: float) -> Handle:
        """Join the network by these endpoints; ends with `Bootstrapped`."""
        self.check_free()
        op = self._handles.begin()
        report = self._operations.report_to(partial(self._bootstrapped, op))
        bootstrap = self._asking[op] = Bootstrap(self._requester, self._overlays, report, endpoints)
        start(bootstrap, now)
        self._settle(now)
        return op

    def cancel(self, op: Handle) -> None:
        """Report nothing more of this operation: its owner is gone. It waits for the network no longer.

        A command that only asks ends with it: nothing is sent for it any more.
        """
        self._handles.leave(op)
        self._publisher.waits_no_longer(op)
        self._watching.own.end(op)
        asking = self._asking.pop(op, None)
        if asking is not None:
            self._handles.end(op)
            if isinstance(asking, Lookup | Reading):
                self._waiting.forget(asking)
            asking.cancel()

    def check_free(self) -> None:
        """Raise `Busy` where no further command is taken until one has ended."""
        self._handles.check_free()

    def check_room(self, *record_keys: RecordKey) -> None:
        """Raise `TooManyEntries` where these own entries are not all taken; one that is there already is."""
        self._publisher.records.check_room(*record_keys)

    def _ask(self, request: Request, endpoint: Endpoint, now: float) -> Handle:
        self.check_free()
        op, report = self._handles.begin(), self._operations.report_to(self._told)
        query = self._asking[op] = SingleQuery(op, self._requester, report, request, endpoint)
        start(query, now)
        return op

    def _bootstrapped(self, op: Handle, outcome: Tried | None, now: float) -> None:
        if outcome is None:
            self._told(GaveUp(op), now)
        else:
            self._told(Bootstrapped(op, outcome.contacted, len(outcome.silent), outcome.silent), now)

    def _told(self, outcome: Outcome, now: float) -> None:
        if not isinstance(outcome, Progress):
            self._asking.pop(outcome.op, None)
        self._handles.tell(outcome, now)

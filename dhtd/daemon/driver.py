"""Drives a `Node` on trio: datagrams and time go in, datagrams and events come out. The node makes all decisions."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self

import trio

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import (
    Event,
    GaveUp,
    Handle,
    Isolated,
    Joined,
    Progress,
    Renamed,
    Republished,
    Silence,
    Unasked,
    Unheld,
    Unreached,
    ValueSuperseded,
)
from dhtd.core.node import Node
from dhtd.core.publishing.write_ahead import Chosen
from dhtd.core.records import Mutable, Peer, RecordKey, Value
from dhtd.daemon.counter_log import CounterLog
from dhtd.daemon.defects import Defects, Pause
from dhtd.daemon.events.follower import Follower
from dhtd.daemon.labels import Labels
from dhtd.daemon.lookup_counters import LookupCounters
from dhtd.daemon.sockets.channel import Datagram
from dhtd.daemon.sockets.udp import UdpSockets
from dhtd.daemon.sockets.unsealing import Unsealing
from dhtd.daemon.timeline import ClockWatch
from dhtd.words import count

if TYPE_CHECKING:
    from dhtd.wire.sealed import Seal  # imports libsodium: only for a node with a key

log = logging.getLogger("dhtd.node")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the first on Linux
DOZE = 60.0  # seconds asleep at most: trio's clock stands still while the machine is suspended, and deadlines pass
SHOWN = 4  # endpoints in a line of the log

Start = Callable[[float], Handle]


def clock() -> float:
    """Return seconds that only go forward, and go on while the machine is suspended.

    The network counts that time too: meanwhile entries that others hold for us expire.
    """
    return time.clock_gettime(_CLOCK)


class Listener(Protocol):
    """Takes the events of an operation."""

    def send_nowait(self, value: Event) -> None:
        """Take an event."""

    def close(self) -> None:
        """Take note that nothing more comes, although the last event has not come."""


class Ongoing:
    """An operation with a client that waits for it. Leaving the context cancels it, unless it is over."""

    def __init__(self, op: Handle, events: trio.MemoryReceiveChannel[Event], driver: Driver) -> None:
        self._op = op
        self._events = events
        self._driver = driver

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._driver.end(self._op)
        self._events.close()

    async def event(self) -> Event:
        """Wait for the next event. The docstring of the command in `Node` names the last one."""
        return await self._events.receive()


class Driver:
    """One node and its sockets. Call `flush` after any call into the node, so its output leaves.

    With a `seal`, only datagrams that it opens come in, and only sealed ones go out.

    A defect in the node, in the seal or in the sockets ends nothing: `defects` notes it, one datagram or event is lost,
    and everything else goes on.
    """

    def __init__(
        self,
        node: Node,
        udp: UdpSockets,
        clock: Callable[[], float] = clock,
        seal: Seal | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.node = node
        self.udp = udp
        self.clock = clock  # seconds, the node's `now`; unlike trio's, it may be read from anywhere
        self.seal = seal
        self.wall = wall  # seconds since the epoch
        self.turned_at: dict[Family, float] = {}  # when each network was last joined, or lost
        self.isolated = trio.Event()  # set, and replaced, when the network is lost
        self.joined = trio.Event()  # set when a network is joined for the first time
        self.unwritten: list[Chosen] = []  # see `Publisher.poll_unwritten`; the saver takes them
        self.has_unwritten = trio.Event()  # set when there are some; the saver replaces it
        self._operations: dict[Handle, Listener] = {}
        self._sleeping_until = float("inf")
        self._wake = trio.Event()
        self.lookups = LookupCounters()  # of clients
        self.labels = Labels(node.codec.traits.keyspace)  # of own entries
        self.farewell: trio.Event | None = None  # set once no holder is left to tell that this node stops
        self.defects = Defects(udp.counters, clock)
        self._watch = CounterLog(node.counters)
        self.follower = Follower(node, udp.zones, clock, wall)
        self.unsealing = Unsealing(udp.counters, clock, self.defects)
        self._clocks = ClockWatch(clock, wall)

    async def run(self) -> None:
        """Drive the node until cancelled."""
        handle = self._handle_batch if self.seal is None else self._handle_sealed_batch
        async with trio.open_nursery() as nursery:
            for bound in self.udp.sockets:
                receive = partial(self.udp.receive, bound, handle, self.flush)
                nursery.start_soon(self.defects.persist, "datagrams could not be received", receive)
            nursery.start_soon(self.defects.persist, "the time could not be kept", self._keep_time)

    def flush(self) -> None:
        """Send the node's datagrams, pass on its events, and meet its next timeout. Call it after any input."""
        try:
            # 1. Datagrams first: somebody waits for them.
            self._send()
            # 2. Events, to their operations and to the log.
            while (event := self.node.poll_event()) is not None:
                self._pass_on(event)
            if self.follower.is_on:
                self._tell_followers()
            # 3. Holders that the saver has to write down before their entries are sent.
            if unwritten := self.node.publisher.poll_unwritten():
                self.unwritten += unwritten
                self.has_unwritten.set()
            # 4. All holders may know by now that this node stops.
            if self.farewell is not None and not self.node.publisher.heartbeats.is_saying_goodbye:
                self.farewell.set()
            # 5. The input may have made a deadline that is earlier than the one we sleep for.
            deadline = self.node.poll_timeout()
        except Exception:  # noqa: BLE001 - noted
            self.defects.note("the node could not be asked what to do")
            return
        if deadline is not None and deadline < self._sleeping_until:
            self._wake.set()

    def begin(self, start: Start) -> Ongoing:
        """Start an operation, and return it as a context manager: leaving it early cancels the operation."""
        send, receive = trio.open_memory_channel[Event](math.inf)  # bounded by `search_queries`
        return Ongoing(self.begin_for(send, start), receive, self)

    def begin_for(self, listener: Listener, start: Start) -> Handle:
        """Start an operation whose events go to `listener`. The caller has to call `end` as well."""
        op = start(self.clock())
        self._operations[op] = listener
        self.flush()
        return op

    def end(self, op: Handle) -> None:
        """Cancel an operation that nobody waits for any more."""
        if self._operations.pop(op, None) is not None:
            self.node.commands.cancel(op)
            self.flush()

    def _send(self) -> None:
        node, seal = self.node, self.seal
        while (transmit := node.poll_transmit()) is not None:
            data, endpoint, recipient = transmit
            try:
                self.udp.send(data if seal is None else seal.seal_query(data, recipient, self.wall()), endpoint)
            except Exception:  # noqa: BLE001 - noted
                self.defects.note("a datagram to %s could not be sent", endpoint)

    def _tell_followers(self) -> None:
        try:
            self.follower.take()
        except Exception:  # noqa: BLE001 - noted
            self.defects.note("clients could not be told what this node does")

    def _pass_on(self, event: Event) -> None:
        try:
            self._dispatch(event)
        except Exception:  # noqa: BLE001 - noted
            self.defects.note("an event could not be passed on (%s)", type(event).__name__)
            if isinstance(event, Unasked):
                return
            channel = self._operations.pop(event.op, None)
            if channel is not None:
                channel.close()  # the client hears that nothing more comes

    def _handle_batch(self, batch: Sequence[Datagram], sources: Mapping[Hashable, Endpoint]) -> list[Datagram]:
        """Hand each datagram to the node, and return the answers. One reading of the clock serves the whole batch."""
        now = self.clock()
        handle: Callable[[bytes, Endpoint, float], bytes | None] = self.node.handle_datagram
        if self.follower.is_on:
            handle = self.follower.watching(handle)
        answers = []
        for data, address in batch:
            try:
                answer = handle(data, sources[address], now)
            except Exception:  # noqa: BLE001 - noted: a stranger's find must not end us, and not fill the disk
                self.defects.note("a datagram from %s could not be handled", sources[address])
            else:
                if answer is not None:
                    answers.append((answer, address))
        return answers

    def _handle_sealed_batch(self, batch: Sequence[Datagram], sources: Mapping[Hashable, Endpoint]) -> list[Datagram]:
        """Do the same with datagrams that the seal opens, and seal the answers. The others are only counted."""
        seal = self.seal
        assert seal is not None
        opened, answers = self.unsealing.open_batch(seal, batch, sources, self.wall()), []
        for answer, address in self._handle_batch(opened, sources):
            try:
                answers.append((seal.seal_answer(answer), address))
            except Exception:  # noqa: BLE001 - noted
                self.defects.note("an answer to %s could not be sealed", sources[address])
        return answers

    async def _keep_time(self) -> None:
        pause = Pause(self.clock)
        while True:
            # 1. Sleep until the node's deadline, or until `flush` finds an earlier one, or for a minute.
            deadline = self.node.poll_timeout()
            self._sleeping_until = float("inf") if deadline is None else deadline
            self._wake = trio.Event()
            doze = min(max(0.0, self._sleeping_until - self.clock()), DOZE)
            with trio.move_on_after(doze):
                await self._wake.wait()
            # 2. Look at the counters and the clocks while we are awake.
            now = self.clock()
            self._watch.look(now)
            self.follower.look(now)
            self._look_at_clocks(now)
            # 3. Do the node's due work, if it is still due: an answer in time moves the deadline.
            deadline = self.node.poll_timeout()
            if deadline is None or deadline > now or self._handle_timeout(now):
                continue
            # 4. It failed. If the same work is due again at once, pause, so the failure does not take all the CPU.
            deadline = self.node.poll_timeout()
            if deadline is not None and deadline <= now:
                await trio.sleep(pause.next())

    def _handle_timeout(self, now: float) -> bool:
        """Have the node do its due work; return False if it failed."""
        try:
            self.node.handle_timeout(now)
        except Exception:  # noqa: BLE001 - noted
            self.defects.note("what was due could not be done")
            return False
        finally:
            self.flush()
        return True

    def _look_at_clocks(self, now: float) -> None:
        """Treat a wall clock that has jumped ahead as a pause of the machine, which `now` does not count."""
        seconds = self._clocks.moved()
        if seconds:
            way = "forward" if seconds > 0 else "back"
            log.warning("the clock was set %s by %.0f s, or this machine stood still", way, abs(seconds))
        if seconds > 0:
            self.node.machine.slept(seconds, now)
            self.flush()

    def _dispatch(self, event: Event) -> None:
        match event:
            case Joined(contacts, family):
                self.turned_at[family] = self.clock()
                self.joined.set()
                log.info("joined the %s network: %s", family, count(contacts, "contact"))
            case Renamed(family, own_id):
                id = self.node.codec.traits.keyspace.format(own_id)
                log.info("the ID of this node in the %s network is %s now: it follows from the address", family, id)
            case Isolated(family):
                self.turned_at[family] = self.clock()
                log.warning("nobody answers by %s: the network is down, or every contact is; trying again", family)
                self.isolated.set()
                self.isolated = trio.Event()
            case Unreached():
                self._say_unreached(event)
            case Unheld(entries, tracked, refused):
                why = "those that answer are full, or refuse it" if refused else "nobody near them has answered"
                which = f"{entries} of the {tracked} entries" if tracked > 1 else "the only entry"
                log.warning("no node holds %s of this node: %s; tried again, ever more seldom", which, why)
            case Republished():
                replicas = count(len(event.replicas), "node")
                entry = self.labels.text(RecordKey.of(event.key, Peer.on(event.port)))
                log.debug("published %s on %s", entry, replicas)
            case ValueSuperseded(key, value):
                id = self.labels.keyspace.format(key)
                log.info("others have put a newer value (%s) under %s: this node keeps that one", _seq(value), id)
            case _:
                self._deliver(event)

    def _say_unreached(self, event: Unreached) -> None:
        """Log that nobody answers, with likely causes. If the other family answers, it is a debug message."""
        level = logging.DEBUG if self.node.overlays.is_connected else logging.WARNING
        some = [self.udp.zones.text(endpoint) for endpoint in event.endpoints[:SHOWN]]
        where = ", ".join([*some, *(["..."] if len(event.endpoints) > SHOWN else [])])
        if event.silence is Silence.LASTING:
            every = f"{self.node.policy.rejoin_max / 60:.0f} min"
            log.log(level, "nobody has answered yet at %s; trying again every %s", where, every)
            return
        still, goes_on = ("", "trying again") if event.silence is Silence.AT_FIRST else ("still ", "trying less often")
        if self.node.codec.traits.is_public:
            why = "Is the address right, does a firewall drop UDP?"
        else:
            key = "has it no network key either" if self.seal is None else "has it our network key, do the clocks agree"
            why = f"Does dhtd run there, is the address right, does a firewall drop UDP, {key}?"
        log.log(level, "%snobody answers at %s; %s. %s", still, where, goes_on, why)

    def _deliver(self, event: Event) -> None:
        assert not isinstance(event, Unasked)
        channel = self._operations.get(event.op)
        if channel is None:
            return
        if not isinstance(event, Progress):
            del self._operations[event.op]
        if isinstance(event, GaveUp):
            channel.close()  # the client hears that there is no outcome
        else:
            channel.send_nowait(event)


def _seq(value: Value) -> str:
    return f"seq {value.seq}" if isinstance(value, Mutable) else "one that never changes"

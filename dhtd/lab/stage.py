"""The run that people look at: it goes on at its pace, and does what they want of it.

Events are done in slices of some milliseconds, and between two of them requests are served. So whatever a request
wants is done between two events. An invariant that breaks ends the run. What it has shown can be looked at still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from math import inf
from secrets import token_hex
from time import perf_counter
from typing import Any, Final

import trio

from dhtd.core.ids import Id
from dhtd.errors import Busy, SimulationFailed
from dhtd.http.problems import HttpProblem
from dhtd.lab.log import DIGITS, dumped
from dhtd.lab.pace import Pace, Slices
from dhtd.lab.portrait import Portraits
from dhtd.lab.recorder import Recorder
from dhtd.lab.roll import Row
from dhtd.sim import story
from dhtd.sim.host import Host
from dhtd.sim.plan import Plan
from dhtd.sim.questions import Phase
from dhtd.sim.simulation import Simulation

SLICE: Final = 0.005  # real seconds of events at a stretch
BREATH: Final = 0.02  # real seconds between two looks at what is due
TOLD_EVERY: Final = 0.25  # real seconds between two states
SHOWN_EVERY: Final = 0.1  # real seconds for which events wait, so that many are told at once
COUNTED_EVERY: Final = 1.0
OUTCOMES: Final = 100_000  # lookups of which the figures at the end are, if there are more
NODES_MAX: Final = 20_000  # nodes that are up, with newcomers by hand; a plan may have more


class Stage:
    """A simulation that is looked at."""

    def __init__(self, plan: Plan, command: str, real: Callable[[], float] = trio.current_time) -> None:
        """`command` is the one that runs the plan."""
        self._command = command
        self._real = real
        self._recorder = Recorder(real)
        self.simulation = Simulation(plan, self._recorder)
        self._net = self.simulation.net
        self._recorder.attach(self._net)
        self.simulation.ask_on()
        self.log = self._recorder.log
        self.roll = self._recorder.roll
        self.portraits = Portraits(self._net, self.roll)
        self._pace = Pace(real(), self._net.now)
        self._pace.advance(self.simulation.asks_at)  # until then there are no lookups to be seen
        self._slices = Slices(SLICE)
        self._failed: dict[str, Any] | None = None
        self._touched = 0  # requests by which somebody has laid hands on the run
        self._run = token_hex(8)  # tells this run from another one at the same address
        self._wake = trio.Event()  # there is something new to do
        self._news = trio.Event()  # there is something new to see
        self._state_at = self._counted_at = self._shown_at = real()
        self._told = 0  # the serial of the latest event when people were last told that there is something
        self.state_serial = 0  # of the latest state
        self.state_text = ""
        self._tell_state()

    # The run

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            is_behind = self._go_on()
            self._look()
            if is_behind:
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_after(BREATH if self._is_running else TOLD_EVERY):
                await self._wake.wait()
            self._wake = trio.Event()

    def _go_on(self) -> bool:
        """Do a slice; return whether more is due."""
        if not self._is_running:
            return False
        events = self._slices.events
        before, begun = self._net.schedule.events, perf_counter()
        goal = self._pace.goal
        until = self._pace.until(self._real(), self._net.now)
        if self._pace.goal is not goal:
            self._state_at = -inf  # people wait for it
        more = False
        try:
            more = self.simulation.go_on(events, until)
        except SimulationFailed as failed:
            self._fail(failed)
        self._slices.took(max(1, self._net.schedule.events - before), perf_counter() - begun)
        return more

    @property
    def _is_running(self) -> bool:
        return self._failed is None and (self._pace.speed > 0 or self._pace.goal is not None)

    @contextmanager
    def _playing(self, *, is_first: bool = True) -> Iterator[None]:
        """Do something with the run. If it fails by that, it is over, and the request is refused.

        `is_first`: whether it is the first thing that the request does. One request is counted once.
        """
        self._touched += is_first
        try:
            with self.simulation.located():
                yield
        except SimulationFailed as failed:
            if isinstance(failed.__cause__, Busy):
                self._touched -= is_first  # it has done nothing
                raise failed.__cause__ from None
            self._fail(failed)
            self._must_be_whole()

    def _fail(self, failed: SimulationFailed) -> None:
        replay = f"{self._command} --stop-at {self._net.schedule.events}"
        if self._touched:
            times = "once" if self._touched == 1 else f"{self._touched} times"
            replay = f"{replay}  # not the same run: hands were laid on this one, {times}"
        self._failed = {"message": str(failed), "replay": replay, "story": list(story.tell(self._net))}
        self._state_at = -inf

    # What there is to see

    def _look(self) -> None:
        """Tell what is to be told now and then."""
        real = self._real()
        if real >= self._counted_at + COUNTED_EVERY:
            self._counted_at = real
            self._recorder.tell_counted()
            self.simulation.tally.keep_latest(OUTCOMES)
        if real >= self._state_at + TOLD_EVERY:
            self._state_at = real
            self._pace.measure(real, self._net.now)
            self._recorder.figures.look(self._net.now)
            self._tell_state()
        elif self.log.last > self._told and real >= self._shown_at + SHOWN_EVERY:
            self._tell_news()

    def _tell_state(self) -> None:
        self.state_serial += 1
        self.state_text = dumped({"serial": self.log.last, "at": self.now, "kind": "state", **self.state()})
        self._tell_news()

    def _tell_news(self) -> None:
        self._told, self._shown_at = self.log.last, self._real()
        self._news.set()
        self._news = trio.Event()

    async def news(self) -> None:
        """Wait for the next state."""
        await self._news.wait()

    def state(self) -> dict[str, Any]:
        """Return how the run is now."""
        simulation, plan, pace = self.simulation, self.simulation.plan, self._pace
        tally = simulation.tally
        phase, progress = self._phase()
        return {
            "run": self._run,
            "overlay": plan.overlay,
            "bits": self._net.keyspace.bits,
            "command": self._command,
            "seed": plan.seed,
            "planned": plan.nodes,
            "phase": phase,
            "progress": round(progress, 4),
            "now": self.now,
            "stands_at": simulation.stands_at,
            "asks_at": simulation.asks_at,
            "ends": simulation.ends_at,
            "speed": "max" if pace.speed == inf else pace.speed,
            "reached": round(pace.reached, 3),
            "goal": pace.goal,
            "running": self._is_running,
            "failed": self._failed,
            "touched": self._touched,
            "live": len(self.roll.hosts),
            "events": self._net.schedule.events,
            "datagrams": self._net.datagrams,
            "bytes": self._net.bytes,
            "asked": tally.ended,
            "found": tally.found + tally.forgotten_found,
            **self._recorder.figures.told(),
            "kept_from": self.roll.kept_from,
        }

    def _phase(self) -> tuple[str, float]:
        """Return how far the run is, and how far it is in that part."""
        simulation, now = self.simulation, self._net.now
        phase = simulation.phase
        if phase is Phase.JOINING:
            if simulation.plan.warm:
                return "building", simulation.built
            return "joining", min(1.0, now / simulation.stands_at)
        if phase is Phase.RUNNING and now < simulation.asks_at:
            return "entering", (now - simulation.stands_at) / (simulation.asks_at - simulation.stands_at)
        return phase.value, 1.0

    def nodes(self, at: float | None) -> list[tuple[int, str, str, bool, int | None]]:
        """Return the nodes, and how many entries each holds now. What it held at another time, nobody remembers."""
        return [
            (row.n, row.named.id, row.named.endpoint, row.is_live, self._held(row) if at is None else None)
            for row in self.roll.at(self.now if at is None else at)
        ]

    def _held(self, row: Row) -> int:
        return self._net.overlay.sizes(self.roll.hosts[row.n].member).held_entries if row.is_live else 0

    @property
    def now(self) -> float:
        """The virtual time, as it is told: in whole microseconds."""
        return round(self._net.now, DIGITS)

    # What people may do

    def set_speed(self, speed: float) -> None:
        """Go at this speed, or not at all."""
        self._must_be_whole()
        self._pace.set_speed(speed, self._real(), self._net.now)
        self._changed()

    def advance(self, to: float) -> None:
        """Go as fast as it goes up to a time."""
        self._must_be_whole()
        self._pace.advance(to)
        self._changed()

    def kill(self, n: int) -> None:
        """Kill a node."""
        host = self.live(n)
        if not self.simulation.hand.can_kill(host):
            raise HttpProblem(HTTPStatus.CONFLICT, "it is the last node by which others could go on: it must live")
        with self._playing():
            self.simulation.hand.kill(host)
        self._changed()

    def kill_share(self, share: float) -> list[int]:
        """Kill this part of the nodes; return which ones."""
        self._must_be_whole()
        killed: list[int] = []
        for host in self.simulation.hand.victims(share):
            n = self.roll.number(str(host.endpoint))
            if n is not None and self.simulation.hand.can_kill(host):
                with self._playing(is_first=not killed):
                    self.simulation.hand.kill(host)
                killed.append(n)
        self._changed()
        return killed

    def add(self, count: int) -> list[int]:
        """Let newcomers join; return their numbers."""
        self._must_be_whole()
        live, most = len(self.roll.hosts), max(NODES_MAX, self.simulation.plan.nodes)
        if live + count > most:
            raise HttpProblem(
                HTTPStatus.CONFLICT, f"{live} nodes are up, and {count} more would be above {most}: kill some before"
            )
        ns: list[int] = []
        for _ in range(count):
            with self._playing(is_first=not ns):
                host = self.simulation.hand.add()
                n = self.roll.number(str(host.endpoint))
                assert n is not None
                ns.append(n)
        self._changed()
        return ns

    def look_up(self, n: int | None, key: Id | None, count: int) -> list[int]:
        """Begin lookups; return their numbers. Raise `Busy` if a node is at its limit."""
        self._must_be_whole()
        hand, ops = self.simulation.hand, list[int]()
        host = None if n is None else self.live(n)
        for _ in range(count):
            wanted = key
            if wanted is None:
                entry = hand.draw_entry()
                if entry is None:
                    raise HttpProblem(HTTPStatus.CONFLICT, "no node holds an entry yet: name an ID to look up")
                wanted = entry.key
            asker = hand.draw_host() if host is None else host
            with self._playing(is_first=not ops):
                hand.look_up(asker, wanted)
                ops.append(self._recorder.last_op())
        self._changed()
        return ops

    def live(self, n: int) -> Host:
        """Return the host of a node that is up; raise `HttpProblem`."""
        self._must_be_whole()
        host = self.roll.hosts.get(n)
        if host is not None:
            return host
        if self.roll.named(n) is None:
            raise HttpProblem(HTTPStatus.NOT_FOUND, f"there is no node {n}")
        raise HttpProblem(HTTPStatus.CONFLICT, f"node {n} is dead")

    def _must_be_whole(self) -> None:
        if self._failed is not None:
            message = self._failed["message"]
            raise HttpProblem(HTTPStatus.CONFLICT, f"the simulation has failed, and is over: {message}")

    def _changed(self) -> None:
        self._state_at = -inf
        self._wake.set()

"""Sees a run, and keeps what people may want to see of it: nodes that come and go, and lookups step by step.

The page could not draw all lookups of a run that goes fast. So many in a real second are told, each as a whole. The
others are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dhtd.core.endpoint import Endpoint
from dhtd.core.events import Event, Handle, LookupDone, LookupStep
from dhtd.core.ids import Id
from dhtd.core.querying.observations import Allowance
from dhtd.core.traces import Purpose
from dhtd.lab.figures import Figures
from dhtd.lab.log import Log
from dhtd.lab.roll import Roll
from dhtd.service.steps import Steps
from dhtd.sim.host import Host
from dhtd.sim.network import Network
from dhtd.sim.overlay import Member

SHOWN: Final = 50  # lookups begun in a real second that are told
NAMED: Final = 20  # nodes and endpoints of one answer that are told
TEXTS: Final = 32_768  # IDs and endpoints that are written once: each node is named by many answers


@dataclass(slots=True)
class _Shown:
    """A lookup under way that is told."""

    op: int
    n: int
    steps: Steps
    begun_at: float  # by the clock of its host
    expected: Endpoint | None


class Recorder:
    """The spectator of a run."""

    def __init__(self, real: Callable[[], float]) -> None:
        """`real` is a clock of real seconds."""
        self.log = Log()
        self.figures = Figures()
        self._real = real
        self._allowance = Allowance(SHOWN)
        self._untold = 0  # lookups
        self._last = 0  # the number of the latest lookup that was told
        self._shown: dict[tuple[Member, Handle], _Shown] = {}
        self._text = lru_cache(TEXTS)(str)  # of endpoints

    def attach(self, net: Network) -> None:
        """Know the network, before anything happens in it."""
        self._net = net
        self._format = lru_cache(TEXTS)(net.keyspace.format)
        self.roll = Roll(net.keyspace)

    # The spectator

    def came(self, host: Host) -> None:
        """A node is up."""
        n = self.roll.came(host, self._net.now)
        self._tell("node-up", {"n": n, "id": self._format(host.id), "endpoint": str(host.endpoint)})

    def went(self, host: Host) -> None:
        """A node is down, and its lookups are over."""
        for asked, shown in [item for item in self._shown.items() if item[0][0] is host.member]:
            del self._shown[asked]
            self._tell("lookup-ended", {"op": shown.op, "n": shown.n, **_CUT_OFF})
        n = self.roll.went(host, self._net.now)
        self._tell("node-down", {"n": n, "id": self._format(host.id), "how": self._how(host)})

    def wants_steps(self) -> bool:
        """Whether the next lookup is told."""
        if self._allowance.take(self._real()):
            return True
        self._untold += 1
        return False

    def asked(self, host: Host, op: Handle, key: Id, expected: Endpoint | None) -> None:
        """A lookup has begun."""
        n = self.roll.number(str(host.endpoint))
        assert n is not None
        self._last += 1
        format_id = self._format
        steps = Steps(self._text, format_id, most=NAMED)
        self._shown[host.member, op] = _Shown(self._last, n, steps, host.clock(self._net.now), expected)
        body = {"op": self._last, "n": n, "node_id": format_id(host.id), "id": format_id(key)}
        self._tell("lookup-begun", {**body, "purpose": Purpose.LOOKUP.value})

    def heard(self, host: Host, event: Event) -> None:
        """A node tells its owner something."""
        match event:
            case LookupStep(op, step):
                shown = self._shown.get((host.member, op))
                if shown is not None:
                    told = shown.steps.told(step, shown.begun_at)
                    to = self.roll.number(told["endpoint"])
                    self._tell("lookup-step", {"op": shown.op, "n": shown.n, **told, "to": to})
            case LookupDone():
                self.figures.ended(event.stats)
                shown = self._shown.pop((host.member, event.op), None)
                if shown is not None:
                    self._ended(shown, event)
            case _:
                pass

    # For the stage

    def last_op(self) -> int:
        """Return the number of the latest lookup that was told."""
        return self._last

    def tell_counted(self) -> None:
        """Tell how many lookups were not told since the last call."""
        if self._untold:
            self._tell("counted", {"counts": {"lookup": self._untold}})
            self._untold = 0

    def _ended(self, shown: _Shown, done: LookupDone) -> None:
        stats = done.stats
        body = {
            "op": shown.op,
            "n": shown.n,
            "hops": stats.hops,
            "queries": stats.queries,
            "responses": stats.responses,
            "timeouts": stats.timeouts,
            "elapsed_ms": round(1000 * stats.elapsed, 3),
            "found": None if shown.expected is None else shown.expected in done.endpoints,
            "cancelled": False,
        }
        self._tell("lookup-ended", body)

    def _how(self, host: Host) -> str:
        """Return how a host has gone: the network has noted it, or all restart at once."""
        _, _, source, place, what = self._net.latest[-1]
        return what if source is None and place == host.endpoint and isinstance(what, str) else "restarts"

    def _tell(self, kind: str, fields: Mapping[str, object]) -> None:
        self.log.add(self._net.now, kind, fields)


_CUT_OFF: Final = {
    "hops": None,
    "queries": None,
    "responses": None,
    "timeouts": None,
    "elapsed_ms": None,
    "found": None,
    "cancelled": True,
}

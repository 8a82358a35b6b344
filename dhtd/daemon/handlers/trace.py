"""Serves the method trace: a lookup that tells what becomes of each of its queries."""

from __future__ import annotations

from dhtd.core.events import LookupDone, LookupProgress, LookupStep
from dhtd.daemon.handlers.calls import Call, Handlers, stats_of, stream
from dhtd.errors import NoPeers
from dhtd.service.method import Emit
from dhtd.service.steps import Steps
from dhtd.service.trace import TRACE, TraceEvent, TraceRequest, TraceResult


class Traces(Handlers):
    """Looks up, and tells how."""

    def calls(self) -> tuple[Call, ...]:
        return (stream(TRACE, self._trace),)

    async def _trace(self, request: TraceRequest, emit: Emit[TraceEvent]) -> TraceResult:
        """Events of a client that does not read wait here: a search has a limited number of queries."""
        steps, begun_at = Steps(self.text, self.format), self._driver.clock()
        with self._driver.begin(lambda now: self._node.commands.lookup(request.id, now, traced=True)) as lookup:
            while isinstance(event := await lookup.event(), LookupProgress | LookupStep):
                if isinstance(event, LookupStep):
                    await emit(steps.told(event.step, begun_at))
        assert isinstance(event, LookupDone)
        if not event.endpoints and not event.stats.queries:
            raise NoPeers(self.why_nobody())
        self._driver.lookups.ended(event.stats)
        return {
            "id": self.format(request.id),
            "name": request.name or self._driver.labels.name(request.id),
            "peers": [self.text(peer) for peer in event.endpoints],
            "stats": stats_of(event.stats),
            "complete": event.complete,
        }

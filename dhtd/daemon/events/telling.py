"""What an observation of the node says to clients: its kind, and the fields of that kind in `dhtd.service.events`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from dhtd.core import events
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import METHODS, Contact, FindNode, Ping, Renew, Request
from dhtd.core.node import Node
from dhtd.core.querying.observations import (
    ContactGained,
    ContactLost,
    Observation,
    QueryEnded,
    SearchBegun,
    SearchEnded,
    SearchStep,
)
from dhtd.service.steps import Steps

if TYPE_CHECKING:
    from dhtd.daemon.sockets.zones import Zones

NAMED: Final = 20  # nodes and endpoints of one answer that are told
_SEARCHES: Final = 256  # under way, whose nodes are remembered

Told = tuple[str, dict[str, object]]


def about(request: Request) -> Id | None:
    """Return the ID that a request is about."""
    match request:
        case FindNode(target):
            return target
        case Ping() | Renew():
            return None
        case _:
            return request.key


class Telling:
    """Puts observations of a node into words."""

    def __init__(self, node: Node, zones: Zones, clock: Callable[[], float]) -> None:
        self.text = zones.text
        self.format = node.codec.traits.keyspace.format
        self._clock = clock
        self._steps: OrderedDict[int, Steps] = OrderedDict()  # by the number of the search, the latest last

    def forget(self) -> None:
        """Forget the searches that are under way."""
        self._steps.clear()

    def told(self, observation: Observation) -> Told | None:
        """Return the kind of an observation and its fields; None for what concerns the client of a command alone."""
        match observation:
            case SearchBegun(op, purpose, target):
                self._steps[op] = Steps(self.text, self.format, most=NAMED)
                if len(self._steps) > _SEARCHES:
                    self._steps.popitem(last=False)
                return "lookup-begun", {"op": op, "purpose": purpose.value, "id": self.format(target)}
            case SearchStep(op, begun_at, step):
                steps = self._steps.get(op)
                return None if steps is None else ("lookup-step", {"op": op, **steps.told(step, begun_at)})
            case SearchEnded():
                return self._ended(observation)
            case QueryEnded():
                return self._asked(observation)
            case ContactGained(contact):
                return "contact-gained", self._contact(contact)
            case ContactLost(contact):
                return "contact-lost", self._contact(contact)
            case _:
                return self._event(observation)

    def _ended(self, ended: SearchEnded) -> Told:
        self._steps.pop(ended.op, None)
        stats = ended.stats
        return "lookup-ended", {
            "op": ended.op,
            "hops": stats.hops,
            "queries": stats.queries,
            "responses": stats.responses,
            "timeouts": stats.timeouts,
            "elapsed_ms": _milliseconds(max(0.0, self._clock() - ended.begun_at)),
            "cancelled": ended.cancelled,
        }

    def _asked(self, query: QueryEnded) -> Told:
        id = about(query.request)
        return "asked", {
            "endpoint": self.text(query.endpoint),
            "node_id": None if query.id is None else self.format(query.id),
            "method": METHODS[type(query.request)],
            "id": None if id is None else self.format(id),
            "outcome": query.outcome,
            "rtt_ms": None if query.rtt is None else _milliseconds(query.rtt),
            "code": query.code,
        }

    def _event(self, event: events.Event) -> Told | None:
        match event:
            case events.Joined(contacts, family):
                return "joined", {"family": str(family).lower(), "contacts": contacts}
            case events.Isolated(family):
                return "isolated", {"family": str(family).lower()}
            case events.Unreached(family, endpoints):
                return "unreached", {"family": str(family).lower(), "endpoints": self._texts(endpoints[:NAMED])}
            case events.Renamed(family, own_id):
                return "renamed", {"family": str(family).lower(), "node_id": self.format(own_id)}
            case events.Published() | events.Republished():
                return "published", {
                    "id": self.format(event.key),
                    "port": event.port,
                    "replicas": len(event.replicas),
                    "asked": event.asked,
                    "cancelled": event.cancelled,
                    "refused": event.refused,
                }
            case events.Withdrawn():
                told = {"ports": list(event.ports), "nodes": event.nodes, "silent": event.silent}
                return "withdrawn", {"id": self.format(event.key), **told}
            case events.CannotWithdraw():
                told = {"ports": list(event.ports), "nodes": 0, "silent": event.holders}
                return "withdrawn", {"id": self.format(event.key), **told}
            case events.ValuePut():
                told = {"replicas": len(event.replicas), "asked": event.asked}
                return "value-put", {"id": self.format(event.key), **told}
            case events.ValueSuperseded(key):
                return "value-superseded", {"id": self.format(key)}
            case events.Unheld(entries, tracked, refused):
                return "unheld", {"entries": entries, "tracked": tracked, "refused": refused}
            case _:
                return None

    def _contact(self, contact: Contact) -> dict[str, object]:
        return {"endpoint": self.text(contact.endpoint), "node_id": self.format(contact.id)}

    def _texts(self, endpoints: Iterable[Endpoint]) -> list[str]:
        return [self.text(endpoint) for endpoint in endpoints]


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)

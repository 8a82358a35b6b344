"""The steps of a search in the words of `trace` and `events`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import assert_never

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.traces import QueryAnswered, QueryAsked, QueryRefused, QuerySilent, QuerySlow, QueryStep
from dhtd.service.queries import NamedNode
from dhtd.service.trace import ANSWERED, ASKED, REFUSED, SILENT, SLOW, TraceEvent


class Steps:
    """One search. It remembers the node of each query, so that every step tells it."""

    def __init__(
        self,
        text: Callable[[Endpoint], str],
        format_id: Callable[[Id], str],
        *,
        most: int | None = None,
    ) -> None:
        """`most`: how many nodes and endpoints of one answer are told."""
        self._text = text
        self._format = format_id
        self._most = most
        self._asked: dict[int, Contact] = {}

    def told(self, step: QueryStep, begun_at: float) -> TraceEvent:
        """Return what a step says."""
        contact = step.contact if isinstance(step, QueryAsked | QueryAnswered) else self._asked[step.query]
        event: TraceEvent = {
            "step": "",
            "query": step.query,
            "at_ms": round(1000 * max(0.0, step.at - begun_at), 3),
            "endpoint": self._text(contact.endpoint),
            "node_id": self._format(contact.id),
            "hop": None,
            "bits": None,
            "named_by": [],
            "about": None,
            "rtt_ms": None,
            "gained": None,
            "nodes": [],
            "peers": [],
            "late": False,
            "code": None,
        }
        match step:
            case QueryAsked():
                self._asked[step.query] = contact
                event["step"], event["hop"], event["bits"] = ASKED, step.hops, step.bits
                event["named_by"] = [self._text(each) for each in step.namers[: self._most]]
                event["about"] = None if step.about is None else self._format(step.about)
            case QueryAnswered():
                event["step"], event["gained"], event["late"] = ANSWERED, step.gained, step.late
                event["rtt_ms"] = None if step.rtt is None else round(1000 * step.rtt, 3)
                event["nodes"] = self._nodes(step.named[: self._most])
                event["peers"] = [self._text(each) for each in step.endpoints[: self._most]]
            case QuerySlow():
                event["step"] = SLOW
            case QuerySilent():
                event["step"] = SILENT
            case QueryRefused():
                event["step"], event["code"] = REFUSED, step.code
            case _:
                assert_never(step)
        return event

    def _nodes(self, contacts: Iterable[Contact]) -> list[NamedNode]:
        return [{"id": self._format(each.id), "endpoint": self._text(each.endpoint)} for each in contacts]

"""A node of both address families on the bench, and its contacts."""

from __future__ import annotations

from dataclasses import replace

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, FindNode, FindValue
from tests.core.bench import QUIET, Bench, Sent

KEY = Id(5)


def both(**policy: object) -> Bench:
    return Bench(families=(Family.IPV4, Family.IPV6), policy=replace(QUIET, **policy))  # type: ignore[arg-type]


def tables(bench: Bench) -> list[set[Contact]]:
    return [set(overlay.state.table) for overlay in bench.node.overlays]


def to(sent: list[Sent], family: Family) -> list[Sent]:
    return [query for query in sent if query.to.family is family]


def id_at(bench: Bench, endpoint: Endpoint) -> int:
    (known,) = [known for known in bench.node.overlays.contacts() if known.endpoint == endpoint]
    return known.id


def answer_all(bench: Bench, family: Family | None = None) -> list[Sent]:
    """Answer every query to known nodes, or to those of one family, until there are no more; return them all."""
    seen = []
    while sent := bench.sent():
        seen += sent
        for query in sent:
            if family not in (None, query.to.family):
                continue
            match query.request:
                case FindNode() | FindValue():
                    bench.found(query, id_at(bench, query.to))
                case _:
                    bench.pong(query, id_at(bench, query.to))
    return seen

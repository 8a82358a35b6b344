"""A lookup as its trace tells it: the queries so far, and which answer led to which."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from dhtd.cli.told import Told
from dhtd.words import count

_SHORT: Final = 8  # digits of an ID: nobody compares more by eye
_MOST: Final = 4_096  # queries; a daemon sends 300 at most


def printable(text: str) -> str:
    """Return a text for a terminal: nothing in it moves the cursor, or hides what follows."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


@dataclass
class Query:
    """A query, and what has become of it."""

    number: float
    endpoint: str
    node_id: str
    hop: float | None = None
    bits: float | None = None
    about: str | None = None
    is_slow: bool = False
    outcome: str = "asked"
    rtt: float | None = None
    gained: float = 0
    nodes: int = 0
    peers: list[str] = field(default_factory=list)
    code: float | None = None
    next: list[Query] = field(default_factory=list)  # the queries that its answer has led to

    @property
    def short_id(self) -> str:
        return self.node_id[:_SHORT]

    def words(self) -> list[tuple[str, str]]:
        """Return what has become of it, in short words, each with its kind: time, gain, found, fault or plain."""
        said: list[tuple[str, str]] = []
        if self.rtt is not None:
            said.append((f"{self.rtt:,.0f} ms", "time"))
        elif self.outcome == "answered":
            said.append(("answered", "time"))
        if self.is_slow and self.outcome == "answered":
            said.append(("late", "fault"))
        elif self.is_slow and self.outcome == "asked":
            said.append(("slow", "fault"))
        if self.outcome == "refused":
            said.append((f"refused {'' if self.code is None else f'{self.code:g}'}".rstrip(), "fault"))
        elif self.outcome not in ("asked", "answered"):
            said.append((printable(self.outcome), "fault"))
        if self.gained > 0:
            said.append((f"+{count(self.gained, 'bit')}", "gain"))
        if self.outcome == "answered":
            said.append((f"knew {count(self.nodes, 'node')}", "plain"))
        if self.peers:
            said.append((f"found {', '.join(map(printable, self.peers))}", "found"))
        if self.about is not None:
            said.append((f"asked about {printable(self.about[:_SHORT])}", "plain"))
        return said


class Traced:
    """The queries of one lookup, by what their events have told."""

    def __init__(self) -> None:
        self.first: list[Query] = []  # to contacts of our own
        self._queries: dict[float, Query] = {}
        self._by_endpoint: dict[str, Query] = {}

    def take(self, told: Told) -> None:
        """Take an event."""
        number = told.number("query")
        if number is None:
            return
        step, query = told.text("step"), self._queries.get(number)
        if query is None:
            if len(self._queries) >= _MOST:
                return
            query = self._queries[number] = Query(number, told.text("endpoint"), told.text("node_id"))
            self._place(query, told)
        if step == "asked":
            query.hop, query.bits = told.number("hop"), told.number("bits")
            about = told.value("about")
            query.about = about if isinstance(about, str) else None
        elif step == "slow":
            query.is_slow = True
        else:
            query.outcome = step
        if step == "answered":
            query.rtt = told.number("rtt_ms") if query.rtt is None else query.rtt
            query.gained += told.number("gained") or 0
            query.nodes += len(told.parts("nodes"))
            query.peers += [peer for peer in told.texts("peers") if peer not in query.peers]
        elif step == "refused":
            query.code = told.number("code")

    def _place(self, query: Query, told: Told) -> None:
        """Hang a query to that of the node that first named its node; an exploration to the node that is asked."""
        namers = [query.endpoint] if told.value("about") else told.texts("named_by")
        parent = next((self._by_endpoint[each] for each in namers if each in self._by_endpoint), None)
        (self.first if parent is None else parent.next).append(query)
        self._by_endpoint.setdefault(query.endpoint, query)


def line(told: Told) -> str:
    """Return an event as one line: the time, the step, the number of the query, the node, and what belongs to it."""
    step = told.text("step")
    words = [told.text("at_ms"), step, told.text("query"), told.text("endpoint"), told.text("node_id")]
    if step == "asked":
        words += ["hop", told.text("hop"), "bits", told.text("bits"), "by", ",".join(told.texts("named_by")) or "-"]
        if told.value("about") is not None:
            words += ["about", told.text("about")]
    elif step == "answered":
        words += ["rtt", told.text("rtt_ms"), "gained", told.text("gained"), "nodes", str(len(told.parts("nodes")))]
        words += ["peers", ",".join(told.texts("peers")) or "-", *(["late"] if told.flag("late") else [])]
    elif step == "refused":
        words += ["code", told.text("code")]
    return printable(" ".join(words))


def sentence(told: Told) -> str:
    """Return what a trace has shown, in one sentence."""
    stats = told.part("stats")
    hops, queries = count(stats.number("hops"), "hop"), count(stats.number("queries"), "query")
    elapsed, first = stats.number("elapsed_ms"), stats.number("first_ms")
    found = count(len(told.texts("peers")), "endpoint") if told.texts("peers") else "nothing"
    said = f"found {found} in {hops}, {queries}, {_milliseconds(elapsed)}"
    return said if first is None else f"{said}; the first after {_milliseconds(first)}"


def _milliseconds(number: float | None) -> str:
    return "- ms" if number is None else f"{number:,.0f} ms"

"""The latest events of a network in words. They led to a failure, or to the event at which a replay stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from dhtd.core.codec import Codec
from dhtd.core.ids import Id
from dhtd.core.messages import (
    Acknowledged,
    BadQuery,
    Changed,
    Error,
    FindNode,
    FindValue,
    Found,
    Get,
    Message,
    Ping,
    Put,
    Query,
    Renew,
    Renewed,
    Reply,
    Request,
    Result,
    Store,
    Watch,
    Watched,
    Withdraw,
)
from dhtd.core.records import Immutable, Mutable, Value
from dhtd.errors import WireError
from dhtd.sim.host import Host
from dhtd.sim.network import Network

_DIGITS = 8  # of an ID, and of a transaction: enough to tell it from others nearby in a story


@dataclass(frozen=True, slots=True)
class Moment:
    """A datagram that arrived; or, without a source, what a node does, or (without a destination) the network."""

    event: int
    virtual_s: float
    source: str | None
    destination: str | None
    message: str

    def __str__(self) -> str:
        """Return the line that tells it."""
        place = self.destination or "the network"
        way = place if self.source is None else f"{self.source} to {place}:"
        return f"{self.event} at {self.virtual_s:.6f} {way} {self.message}"


@dataclass(frozen=True, slots=True)
class Condition:
    """How a node is: the one that had the latest event."""

    id: str
    endpoint: str
    alive: bool
    behind_nat: bool
    lie: str | None
    clock_ahead_s: float
    contacts: int
    buckets: int
    own_entries: int
    held_entries: int
    wakes_in_s: float | None

    def __str__(self) -> str:
        """Return the line that tells it."""
        traits = [
            "" if self.alive else "stopped",
            "behind NAT" if self.behind_nat else "",
            f"a liar ({self.lie})" if self.lie is not None else "",
            f"its clock {self.clock_ahead_s:.6f} s ahead" if self.clock_ahead_s else "",
            f"{_count(self.contacts, 'contact')} in {_count(self.buckets, 'bucket')}",
            f"{self.own_entries} entered and {self.held_entries} held",
            "no deadline" if self.wakes_in_s is None else f"its next deadline in {self.wakes_in_s:.6f} s",
        ]
        return f"{self.endpoint} is node {self.id}: {', '.join(filter(None, traits))}"


@dataclass(frozen=True, slots=True)
class Story:
    """The events that led to the present state of a network."""

    event: int  # the latest one, also where nothing arrived and no node woke
    virtual_s: float
    moments: list[Moment]  # the earliest first
    node: Condition | None  # that had the latest of them; None if there is none, or its machine is gone

    def __iter__(self) -> Iterator[str]:
        """Yield the lines that tell it."""
        yield from map(str, self.moments)
        if self.moments and self.moments[-1].event < self.event:
            yield f"{self.event} at {self.virtual_s:.6f}: nothing that a node heard of"
        if self.node is not None:
            yield str(self.node)


def tell(net: Network) -> Story:
    """Return the story of a network so far."""
    moments = [
        Moment(
            event,
            round(at, 6),
            None if source is None else str(source),
            None if destination is None else str(destination),
            data if isinstance(data, str) else _told(net.codec, data),
        )
        for event, at, source, destination, data in net.latest
    ]
    last = net.latest[-1][3] if net.latest else None
    host = None if last is None else net.at(last)
    node = None if host is None else _condition(net, host)
    return Story(net.schedule.events, round(net.now, 6), moments, node)


def _condition(net: Network, host: Host) -> Condition:
    node = host.node
    deadline = node.poll_timeout()
    return Condition(
        id=net.codec.traits.keyspace.format(host.id),
        endpoint=str(host.endpoint),
        alive=host.alive,
        behind_nat=host.nat is not None,
        lie=None if host.lie is None else type(host.lie).__name__,
        clock_ahead_s=round(host.ahead, 6),
        contacts=len(node.state.table),
        buckets=len(node.state.table.buckets),
        own_entries=len(node.own_records),
        held_entries=len(node.store),
        wakes_in_s=None if deadline is None else round(max(0.0, deadline - host.clock(net.now)), 6),
    )


def _told(codec: Codec, data: bytes) -> str:
    """Return what a datagram says."""
    try:
        message = codec.decode(data)
    except WireError as error:
        return f"{_count(len(data), 'byte')} that {'is' if len(data) == 1 else 'are'} no message: {error}"
    sender = "-" if message.sender is None else _id(codec, message.sender)
    return f"{sender} {_said(codec, message)} [{message.tid.hex()[:_DIGITS]}]"


def _said(codec: Codec, message: Message) -> str:
    match message:
        case Query(request=request):
            return f"asks {_asked(codec, request)}"
        case BadQuery(text=text):
            return f"asks what cannot be asked: {text}"
        case Reply(body=body):
            return f"answers {_answered(codec, body)}"
        case Error(code=code, text=text):
            return f"refuses with {code}: {text!r}"


def _asked(codec: Codec, request: Request) -> str:
    match request:
        case Ping():
            return "ping"
        case FindNode(target=target, token=token):
            return f"find_node {_id(codec, target)}{_shown(token)}"
        case FindValue(key=key, token=token):
            return f"find_value {_id(codec, key)}{_shown(token)}"
        case Store(key=key, port=port):
            return f"store {_id(codec, key)} port {port}"
        case Withdraw(key=key, port=port):
            return f"withdraw {_id(codec, key)} port {port}"
        case Renew(lease=lease):
            return f"renew for {lease} s"
        case Watch(key=key):
            return f"watch {_id(codec, key)}"
        case Changed(key=key, added=added, removed=removed):
            return f"changed {_id(codec, key)}: {len(added)} more, {len(removed)} gone"
        case Get(key=key, token=token, seq=seq):
            newer = "" if seq is None else f", newer than {seq}"
            return f"get {_id(codec, key)}{newer}{_shown(token)}"
        case Put(key=key, value=value, cas=cas, lasts=lasts):
            replaced = "" if cas is None else f", in place of {cas}"
            return f"put {_id(codec, key)} for {lasts} s: {_worth(value)}{replaced}"


def _answered(codec: Codec, body: object) -> str:
    """Return what a reply says. Only its requester knows the request, so here it is read as the richest answer."""
    for request in (Get(Id(0)), FindValue(Id(0)), FindNode(Id(0)), Watch(Id(0), b"", 0, b""), Renew(b"", 0, b"")):
        with suppress(WireError):
            return _brought(request, codec.decode_result(request, body))
    return "yes"


def _brought(request: Request, result: Result) -> str:
    match result:
        case Found(contacts=contacts, endpoints=endpoints, more=more, held=held):
            brought = _count(len(contacts), "contact")
            if isinstance(request, Get):
                brought += f" and {_worth(held)}"
            if isinstance(request, FindValue):
                brought += f" and {_count(len(endpoints), 'endpoint')}"
        case Watched(version=version, endpoints=endpoints, more=more):
            brought = f"version {version} with {_count(len(endpoints), 'endpoint')}"
        case Renewed(held=held):
            return "no, but here is a token" if held is None else f"{held} held"
        case Acknowledged():
            return "yes"
        case _:
            assert_never(result)
    return f"{brought}, and there are more" if more else brought


def _worth(held: Value | int | None) -> str:
    match held:
        case None:
            return "no value"
        case int():
            return f"no value after {held}"
        case Immutable():
            return f"a value of {_count(len(held.data), 'byte')}"
        case Mutable():
            return f"value {held.seq} of {_count(len(held.data), 'byte')}"
        case _:
            assert_never(held)


def _shown(token: bytes | None) -> str:
    return "" if token is None else ", showing a token"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _id(codec: Codec, id: Id) -> str:
    return codec.traits.keyspace.format(id)[:_DIGITS]

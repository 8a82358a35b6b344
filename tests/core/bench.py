"""A node on the bench: the test plays every peer, and moves the clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import TypeVar

from dhtd.core.endpoint import Endpoint, Family
from dhtd.core.events import Event
from dhtd.core.ids import Id
from dhtd.core.messages import Contact, Error, Ping, Query, Reply, Request
from dhtd.core.node import Node
from dhtd.core.policy import DEFAULT, Policy
from dhtd.wire.native import NativeCodec
from dhtd.wire.native_encoder import _node
from tests.core.small import CODEC
from tests.records import SESSION

US = Endpoint.of("10.9.9.9", 1729)  # private like all peers here: a private peer can vouch only for a private address

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True)
class Sent:
    query: Query
    to: Endpoint
    size: int

    @property
    def request(self) -> Request:
        return self.query.request


# A few contacts are enough for it, and may be side by side. A lease lasts an hour.
QUIET = replace(
    DEFAULT, lonely_lookups=0, region=0.0, size_samples=0, patrol=0.0, newcomer_stays=0.0, heartbeat=1_200.0
)


class Bench:
    def __init__(
        self,
        own_id: int = 0,
        policy: Policy = QUIET,
        codec: NativeCodec = CODEC,
        seed: int = 1,
        now: float = 0.0,
        families: Sequence[Family] = (Family.IPV4,),
        *,
        own_ids: Mapping[Family, Id] = MappingProxyType({}),
        write_ahead: bool = False,
    ) -> None:
        self.codec = codec
        self.now = now
        self.node = Node(
            Id(own_id),
            codec,
            rng=Random(seed),
            now=now,
            policy=policy,
            families=families,
            own_ids=own_ids,
            session=SESSION,
            write_ahead=write_ahead,
        )
        self.bytes_received = 0  # by the node
        self.bytes_sent = 0
        self._tids = 0

    # Output

    def sent(self) -> list[Sent]:
        """Return the queries sent since the last call; a node sends nothing else by itself."""
        sent = []
        while (transmit := self.node.poll_transmit()) is not None:
            query = self.codec.decode(transmit.data)
            assert isinstance(query, Query)
            sent.append(Sent(query, transmit.endpoint, len(transmit.data)))
            self.bytes_sent += len(transmit.data)
        return sent

    def sent_one(self) -> Sent:
        """Return the only query sent since the last call."""
        (sent,) = self.sent()
        return sent

    def events(self) -> list[Event]:
        events = []
        while (event := self.node.poll_event()) is not None:
            events.append(event)
        return events

    def event(self, kind: type[E]) -> E:
        """Return the only event of this kind since the last call."""
        (event,) = [event for event in self.events() if isinstance(event, kind)]
        return event

    # Input

    def deliver(self, data: bytes, source: Endpoint) -> bytes | None:
        answer = self.node.handle_datagram(data, source, self.now)
        self.bytes_received += len(data)
        self.bytes_sent += 0 if answer is None else len(answer)
        return answer

    def query(self, request: Request, source: Contact, tid: bytes | None = None) -> Reply | Error | None:
        """Send the node a query as `source`; return its answer, decoded."""
        self._tids += 1
        tid = self._tids.to_bytes(8, "big") if tid is None else tid
        answer = self.deliver(self.codec.encode_query(tid, source.id, request), source.endpoint)
        if answer is None:
            return None
        message = self.codec.decode(answer)
        assert isinstance(message, Reply | Error)
        assert message.tid == tid
        assert message.sender == self.node.own_id
        return message

    def pong(self, sent: Sent, id: int, observed: Endpoint = US, source: Endpoint | None = None) -> None:
        """Answer a ping, a store or a withdrawal as the node `id`."""
        self.deliver(
            self.codec.encode_acknowledged(sent.query.tid, Id(id), observed), sent.to if source is None else source
        )

    def found(
        self,
        sent: Sent,
        id: int,
        contacts: Sequence[Contact] = (),
        endpoints: Iterable[Endpoint] = (),
        *,
        token: bytes = b"token",
        more: bool = False,
    ) -> None:
        """Answer a find query as the node `id`."""
        nodes4 = b"".join(_node(contact) for contact in contacts if contact.endpoint.is_ipv4)
        nodes6 = b"".join(_node(contact) for contact in contacts if not contact.endpoint.is_ipv4)
        result = [token, nodes4, nodes6, list(map(bytes, endpoints)), more]
        if type(sent.request).__name__ == "FindNode":
            del result[3]
        self.deliver(self.codec._encode(1, sent.query.tid, Id(id), bytes(US), result), sent.to)

    def refuse(self, sent: Sent, id: int, code: int = 202, text: str = "busy") -> None:
        """Answer with an error as the node `id`."""
        self.deliver(self.codec.encode_error(sent.query.tid, Id(id), code, text), sent.to)

    def received(self) -> dict[str, int]:
        """Return the number of queries taken, by method, without zeros."""
        return {method: count for method, count in self.node.counters.queries_received.items() if count}

    def advance(self, seconds: float) -> None:
        """Let time pass, and wake the node whenever it wants."""
        until = self.now + seconds
        while (when := self.node.poll_timeout()) is not None and when <= until:
            self.now = max(self.now, when)  # what is in the past is due at once
            self.node.handle_timeout(self.now)
            after = self.node.poll_timeout()
            assert after is None or after > self.now, "the node wakes and wakes, and time stands still"
        self.now = until

    def know(self, *contacts: Contact) -> None:
        """Put these contacts into the node's table, good."""
        for contact in contacts:
            self.node.commands.ping(contact.endpoint, self.now)
            while sent := self.sent():
                for query in sent:  # the ping, and the lookup of our own ID, which the first answer starts
                    if isinstance(query.request, Ping):
                        self.pong(query, contact.id)
                    else:
                        (known,) = [known for known in self.node.overlays.contacts() if known.endpoint == query.to]
                        self.found(query, known.id)
        assert set(contacts) <= set(self.node.overlays.contacts())
        self.events()

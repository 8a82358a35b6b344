"""One question to one other node: ping, find-node, find-value and store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import Busy, InvalidEndpoint, NoPong, PeerRefused, UnresolvableHost
from dhtd.service.method import Method, Request
from dhtd.service.params import HOST_PORT, ID, PORT, TOKEN, HostPort

_OF_QUERIES: Final = (Busy, InvalidEndpoint, NoPong, PeerRefused, UnresolvableHost)


@dataclass(frozen=True, slots=True)
class PingRequest(Request):
    """Ask whether a node is there."""

    endpoint: Annotated[HostPort, HOST_PORT]


class PingResult(TypedDict):
    """A pong."""

    node_id: str
    endpoint: str
    rtt_ms: float


PING: Final = Method("ping", "Asks whether a node is there.", PingRequest, PingResult, errors=_OF_QUERIES)


@dataclass(frozen=True, slots=True)
class FindNodeRequest(Request):
    """Ask one node for the nodes nearest to `id`."""

    endpoint: Annotated[HostPort, HOST_PORT]
    id: Annotated[Id, ID]


class NamedNode(TypedDict):
    """A node that another one named."""

    id: str
    endpoint: str


class FindNodeResult(TypedDict):
    """One node's answer to find_node."""

    node_id: str
    token: str
    nodes: list[NamedNode]


FIND_NODE: Final = Method(
    "find-node",
    "Asks one node for the nodes that it knows nearest to an ID.",
    FindNodeRequest,
    FindNodeResult,
    errors=_OF_QUERIES,
)


@dataclass(frozen=True, slots=True)
class FindValueRequest(Request):
    """Ask one node who serves `id`."""

    endpoint: Annotated[HostPort, HOST_PORT]
    id: Annotated[Id, ID]


class FindValueResult(FindNodeResult):
    """One node's answer to find_value."""

    peers: list[str]


FIND_VALUE: Final = Method(
    "find-value", "Asks one node who serves an ID.", FindValueRequest, FindValueResult, errors=_OF_QUERIES
)


@dataclass(frozen=True, slots=True)
class StoreRequest(Request):
    """Ask one node to hold an entry, once."""

    endpoint: Annotated[HostPort, HOST_PORT]
    id: Annotated[Id, ID]
    port: Annotated[int, PORT]
    token: Annotated[bytes, TOKEN]


class StoreResult(TypedDict):
    """The node that took the entry."""

    node_id: str


STORE: Final = Method(
    "store",
    "Asks one node, once, to hold the entry that this machine serves an ID on a port.",
    StoreRequest,
    StoreResult,
    errors=_OF_QUERIES,
)

METHODS: Final = (PING, FIND_NODE, FIND_VALUE, STORE)

"""This node and its network: node-id, status and bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.errors import Busy, NoPeers, UnresolvableHost
from dhtd.service.info import ValuesInfo
from dhtd.service.method import Method, Request
from dhtd.service.params import HOST_PORTS, HostPort


@dataclass(frozen=True, slots=True)
class NodeIdRequest(Request):
    """Tell the ID of this node, and where others reach it."""


class NodeIdResult(TypedDict):
    """The ID of this node, and the endpoints where others reach it."""

    node_id: str
    endpoints: list[str]


NODE_ID: Final = Method("node-id", "Tells the ID of this node.", NodeIdRequest, NodeIdResult)


@dataclass(frozen=True, slots=True)
class StatusRequest(Request):
    """Tell whether this node is in its network. This is cheap, with any number of entries and contacts."""


class StatusResult(TypedDict):
    """The node in its network.

    `state` is the best one of its families: `joined`, `doubtful` (a contact is silent, and the node asks others),
    `joining`, `silent` (nobody answers) or `alone` (the node knows nobody). `network` is `open`, `private` or
    `mainline`. The node `serves` `all`, its `contacts` or `nobody`. An own entry is `unheld` while no node holds it. It
    is `withheld`, and not among `own_entries`, while its check keeps it from being published. While the node is
    `restoring`, it is still reading entries. `network_size` is as in `NodeInfo`.
    """

    node_id: str
    version: str
    state: str
    since_s: float
    families: dict[str, str]
    network: str
    serves: str
    contacts: dict[str, int]
    network_size: int | None
    own_entries: int
    unheld_entries: int
    withheld_entries: int
    replicas: int
    held_entries: int
    values: ValuesInfo
    restoring: bool
    endpoints: list[str]
    listening: list[str]
    reachable: str
    uptime_s: float


STATUS: Final = Method("status", "Tells whether the node is in its network.", StatusRequest, StatusResult)


@dataclass(frozen=True, slots=True)
class BootstrapRequest(Request):
    """Join the network through these nodes."""

    endpoints: Annotated[tuple[HostPort, ...], HOST_PORTS]


class UnreachedHost(TypedDict):
    """A host without an answer, and why."""

    endpoint: str
    code: str
    message: str


class BootstrapResult(TypedDict):
    """Numbers of hosts with and without an answer, the number of contacts now, and the hosts without an answer."""

    contacted: int
    failed: int
    table_size: int
    unreached: list[UnreachedHost]


BOOTSTRAP: Final = Method(
    "bootstrap",
    "Joins the network through these nodes.",
    BootstrapRequest,
    BootstrapResult,
    errors=(Busy, NoPeers, UnresolvableHost),
)


METHODS: Final = (NODE_ID, STATUS, BOOTSTRAP)

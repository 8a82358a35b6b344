"""This node and its network: node-id, status and bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.errors import Busy, NoPeers, UnresolvableHost
from dhtd.service.method import Method, Request
from dhtd.service.params import HOST_PORTS, HostPort


@dataclass(frozen=True, slots=True)
class NodeIdRequest(Request):
    """Who is this node?"""


class NodeIdResult(TypedDict):
    """Who this node is."""

    node_id: str
    endpoints: list[str]


NODE_ID: Final = Method("node-id", "Tells the ID of this node.", NodeIdRequest, NodeIdResult)


@dataclass(frozen=True, slots=True)
class StatusRequest(Request):
    """Is this node in its network? Cheap, however many entries and contacts there are."""


class StatusResult(TypedDict):
    """Whether this node is in its network, and what it does there.

    `state` is `joined`, `doubtful` (somebody is silent, and others are being asked), `joining` (on the way), `silent`
    (nobody answers) or `alone` (nobody is known): the best of its families. `network` is `open` or `private`. Own
    entries are `unheld` while no node holds them. While it is `restoring`, entries are still being read.
    """

    node_id: str
    version: str
    state: str
    since_s: float
    families: dict[str, str]
    network: str
    contacts: dict[str, int]
    own_entries: int
    unheld_entries: int
    replicas: int
    held_entries: int
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
    """A host that was named to join by, and why nobody has answered there."""

    endpoint: str
    code: str
    message: str


class BootstrapResult(TypedDict):
    """How many hosts answered, how many did not, how many contacts there are now, and why those did not answer."""

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

"""A lie: what becomes of a liar's answers. A lie may use what the liar knows, and the truth about its network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dhtd.core.codec import Codec
from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact
from dhtd.core.node import Node
from dhtd.core.policy import Policy

if TYPE_CHECKING:
    from random import Random


class Machine(Protocol):
    """The liar, or another machine, as far as a lie knows it."""

    @property
    def id(self) -> Id:
        """The node's ID."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""

    @property
    def contact(self) -> Contact:
        """This machine as others know it."""

    @property
    def node(self) -> Node:
        """Its node, which is honest."""


class Truth(Protocol):
    """The network, as far as a lie knows it."""

    @property
    def codec(self) -> Codec:
        """What its nodes speak."""

    @property
    def policy(self) -> Policy:
        """What its nodes follow."""

    @property
    def rng(self) -> Random:
        """What lies are drawn from."""

    @property
    def hosts(self) -> Sequence[Machine]:
        """All machines."""

    def closest(self, target: Id, count: int | None = None) -> Sequence[Machine]:
        """Return the live machines nearest to `target`, nearest first; K without a `count`."""


@dataclass(frozen=True, slots=True)
class Forged:
    """A datagram with the source that it is to show."""

    data: bytes
    source: Endpoint
    destination: Endpoint


class Lie(Protocol):
    """What becomes of a liar's answers."""

    def answer(self, net: Truth, host: Machine, data: bytes, honest: bytes, source: Endpoint) -> Iterable[Forged]:
        """Return what to send instead of the `honest` answer to the query `data` from `source`."""

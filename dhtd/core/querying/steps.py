"""What a search says: the next step, and how it went."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.ids import Id
from dhtd.core.messages import Contact


@dataclass(frozen=True, slots=True)
class Ask:
    """Query this contact now."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Explore:
    """Query this contact, which has answered before, for the nodes nearest to `about`, a place near the target."""

    contact: Contact
    about: Id


@dataclass(frozen=True, slots=True)
class Widen:
    """The nearest crowd: call `widen`, so that nodes all over the region of the target are asked."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to ask until something is told."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The search is over."""


Step = Ask | Explore | Widen | Wait | Finished


@dataclass(frozen=True, slots=True)
class SearchStats:
    """How a search went. Queries count contacts and explorations, so queries >= responses + timeouts."""

    hops: int
    queries: int
    responses: int
    timeouts: int

"""What Chord nodes say to each other. A message is a request or a result, in an envelope."""

from __future__ import annotations

from typing import NamedTuple

from dhtd.core.endpoint import Endpoint
from dhtd.core.ids import Id
from dhtd.core.messages import Contact


class Copy(NamedTuple):
    """A record on its way to another holder: a machine serves a key, or has withdrawn what it said of that."""

    key: Id
    endpoint: Endpoint
    lease: int  # seconds that are left
    stamp: int  # when the machine has said it, in microseconds: of two records of a place, the later one is right
    is_withdrawn: bool = False


class Mark(NamedTuple):
    """How far a list of records was told: up to that of an endpoint, under a key."""

    key: Id
    endpoint: Endpoint


# Requests


class Ping(NamedTuple):
    """Are you there?"""


class Find(NamedTuple):
    """Who is the successor of this key, or who is nearer to it?"""

    key: Id


class Neighbours(NamedTuple):
    """Who is before you, and who is after you? It is what stabilise asks."""


class Notify(NamedTuple):
    """I may be your predecessor."""


class Get(NamedTuple):
    """Who serves this key?"""

    key: Id


class Store(NamedTuple):
    """I serve this key on a port, for a lease of so many seconds; or I have withdrawn that, and nobody holds it then.

    A withdrawal is held as long as any copy of the record might be.
    """

    key: Id
    port: int
    lease: int
    stamp: int
    is_withdrawn: bool = False


class Hold(NamedTuple):
    """Hold these records: as a replica; or for good, as their keys are yours, or those of nodes before you."""

    is_yours: bool
    copies: tuple[Copy, ...]


class Compare(NamedTuple):
    """My keys begin after `start`. If you hold other records under them than I, tell me yours, from those `after` on.

    The digest of mine is the exclusive or of their hashes, so their order does not matter.
    """

    start: Id
    digest: bytes
    after: Mark | None


class Leave(NamedTuple):
    """I leave the ring. These were my neighbours."""

    predecessor: Contact | None
    successors: tuple[Contact, ...]


# Results


class Yes(NamedTuple):
    """It is done."""


class Route(NamedTuple):
    """The next contacts on the way to a key, best first. The last route has the key's successor and the next ones.

    If the successor list goes `beyond` the key, that part comes along. It is for askers that find the contacts dead.
    """

    is_last: bool
    contacts: tuple[Contact, ...]
    beyond: tuple[Contact, ...] = ()


class Neighbourhood(NamedTuple):
    """The nodes before and after a node."""

    predecessor: Contact | None
    successors: tuple[Contact, ...]


class Values(NamedTuple):
    """The endpoints under a key; there may be `more` than fit into a datagram."""

    endpoints: tuple[Endpoint, ...]
    more: bool


class Copies(NamedTuple):
    """Records that I hold; there may be `more` than fit into a datagram."""

    copies: tuple[Copy, ...]
    more: bool


class NotMine(NamedTuple):
    """The key is not mine. It may be my predecessor's. Without one, I cannot tell now."""

    predecessor: Contact | None


Request = Ping | Find | Neighbours | Notify | Get | Store | Hold | Leave | Compare
Result = Yes | Route | Neighbourhood | Values | NotMine | Copies


class Message(NamedTuple):
    """A message in its envelope."""

    tid: bytes
    session: bytes  # drawn at each start of a node: one that has lost its memory has another
    sender: Id
    body: Request | Result

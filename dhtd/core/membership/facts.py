"""What a node learns of its network. Membership returns these, and `dhtd.core.news` hands them to the other parts."""

from __future__ import annotations

from dataclasses import dataclass

from dhtd.core.endpoint import Family
from dhtd.core.events import Unreached
from dhtd.core.messages import Contact


@dataclass(frozen=True, slots=True)
class Heard:
    """A contact has answered a query; `is_accepted` if the routing table has it with this ID at this endpoint."""

    contact: Contact
    is_accepted: bool


@dataclass(frozen=True, slots=True)
class NewContact:
    """A contact is new in the routing table."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A live contact has missed a query, though another node has answered since."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A contact has missed so many queries that it counts as gone."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class Reached:
    """The network of a family is reached: at start, or again after an outage."""

    family: Family
    contacts: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The network of a family has about this many nodes."""

    family: Family
    size: int


@dataclass(frozen=True, slots=True)
class CutOff:
    """Contacts of this family were asked whether the network is up, and none has answered."""

    family: Family


Fact = Heard | NewContact | Doubtful | GivenUp | Reached | Measured | CutOff | Unreached

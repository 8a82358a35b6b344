"""What became of each query of a search of the network: the steps that are told to an owner who follows the search."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from dhtd.core.endpoint import Endpoint
from dhtd.core.enums import plain
from dhtd.core.ids import Id
from dhtd.core.messages import Contact


@plain
class Purpose(Enum):
    """Why a node searches the network."""

    LOOKUP = "lookup"  # somebody asks for endpoints, also a watch whose holders are silent
    GET = "get"
    PUT = "put"
    PUBLISH = "publish"
    WITHDRAW = "withdraw"
    WATCH = "watch"  # to place a watch
    JOIN = "join"
    REFRESH = "refresh"  # for the sake of the contacts on the way


@dataclass(frozen=True, slots=True)
class QueryAsked:
    """A contact is asked. `query` is the number of the query in its search, from 1."""

    query: int
    at: float  # when its datagram goes out
    contact: Contact
    hops: int  # 1 for a contact of our own, one more than the first node that named it otherwise
    bits: int  # of the target, with which the contact's ID begins as well
    namers: tuple[Endpoint, ...]  # the nodes that have named it; none for a contact of our own alone
    about: Id | None  # another place than the target that it is asked about


@dataclass(frozen=True, slots=True)
class QueryAnswered:
    """An answer has come, or a part of one: the rest of an answer comes under the same number.

    `contact` may have another ID than the contact that was asked.
    """

    query: int
    at: float
    contact: Contact
    rtt: float | None  # seconds; None where the query was sent again, so that it is ambiguous
    named: tuple[Contact, ...]
    endpoints: tuple[Endpoint, ...]
    gained: int  # more bits that the nearest node known to the search shares with the target
    late: bool  # the query was slow, so its slot was another's by then


@dataclass(frozen=True, slots=True)
class QuerySlow:
    """A query takes longer than most: its slot is free for another. It may still be answered."""

    query: int
    at: float


@dataclass(frozen=True, slots=True)
class QuerySilent:
    """A query was not answered in time, and is over."""

    query: int
    at: float


@dataclass(frozen=True, slots=True)
class QueryRefused:
    """A query was answered with an error."""

    query: int
    at: float
    code: int


QueryStep = QueryAsked | QueryAnswered | QuerySlow | QuerySilent | QueryRefused

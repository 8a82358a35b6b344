"""Values, which are data that prove themselves: get, put, keep and drop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from dhtd.core.ids import Id
from dhtd.errors import (
    BadRequest,
    Busy,
    Conflict,
    InvalidValue,
    NewerValue,
    NoAnswer,
    NoPeers,
    NotFound,
    NotTracked,
    OtherValue,
    StateError,
    TooManyValues,
)
from dhtd.service.entries import ENTER_WITHIN, Replica, Stats
from dhtd.service.method import Method, Request, Stream
from dhtd.service.params import COUNT, DATA, FLAG, ID, NAME, PUBLIC_KEY, SALT, SECONDS, SEQ, SIGNATURE


@dataclass(frozen=True, slots=True)
class Sought(Request):
    """Where a value stands: under an `id`, or as the signed one of a `public_key` with a `salt`, perhaps."""

    id: Annotated[Id | None, ID] = None
    public_key: Annotated[bytes | None, PUBLIC_KEY] = None
    salt: Annotated[bytes | None, SALT] = None

    def __post_init__(self) -> None:
        """Raise `BadRequest` for both, or for neither."""
        if (self.id is None) == (self.public_key is None):
            raise BadRequest("a value is found by its `id`, or by a `public_key` and a `salt`: give one of them")
        if self.public_key is None and self.salt is not None:
            raise BadRequest("a `salt` belongs to a `public_key`")


@dataclass(frozen=True, slots=True)
class GetRequest(Sought):
    """Which value stands there? Events tell of each better one that is found.

    With a `public_key`, only signed values count. With `first`, the first value that is found is the result, though
    newer ones may be there. With `all`, the result has every value that was found, and all their holders.
    """

    all: Annotated[bool, FLAG] = False
    first: Annotated[bool, FLAG] = False


class ValueIdentity(TypedDict):
    """The keys that a signed value has, with the salt in base64. They are null for one that never changes."""

    public_key: str | None
    seq: int | None
    salt: str | None


class ValueInfo(ValueIdentity):
    """A value, with its data in base64, and as text if they are UTF-8. Only a signed one has a signature.

    In the Mainline network a value may be a number, a list or a dictionary; then the data are `bencoded`.
    """

    data: str
    text: str | None
    bencoded: bool
    signature: str | None


class _WithId(TypedDict):
    id: str


class GetEvent(ValueInfo):
    """A value that is better than those before."""

    stats: Stats


class StaleCopy(Replica):
    """A node that holds an older value; `seq` is null for one that never changes."""

    seq: int | None


class FoundValue(ValueInfo):
    """One of several values under an ID, with the nodes that hold it."""

    holders: list[Replica]


class GetResult(_WithId, ValueIdentity):
    """The newest value under an ID; `data` is null if there is none.

    `copies` are the nodes that hold it, and this node has one itself if it is `local`. The nodes with `stale` copies
    are sent it. With a `conflict`, the owner has signed another value with the same `seq`. If the search is not
    `complete`, a newer value may be there. `values` are all that were found, the newest first, if they were asked for.
    """

    data: str | None
    text: str | None
    bencoded: bool
    signature: str | None
    copies: list[Replica]
    stale: list[StaleCopy]
    conflict: bool
    local: bool
    complete: bool
    values: list[FoundValue]
    stats: Stats


GET: Final = Stream(
    "get", "Asks the network for a value.", GetRequest, GetEvent, GetResult, errors=(Busy, InvalidValue, NoPeers)
)


@dataclass(frozen=True, slots=True)
class PutRequest(Request):
    """Store a value in the network, and keep it there, unless `keep` is false.

    A signed value has a `public_key`, a `seq` and a `signature`, and perhaps a `salt`. With `cas`, nodes take it only
    in place of the value with this seq.

    A kept value is on disk before it is sent. Its `name` stays on this machine, in place of the name that it had. The
    answer comes once it is placed, and after `within_s` seconds in any case. With `cas`, a value that is not placed by
    then is not kept: what other nodes have is not known. A kept value that fewer than `min_replicas` nodes took is
    tried again soon.
    """

    data: Annotated[bytes, DATA]
    public_key: Annotated[bytes | None, PUBLIC_KEY] = None
    salt: Annotated[bytes | None, SALT] = None
    seq: Annotated[int | None, SEQ] = None
    signature: Annotated[bytes | None, SIGNATURE] = None
    cas: Annotated[int | None, SEQ] = None
    name: Annotated[str | None, NAME] = None
    keep: Annotated[bool, FLAG] = True
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN

    def __post_init__(self) -> None:
        """Raise `BadRequest` for a signed value that is not whole."""
        signed = [each is not None for each in (self.public_key, self.seq, self.signature)]
        if any(signed) and not all(signed):
            raise BadRequest("a signed value has a `public_key`, a `seq` and a `signature`")
        if not any(signed) and not (self.salt is None and self.cas is None):
            raise BadRequest("`salt` and `cas` are for a signed value")
        if self.name is not None and not self.keep:
            raise BadRequest("a `name` is for a value that is kept")


class Kept(TypedDict):
    """Whether this node puts a value again, when, and what its name is on this machine."""

    name: str | None
    kept: bool
    refresh_in_s: float | None


class _Placed(_WithId, ValueIdentity):
    replicas: list[Replica]


class PutResult(_Placed, Kept):
    """A value that was placed, and the nodes that hold it now. Only a `kept` one is put again."""


_OF_PUTS: Final = (Busy, Conflict, InvalidValue, NewerValue, NotTracked, OtherValue, StateError, TooManyValues)

PUT: Final = Method("put", "Stores a value in the network.", PutRequest, PutResult, errors=(*_OF_PUTS, NoAnswer))


@dataclass(frozen=True, slots=True)
class KeepRequest(Sought):
    """Get a value of anybody, and keep it in the network from now on. The rest is as in `PutRequest`."""

    name: Annotated[str | None, NAME] = None
    min_replicas: Annotated[int, COUNT] = 0
    within_s: Annotated[float, SECONDS] = ENTER_WITHIN


class KeepResult(PutResult):
    """The value that is kept."""


KEEP: Final = Method(
    "keep",
    "Gets a value, and keeps it in the network.",
    KeepRequest,
    KeepResult,
    errors=(*_OF_PUTS, NoAnswer, NoPeers, NotFound),
)


@dataclass(frozen=True, slots=True)
class DropRequest(Sought):
    """Keep a value no longer. Its copies expire."""


class DropResult(_WithId, ValueIdentity):
    """The value that is kept no longer."""


DROP: Final = Method(
    "drop",
    "Keeps a value in the network no longer; its copies expire.",
    DropRequest,
    DropResult,
    errors=(InvalidValue, NotTracked, StateError),
)

METHODS: Final = (GET, PUT, KEEP, DROP)

"""One row of the table: a method with its parameters, answers, errors and callers.

A request is a frozen dataclass. Its fields are the parameters, under their names on the wire, each `Annotated` with
a `Kind`. Results and events are `TypedDict`s, sent as they are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, get_type_hints

from dhtd.core.ids import NATIVE, Keyspace
from dhtd.errors import BadRequest, DhtdError, NotPermitted
from dhtd.service.params import Kind, Misfit, shown

Result = Mapping[str, object]
Event = Mapping[str, object]


class Request:
    """Base of every request."""

    __slots__ = ()


Q = TypeVar("Q", bound=Request)
R = TypeVar("R", bound=Result)
E = TypeVar("E", bound=Event)
Emit = Callable[[E], Awaitable[None]]
Leave = Callable[[], Awaitable[None]]


class Callers(Enum):
    """The users who may call a method."""

    SERVED = "all users of the socket"
    OWNER = "the daemon's own user and root"


class Caller(Protocol):
    """The client that has sent a request, at its end of a connection."""

    @property
    def uid(self) -> int:
        """The user of the client."""

    @property
    def is_owner(self) -> bool:
        """Whether the client is of the daemon's own user, or root."""

    def attach(self, leave: Leave) -> None:
        """Have `leave` called when the connection ends. The connection then stays open until it returns.

        Raises `Busy` if too many connections of the user last.
        """

    def watch(self) -> None:
        """Take note that the request goes on until the client hangs up.

        Raises `Busy` if too many connections of the user last.
        """


Handler = Callable[[Request, Emit[Any], Caller], Awaitable[Result]]  # serves any method, or raises a `DhtdError`


class Parameter(NamedTuple):
    """One parameter of a method."""

    name: str
    kind: Kind
    default: object  # `MISSING` for one that every request must have; None for one that may also be null


class Method(Generic[Q, R]):
    """A question and its one answer."""

    def __init__(
        self,
        name: str,
        summary: str,  # one sentence, which begins the method's section in dht-control(7)
        request: type[Q],
        result: type[R],
        *,
        errors: tuple[type[DhtdError], ...] = (),  # of its own work
        callers: Callers = Callers.SERVED,
        runs_long: bool = False,  # for an unknown time: a client's timeout is then for each answer
    ) -> None:
        self.name = name
        self.summary = summary
        self.request = request
        self.result = result
        self.callers = callers
        self.runs_long = runs_long
        self._errors = errors

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order."""
        hints = get_type_hints(self.request, include_extras=True)
        found: tuple[Any, ...] = fields(self.request)  # type: ignore[arg-type]  # every request is a dataclass
        return tuple(Parameter(each.name, hints[each.name].__metadata__[0], each.default) for each in found)

    @property
    def errors(self) -> frozenset[type[DhtdError]]:
        """The errors of this method. `COMMON` in `dhtd.service.methods` has those that any method can end in."""
        of_parameters = {error for parameter in self.parameters for error in parameter.kind.errors}
        of_callers = {NotPermitted} if self.callers is Callers.OWNER else set()
        return frozenset({*self._errors, *of_parameters, *of_callers})

    def read(self, given: Mapping[str, object], keyspace: Keyspace = NATIVE) -> Q:
        """Return a request with these parameters; raise a `UsageError` if they do not make one.

        `keyspace` is that of the daemon's network, which says how IDs look.
        """
        left = dict(given)
        values: dict[str, object] = {}
        for name, kind, default in self.parameters:
            if name not in left:
                if default is MISSING:
                    raise BadRequest(f"{self.name} needs the parameter {name!r}")
                continue
            value = left.pop(name)
            if value is None and default is None:
                continue
            try:
                values[name] = kind.check(value, keyspace)
            except Misfit as misfit:
                raise BadRequest(f"{self.name}: {name!r} {misfit}") from None
        if left:
            raise BadRequest(f"{self.name} has no parameter {shown(min(left))}")
        return self.request(**values)


class Stream(Method[Q, R], Generic[Q, E, R]):
    """A question that is answered by events, and then by one result."""

    def __init__(
        self,
        name: str,
        summary: str,
        request: type[Q],
        event: type[E],
        result: type[R],
        *,
        errors: tuple[type[DhtdError], ...] = (),
        callers: Callers = Callers.SERVED,
        runs_long: bool = False,
    ) -> None:
        super().__init__(name, summary, request, result, errors=errors, callers=callers, runs_long=runs_long)
        self.event = event

"""The table of all methods. A row stands with its request and its answers, in the module of its subject.

A new method is a new row there. The control socket reads frames by this table, the daemon finds the function that
serves a request, and tests hold dht-control(7) and dht(1) to it.
"""

from __future__ import annotations

from typing import Any, Final

from dhtd.errors import BadRequest, DhtdError, InternalError, NoThread, ShuttingDown, UnknownMethod
from dhtd.service import doctor, entries, events, health, info, node, owner, queries, trace, values, watch
from dhtd.service.method import Method, Request
from dhtd.service.params import shown

_ROWS: Final[tuple[Method[Any, Any], ...]] = (
    *entries.METHODS,
    *queries.METHODS,
    *events.METHODS,
    *trace.METHODS,
    *node.METHODS,
    *info.METHODS,
    *health.METHODS,
    *doctor.METHODS,
    *owner.METHODS,
    *watch.METHODS,
    *values.METHODS,
)
METHODS: Final = {method.name: method for method in sorted(_ROWS, key=lambda method: method.name)}
COMMON: Final[tuple[type[DhtdError], ...]] = (BadRequest, UnknownMethod, InternalError, NoThread, ShuttingDown)

_BY_REQUEST: Final = {method.request: method for method in METHODS.values()}


def named(name: str) -> Method[Any, Any]:
    """Return the method of this name; raise `UnknownMethod`."""
    method = METHODS.get(name)
    if method is None:
        raise UnknownMethod(f"no method {shown(name)}; there are: {', '.join(METHODS)}")
    return method


def method_of(request: Request) -> Method[Any, Any]:
    """Return the method of a request."""
    return _BY_REQUEST[type(request)]

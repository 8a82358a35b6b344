"""The table of resources: which verb and path of HTTP stand for which method of the table of methods.

Parameters, their readers, answers and errors are those of the method. A parameter in the path is read from there. The
others are read from the query of GET and DELETE, and from the JSON object in the body of PUT and POST.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any, Final

from dhtd.service.doctor import DOCTOR
from dhtd.service.entries import DELETE, ENTER, ENTER_MANY, LOOKUP
from dhtd.service.events import EVENTS
from dhtd.service.health import HEALTH
from dhtd.service.info import INFO
from dhtd.service.method import Method, Parameter, Stream
from dhtd.service.node import BOOTSTRAP, NODE_ID, STATUS
from dhtd.service.queries import FIND_NODE, FIND_VALUE, PING, STORE
from dhtd.service.trace import TRACE
from dhtd.service.values import DROP, GET, KEEP, PUT
from dhtd.service.watch import WATCH

V1: Final = "/v1"

# Methods that no request by HTTP asks for, and why.
APART: Final = {
    "backup": "it is the owner's, by the control socket",
    "complete": "it serves a shell",
    "stop": "it is the owner's, by the control socket",
    "token": "a client that has it need not ask",
}


class Resource:
    """A verb and a path that stand for a method."""

    def __init__(
        self,
        verb: str,
        path: str,
        method: Method[Any, Any],
        *,
        without: tuple[str, ...] = (),  # parameters of the method that this resource does not take
        gathered: str = "",  # the key of an answer that has the events of a stream; without it, they are left out
        is_endless: bool = False,  # then it is answered by a stream of events only
        is_paged: bool = False,  # then long lists are cut, with `limit` and `offset`
    ) -> None:
        self.verb = verb
        self.path = V1 + path
        self.method = method
        self.without = without
        self.gathered = gathered
        self.is_endless = is_endless
        self.is_paged = is_paged
        self.in_path: tuple[str, ...] = tuple(re.findall(r"\{(\w+)\}", path))

    @property
    def has_body(self) -> bool:
        """Whether the parameters that are not in the path are in the body."""
        return self.verb in {"PUT", "POST"}

    @property
    def is_stream(self) -> bool:
        """Whether it can be answered by a stream of events."""
        return isinstance(self.method, Stream)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The parameters by name, those in the path first."""
        named = {each.name: each for each in self.method.parameters if each.name not in self.without}
        return {name: named[name] for name in (*self.in_path, *named)}

    @cached_property
    def takes_name(self) -> bool:
        """Whether the method is told by which name an ID was asked for."""
        return any(each.name == "name" for each in self.method.parameters)


RESOURCES: Final = (
    Resource("GET", "/lookup/{id}", LOOKUP, without=("name",)),
    Resource("GET", "/trace/{id}", TRACE, without=("name",), gathered="steps"),
    Resource("GET", "/watch/{ids}", WATCH, is_endless=True),
    Resource("GET", "/events", EVENTS, is_endless=True),
    Resource("PUT", "/entries/{id}/{port}", ENTER, without=("attached",)),
    Resource("POST", "/entries", ENTER_MANY, gathered="entries"),
    Resource("DELETE", "/entries/{id}", DELETE, without=("name", "port")),
    Resource("DELETE", "/entries/{id}/{port}", DELETE, without=("name",)),
    Resource("GET", "/values/{id}", GET, without=("public_key", "salt")),
    Resource("GET", "/values", GET),
    Resource("PUT", "/values", PUT),
    Resource("POST", "/keep", KEEP),
    Resource("DELETE", "/values/{id}", DROP, without=("public_key", "salt")),
    Resource("DELETE", "/values", DROP),
    Resource("GET", "/ping/{endpoint}", PING),
    Resource("GET", "/find-node/{endpoint}/{id}", FIND_NODE),
    Resource("GET", "/find-value/{endpoint}/{id}", FIND_VALUE),
    Resource("POST", "/store", STORE),
    Resource("GET", "/node-id", NODE_ID),
    Resource("GET", "/status", STATUS),
    Resource("GET", "/health", HEALTH),
    Resource("GET", "/doctor", DOCTOR, without=("id", "name")),
    Resource("GET", "/doctor/{id}", DOCTOR, without=("name",)),
    Resource("POST", "/bootstrap", BOOTSTRAP),
    Resource("GET", "/info", INFO, without=("section",), is_paged=True),
    Resource("GET", "/info/{section}", INFO, is_paged=True),
)

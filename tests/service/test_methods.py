"""The table of methods: each row has everything that a transport needs."""

from __future__ import annotations

import typing
from dataclasses import MISSING, is_dataclass

import pytest

from dhtd.errors import BadRequest, NotPermitted, UnknownMethod
from dhtd.service.entries import ENTER
from dhtd.service.method import Callers, Method, Stream
from dhtd.service.methods import METHODS, method_of, named
from dhtd.service.node import NODE_ID, NodeIdRequest
from dhtd.service.owner import BACKUP, STOP, TOKEN
from dhtd.service.params import FLAG, SECONDS

ROWS = list(METHODS.values())


def test_names_and_requests_are_unique() -> None:
    assert len(METHODS) == len({method.request for method in ROWS})
    assert list(METHODS) == sorted(METHODS)


@pytest.mark.parametrize("method", ROWS, ids=lambda method: str(method.name))
def test_a_row_is_whole(method: Method[typing.Any, typing.Any]) -> None:
    assert method.summary.endswith(".")
    assert is_dataclass(method.request)
    assert method.request.__name__.removesuffix("Request").lower() == method.name.replace("-", "")
    assert typing.is_typeddict(method.result)
    assert not isinstance(method, Stream) or typing.is_typeddict(method.event)


def test_a_request_leads_to_its_method() -> None:
    assert named("node-id") is method_of(NodeIdRequest()) is NODE_ID
    with pytest.raises(UnknownMethod, match="no method 'fly'; there are: backup, bootstrap"):
        named("fly")


def test_the_owner_s_methods_may_be_refused() -> None:
    owners = [method for method in ROWS if method.callers is Callers.OWNER]
    assert owners == [BACKUP, STOP, TOKEN]
    assert [method for method in ROWS if NotPermitted in method.errors] == [BACKUP, ENTER, STOP, TOKEN]


def test_parameters_are_those_of_the_fields() -> None:
    names = [parameter.name for parameter in ENTER.parameters]
    assert names == [
        *("id", "port", "wait", "min_replicas", "within_s", "name", "check", "every", "pid", "attached"),
    ]
    optional = {parameter.name: parameter.kind for parameter in ENTER.parameters if parameter.default is not MISSING}
    assert (optional["wait"], optional["within_s"]) == (FLAG, SECONDS)


def test_a_misfit_is_told_what_is_wanted() -> None:
    with pytest.raises(BadRequest, match=r"^enter: 'wait' is true or false, not 1$"):
        ENTER.read({"id": "0" * 64, "port": 1, "wait": 1})
    for number in (-1, 65_536, 1 << 63):  # which no state file takes
        with pytest.raises(BadRequest, match=rf"^enter: 'min_replicas' is a number from 0 to 65535, not {number}$"):
            ENTER.read({"id": "0" * 64, "port": 1, "min_replicas": number})

"""The API against the table of methods: all is there, under the names of the table."""

from __future__ import annotations

import inspect
import typing
from dataclasses import fields
from typing import Any

import pytest

from dhtd.api import results
from dhtd.api.blocking import BlockingDht
from dhtd.api.dht import Dht
from dhtd.service.method import Callers
from dhtd.service.methods import METHODS

# Not offered: what is for the owner alone, who has commands for it; completion, which is for shells; and what shows a
# node at work, which is for people.
LEFT_OUT = {name for name, method in METHODS.items() if method.callers is Callers.OWNER} | {
    *("complete", "trace", "events"),
}

# Parameters under other names: those that stand for a target or a place, and those that the client sets itself.
OTHER_NAMES = {"id": "target", "public_key": "place", "entries": "entries", "ids": "targets", "endpoints": "endpoints"}
OWN = {"within_s", "attached", "signature", "all"}
RESULTS = {
    "enter": results.Entry,
    "delete": results.Deletion,
    "get": results.Value,
    "put": results.Placed,
    "keep": results.Placed,
    "drop": results.Dropped,
    "ping": results.Pong,
    "find-node": results.FoundNodes,
    "find-value": results.FoundValue,
    "store": results.Stored,
    "bootstrap": results.Bootstrapped,
    "node-id": results.Node,
    "status": results.Status,
    "health": results.Health,
    "doctor": results.Diagnosis,
}
LISTS = {"enter-many", "lookup", "watch", "info"}  # results of another form
# Keys of a result that say the same in another way.
UNREAD = {"get": {"text", "values", "signature"}}

OFFERED = sorted(METHODS.keys() - LEFT_OUT)


def method_named(name: str) -> Any:
    return getattr(Dht, name.replace("-", "_"))


@pytest.mark.parametrize("name", OFFERED)
def test_a_method_takes_the_parameters_of_its_row(name: str) -> None:
    taken = set(inspect.signature(method_named(name)).parameters) - {"self"}
    wanted = {each.name for each in METHODS[name].parameters} - OWN
    is_of_place = name in {"get", "keep", "drop"}
    renamed = {"place" if is_of_place and each == "id" else OTHER_NAMES.get(each, each) for each in wanted}
    if name == "put":
        renamed = renamed - {"place"} | {"key"}  # the key pair, of which the daemon sees one half and the signature
    if "target" in taken:
        renamed -= {"name"}
    if name in {"enter", "enter-many"}:
        renamed -= {"attached"}
    assert taken == renamed


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_result_has_the_keys_of_its_row(name: str) -> None:
    keys = set(typing.get_type_hints(METHODS[name].result)) - UNREAD.get(name, set())
    assert {each.name for each in fields(RESULTS[name])} == keys


def test_each_result_is_held_to_its_row() -> None:
    assert sorted({*RESULTS, *LISTS}) == OFFERED


@pytest.mark.parametrize("name", OFFERED)
def test_both_clients_have_the_same_methods(name: str) -> None:
    concurrent, blocking = method_named(name), getattr(BlockingDht, name.replace("-", "_"))
    assert inspect.signature(concurrent).parameters.keys() == inspect.signature(blocking).parameters.keys()
    assert concurrent.__doc__
    assert blocking.__doc__
    assert not inspect.iscoroutinefunction(blocking)


def test_nothing_is_offered_beside_the_table() -> None:
    names = {name for name, _ in inspect.getmembers(BlockingDht, callable) if not name.startswith("_")}
    assert names - {"serve"} == {name.replace("-", "_") for name in OFFERED}

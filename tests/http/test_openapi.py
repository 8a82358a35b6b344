"""The OpenAPI document: what it says, and that a real daemon does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dhtd.core.ids import MAINLINE, NATIVE
from dhtd.http.openapi import document
from dhtd.http.resources import RESOURCES
from dhtd.service.methods import METHODS
from tests.e2e.daemons import DEADLINE, Network
from tests.mainline.island import SUBNET, island
from tests.netns.lab import LabError

DOCUMENT = document(NATIVE)
OPERATIONS = [(path, verb) for path, verbs in DOCUMENT["paths"].items() for verb in verbs]
CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    negative_data_rejection,
]
HERE = "127.0.0.1:8729"


def operation(path: str, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][path][verb]
    return found


def test_every_resource_is_in_the_document() -> None:
    assert set(OPERATIONS) == {(each.path, each.verb.lower()) for each in RESOURCES}
    names = [operation(*each)["operationId"] for each in OPERATIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: f"{each.verb} {each.path}")
def test_an_operation_is_that_of_the_table(resource: Any) -> None:
    found = operation(resource.path, resource.verb.lower())
    assert found["summary"] == METHODS[resource.method.name].summary
    outside = {each["name"] for each in found["parameters"]} - {"limit", "offset"}
    inside = set(
        found.get("requestBody", {})
        .get("content", {})
        .get("application/json", {})
        .get("schema", {})
        .get("properties", {})
    )
    assert outside | inside == {each.name for each in resource.method.parameters} - set(resource.without)
    assert not outside & inside


def test_ids_have_the_digits_of_the_network() -> None:
    for keyspace, digits in ((NATIVE, 64), (MAINLINE, 40)):
        [parameter, _] = document(keyspace)["paths"]["/v1/lookup/{id}"]["get"]["parameters"]
        assert f"{{{digits}}}" in parameter["schema"]["pattern"]


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """A real daemon of a network of two, in a namespace from which nothing is reached."""
    try:
        with island(), Network(SUBNET) as network:
            [daemon] = network.start(1, f"--http={HERE}")
            network.start(1)
            daemon.wait_until(lambda about: bool(about["connected"]))
            token = network.dht(daemon, "token")["token"]
            yield f"Bearer {token}"
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def operations(node: str) -> dict[tuple[str, str], Any]:
    url = f"http://{HERE}/v1/openapi.json"
    schema = schemathesis.openapi.from_url(url, headers={"Authorization": node})
    found: Any = [result.ok() for result in schema.get_all_operations()]  # type: ignore[union-attr]
    return {(each.path, each.method): each for each in found}


@pytest.mark.slow
@pytest.mark.parametrize(("path", "verb"), OPERATIONS)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_the_daemon_does_what_the_document_says(
    operations: dict[tuple[str, str], Any], node: str, path: str, verb: str, mode: schemathesis.GenerationMode
) -> None:
    @settings(
        max_examples=15,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operations[path, verb].as_strategy(generation_mode=mode))
    def agree(case: Any) -> None:
        if path in {"/v1/watch/{ids}", "/v1/events"}:
            case.headers = {**(case.headers or {}), "Accept": "application/json"}  # its answer has no end
        with requests.Session() as session:
            session.trust_env = False
            response = case.call(
                base_url=f"http://{HERE}", headers={"Authorization": node}, session=session, timeout=DEADLINE
            )
        assert response.status_code != 500
        case.validate_response(response, checks=CHECKS)

    agree()

"""`dht token`: the token, and the addresses of the page that have it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.fake import FakeDaemon, result

TOKEN = {"token": "abc-123", "file": "/var/lib/dhtd/http.token"}
DOORS = [
    "http://127.0.0.1:8729",
    "dns://127.0.0.1:1753/lab.example",
    "http+unix:///run/dhtd/http.sock",
    "https://[::]:443",
]
URLS = ["http://127.0.0.1:8729/#token=abc-123", "https://[::1]:443/#token=abc-123"]


def test_the_token_is_one_line(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result(TOKEN)) as fake:
        done = dht("--socket", fake.path, "token")
    assert (done.status, done.out, done.err) == (0, "abc-123\n", "")


def test_the_addresses_of_the_page_have_the_token(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": DOORS}}), result(TOKEN)) as fake:
        done = dht("--socket", fake.path, "token", "--url")
    assert (done.status, done.out.splitlines(), done.err) == (0, URLS, "")


def test_json_has_token_and_addresses(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": DOORS}}), result(TOKEN)) as fake:
        done = dht("--socket", fake.path, "--json", "token", "--url")
    assert json.loads(done.out) == {**TOKEN, "urls": URLS}


def test_any_address_is_that_of_loopback(dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": {"doors": ["http://0.0.0.0:80"]}}), result(TOKEN)) as fake:
        done = dht("--socket", fake.path, "token", "--url")
    assert done.out == "http://127.0.0.1:80/#token=abc-123\n"


@pytest.mark.parametrize("node", [{}, {"doors": None}, {"doors": []}, {"doors": DOORS[1:3]}])
def test_without_a_page_no_token_is_renewed(node: dict[str, object], dht: Run, home: Path) -> None:
    with FakeDaemon(home / "s", result({"node": node})) as fake:
        done = dht("--socket", fake.path, "token", "--url", "--renew")
    assert (done.status, done.out) == (2, "")
    assert "this daemon serves no page at an address: start it with --http" in done.err
    assert [method for method, _ in fake.requests] == ["info"]

"""A daemon is in one network, whose facts decide what no setting says."""

from __future__ import annotations

from pathlib import Path

import pytest

from dhtd.config import paths
from dhtd.config.networks import MAINLINE, NATIVE, NETWORKS
from dhtd.config.sources import client_socket, load_settings
from dhtd.core import policy
from dhtd.core.ids import MAINLINE as KEYSPACE
from dhtd.errors import ConfigError
from dhtd.wire.bep5 import Bep5Codec
from dhtd.wire.native import NativeCodec
from tests.config.conftest import Configure

pytestmark = pytest.mark.usefixtures("home")


def test_each_network_has_its_wire_and_policy() -> None:
    assert (type(NATIVE.codec(dual_stack=False)), NATIVE.policy) == (NativeCodec, policy.DEFAULT)
    assert (type(MAINLINE.codec(dual_stack=True)), MAINLINE.policy) == (Bep5Codec, policy.MAINLINE)
    for network in NETWORKS.values():
        assert network.codec(dual_stack=False).traits.keyspace == network.keyspace
    assert MAINLINE.defaults["rate-limit"] == MAINLINE.policy.rate_limit
    assert MAINLINE.defaults["rate-limit-total"] == MAINLINE.policy.rate_limit_total


def test_the_network_decides_what_nothing_else_says() -> None:
    settings = load_settings({"network": "mainline"}, {})
    assert (settings.port, settings.rate_limit, settings.rate_limit_total) == (6881, 16.0, 2_000.0)
    assert (settings.instance, settings.state.name, settings.socket.name) == (
        "mainline",
        "mainline.db",
        "mainline.sock",
    )
    assert settings.entries is None
    settings = load_settings({"network": "mainline", "port": 1, "instance": "x"}, {"DHTD_RATE_LIMIT": "5"})
    assert (settings.port, settings.rate_limit, settings.state.name) == (1, 5.0, "x.db")


def test_a_nearer_network_outdoes_farther_places() -> None:
    environ = {"DHTD_INSTANCE": "lab", "DHTD_SOCKET": "/e.sock", "DHTD_STATE": "/e.db"}
    settings = load_settings({"network": "mainline"}, environ)
    assert (settings.instance, settings.socket.name, settings.state.name) == (
        "mainline",
        "mainline.sock",
        "mainline.db",
    )
    assert client_socket(None, None, environ, "mainline").name == settings.socket.name
    assert load_settings({}, {**environ, "DHTD_NETWORK": "mainline"}).socket == Path("/e.sock")


def test_the_client_finds_the_daemon_of_a_network(user: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "find_control_socket", lambda instance="default": Path(f"/{instance}.sock"))
    assert client_socket(None, None, {}).name == "default.sock"
    assert client_socket(None, None, {}, implied="mainline").name == "mainline.sock"
    assert client_socket(None, "lab", {}, implied="mainline").name == "lab.sock"
    assert client_socket(None, None, {"DHTD_NETWORK": "mainline"}).name == "mainline.sock"
    user('network = "mainline"')
    assert client_socket(None, None, {}).name == "mainline.sock"
    assert client_socket(None, None, {}, "native").name == "default.sock"


def test_an_implied_network_outdoes_a_file_of_another(user: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "find_control_socket", lambda instance="default": Path(f"/{instance}.sock"))
    user('instance = "lab"')
    assert client_socket(None, None, {}, implied="mainline").name == "mainline.sock"
    assert client_socket(None, None, {}, implied="native").name == "lab.sock"
    user('instance = "torrents"', "mainline.toml")
    assert client_socket(None, None, {}, implied="mainline").name == "torrents.sock"
    user('network = "mainline"\ninstance = "both"')
    assert client_socket(None, None, {}, implied="mainline").name == "both.sock"


def test_a_named_network_has_files_of_its_own(user: Configure) -> None:
    user("port = 1111")
    assert load_settings({"network": "mainline"}, {}).port == 6881
    assert load_settings({"network": "native"}, {}).port == 1111
    user("port = 2222", "mainline.toml")
    for options, environ in (({"network": "mainline"}, {}), ({}, {"DHTD_NETWORK": "mainline"})):
        settings = load_settings(options, environ)
        assert (settings.port, settings.network, settings.instance) == (2222, "mainline", "mainline")
    assert load_settings({}, {}).port == 1111


def test_places_in_the_files_of_a_network_count(user: Configure, system: Configure) -> None:
    user('state = "/u.db"', "mainline.toml")
    system('socket = "/s.sock"', "mainline.toml")
    environ = {"DHTD_SOCKET": "/e.sock"}
    settings = load_settings({"network": "mainline"}, environ)
    assert (settings.state, settings.socket) == (Path("/u.db"), Path("/s.sock"))
    assert client_socket(None, None, environ, "mainline") == Path("/s.sock")
    assert client_socket(None, None, {}, implied="mainline") == Path("/s.sock")
    assert client_socket(None, None, environ, implied="mainline") == Path("/e.sock")
    assert client_socket(None, None, {}).name == "default.sock"
    user('network = "native"\nstate = "/u.db"', "mainline.toml")
    assert load_settings({"network": "mainline"}, {}).state.name == "mainline.db"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"network": "torrents"}, "none of native, mainline"),
        ({"network": "mainline", "network-key": ["/k"]}, "the Mainline network has no keys"),
        ({"public-bootstrap": True}, "say --network mainline as well"),
        ({"read-only": "yes"}, "say --network mainline as well"),
        ({"network": "mainline", "read-only": "maybe"}, "none of yes, no, auto"),
        ({"network": "mainline", "node-id": "ab" * 32}, "has 40 hex digits"),
        ({"node-id": "ab" * 20}, "an ID in the native network has 64 hex digits"),
        ({"node-id": "ab" * 21}, "an ID is 64 hex digits"),
    ],
)
def test_what_is_of_another_network_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_settings(options, {})


def test_an_id_is_of_its_network() -> None:
    assert load_settings({"network": "mainline", "node-id": "ab" * 20}, {}).node_id == KEYSPACE.parse("ab" * 20)


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("1", True), ("no", False), ("false", False)])
def test_a_flag_in_a_variable_is_yes_or_no(text: str, value: bool) -> None:
    environ = {"DHTD_PUBLIC_BOOTSTRAP": text, "DHTD_NETWORK": "mainline"}
    assert load_settings({}, environ).public_bootstrap is value


def test_another_flag_is_refused(user: Configure) -> None:
    with pytest.raises(ConfigError, match="neither yes nor no"):
        load_settings({}, {"DHTD_PUBLIC_BOOTSTRAP": "maybe", "DHTD_NETWORK": "mainline"})
    user('network = "mainline"\npublic-bootstrap = "yes"')
    with pytest.raises(ConfigError, match="must be true or false, not a string"):
        load_settings({}, {})

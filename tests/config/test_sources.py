"""The settings: their sources, and the messages about bad ones."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dhtd.config import paths, values
from dhtd.config.settings import LOG_FORMATS, LOG_LEVELS, OF_INSTANCE, SETTINGS, Setting, Settings
from dhtd.config.sources import CONFIG_VARIABLE, changes, client_socket, load_settings
from dhtd.config.toml_file import SIZE_MAX
from dhtd.config.values import CAPS_APART
from dhtd.control.limits import Limits
from dhtd.core import counters
from dhtd.core.ids import NATIVE
from dhtd.core.policy import Policy
from dhtd.errors import ConfigError, SocketUnusable
from dhtd.wire.sealed import KEYS_MAX
from tests.config.conftest import Configure

HEX = "0123456789abcdef" * 4

pytestmark = pytest.mark.usefixtures("home")


def refusal(options: dict[str, object] | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(options or {}, environ or {})
    assert (type(caught.value), caught.value.code, caught.value.exit_status) == (ConfigError, "bad-configuration", 2)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


# Where values come from


def test_nothing_needs_to_be_said(home: Path) -> None:
    settings = load_settings({}, {})
    assert settings == Settings(
        network="native",
        port=1729,
        bind=(),
        bootstrap=(),
        public_bootstrap=False,
        read_only="auto",
        state=home / "state" / "default.db",
        socket=Path("/run/dhtd/default.sock"),
        instance="default",
        entries=home / "config" / "entries.d",
        socket_group=None,
        socket_clients=Limits().clients,
        http=(),
        http_public=False,
        http_tls=(),
        http_host=(),
        http_token=None,
        dns=(),
        dns_public=False,
        dns_domain="dht.alt",
        node_id=None,
        network_key=(),
        exempt_network=(),
        rate_limit=Policy().rate_limit,
        rate_limit_total=Policy().rate_limit_total,
        max_entries=Policy().store_entries,
        max_operations=Policy().operations,
        cap=(),
        on_stop="grace",
        log_level="info",
        log_format="text",
        origins={},
    )
    assert settings.origins == {setting.key: "default" for setting in SETTINGS}


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("0.0.0.0", ("0.0.0.0",)),
        ("::", ("::",)),
        (":: 0.0.0.0", ("::", "0.0.0.0")),
        ("0.0.0.0,2001:db8::1,::1", ("0.0.0.0", "2001:db8::1", "::1")),
        ("fe80::1%eth0 FE80::1%eth1", ("fe80::1%eth0", "fe80::1%eth1")),
        ("::ffff:192.0.2.1", ("192.0.2.1",)),
    ],
)
def test_addresses_of_both_families_may_be_bound(text: str, addresses: tuple[str, ...]) -> None:
    assert load_settings({"bind": text}, {}).bind == addresses


EXAMPLES: dict[str, tuple[str, str, object]] = {  # by key: as an option or a variable, in TOML, and the value
    "network": ("mainline", '"mainline"', "mainline"),
    "port": ("4000", "4000", 4000),
    "bind": ("192.0.2.1,2001:db8::1", '["192.0.2.1", "2001:DB8::1"]', ("192.0.2.1", "2001:db8::1")),
    "bootstrap": (
        "a.example:1, [2001:db8::1]:2",
        '["a.example:1", "[2001:db8::1]:2"]',
        ("a.example:1", "[2001:db8::1]:2"),
    ),
    "public-bootstrap": ("yes", "true", True),
    "read-only": ("no", '"no"', "no"),
    "state": ("/var/x.db", '"/var/x.db"', Path("/var/x.db")),
    "socket": ("/run/x.sock", '"/run/x.sock"', Path("/run/x.sock")),
    "instance": ("lab", '"lab"', "lab"),
    "entries": ("/srv/entries/", '"/srv/entries"', Path("/srv/entries")),
    "socket-group": ("adm", '"adm"', "adm"),
    "socket-clients": ("7", "7", 7),
    "http": (
        "127.0.0.1:8729 unix:/run/x.sock",
        '["127.0.0.1:8729", "unix:/run/x.sock"]',
        ("127.0.0.1:8729", "unix:/run/x.sock"),
    ),
    "http-public": ("yes", "true", True),
    "http-tls": ("/etc/c.pem,/etc/k.pem", '["/etc/c.pem", "/etc/k.pem"]', (Path("/etc/c.pem"), Path("/etc/k.pem"))),
    "http-host": ("a.example B.example", '["a.example", "b.example"]', ("a.example", "b.example")),
    "http-token": ("/etc/token", '"/etc/token"', Path("/etc/token")),
    "dns": ("127.0.0.1:1753 [::1]:53", '["127.0.0.1:1753", "[0::1]:53"]', ("127.0.0.1:1753", "[::1]:53")),
    "dns-public": ("yes", "true", True),
    "dns-domain": ("DHT.example.", '"dht.Example"', "dht.example"),
    "node-id": (HEX.upper(), f'"{HEX}"', NATIVE.parse(HEX)),
    "network-key": (
        "/etc/new.key,/etc/old.key",
        '["/etc/new.key", "/etc/old.key"]',
        (Path("/etc/new.key"), Path("/etc/old.key")),
    ),
    "exempt-network": (
        "203.0.113.0/24 2001:db8::/48,203.0.113.0/24",
        '["203.0.113.0/24", "2001:db8::/48"]',
        ("203.0.113.0/24", "2001:db8::/48"),
    ),
    "rate-limit": ("12.5", "12.5", 12.5),
    "rate-limit-total": ("5000.5", "5000.5", 5_000.5),
    "max-entries": ("1000", "1000", 1_000),
    "max-operations": ("12", "12", 12),
    "cap": (
        "claims=16 search_queries=64",
        '["claims=16", "search_queries=64"]',
        (("claims", 16), ("search_queries", 64)),
    ),
    "on-stop": ("leave", '"leave"', "leave"),
    "log-level": ("debug", '"debug"', "debug"),
    "log-format": ("json", '"json"', "json"),
}


def test_every_setting_has_an_example_here() -> None:
    assert list(EXAMPLES) == [setting.key for setting in SETTINGS]


@pytest.mark.parametrize("key", EXAMPLES)
def test_each_setting_comes_from_every_source(key: str, user: Configure, system: Configure, home: Path) -> None:
    text, toml, expected = EXAMPLES[key]
    [setting] = [setting for setting in SETTINGS if setting.key == key]
    beside: dict[str, object] = {}
    name = "dhtd.toml"
    if key in ("public-bootstrap", "read-only"):
        beside, name = {"network": "mainline"}, "mainline.toml"

    def seen(options: dict[str, object], environ: dict[str, str]) -> tuple[object, str]:
        settings = load_settings({**beside, **options}, environ)
        return getattr(settings, setting.field), settings.origins[key]

    file = system(f"{key} = {toml}", name)
    assert seen({}, {}) == (expected, str(file))
    file = user(f"{key} = {toml}", name)
    assert seen({}, {}) == (expected, str(file))
    file = home / "other.toml"
    file.write_text(f"{key} = {toml}")
    assert seen({"config": file}, {}) == (expected, str(file))
    assert seen({}, {"DHTD_CONFIG": str(file)}) == (expected, str(file))
    assert seen({"config": file}, {setting.variable: text}) == (expected, setting.variable)
    assert seen({key: text, "config": file}, {setting.variable: text}) == (expected, f"--{key}")
    assert seen({setting.field: text}, {}) == (expected, f"--{key}")


def test_the_nearest_place_wins_where_they_differ(user: Configure, system: Configure, home: Path) -> None:
    system("port = 1\nlog-level = 'debug'\nrate-limit = 7")
    user("port = 2\nlog-level = 'error'")
    (home / "other.toml").write_text("port = 3")
    environ = {"DHTD_CONFIG": str(home / "other.toml")}
    assert load_settings({}, {}).port == 2
    assert (load_settings({}, {}).log_level, load_settings({}, {}).rate_limit) == ("error", 7.0)
    assert (load_settings({}, environ).port, load_settings({}, environ).log_level) == (3, "debug")
    assert load_settings({}, {**environ, "DHTD_PORT": "4"}).port == 4
    assert load_settings({"port": 5}, {**environ, "DHTD_PORT": "4"}).port == 5
    assert load_settings({"config": home / "config" / "dhtd.toml"}, environ).port == 2


def test_options_not_given_do_not_count() -> None:
    options = {
        "port": 4000,
        "bind": ["192.0.2.1"],
        "bootstrap": ("a:1", "b:2", "a:1"),
        "state": Path("x.db"),
        "rate_limit": 3,
        "socket": None,
        "instance": None,
    }
    settings = load_settings(options, {"DHTD_LOG_LEVEL": "", "DHTD_BIND": " ", "DHTD_CONFIG": ""})
    assert (settings.port, settings.bind, settings.bootstrap) == (4000, ("192.0.2.1",), ("a:1", "b:2"))
    assert settings.state == Path.cwd() / "x.db"
    assert settings.rate_limit == 3.0
    assert load_settings({"bootstrap": []}, {"DHTD_BOOTSTRAP": "a:1"}).bootstrap == ("a:1",)


def test_lists_in_the_environment_split_on_commas() -> None:
    assert load_settings({}, {"DHTD_BOOTSTRAP": " a:1,b:2\tc:3 , d:4\n"}).bootstrap == ("a:1", "b:2", "c:3", "d:4")


def test_a_tilde_is_the_home_directory_everywhere(home: Path, user: Configure) -> None:
    user('socket = "~/s.sock"')
    settings = load_settings({"state": "~/x.db"}, {})
    assert (settings.state, settings.socket) == (home / "x.db", home / "s.sock")


def test_an_instance_names_state_and_socket(home: Path, user: Configure) -> None:
    def seen(options: dict[str, object], environ: dict[str, str]) -> tuple[Path, Path]:
        settings = load_settings(options, environ)
        client = client_socket(
            options.get("socket"),  # type: ignore[arg-type]
            options.get("instance"),  # type: ignore[arg-type]
            environ,
        )
        assert client == settings.socket
        return settings.state, settings.socket

    own = (home / "state" / "lab.db", Path("/run/dhtd/lab.sock"))
    user('state = "/f.db"\nsocket = "/f.sock"')
    assert seen({}, {}) == (Path("/f.db"), Path("/f.sock"))
    assert seen({}, {"DHTD_INSTANCE": "lab"}) == own
    assert seen({"instance": "lab"}, {"DHTD_STATE": "/e.db", "DHTD_SOCKET": "/e.sock"}) == own
    assert seen({"instance": "lab", "socket": Path("/o.sock")}, {}) == (own[0], Path("/o.sock"))
    environ = {"DHTD_INSTANCE": "lab", "DHTD_STATE": "/e.db", "DHTD_SOCKET": "/e.sock"}
    assert seen({}, environ) == (Path("/e.db"), Path("/e.sock"))
    user('state = "/f.db"\nsocket = "/f.sock"\ninstance = "lab"')
    assert seen({}, {}) == (Path("/f.db"), Path("/f.sock"))
    assert seen({"instance": "other"}, {})[1] == Path("/run/dhtd/other.sock")


# Lists


@pytest.mark.parametrize("key", ["bind", "bootstrap", "exempt-network", "cap"])
def test_lists_are_split_wherever_they_are_given(key: str, user: Configure) -> None:
    first, second = {
        "bind": ("192.0.2.1", "2001:db8::1"),
        "bootstrap": ("a:1", "[2001:db8::1]:2"),
        "exempt-network": ("203.0.113.0/24", "2001:db8::/48"),
        "cap": ("claims=16", "strangers=5"),
    }[key]
    if key == "cap":
        first, second = (f"{cap}=5" for cap in sorted(set(counters.CAPS) - set(CAPS_APART))[:2])
    field = key.replace("-", "_")
    wanted = getattr(load_settings({key: [first, second]}, {}), field)
    assert len(wanted) == 2
    for text in (f"{first},{second}", f"{first}, {second}", f" {first} {second},"):
        assert getattr(load_settings({key: [text]}, {}), field) == wanted
        assert getattr(load_settings({key: text}, {}), field) == wanted
        assert getattr(load_settings({}, {f"DHTD_{field.upper()}": text}), field) == wanted
        user(f'{key} = ["{text}"]')
        assert getattr(load_settings({}, {}), field) == wanted
        user("")
    assert refusal({key: [first, " ,"]}).startswith(f"--{key}: ' ,' is empty")


# Paths, as they were given


def test_only_a_leading_tilde_means_home(home: Path, user: Configure) -> None:
    assert load_settings({"state": "~/s.db"}, {}).state == home / "s.db"
    for text in ("./~/s.db", "././~/s.db"):
        assert load_settings({"state": text, "network-key": [text]}, {}).state == home / "~/s.db"
        assert load_settings({"network-key": [text]}, {}).network_key == (home / "~/s.db",)
        assert load_settings({}, {"DHTD_STATE": text}).state == home / "~/s.db"
        assert client_socket(text, None, {}) == home / "~/s.db"
        assert client_socket(None, None, {"DHTD_SOCKET": text}) == home / "~/s.db"
        assert refusal({"config": text}) == f"--config: there is no configuration file {home / '~/s.db'}"
    assert load_settings({"state": "a~/s.db"}, {}).state == home / "a~/s.db"
    assert "leads nowhere" in refusal({"state": "~nobody-has-this-name/s.db"})


@pytest.mark.parametrize("text", ["dir/", "dir/.", "..", ".", "/", "~/"])
def test_the_path_of_a_directory_is_no_file(text: str) -> None:
    for key in ("state", "socket"):
        assert refusal({key: text}) == f"--{key}: {text!r} is the path of a directory, and must be that of a file"
    assert "is the path of a directory" in refusal({"network-key": [text]})


def test_a_relative_path_needs_a_directory(home: Path) -> None:
    gone = home / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    assert refusal({"state": "s.db"}) == (
        "--state: 's.db' is relative, and the working directory is gone: begin it with /"
    )
    assert load_settings({"state": "/s.db", "network-key": ["/k"]}, {}).state == Path("/s.db")


# Homes that are none, or another's


def test_no_home_means_no_configuration(monkeypatch: pytest.MonkeyPatch, system: Configure) -> None:
    system("port = 5")
    monkeypatch.setattr(paths, "user_config", lambda *_: None)
    assert load_settings({}, {}).port == 5
    assert client_socket(None, None, {}) == Path("/run/dhtd/default.sock")


def closed(home: Path, monkeypatch: pytest.MonkeyPatch, owner: int) -> Path:
    """Have the user's configuration in a closed directory of this owner's."""
    config = home / "config" / "dhtd.toml"
    for name in ("open", "lstat"):
        call: Callable[..., object] = getattr(Path, name)

        def refuse(self: Path, *arguments: object, call: Callable[..., object] = call) -> object:
            if self == config:
                raise PermissionError(13, "Permission denied")
            return call(self, *arguments)

        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(paths, "owner", lambda path: owner)
    return config


def test_a_closed_foreign_home_matters_by_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = closed(home, monkeypatch, os.geteuid() + 1)
    places = {"state": "/s.db", "socket": "/s.sock"}
    assert load_settings(places, {}).state == Path("/s.db")
    assert load_settings({"state": "/s.db"}, {"DHTD_SOCKET": "/s.sock"}).socket == Path("/s.sock")
    text = (
        f"the configuration file {config} cannot be read: Permission denied; it is another user's: set HOME (sudo does"
        " with -H), or name --state and --socket"
    )
    for options in ({}, {"state": "/s.db"}, {"socket": "/s.sock"}, {"instance": "x"}):
        assert refusal(dict(options)) == text
    assert client_socket("/s.sock", None, {}) == Path("/s.sock")
    with pytest.raises(ConfigError, match="it is another user's"):
        client_socket(None, None, {})


def test_the_own_closed_home_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = closed(home, monkeypatch, os.geteuid())
    text = f"the configuration file {config} cannot be read: Permission denied"
    assert refusal({"state": "/s.db", "socket": "/s.sock"}) == text


# Variables that are none of ours


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DHTD_NETWORK_KEY", "DHTD_NETWORK_KEY_FILE"),
        ("DHTD_KEY", "DHTD_NETWORK_KEY_FILE"),
        ("DHTD_KEYFILE", "DHTD_NETWORK_KEY_FILE"),
        ("DHTD_NETWORK_KEYFILE", "DHTD_NETWORK_KEY_FILE"),
        ("DHTD_BOOSTRAP", "DHTD_BOOTSTRAP"),
        ("dhtd_port", "DHTD_PORT"),
        ("DHTD_CONFIG_FILE", "DHTD_CONFIG"),
        ("DHTD_PRIVATE_KEY", "DHTD_NETWORK_KEY_FILE"),
        ("DHTD_PORT ", "DHTD_PORT"),
    ],
)
def test_an_unknown_variable_suggests_the_nearest(name: str, meant: str) -> None:
    text = f"unknown environment variable {name!r}; did you mean {meant}? dhtd(8) lists all"
    assert refusal({}, {name: "x"}) == text
    assert refusal({"port": "5"}, {"DHTD_PORT": "7", name: "x"}) == text
    with pytest.raises(ConfigError) as caught:
        client_socket(None, None, {name: "x", "DHTD_SOCKET": "/e.sock"})
    assert str(caught.value) == text


@pytest.mark.parametrize("name", ["DHTD_", "DHTD_TIMEOUT", "DHTD_JSON"])
def test_an_unlike_variable_gets_no_guess(name: str) -> None:
    assert refusal({}, {name: "x"}) == f"unknown environment variable {name!r}; dhtd(8) lists all"


@pytest.mark.parametrize("text", ["", " ", ",", "\t"])
def test_an_empty_key_name_opens_no_open_node(text: str) -> None:
    empty = "DHTD_NETWORK_KEY_FILE: is empty, and must name the file of a network key; for an open network, unset it"
    assert refusal({}, {"DHTD_NETWORK_KEY_FILE": text}) == empty
    assert client_socket(None, None, {"DHTD_NETWORK_KEY_FILE": text, "DHTD_SOCKET": "/e.sock"}) == Path("/e.sock")


def test_an_empty_configuration_is_an_error() -> None:
    assert refusal({"config": ""}) == "--config is empty, and must be the path of a configuration file"


def test_foreign_and_empty_variables_do_no_harm() -> None:
    others = {"_DHTD_COMPLETE": "complete_bash", "DHT_PORT": "1", "MY_DHTD_PORT": "2", "DHTDX": "3", "DHTD_X": " "}
    assert load_settings({}, others) == load_settings({}, {})
    assert client_socket(Path("/o.sock"), None, {"DHTD_X": "1"}) == Path("/o.sock")


# The client's settings


def test_client_and_daemon_agree_on_the_socket(home: Path, user: Configure, system: Configure) -> None:
    assert client_socket(None, None, {}) == Path("/run/dhtd/default.sock")
    system('instance = "sys"\nunknown = 1')
    assert client_socket(None, None, {}) == Path("/run/dhtd/sys.sock")
    user('socket = "/u.sock"')
    assert client_socket(None, None, {}) == Path("/u.sock")
    other = home / "other.toml"
    other.write_text('socket = "/c.sock"')
    assert client_socket(None, None, {"DHTD_CONFIG": str(other)}) == Path("/c.sock")
    assert client_socket(None, None, {"DHTD_CONFIG": str(other), "DHTD_INSTANCE": "env"}) == Path("/run/dhtd/env.sock")
    assert client_socket(None, "opt", {"DHTD_SOCKET": "/e.sock"}) == Path("/run/dhtd/opt.sock")
    assert client_socket(Path("o.sock"), "opt", {}) == home / "o.sock"


def test_the_client_opens_no_needless_file(user: Configure) -> None:
    path = user("broken")
    assert client_socket(None, None, {"DHTD_SOCKET": "/e.sock"}) == Path("/e.sock")
    with pytest.raises(ConfigError, match=rf"{path} is not TOML"):
        client_socket(None, None, {})


def test_the_client_names_a_wrong_socket_setting() -> None:
    with pytest.raises(ConfigError, match=r"^--instance: '\.\./x' is not an instance name"):
        client_socket(None, "../x", {})
    with pytest.raises(ConfigError, match=r"^DHTD_INSTANCE: 'a b' is not an instance name"):
        client_socket(None, None, {"DHTD_INSTANCE": "a b"})
    with pytest.raises(SocketUnusable, match="choose a shorter one with --socket"):
        client_socket(Path("/" + "s" * 120), None, {})


# Wrong settings


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("port", "0", "0 is not a port: a number from 1 to 65535"),
        ("port", "65536", "65536 is not a port: a number from 1 to 65535"),
        ("port", "abc", "'abc' is not a port: a number from 1 to 65535"),
        ("port", "-1", "'-1' is not a port: a number from 1 to 65535"),
        ("port", "80 ", "'80 ' is not a port: a number from 1 to 65535"),
        ("port", "٣", "'٣' is not a port: a number from 1 to 65535"),
        ("bind", "localhost", "'localhost' is not an IP address, such as 192.168.1.123, 0.0.0.0 or ::"),
        ("bind", "1.2.3", "'1.2.3' is not an IP address, such as 192.168.1.123, 0.0.0.0 or ::"),
        ("bind", "[::1]", "'[::1]' is not an IP address"),
        ("bind", ",", "must name at least one address; without this setting, all of this machine's are listened on"),
        ("bind", "::1 :: 0.0.0.0", ":: is all of this machine's IPv6 addresses: name no others beside it"),
        ("bind", "::1 0:0::1", "::1 is named twice"),
        ("bind", "127.0.0.1 ::ffff:127.0.0.1", "127.0.0.1 is named twice"),
        ("bind", "fe80::1", "'fe80::1' is on each link another: name the interface, such as fe80::1%eth0"),
        ("bind", "2001:db8::1%eth0", "'2001:db8::1%eth0' has a zone, and is no link-local address: give it without"),
        ("bind", "127.0.0.1 127.0.0.1", "127.0.0.1 is named twice"),
        ("bind", "127.0.0.1 0.0.0.0", "0.0.0.0 is all of this machine's IPv4 addresses: name no others beside it"),
        ("bootstrap", "a.example", "'a.example' is not HOST:PORT, such as a.example:1729"),
        ("exempt-network", "203.0.113.1/24", "'203.0.113.1/24' is not a network, such as 203.0.113.0/24 or"),
        ("exempt-network", "203.0.113.0/33", "'203.0.113.0/33' is not a network, such as"),
        ("exempt-network", "home", "'home' is not a network, such as"),
        ("cap", "claims", "'claims' is not a cap and its number, such as claims=16"),
        ("cap", "claims=-1", "'claims=-1' is not a cap and its number, such as claims=16"),
        ("cap", "claims=0", "0 is no cap of claims: it must be from 1 to 1000000"),
        ("cap", "claims=1000001", "1000001 is no cap of claims: it must be from 1 to 1000000"),
        ("cap", "claims=8 claims=9", "claims is named twice"),
        ("cap", "store_entries=5", "store_entries has a setting of its own: max-entries"),
        ("cap", "frobs=5", "'frobs' is none of store_entries_per_key, store_entries_per_source, changes,"),
        ("bootstrap", ":80", "':80' is not HOST:PORT, such as 192.168.1.123:1729"),
        ("bootstrap", "a:b", "'b' is not a port: a number from 1 to 65535"),
        ("bootstrap", "a:0", "0 is not a port: a number from 1 to 65535"),
        ("bootstrap", "::1:80", "'::1:80' has an IPv6 address without brackets: write [ADDRESS]:PORT"),
        ("bootstrap", "[::1]", "'[::1]' has no port: write [ADDRESS]:PORT, such as [2001:db8::1]:1729"),
        ("bootstrap", "[a]:80", "'[a]:80' has no IPv6 address in its brackets"),
        ("bootstrap", "a/b:80", "'a/b:80' has no host name or address before the port"),
        ("state", "a\0b", "has a zero byte, which no path may have"),
        ("socket", "a\0b", "has a zero byte, which no path may have"),
        ("state", "~nobody-here/x", "'~nobody-here/x' leads nowhere: Could not determine home directory."),
        ("instance", "../x", "'../x' is not an instance name: 1 to 64 of the characters A-Z a-z 0-9 _ . -"),
        ("socket-group", "a b", "'a b' is not the name of a group, such as dhtd"),
        ("socket-clients", "0", "0 is not a number of connections from 1 to 1000"),
        ("socket-clients", "1001", "1001 is not a number of connections from 1 to 1000"),
        ("socket-clients", "many", "'many' is not a number of connections from 1 to 1000"),
        ("node-id", "ff", "an ID is 64 hex digits, and 'ff' has 2 characters"),
        ("node-id", "g" * 64, f"an ID is 64 hex digits, and '{'g' * 64}' has a character that is none"),
        ("network-key", "a b c", "names 3 files: the key to seal with, and one more to open with, are enough"),
        ("network-key", "a ./a", "{cwd}/a is named twice"),
        ("network-key", "a\0b", "has a zero byte, which no path may have"),
        ("rate-limit", "-1", "'-1' is not a number of queries a second, such as 256, or 0 for no limit"),
        ("rate-limit", "nan", "'nan' is not a number of queries a second, such as 256, or 0 for no limit"),
        ("rate-limit", "1e3", "'1e3' is not a number of queries a second, such as 256, or 0 for no limit"),
        ("max-entries", "many", "'many' is not a number of entries from 0 to 10000000"),
        ("max-operations", "0", "0 is not a number of operations from 1 to 100000"),
        ("max-entries", "10000001", "10000001 is not a number of entries from 0 to 10000000"),
        ("rate-limit", "fast", "'fast' is not a number of queries a second, such as 256, or 0 for no limit"),
        ("on-stop", "now", "'now' is none of grace, leave, stay"),
        ("log-level", "verbose", "'verbose' is none of debug, info, warning, error"),
        ("log-format", "xml", "'xml' is none of text, json"),
    ],
)
def test_bad_text_names_its_option_or_variable(key: str, text: str, message: str) -> None:
    [variable] = [setting.variable for setting in SETTINGS if setting.key == key]
    message = message.replace("{cwd}", str(Path.cwd()))
    assert refusal({key: text}).startswith(f"--{key}: {message}")
    assert refusal({}, {variable: text}).startswith(f"{variable}: {message}")


@pytest.mark.parametrize("key", ["state", "socket", "instance", "port", "node-id", "log-level"])
def test_an_empty_option_is_not_the_same_as_none(key: str) -> None:
    assert refusal({key: ""}).startswith(f"--{key}: ")


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('port = "1729"', "port: must be an integer from 1 to 65535, not a string"),
        ("port = true", "port: must be an integer from 1 to 65535, not a boolean"),
        ("port = 17.29", "port: must be an integer from 1 to 65535, not a float"),
        (f"port = 0x{'f' * 5000}", "port: must be an integer from 1 to 65535"),
        (f"rate-limit = 0x{'f' * 5000}", "rate-limit: must be a number of queries a second"),
        ("port = 0", "port: 0 is not a port: a number from 1 to 65535"),
        ("port = 65536", "port: 65536 is not a port: a number from 1 to 65535"),
        ('bind = "192.0.2.1"', 'bind: must be an array of strings, such as ["192.168.1.123"], not a string'),
        ("bind = [1]", 'bind: must be an array of strings, such as ["192.168.1.123"], and has an integer'),
        ("bind = []", "bind: must name at least one address"),
        ("bootstrap = 2020-01-01", "bootstrap: must be an array of strings, such as"),
        ('bootstrap = ["a"]', "bootstrap: 'a' is not HOST:PORT"),
        ('bootstrap = ["a b:1"]', "bootstrap: 'a' is not HOST:PORT, such as a:1729"),
        ("state = 5", "state: must be a string, not an integer"),
        ('state = "x.db"', "state: 'x.db' is relative: a path in this file begins with / or ~"),
        ('state = ""', "state: is empty, and must be a path"),
        ('socket = "./x"', "socket: './x' is relative: a path in this file begins with / or ~"),
        ('socket = "/\\u0000"', "socket: has a zero byte, which no path may have"),
        ("instance = 1", "instance: must be a string, not an integer"),
        ('instance = ".x"', "instance: '.x' is not an instance name"),
        ("socket-group = 27", "socket-group: must be a string, not an integer"),
        ('socket-group = ""', "socket-group: '' is not the name of a group"),
        ("socket-clients = 0", "socket-clients: 0 is not a number of connections from 1 to 1000"),
        ('socket-clients = "7"', "socket-clients: must be a number of connections from 1 to 1000, not a string"),
        ("node-id = 5", "node-id: must be a string, not an integer"),
        ('node-id = "xyz"', "node-id: an ID is 64 hex digits"),
        ('network-key = "/a"', 'network-key: must be an array of strings, such as ["/etc/dhtd/network.key"], not a'),
        ('network-key = ["a"]', "network-key: 'a' is relative: a path in this file begins with / or ~"),
        ('network-key = [""]', "network-key: is empty, and must be a path"),
        ('network-key = ["/a", "/b", "/c"]', "network-key: names 3 files"),
        ('network-key = ["/a", "/a"]', "network-key: /a is named twice"),
        ('rate-limit = "5"', "rate-limit: must be a number of queries a second, such as 256, or 0 for no limit, not a"),
        ("max-entries = -1", "max-entries: -1 is not a number of entries from 0 to 10000000"),
        ("max-entries = 1.5", "max-entries: must be a number of entries from 0 to 10000000, not a float"),
        ("rate-limit = -1", "rate-limit: -1 is not a number of queries a second"),
        ("rate-limit = inf", "rate-limit: inf is not a number of queries a second"),
        ("rate-limit = nan", "rate-limit: nan is not a number of queries a second"),
        ("log-level = 10", "log-level: must be a string, not an integer"),
        ('log-level = "INFO"', "log-level: 'INFO' is none of debug, info, warning, error"),
        ("log-format = {}", "log-format: must be a string, not a table"),
        ("prot = 5", "unknown key 'prot'; did you mean 'port'?"),
        ("node_id = 5", "unknown key 'node_id'; did you mean 'node-id'?"),
        ("PORT = 5", "unknown key 'PORT'; did you mean 'port'?"),
        (
            "colour = 5",
            "unknown key 'colour'; dhtd.toml(5) lists all",
        ),
        ("[daemon]\nport = 5", "unknown key 'daemon'; dhtd.toml(5) lists all"),
    ],
)
@pytest.mark.parametrize("where", ["user", "system"])
def test_bad_values_name_file_and_key(where: str, toml: str, message: str, user: Configure, system: Configure) -> None:
    path = (user if where == "user" else system)(toml)
    assert refusal().startswith(f"{path}: {message}")
    assert refusal({"port": 5, "bind": ["192.0.2.1"]}).startswith(f"{path}: {message}")  # even if it would not count


def test_broken_toml_names_line_and_column(user: Configure) -> None:
    path = user('port = 1729\nbind = ["a"')
    assert refusal().startswith(f"the configuration file {path} is not TOML: ")
    path = user("port = 1729\nlog level = 5\n")
    message = refusal()
    assert message.startswith(f"the configuration file {path} is not TOML: Expected '='")
    assert message.endswith("(at line 2, column 5)")
    user("port = 1\nport = 2\nbind = []")
    assert refusal().endswith("Cannot overwrite a value (at line 2, column 9)")


@pytest.mark.parametrize(
    "toml",
    [
        "a = " + "[" * 5_000,
        "a = " + "{a = " * 5_000,
        "a." * 65 + "a = 1",
        "[" + "'a' . " * 65 + "b]",
        '"".' * 65 + "a = 1",
    ],
    ids=["arrays", "tables", "key", "table", "empty names"],
)
def test_deeply_nested_toml_is_refused_unread(toml: str, user: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of 60,000 parts would take a minute."""
    path = user(toml)
    if "." in toml:
        monkeypatch.setattr("tomllib.loads", pytest.fail)
    assert refusal() == f"the configuration file {path} is nested too deeply"


def test_a_name_of_many_labels_is_no_deep_key(user: Configure) -> None:
    host = ".".join("a" * 60)
    user(f'bootstrap = ["{host}:1729", "192.0.2.1:1", "192.0.2.2:1"]')
    assert load_settings({}, {}).bootstrap[0].startswith(host)


def test_a_file_that_is_no_text_is_refused(user: Configure) -> None:
    path = user("")
    path.write_bytes(b"port = 1729\n# caf\xe9\n")
    assert refusal() == f"the configuration file {path} is not UTF-8 (line 2, byte 18)"
    path.write_text("port = " + "1" * 5000)
    assert refusal().startswith(f"the configuration file {path} is not TOML: ")
    path.write_text("x = " + "[" * 100_000)
    assert refusal().startswith(f"the configuration file {path} ")
    path.write_bytes(b"#" * (SIZE_MAX + 1))
    assert refusal() == f"the configuration file {path} is longer than {SIZE_MAX} bytes"


def test_windows_line_ends_are_line_ends(user: Configure) -> None:
    user("").write_bytes(b"port = 5\r\nlog-level = 'error'\r\n")
    assert load_settings({}, {}).log_level == "error"


def test_a_file_that_was_named_must_be_there(home: Path) -> None:
    missing = home / "none.toml"
    assert refusal({"config": missing}) == f"--config: there is no configuration file {missing}"
    assert refusal({}, {"DHTD_CONFIG": str(missing)}) == f"DHTD_CONFIG: there is no configuration file {missing}"
    assert refusal({"config": home / "config" / "x" / "y"}).startswith("--config: there is no configuration file ")
    assert refusal({"config": "~nobody-here/x"}).startswith(
        "the configuration file ~nobody-here/x cannot be read: Could"
    )
    assert refusal({"config": "a\0b"}).startswith("the configuration file ")


def test_a_directory_as_file_is_refused(home: Path) -> None:
    (home / "config" / "dhtd.toml").mkdir()
    assert refusal() == f"the configuration file {home / 'config' / 'dhtd.toml'} cannot be read: Is a directory"


def test_a_file_that_may_not_be_read_is_refused(user: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    path = user("port = 5")

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, os.strerror(13), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal() == f"the configuration file {path} cannot be read: Permission denied"


def test_an_overlong_socket_path_is_refused() -> None:
    with pytest.raises(SocketUnusable, match="choose a shorter one with --socket"):
        load_settings({}, {"DHTD_SOCKET": "/" + "s" * 120})


def test_network_keys_are_paths_from_every_source(home: Path, user: Configure) -> None:
    options = {"network-key": ["new.key", "~/old.key"]}
    assert load_settings(options, {}).network_key == (Path.cwd() / "new.key", home / "old.key")
    assert load_settings({"network_key": ("a",)}, {}).network_key == (Path.cwd() / "a",)
    assert refusal({"network-key": ["a", "a"]}) == f"--network-key: {Path.cwd()}/a is named twice"
    assert refusal({"network-key": [""]}) == "--network-key: is empty, and must be a path"
    environ = {"DHTD_NETWORK_KEY_FILE": "new.key, ~/old.key"}
    assert load_settings({}, environ).network_key == (Path.cwd() / "new.key", home / "old.key")
    user('network-key = ["~/new.key"]')
    assert load_settings({}, {}).network_key == (home / "new.key",)
    user("network-key = []")
    assert load_settings({}, {}).network_key == ()


def test_a_seals_number_of_keys_may_be_named() -> None:
    assert KEYS_MAX == values._KEYS_MAX


# Changes on SIGHUP


def test_changes_tell_what_waits_for_a_restart() -> None:
    old = load_settings({}, {"DHTD_LOG_LEVEL": "info"})
    assert changes(old, load_settings({"log-level": "info"}, {})) == []
    new = replace(
        old,
        port=4000,
        bootstrap=("a:1", "b:2"),
        state=Path("/x.db"),
        socket_group="adm",
        socket_clients=7,
        node_id=NATIVE.parse(HEX),
        rate_limit=0.0,
        rate_limit_total=1_000.0,
        log_level="debug",
        log_format="json",
    )
    assert [str(change) for change in changes(old, new)] == [
        "port is now 4000, and was 1729: restart dhtd for this to take effect",
        "bootstrap is now a:1, b:2, and was not set",
        f"state is now /x.db, and was {old.state}: restart dhtd for this to take effect",
        "socket-group is now adm, and was not set: restart dhtd for this to take effect",
        "socket-clients is now 7, and was 64: restart dhtd for this to take effect",
        f"node-id is now {HEX}, and was not set: restart dhtd for this to take effect",
        "rate-limit is now 0.0, and was 256.0",
        "rate-limit-total is now 1000.0, and was 131072.0",
        "log-level is now debug, and was info",
        "log-format is now json, and was text",
    ]
    assert {change.key for change in changes(old, new) if change.at_run_time} == {
        "bootstrap",
        "rate-limit",
        "rate-limit-total",
        "log-level",
        "log-format",
    }


def test_a_key_may_change_but_not_come_or_go_live() -> None:
    none = load_settings({}, {})
    one, two = (replace(none, network_key=(Path(name),)) for name in ("/a.key", "/b.key"))
    both = replace(none, network_key=(Path("/b.key"), Path("/a.key")))
    assert [str(change) for change in changes(one, both)] == ["network-key is now /b.key, /a.key, and was /a.key"]
    assert [str(change) for change in changes(one, two)] == ["network-key is now /b.key, and was /a.key"]
    restart = ": restart dhtd for this to take effect"
    assert [str(change) for change in changes(none, one)] == [f"network-key is now /a.key, and was not set{restart}"]
    assert [str(change) for change in changes(one, none)] == [f"network-key is now not set, and was /a.key{restart}"]


# The manual page

PAGE = (Path(__file__).parents[2] / "man" / "dhtd.toml.5").read_text()
KINDS = {"boolean": bool, "integer": int, "number": float, "string": str, "[string, ...]": tuple}


def documented() -> dict[str, tuple[str, str, str, str]]:
    """Return type, variable, default and time of effect of each key in section KEYS."""
    section = PAGE.partition(".Sh KEYS\n")[2].partition("\n.Sh ")[0]
    found = {}
    for item in section.split(".It Ic ")[1:]:
        head, _, body = item.partition("\n")
        key, _, kind = head.partition(" No = ")
        kind = kind.replace("Bq Ar string , ...", "[string, ...]").removeprefix("Ar ")
        ending = re.search(r"\.br\nVariable\n\.Ev (\w+) ;\ndefault\n\.Li (.+) ;\n(at run time|on restart)\.\n", body)
        assert ending is not None, key
        found[key] = (kind, ending[1], ending[2], ending[3])
    return found


def test_the_page_lists_exactly_the_keys_in_order() -> None:
    assert list(documented()) == [setting.key for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.key))
def test_the_page_is_right_about_each_key(setting: Setting) -> None:
    kind, variable, default, effect = documented()[setting.key]
    assert variable == setting.variable
    assert (effect == "at run time") == setting.at_run_time
    if default == "of the instance":
        assert setting.key in OF_INSTANCE
    elif default in {"none", "beside the state file"}:
        assert setting.default in (None, ())
    else:
        assert setting.kind.text(default) == setting.default
    _, toml, _ = EXAMPLES[setting.key]
    value = tomllib.loads(f"x = {toml}")["x"]
    assert isinstance(tuple(value) if isinstance(value, list) else value, KINDS[kind])


def test_the_page_names_the_files_and_choices() -> None:
    for text in ("~/.config/dhtd/dhtd.toml", "/etc/xdg/dhtd/dhtd.toml", "~/.local/state/dhtd/", CONFIG_VARIABLE):
        assert text in PAGE
    for choice in LOG_LEVELS + LOG_FORMATS:
        assert f".Li {choice}" in PAGE
    assert f"at most {paths.SOCKET_PATH_MAX} bytes" in PAGE or f"{paths.SOCKET_PATH_MAX} elsewhere" in PAGE


def test_the_pages_examples_are_accepted(user: Configure) -> None:
    examples = re.findall(r"\.Bd -literal -offset indent\n(.*?)\.Ed", PAGE, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        user(example)
        settings = load_settings({}, {})
        assert set(tomllib.loads(example)) == {key for key, origin in settings.origins.items() if origin != "default"}


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_the_manual_page_is_clean() -> None:
    page = Path(__file__).parents[2] / "man" / "dhtd.toml.5"
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", page], check=False, capture_output=True, text=True)
    assert done.stdout == ""

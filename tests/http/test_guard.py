"""Who may ask by HTTP: token, Host, Origin, and where the door is open."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import subprocess
from pathlib import Path

import httpx
import pytest
import trio
from trio.testing import MockClock

from dhtd.config.access_token import AccessToken, token_of
from dhtd.config.sources import load_settings
from dhtd.errors import AddressUnavailable, ConfigError, KeyUnusable, PortTaken, SocketInUse, UsageError
from dhtd.http.connections import IDLE_FOR
from dhtd.http.door import LOOK_INTERVAL, HttpDoor
from tests.http.doors import LOCAL, TOKEN, Asked, opened, sent, settings_of

STATUS = {"state": "joined", "restoring": False}


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "this needs a token"),
        ({"Authorization": "Bearer wrong"}, "this is not the token"),
        ({"Authorization": f"Basic {TOKEN}"}, "this is not the token"),
        ({"Authorization": TOKEN}, "this is not the token"),
        ({"Authorization": "Bearer"}, "this is not the token"),
        ({"Authorization": f"Bearer {TOKEN}\u00ff"}, "this is not the token"),
        ({"Cookie": f"access_token={TOKEN}"}, "this needs a token"),
    ],
)
async def test_without_the_token_nothing_is_done(tmp_path: Path, headers: dict[str, str], words: str) -> None:
    asked = Asked(STATUS)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    async with opened(tmp_path, asked) as door, door.client(token=None) as client:
        answer = await client.get("/v1/status", headers=raw)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert words in answer.json()["detail"]
    assert asked.requests == []


@pytest.mark.parametrize("path", ["/v1/status", "/v1/openapi.json", "/nowhere", "/v1/lookup/zz"])
async def test_what_is_there_is_not_told_without_token(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        assert (await client.get(path)).status_code == 401


async def test_the_word_bearer_has_no_case(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked(STATUS)) as door, door.client(token=None) as client:
        answer = await client.get("/v1/status", headers={"Authorization": f"bEARER  {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(("accept", "status"), [("text/event-stream", 200), ("application/json", 401), ("*/*", 401)])
async def test_a_token_in_the_query_is_for_streams(tmp_path: Path, accept: str, status: int) -> None:
    async with opened(tmp_path, Asked(STATUS)) as door, door.client(token=None) as client:
        url = f"/v1/lookup/name:wiki?access_token={TOKEN}"
        answer = await client.get(url, headers={"Accept": accept})
    assert answer.status_code == status


@pytest.mark.parametrize(("verb", "status"), [("PUT", 401), ("DELETE", 401), ("POST", 401), ("HEAD", 200)])
async def test_a_token_in_the_query_changes_nothing(tmp_path: Path, verb: str, status: int) -> None:
    asked = Asked(STATUS)
    path = "/v1/status" if verb == "HEAD" else "/v1/entries/name:wiki/80"
    async with opened(tmp_path, asked) as door, door.client(token=None) as client:
        answer = await client.request(verb, f"{path}?access_token={TOKEN}", headers={"Accept": "text/event-stream"})
    assert answer.status_code == status
    assert len(asked.requests) == (status == 200)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8729", 200),
        ("[::1]:1", 200),
        ("LOCALHOST:9", 200),
        ("192.0.2.1", 200),
        ("dht.example.org:8729", 200),
        ("attacker.example", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("[::1", 200),
        ("[attacker.example]", 421),
        ("", 421),
        ("@localhost", 421),
    ],
)
async def test_the_host_must_be_one_of_ours(tmp_path: Path, host: str, status: int) -> None:
    asked = Asked(STATUS)
    async with opened(tmp_path, asked, http_host=["dht.Example.org"]) as door, door.client() as client:
        answer = await client.get("/v1/status", headers={"Host": host})
    assert answer.status_code == status
    assert len(asked.requests) == (status == 200)


async def test_two_hosts_are_none(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked(STATUS)) as door:
        head = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        assert (await sent(door, head.encode())).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "{url}"}, 200),
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "https://{place}"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_a_page_of_another_site_may_not_ask(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    asked = Asked(STATUS)
    async with opened(tmp_path, asked) as door, door.client() as client:
        place = door.url.partition("//")[2]
        own = {name: value.format(url=door.url, place=place) for name, value in headers.items()}
        answer = await client.put("/v1/entries/name:wiki/80", headers=own)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert len(asked.requests) == (status == 200)


async def test_a_preflight_of_another_site_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        headers = {"Origin": "http://attacker.example", "Access-Control-Request-Method": "PUT"}
        answer = await client.options("/v1/entries/name:wiki/80", headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("state", "restoring", "status"),
    [("joined", False, 200), ("doubtful", False, 200), ("joined", True, 503), ("alone", False, 503)],
)
async def test_the_probe_needs_no_token(tmp_path: Path, state: str, restoring: bool, status: int) -> None:
    asked = Asked({"state": state, "restoring": restoring})
    async with opened(tmp_path, asked) as door, door.client(token=None) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == status
    assert answer.json() == {"ready": status == 200, "state": state, "restoring": restoring}


async def test_a_unix_socket_needs_no_token(tmp_path: Path) -> None:
    path = tmp_path / "door" / "http.sock"
    async with opened(tmp_path, Asked(STATUS), f"unix:{path}", LOCAL) as door:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert door.urls[0] == f"http+unix://{path}"
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://any.example") as client:
            assert (await client.get("/v1/status")).status_code == 200
    assert not path.exists()


async def test_a_socket_that_was_removed_comes_back(tmp_path: Path, autojump_clock: MockClock) -> None:
    path = tmp_path / "http.sock"
    async with opened(tmp_path, Asked(STATUS), f"unix:{path}"):
        path.unlink()
        await trio.sleep(LOOK_INTERVAL + 1)
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
    assert not path.exists()


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        door = HttpDoor(settings_of(tmp_path, f"unix:{tmp_path}/sock", f"127.0.0.1:{port}"))
        with pytest.raises(PortTaken, match=rf"another program has TCP port {port} at 127\.0\.0\.1: choose .* --http"):
            door.open()
    assert not (tmp_path / "sock").exists()


def test_a_taken_socket_is_told(tmp_path: Path) -> None:
    doors = [HttpDoor(settings_of(tmp_path, f"unix:{tmp_path}/sock")) for _ in range(2)]
    doors[0].open()
    with pytest.raises(SocketInUse, match=r"a running daemon has the HTTP socket .*\. Choose another with --http"):
        doors[1].open()
    doors[0].close()


def test_an_address_of_nobody_here_is_told(tmp_path: Path) -> None:
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.1 is no address of this machine"):
        HttpDoor(settings_of(tmp_path, "192.0.2.1:8729")).open()


# Settings


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:8729", "127.0.0.1:8729"),
        ("[::0001]:8729", "[::1]:8729"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
    ],
)
def test_an_address_has_one_spelling(text: str, read: str) -> None:
    assert load_settings({"http": [text]}, {}).http == (read,)
    assert load_settings({}, {"DHTD_HTTP": text}).http == (read,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"http": ["localhost:80"]}, "neither an IP address with a port"),
        ({"http": ["127.0.0.1"]}, "HOST:PORT"),
        ({"http": ["127.0.0.1:0"]}, "port"),
        ({"http": ["unix:x.sock"]}, "its path begins with / or ~"),
        ({"http": ["unix:/run/"]}, "ends with a name"),
        ({"http": [f"unix:/{'x' * 120}"]}, "has 121 bytes"),
        ({"http": ["127.0.0.1:80", "127.0.0.1:80"]}, "named twice"),
        ({"http": ["0.0.0.0:80"]}, "say --http-public as well, with a certificate"),
        ({"http": ["[::]:80"]}, "say --http-public as well"),
        ({"http": ["192.0.2.1:80"], "http-public": True}, "in clear: give a certificate with --http-tls"),
        ({"http-tls": ["/a", "/b", "/c"]}, "names 3 files"),
        ({"http-host": ["a b/"]}, "is not the name of a machine"),
    ],
)
def test_an_address_that_others_reach_needs_tls(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        load_settings(given, {})


def test_a_public_address_with_tls_is_taken() -> None:
    given = {"http": ["0.0.0.0:443"], "http-public": True, "http-tls": ["/c", "/k"]}
    assert load_settings(given, {}).http == ("0.0.0.0:443",)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


async def test_tls_serves_and_says_so(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    async with opened(tmp_path, Asked(STATUS), http_tls=[str(cert), str(key)]) as door:
        assert door.url.startswith("https://")
        async with door.client(verify=ssl.create_default_context(cafile=cert)) as client:
            answer = await client.get("/v1/status", headers={"Origin": door.url})
        assert answer.status_code == 200
        assert await sent(door, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
    assert door.notes == []


async def test_a_handshake_that_never_ends_is_cut_off(
    tmp_path: Path, certificate: tuple[Path, Path], autojump_clock: MockClock
) -> None:
    async with opened(tmp_path, Asked(), http_tls=list(map(str, certificate))) as door:
        assert await sent(door, b"\x16\x03\x01") == b""
        assert trio.current_time() <= IDLE_FOR + 1


def test_a_certificate_that_is_none_is_told(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = map(str, certificate)
    for given, words in (
        ([str(tmp_path / "none"), key], "cannot be read: No such file"),
        ([key], "no certificate with its key in PEM"),
        ([cert, cert], "no certificate with its key in PEM"),
        ([key, cert], "no certificate with its key in PEM"),
    ):
        with pytest.raises(ConfigError, match=words):
            HttpDoor(settings_of(tmp_path, LOCAL, http_tls=given)).open()


# The file of the token


def test_the_token_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = AccessToken(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == token.text == AccessToken(path).text
    assert len(token.text) == 43
    assert token.matches(token.text)
    assert not token.matches(token.text[:-1])
    assert not token.matches("")
    assert not token.matches("\udcff")


def test_a_new_token_replaces_the_old_one(tmp_path: Path) -> None:
    token = AccessToken(tmp_path / "token")
    old = token.text
    token.renew()
    assert token.text != old
    assert not token.matches(old)
    assert AccessToken(tmp_path / "token").text == token.text
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_two_daemons_make_one_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    monkeypatch.setattr(os.path, "lexists", lambda _: False)  # each looks before the other has made it
    assert AccessToken(path).text == AccessToken(path).text
    assert [each.name for each in tmp_path.iterdir()] == ["token"]


def test_a_token_that_others_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    AccessToken(path)
    path.chmod(0o644)
    with pytest.raises(KeyUnusable, match="is open to others, mode 0644: chmod 600 it"):
        AccessToken(path)


@pytest.mark.parametrize("text", ["", "short", "x" * 40 + " y"])
def test_a_file_that_holds_no_token_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(KeyUnusable, match="holds no token: remove it"):
        AccessToken(path)


def test_only_an_address_of_tcp_needs_a_token(tmp_path: Path) -> None:
    assert token_of(settings_of(tmp_path)) is None
    assert token_of(settings_of(tmp_path, f"unix:{tmp_path}/sock")) is None
    token = token_of(settings_of(tmp_path, LOCAL))
    assert token is not None
    assert token.path == tmp_path / "state.db.token"
    named = token_of(settings_of(tmp_path, LOCAL, http_token=str(tmp_path / "mine")))
    assert named is not None
    assert named.path == tmp_path / "mine"

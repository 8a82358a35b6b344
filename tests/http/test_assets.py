"""The page at `/`: its files, their headers, their weight, and that they need no token and nothing from elsewhere."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from dhtd.http import assets
from dhtd.http.assets import Assets
from tests.http.doors import Asked, opened

PAGE = Path(assets.__file__).parent / "page"
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(PAGE.iterdir())}
WEIGHT = 100_000  # bytes that a browser fetches at most
LONGEST = 350  # lines


async def test_every_file_is_served_without_a_token(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        for path, name in Assets.paths().items():
            answer = await client.get(path)
            assert answer.status_code == 200
            assert answer.text == TEXTS[name]
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["content-security-policy"] == assets.POLICY
    assert set(Assets.paths().values()) == set(TEXTS)
    assert door.notes == []


async def test_types_are_those_of_the_files(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        types = {name: (await client.get(path)).headers["content-type"] for path, name in Assets.paths().items()}
    assert types["index.html"] == "text/html; charset=utf-8"
    assert types["main.js"] == "text/javascript; charset=utf-8"
    assert types["theme.css"] == "text/css; charset=utf-8"
    assert types["icon.svg"] == "image/svg+xml"


async def test_a_browser_that_has_a_file_gets_none(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        tag = (await client.get("/")).headers["etag"]
        again = await client.get("/", headers={"if-none-match": f'"other", W/{tag}'})
        other = await client.get("/", headers={"if-none-match": '"other"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("accept", "is_packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("identity", False), ("gzip;q=0", False), ("br", False)],
)
async def test_a_client_without_gzip_gets_it_plain(tmp_path: Path, accept: str, is_packed: bool) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        answer = await client.get("/page/main.js", headers={"accept-encoding": accept})
    assert ("content-encoding" in answer.headers) == is_packed
    assert answer.text == TEXTS["main.js"]
    assert answer.headers["vary"] == "accept-encoding"


async def test_the_head_of_a_file_has_no_body(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        answer = await client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 1_000


@pytest.mark.parametrize("path", ["/page/", "/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/index.html"])
async def test_nothing_else_is_served(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path, Asked()) as door:
        answer = await _raw(door, path)
    assert answer in {401, 404}


async def _raw(door: object, path: str) -> int:
    from tests.http.doors import Place, sent  # noqa: PLC0415

    assert isinstance(door, Place)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return int((await sent(door, head.encode())).split()[1])


async def test_another_host_gets_no_page(tmp_path: Path) -> None:
    async with opened(tmp_path, Asked()) as door, door.client(token=None) as client:
        assert (await client.get("/", headers={"host": "evil.example"})).status_code == 421


def test_the_page_is_light() -> None:
    packed = sum(len(gzip.compress(text.encode(), 9)) for text in TEXTS.values())
    assert packed <= WEIGHT
    assert Assets().weight == packed


def test_the_source_of_a_simulation_is_named() -> None:
    assert 'data-source="daemon"' in Assets("daemon").text("index.html")
    assert 'data-source="simulation"' in Assets("simulation").text("index.html")
    assert TEXTS["index.html"].count('data-source="daemon"') == 1


def test_the_policy_allows_nothing_inline_or_foreign() -> None:
    policy = dict(each.partition(" ")[::2] for each in assets.POLICY.split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["img-src"] == "'self'"
    assert policy["trusted-types"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in assets.POLICY


def test_no_code_is_inline() -> None:
    index = TEXTS["index.html"]
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", index) == []
    for name, text in TEXTS.items():
        assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML|document\.write", text), name
        assert not re.search(r'setAttribute\("style"|style:', text.replace("font-style:", "")) or name.endswith(
            ".css"
        ), name


def test_nothing_comes_from_elsewhere() -> None:
    for name, text in TEXTS.items():
        urls = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`]*", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
        assert [url for url in urls if not url.startswith("http://www.w3.org/")] == [], name
        assert "@import" not in text


def test_every_file_is_reached_from_the_index() -> None:
    reached, todo = set(), ["index.html"]
    while todo:
        name = todo.pop()
        if name in reached:
            continue
        reached.add(name)
        todo += re.findall(r'"page/([\w.-]+)"', TEXTS[name])
        todo += re.findall(r'(?:from|import) "\./([\w.-]+)"', TEXTS[name])
    assert reached == set(TEXTS)


def test_modules_are_short() -> None:
    assert {name: len(text.splitlines()) for name, text in TEXTS.items() if len(text.splitlines()) > LONGEST} == {}


def test_modules_say_what_they_are_for() -> None:
    assert [name for name, text in TEXTS.items() if name.endswith(".js") and not text.startswith("// ")] == []

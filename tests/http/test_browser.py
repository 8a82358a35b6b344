"""A real browser at the door: its EventSource, and what pages of another origin can do.

Chromium runs without a window, in a namespace with nothing but loopback. It is driven by chromedriver (W3C WebDriver).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from dhtd.http.resources import V1
from dhtd.service.method import Caller, Emit, Request, Result
from dhtd.service.watch import WatchRequest
from tests.http.browsers import DEADLINE, Browser, browser, chromedriver, is_there
from tests.http.doors import TOKEN, Asked, Place, opened
from tests.http.test_streams import told
from tests.netns.lab import LabError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there(), reason="chromium is not installed"),
]

# Runs in a page of the door: keeps what an EventSource is told, and how often it was opened.
FOLLOW = """
window.seen = []; window.opened = 0; window.failed = 0
const source = new EventSource(arguments[0])
source.onopen = () => { window.opened += 1 }
source.onerror = () => { if (source.readyState === EventSource.CLOSED) window.failed += 1 }
source.addEventListener("event", event => window.seen.push([event.lastEventId, JSON.parse(event.data)]))
"""
FETCH = """
const done = arguments[arguments.length - 1]
fetch(arguments[0], arguments[1]).then(answer => done(answer.status), () => done("refused"))
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a chromedriver, which shares its namespace with the test."""
    try:
        with chromedriver(tmp_path) as (address, _):
            yield address
    except LabError as error:
        pytest.skip(str(error))


class Watched:
    """A handler whose watch ends after each state of what is watched, as a connection that breaks."""

    def __init__(self, *states: tuple[str, ...]) -> None:
        self._states = iter(states)
        self.requests: list[Request] = []

    async def __call__(self, request: Request, emit: Emit[Any], caller: Caller) -> Result:
        if not isinstance(request, WatchRequest):
            return {"state": "joined", "restoring": False}
        self.requests.append(request)
        state = next(self._states, None)
        if state is None:
            await trio.sleep_forever()
        await emit(told(*state or ()))
        return {}


async def of_the_door(door: Place, window: Browser) -> None:
    """Show a page of the door, so that scripts run in its origin."""
    await window.go(f"{door.url}/readyz")


async def test_an_event_source_goes_on_where_it_was(driver: str, tmp_path: Path) -> None:
    watched = Watched(("a:1", "b:2"), ("b:2", "c:3"))
    with trio.fail_after(DEADLINE):
        async with opened(tmp_path, watched) as door, browser(driver, tmp_path) as window:
            await of_the_door(door, window)
            await window.run(FOLLOW, f"{V1}/watch/name:wiki?access_token={TOKEN}")
            await window.until("window.seen.length >= 2")
            (first_id, first), (second_id, second) = await window.run("return window.seen")
            assert await window.run("return window.failed") == 0
    assert first_id != second_id
    assert (first["added"], first["removed"]) == (["a:1", "b:2"], [])
    assert (second["added"], second["removed"]) == (["c:3"], ["a:1"])  # it has sent Last-Event-ID
    assert len(watched.requests) >= 2
    assert door.notes == []


async def test_an_event_source_without_token_fails(driver: str, tmp_path: Path) -> None:
    watched = Watched(("a:1",))
    with trio.fail_after(DEADLINE):
        async with opened(tmp_path, watched) as door, browser(driver, tmp_path) as window:
            await of_the_door(door, window)
            await window.run(FOLLOW, f"{V1}/watch/name:wiki?access_token=wrong")
            await window.until("window.failed === 1")
    assert watched.requests == []


async def test_a_page_of_another_origin_gets_nothing(driver: str, tmp_path: Path) -> None:
    """The page has the token, and asks by all that a page has: EventSource, fetch with and without CORS, a form."""
    asked = Asked({"state": "joined", "restoring": False})
    with trio.fail_after(DEADLINE):
        async with opened(tmp_path, asked) as door, browser(driver, tmp_path) as window:
            await window.go(f"http://localhost:{door.port}/readyz")
            asked.requests.clear()
            await window.run(FOLLOW, f"{door.url}{V1}/watch/name:wiki?access_token={TOKEN}")
            await window.until("window.failed === 1")
            status, bearer = f"{door.url}{V1}/status", {"headers": {"Authorization": f"Bearer {TOKEN}"}}
            assert await window.wait_for(FETCH, status, bearer) == "refused"
            assert await window.wait_for(FETCH, f"{door.url}/readyz", {}) == "refused"
            opaque = {"mode": "no-cors", "method": "POST", "body": '{"entries":[]}'}
            assert await window.wait_for(FETCH, f"{door.url}{V1}/entries?access_token={TOKEN}", opaque) == 0
            form = f"""<form method=post enctype=text/plain action='{door.url}{V1}/entries?access_token={TOKEN}'>
                <input name='{{"entries":[{{"id":"{"ab" * 32}","port":80}}],"x":"' value='"}}'></form>"""
            await window.run("document.body.innerHTML = arguments[0]; document.forms[0].submit()", form)
            await window.until("document.body.innerText.includes('may not ask this daemon')")
    assert asked.requests == []
    assert door.notes == []

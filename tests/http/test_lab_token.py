"""The token of the page: where it comes from, and where it does not go."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.http.browsers import DEADLINE, Browser, browser
from tests.http.test_lab import driver, pytestmark, served, shown

__all__ = ["driver", "pytestmark"]

ENTER = "document.querySelector('#token').value = arguments[0]; document.querySelector('#ask button').click()"
LIVE = "document.querySelector('#connection').dataset.is === 'live'"
ADDRESSES = (
    "return [location.href, document.referrer, ...performance.getEntriesByType('resource').map(each => each.name)]"
)
FORBIDDEN = """
for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, {get() { throw new DOMException("no", "SecurityError") }})
}
"""


async def asked(window: Browser, url: str) -> None:
    await window.go(url)
    await window.until("document.querySelector('#ask').open")


async def test_the_token_is_in_no_address(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url):
        token = url.partition("#token=")[2]
        async with shown(driver, tmp_path, url) as window:
            seen = await window.run(ADDRESSES)
            history = await window.cdp("Page.getNavigationHistory")
            text = await window.run("return document.documentElement.outerHTML")
    assert any("/v1/info" in each for each in seen)
    assert [each for each in seen if token in each] == []
    assert [each["url"] for each in history["entries"] if token in each["url"]] == []
    assert token not in text


async def test_an_address_with_a_token_is_taken_at_once(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url), trio.fail_after(DEADLINE):
        async with browser(driver, tmp_path) as window:
            await asked(window, url.partition("#")[0])
            await window.run("location.href = arguments[0]", url)  # as one enters it into the same tab
            await window.until(LIVE)
            assert "token" not in await window.run("return location.href")
            history = await window.cdp("Page.getNavigationHistory")
    assert [each["url"] for each in history["entries"] if "token" in each["url"]] == []


async def test_the_dialog_can_be_left_and_opened_again(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url), trio.fail_after(DEADLINE):
        base, _, token = url.partition("#token=")
        async with browser(driver, tmp_path) as window:
            await asked(window, base)
            await window.press("Escape")
            await window.until("!document.querySelector('#ask-again').hidden")
            assert await window.run("return document.activeElement.id") == "ask-again"
            assert await window.run("return document.querySelector('#connection').textContent") == "no token"
            await window.press("Enter")
            await window.until("document.querySelector('#ask').open")
            await window.run(ENTER, token)
            await window.until(LIVE)
            assert await window.run("return document.querySelector('#ask-again').hidden")


async def test_letters_that_no_token_has_are_no_dead_end(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url), trio.fail_after(DEADLINE):
        base, _, token = url.partition("#token=")
        async with browser(driver, tmp_path) as window:
            await asked(window, base)
            await window.run(ENTER, "ключ")
            await window.until(
                "document.querySelector('#ask').open && document.querySelector('#ask').textContent.includes('not its')"
            )
            await window.run(ENTER, token)
            await window.until(LIVE)


async def test_a_browser_that_may_keep_nothing_shows_the_page(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url), trio.fail_after(DEADLINE):
        async with browser(driver, tmp_path) as window:
            await window.cdp("Page.addScriptToEvaluateOnNewDocument", source=FORBIDDEN)
            await window.go(url)
            await window.until(LIVE)
            await window.run("document.querySelector('#theme').click()")
            assert await window.run("return document.documentElement.dataset.theme") == "dark"
            assert await window.logged() == []

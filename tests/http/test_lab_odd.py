"""The page before what nobody expects: names that are code, a server of another kind, a daemon that is killed."""

from __future__ import annotations

from pathlib import Path

import trio

from tests.http.browsers import DEADLINE, browser
from tests.http.test_lab import LOOK_UP, NODES, count_of, driver, pytestmark, rows, served, shown

__all__ = ["driver", "pytestmark"]

CODE = "'\"><img src=x onerror=window.hacked=1><script>window.hacked=1</script>"
# Answers of a server that is none of ours.
ODD = """
const fetched = window.fetch
window.fetch = async (path, options) => path.startsWith("v1/info") ? new Response(arguments0) : fetched(path, options)
"""


async def test_a_name_that_is_code_is_a_text(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        network.dht(daemons[3], "enter", "--name", CODE, "8080")
        async with shown(driver, tmp_path, url) as window:
            images = await window.run("return document.images.length")
            await window.run(LOOK_UP, CODE)
            await window.until("document.querySelectorAll('#steps li').length > 0")
            await window.until("document.querySelector('#recent').textContent.includes('onerror')")
            assert CODE in await window.run("return document.querySelector('#player-what').textContent")
            assert await window.run("return [document.images.length, window.hacked ?? null]") == [images, None]
            assert await window.logged() == []


async def test_odd_answers_are_told(driver: str, tmp_path: Path) -> None:
    for odd, words in (
        ("{}", "This page has a defect, or its server is of another version"),
        ("<html>", "the answer to v1/info/node is no JSON"),
    ):
        with served() as (_, _, url), trio.fail_after(DEADLINE):
            async with browser(driver, tmp_path) as window:
                source = ODD.replace("arguments0", repr(odd))
                await window.cdp("Page.addScriptToEvaluateOnNewDocument", source=source)
                await window.go(url)
                await window.until(f"document.querySelector('#problem').innerText.includes({words!r})")


async def test_a_daemon_that_is_killed_comes_back(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        async with shown(driver, tmp_path, url) as window:
            daemons[0].kill()
            await window.until("document.querySelector('#connection').dataset.is === 'broken'")
            network.launch(daemons[0], f"--http={network.subnet}.250:8729")
            await window.until("document.querySelector('#connection').dataset.is === 'live'")
            await window.until("document.querySelector('#problem').hidden")
            found = await rows(window, f"{count_of('good')} === {NODES - 1}")
    assert [standing for _, _, standing in found].count("own") == 1

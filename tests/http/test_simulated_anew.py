"""The page of a simulated network when another run is at its address, and what it shows beside what the API tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from tests.http.browsers import DEADLINE, Browser, browser
from tests.http.test_simulated import NODES, driver, press, pytestmark, shown, simulated, standing

__all__ = ["driver", "pytestmark"]

IDS = "[...document.querySelectorAll('#nodes tr[data-id]')].map(row => row.dataset.id)"
ASK = """
const [path, options, done] = arguments
fetch(path, options).then(answer => answer.status === 204 ? null : answer.json()).then(done)
"""
SPEED = "document.querySelector('#world select').selectedOptions[0].textContent"


async def ask(window: Browser, path: str, method: str = "GET", body: str | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    return await window.wait_for(ASK, f"/v1/simulation{path}", {"method": method, "body": body, "headers": headers})


async def test_another_run_at_the_address_is_shown(driver: str, tmp_path: Path) -> None:
    with trio.fail_after(DEADLINE):
        async with browser(driver, tmp_path) as window:
            with simulated() as url:
                await window.go(url)
                await window.run("document.querySelector('#table-details').open = true")
                await window.until(f"{standing('live')} === {NODES}")
                before = set(await window.run(f"return {IDS}"))
                await window.until("document.querySelectorAll('#recent li').length > 0")
            await window.until("document.querySelector('#connection').dataset.is === 'broken'")
            with simulated("--seed=2"):
                await window.until("document.querySelector('#connection').dataset.is === 'live'")
                await window.until(f"{standing('live')} === {NODES} && !{IDS}.includes('{min(before)}')")
                after = set(await window.run(f"return {IDS}"))
    assert not before & after


async def test_the_speed_is_the_one_in_force(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        for speed, text in (("10", "10 "), ("0.25", "0.25 "), ("0", "paused"), ('"max"', "as fast as it goes")):
            await ask(window, "/speed", "PUT", f'{{"speed": {speed}}}')  # as another tab does
            await window.until(f"{SPEED}.startsWith({text!r})")
        assert await window.logged() == []


async def test_figures_are_those_of_the_api(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await ask(window, "/advance", "POST", '{"to": 60}')
        await window.until("Number(document.querySelector('#world input').value) >= 60")
        await ask(window, "/speed", "PUT", '{"speed": 0}')
        await window.until(f"{SPEED} === 'paused'")
        told = await ask(window, "")
        found = f"{told['found']} of {told['asked']} lookups found"
        await window.until(f"document.querySelector('#figures').textContent.includes('{found}')")
        text = await window.run("return document.querySelector('#figures').innerText")
        bars = await window.run("return document.querySelector('#figures .hops').ariaLabel")
        await window.run("document.querySelector('#nodes td button').click()")
        await window.until("document.querySelector('#inspector').textContent.includes('contacts')")
        facts = await window.run("return document.querySelector('#inspector').innerText")
        n = next(row[0] for row in (await ask(window, "/nodes"))["nodes"] if row[1] in facts)
        node = await ask(window, f"/nodes/{n}")
    many = sum(told["hops"].values())
    mean = sum(int(hops) * count for hops, count in told["hops"].items()) / many
    assert f"{told['p50_ms']:.0f} ms" in text
    assert f"{told['p99_ms']:.0f} ms" in text
    assert f"the latest {many} lookups of this run" in text
    assert f"mean {mean:.2f}" in text
    assert f"log2(N) / 4.4 = 1.21, N {NODES}" in text
    assert bars.split(", ") == [
        f"{count} lookup{'s' * (count != 1)} with {hops} hop{'s' * (hops != '1')}"
        for hops, count in told["hops"].items()
    ]
    assert f"contacts\n{len(node['contacts'])}\n" in facts
    assert f"holds\n{node['holds']} entr" in facts


async def test_who_dies_is_looked_up_from_no_more(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await window.run("document.querySelector('#nodes td button').click()")
        await window.until("document.querySelector('#inspector').textContent.includes('Kill it')")
        await press(window, "Kill it", "#inspector")
        await window.until("!document.querySelector('#inspector').textContent.includes('Kill it')")
        await window.run("document.querySelector('#start button').click()")
        await window.until("document.querySelector('#start-result').textContent === 'The lookup begins.'")
        await window.until("document.querySelector('#problem').hidden")
        assert await window.logged() == []

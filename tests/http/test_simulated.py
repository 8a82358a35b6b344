"""The page before a simulated network, in a real browser: nodes to kill and to add, lookups, and the past."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.daemons import BIN
from tests.http.browsers import DEADLINE, Browser, browser, chromedriver, is_there
from tests.netns.lab import LabError

NODES = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there(), reason="chromium is not installed"),
]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a chromedriver; what the test starts shares its namespace."""
    try:
        with chromedriver(tmp_path) as (address, _):
            yield address
    except LabError as error:
        pytest.skip(str(error))


@contextmanager
def simulated(*options: str) -> Iterator[str]:
    """Yield the address of a network that is looked at. It ends without a word, as by `kill -9`."""
    network = [f"--nodes={NODES}", "--seed=1", "--warm", *options]
    command = [str(BIN / "dhtd"), "simulate", "--view=127.0.0.1:8750", *network]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None
        try:
            yield found[0]
        finally:
            process.kill()


@asynccontextmanager
async def shown(driver: str, directory: Path, *options: str) -> AsyncIterator[Browser]:
    """Yield a window with the page of a network, once lookups are made there."""
    with simulated(*options) as url, trio.fail_after(DEADLINE):
        async with browser(driver, directory) as window:
            await window.go(url)
            await window.run("document.querySelector('#table-details').open = true")
            await window.until(f"{standing('live')} === {NODES}")
            await window.until("document.querySelector('#world').textContent.includes('running')")
            yield window


def standing(word: str) -> str:
    return f"document.querySelectorAll('#nodes tr[data-standing={word}]').length"


async def press(window: Browser, text: str, within: str) -> None:
    buttons = f"[...document.querySelectorAll('{within} button')]"
    await window.run(f"{buttons}.find(each => each.textContent === arguments[0]).click()", text)


async def test_a_chosen_node_is_killed(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await window.run("document.querySelector('#nodes td button').click()")
        await window.until("document.querySelector('#inspector').textContent.includes('Kill it')")
        id = await window.run("return document.querySelector('#inspector dd').textContent")
        await press(window, "Kill it", "#inspector")
        await window.run("document.activeElement.blur()")
        await window.until(f"document.querySelector('#nodes tr[data-id=\"{id}\"]')?.dataset.standing === 'dead'")
        assert await window.logged() == []


async def test_nodes_are_added_and_a_share_is_killed(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await press(window, "Add", "#world")
        await window.until(f"{standing('live')} === {NODES + 10}")
        await press(window, "Kill", "#world")
        await window.until(f"{standing('live')} < {NODES}")
        assert await window.logged() == []


@pytest.mark.parametrize("overlay", ["kademlia", "chord"])
async def test_a_lookup_of_a_simulation_is_replayed(overlay: str, driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path, f"--overlay={overlay}") as window:
        await window.run("document.querySelector('#start button').click()")
        await window.until("document.querySelectorAll('#steps li').length > 1")
        await window.until("document.querySelector('#play').ariaLabel === 'Play'")
        caption = await window.run("return document.querySelector('#closing-caption').textContent")
        await window.until("document.querySelector('#map').dataset.asked?.length > 2")  # by the end of the replay
        assert await window.logged() == []
    assert ("halvings" in caption) == (overlay == "chord")


async def test_the_slider_goes_back_and_ahead(driver: str, tmp_path: Path) -> None:
    drag = """
    const slider = document.querySelector("#world input[type=range]")
    slider.value = arguments[0]
    for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind))
    """
    async with shown(driver, tmp_path) as window:
        await window.until("Number(document.querySelector('#world input').value) > 38")
        await window.run(drag, 37.5)
        await window.until("document.querySelector('#world').textContent.includes('A moment of the past')")
        told = await window.run("return document.querySelector('#world .quiet').textContent")
        assert re.fullmatch(r"A moment of the past. It is \d+ s by now", told)  # nothing of the present beside it
        await window.until(f"{standing('live')} === {NODES}")
        await window.until("document.querySelectorAll('#recent li').length > 0")
        await press(window, "Now", "#world")
        await window.until("!document.querySelector('#world').textContent.includes('A moment of the past')")
        await window.run(drag, 90)
        await window.until("Number(document.querySelector('#world input').value) > 89")
        assert await window.logged() == []

"""The page of the lab in a real browser, before real daemons, and before a simulated network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from dhtd.service.trace import TRACE
from tests.e2e.daemons import Daemon, Network
from tests.http.browsers import DEADLINE, Browser, browser, chromedriver, is_there
from tests.mainline import modules
from tests.netns.lab import LabError

NODES = 6
AXE = modules.directory(modules.PAGE) / "axe-core" / "axe.min.js"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there(), reason="chromium is not installed"),
]

# The rows of the table of nodes: endpoint, ID and standing.
ROWS = """
document.querySelector("#table-details").open = true
return [...document.querySelectorAll("#nodes tbody tr")].map(
  row => [row.dataset.endpoint, row.dataset.id, row.dataset.standing])
"""
LOOK_UP = """
document.querySelector("#wanted").value = arguments[0]
document.querySelector("#start button").click()
"""
# Keeps each moment that is told.
NOTE = """
window.moments = []
const host = document.querySelector("#moment")
new MutationObserver(() => window.moments.push(host.textContent)).observe(host, {childList: true})
"""
FAULTS = """
const done = arguments[arguments.length - 1]
const why = node => [node.target.join(" "), ...node.any.map(each => each.message)]
axe.run(document, {resultTypes: ["violations"]}).then(
  told => done(told.violations.filter(each => ["serious", "critical"].includes(each.impact)).map(
    each => [each.id, each.nodes.map(why)])),
  error => done(String(error)))
"""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[str]:
    """Yield the address of a chromedriver; what the test starts shares its namespace."""
    try:
        with chromedriver(tmp_path) as (address, _):
            yield address
    except LabError as error:
        pytest.skip(str(error))


@contextmanager
def served() -> Iterator[tuple[Network, list[Daemon], str]]:
    """Yield a network of daemons, and the address of the page of the first one, with its token."""
    with Network() as network:
        place = f"{network.subnet}.250:8729"
        daemons = [*network.start(1, f"--http={place}"), *network.start(NODES - 1)]
        for daemon in daemons[1:]:
            network.dht(daemon, "bootstrap", daemons[0].endpoint)
        daemons[0].wait_until(lambda node: node["contacts"]["good"] == NODES - 1)
        [url] = network.dht(daemons[0], "token", "--url")["urls"]
        yield network, daemons, url


@asynccontextmanager
async def shown(driver: str, directory: Path, url: str) -> AsyncIterator[Browser]:
    """Yield a window with the page, once it draws what it knows."""
    with trio.fail_after(DEADLINE):
        async with browser(driver, directory) as window:
            await window.go(url)
            await window.until("document.querySelector('#connection').dataset.is === 'live'")
            await window.until("document.querySelector('.pane').dataset.drawn > 0")
            yield window


async def rows(window: Browser, condition: str) -> list[list[str]]:
    """Return the table of nodes, once it is as wanted."""
    await window.run("document.querySelector('#table-details').open = true")
    await window.until(condition)
    found: list[list[str]] = await window.run(ROWS)
    return found


def count_of(standing: str) -> str:
    return f"document.querySelectorAll('#nodes tr[data-standing={standing}]').length"


async def test_the_page_draws_the_nodes_that_info_lists(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        async with shown(driver, tmp_path, url) as window:
            found = await rows(window, f"{count_of('good')} === {NODES - 1}")
            drawn = await window.run("return document.querySelector('.pane').dataset.drawn")
            logged = await window.logged()
            address = await window.run("return location.href")
        buckets = network.dht(daemons[0], "info", "routing_table")["routing_table"]["buckets"]
    members = {(each["endpoint"], each["id"], each["state"]) for bucket in buckets for each in bucket["members"]}
    own = (daemons[0].endpoint, daemons[0].node_id, "own")
    assert {tuple(row) for row in found} == {*members, own}
    assert int(drawn) == NODES
    assert logged == []
    assert "token" not in address


async def test_a_lookup_lights_up_the_nodes_of_trace(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        network.dht(daemons[3], "enter", "--name", "wiki", "8080")
        async with shown(driver, tmp_path, url) as window:
            await window.run(LOOK_UP, "wiki")
            await window.until("document.querySelector('#start-result').textContent.includes('endpoint')")
            await window.until("document.querySelectorAll('#steps li').length > 0")
            told = await window.run("return document.querySelector('#start-result').textContent")
            asked = await window.run("return JSON.parse(document.querySelector('#map').dataset.asked)")
            logged = await window.logged()
        with daemons[0].ask() as client:
            traced: list[Any] = [*client.stream(TRACE, id=sha256(b"wiki").hexdigest())]
    assert f"{daemons[3].address}:8080" in told
    assert set(asked) == {step["endpoint"] for step in traced[:-1]}
    assert logged == []


async def test_a_dead_node_goes(driver: str, tmp_path: Path) -> None:
    with served() as (_, daemons, url):
        async with shown(driver, tmp_path, url) as window:
            await rows(window, f"{count_of('good')} === {NODES - 1}")
            gone = daemons[4].endpoint
            assert daemons[4].stop() == 0
            found = await rows(window, f"!document.querySelector('#nodes tr[data-endpoint=\"{gone}\"]')")
    assert gone not in [endpoint for endpoint, _, _ in found]


async def test_a_daemon_that_stops_is_told_and_comes_back(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        async with shown(driver, tmp_path, url) as window:
            assert daemons[0].stop() == 0
            await window.until("document.querySelector('#connection').dataset.is === 'broken'")
            text = await window.run("return document.querySelector('#problem').textContent")
            network.launch(
                daemons[0], f"--http={network.subnet}.250:8729"
            )  # here, since another thread may not be in the namespace
            await window.until("document.querySelector('#connection').dataset.is === 'live'")
            await window.until("document.querySelector('#problem').hidden")
    assert "does not answer" in text


async def test_the_page_asks_for_a_token(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url), trio.fail_after(DEADLINE):
        base, _, token = url.partition("#token=")
        async with browser(driver, tmp_path) as window:
            await window.go(base)
            await window.until("document.querySelector('#ask').open")
            enter = (
                "document.querySelector('#token').value = arguments[0]; document.querySelector('#ask button').click()"
            )
            await window.run(enter, "wrong")
            await window.until(
                "document.querySelector('#ask').open && document.querySelector('#ask').textContent.includes('not its')"
            )
            await window.run(enter, token)
            await window.until("document.querySelector('#connection').dataset.is === 'live'")
            await window.go(base)  # the tab has it
            await window.until("document.querySelector('#connection').dataset.is === 'live'")


async def test_the_keyboard_goes_from_node_to_node(driver: str, tmp_path: Path) -> None:
    with served() as (_, _, url):
        async with shown(driver, tmp_path, url) as window:
            found = await rows(window, f"{count_of('good')} === {NODES - 1}")
            await window.run("document.querySelector('#map').focus()")
            seen = []
            for key in ("Home", *["ArrowRight"] * (NODES - 1)):
                await window.run(
                    "document.querySelector('#map').dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0]}))",
                    key,
                )
                seen.append(await window.run("return document.querySelector('#inspector dd').textContent"))
    assert seen == sorted(id for _, id, _ in found)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: python3 -m tests.mainline.modules")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault(scheme: str, driver: str, tmp_path: Path) -> None:
    source = AXE.read_text(encoding="utf-8")
    with served() as (network, daemons, url):
        network.dht(daemons[3], "enter", "--name", "wiki", "8080")
        async with shown(driver, tmp_path, url) as window:
            await window.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            await rows(window, f"{count_of('good')} === {NODES - 1}")
            await window.run(LOOK_UP, "wiki")
            await window.until("document.querySelectorAll('#steps li').length > 0")
            await window.run(f"{source}\nwindow.axe = axe")
            assert await window.wait_for(FAULTS) == []
            for width in (360, 1280):
                await window.cdp(
                    "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
                )
                assert await window.run("return document.documentElement.scrollWidth") <= width


async def test_without_motion_a_replay_goes_in_steps(driver: str, tmp_path: Path) -> None:
    with served() as (network, daemons, url):
        network.dht(daemons[3], "enter", "--name", "wiki", "8080")
        async with shown(driver, tmp_path, url) as window:
            still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
            await window.cdp("Emulation.setEmulatedMedia", features=still)
            await window.run(NOTE)
            await window.run(LOOK_UP, "wiki")
            await window.until("document.querySelectorAll('#steps li').length > 0")
            await window.run("document.querySelector('#play').click()")
            await window.until("document.querySelector('#play').ariaLabel === 'Play'")  # it has come to its end
            seen = await window.run("return window.moments")
            listed = await window.run("return [...document.querySelectorAll('#steps li')].map(row => row.textContent)")
    texts = [text.replace(": ", " ", 1) for text in seen]  # of steps at the same time, the last one
    places = [listed.index(text) for text in texts]
    assert places == sorted(places)
    assert texts[-1] == listed[-1]
    assert len({text.partition(" ms ")[0] for text in listed} - {text.partition(" ms ")[0] for text in texts}) == 0

"""The page of a simulated network for all: by keyboard, read aloud, without motion, and with axe-core."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.http.browsers import Browser
from tests.http.test_lab import AXE, FAULTS
from tests.http.test_simulated import driver, press, pytestmark, shown

__all__ = ["driver", "pytestmark"]

CONTROLS = """
window.controls = [...document.querySelectorAll("button, input, select, summary, a, [tabindex='0']")].filter(
  each => !each.disabled && each.checkVisibility() && !each.closest("#recent"))
return window.controls.length
"""
FOCUS = """
const at = document.activeElement
return [window.controls.indexOf(at), getComputedStyle(at).outlineStyle, at.outerHTML, Boolean(at.closest("#recent"))]
"""
# Counts what is read aloud.
LISTEN = """
window.aloud = []
const isLive = host => host.closest("[aria-live=polite], [aria-live=assertive], [role=status], [role=alert], output")
new MutationObserver(changes => {
  for (const { target } of changes) {
    const host = isLive(target instanceof Element ? target : target.parentElement)
    const isOff = !host || host.getAttribute("aria-live") === "off" || !host.checkVisibility()
    if (!isOff) window.aloud.push(host.id || host.outerHTML)
  }
}).observe(document.body, {subtree: true, childList: true, characterData: true})
"""
PASSED = "Number(document.querySelector('#world input').value) > {}"
HELD = """
window.held = []
new MutationObserver(() => window.held.push(performance.now())).observe(
  document.querySelector("#map"), {attributeFilter: ["data-held"]})
"""
ID = "return document.activeElement.id || document.activeElement.ariaLabel || document.activeElement.tagName"


async def busy(window: Browser) -> None:
    """Have a node chosen, and a lookup replayed."""
    await window.run("document.querySelector('#nodes td button').click()")
    await window.until("document.querySelector('#inspector').textContent.includes('Kill it')")
    await window.run("document.querySelector('#start button').click()")
    await window.until("document.querySelectorAll('#steps li').length > 1")
    await window.until("document.querySelector('#play').ariaLabel === 'Play'")


async def now(window: Browser) -> float:
    seen: float = await window.run("return Number(document.querySelector('#world input').value)")
    return seen


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: python3 -m tests.mainline.modules")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_fault(scheme: str, driver: str, tmp_path: Path) -> None:
    source = AXE.read_text(encoding="utf-8")
    async with shown(driver, tmp_path) as window:
        await window.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await busy(window)
        await window.run(f"{source}\nwindow.axe = axe")
        assert await window.wait_for(FAULTS) == []
        for width, scale in ((360, 1), (640, 2), (1280, 1), (3840, 1)):  # the second one is 1280 at 200 %
            size: dict[str, Any] = {"width": width, "height": 800, "deviceScaleFactor": scale, "mobile": False}
            await window.cdp("Emulation.setDeviceMetricsOverride", **size)
            assert await window.run("return document.documentElement.scrollWidth") <= width


async def test_tab_reaches_every_control_and_leaves(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await busy(window)
        await window.run("document.querySelector('#table-details').open = false; document.activeElement.blur()")
        wanted = await window.run(CONTROLS)
        reached: list[int] = []
        while len(reached) < wanted:
            await window.press("Tab")
            number, outline, html, is_recent = await window.run(FOCUS)
            assert outline != "none", html
            if not is_recent:
                reached.append(number)
        assert reached == list(range(wanted))
        assert wanted > 20
        await window.press("Tab")  # the browser's own controls come next
        assert (await window.run(FOCUS))[2].startswith("<body")


async def test_a_control_that_goes_passes_the_focus_on(driver: str, tmp_path: Path) -> None:
    drag = """
    const slider = document.querySelector("#world input[type=range]")
    slider.value = 10
    for (const kind of ["input", "change"]) slider.dispatchEvent(new Event(kind))
    """
    by_key = "[...document.querySelectorAll('{} button')].find(each => each.textContent === {!r}).focus()"
    async with shown(driver, tmp_path) as window:
        await busy(window)
        await window.run(by_key.format("#inspector", "Kill it"))
        await window.press("Enter")
        await window.until("!document.querySelector('#inspector').textContent.includes('Kill it')")
        assert await window.run(ID) == "map"
        await window.run("document.querySelector('#player-close').focus()")
        await window.press("Enter")
        assert await window.run(ID) == "map"
        await window.run(drag)
        await window.until("document.querySelector('#world').textContent.includes('A moment of the past')")
        await window.until("![...document.querySelectorAll('#world button')][0].disabled")
        await window.run(by_key.format("#world", "Now"))
        await window.press("Enter")
        await window.until("[...document.querySelectorAll('#world button')][0].disabled")
        assert await window.run(ID) == "Virtual time"


async def test_what_goes_on_by_itself_is_not_read_aloud(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await busy(window)
        await window.run("document.querySelector('#player-close').click()")
        await window.run(LISTEN)
        await window.until(PASSED.format(await now(window) + 3))
        await window.run("document.querySelector('#recent button').click()")
        await window.until("document.querySelector('#play').ariaLabel === 'Pause'")
        assert await window.run("return window.aloud") == []
        await window.run("document.querySelector('#map').focus()")
        await window.press("End")
        await window.until("window.aloud.includes('pointed')")


async def test_keys_of_the_browser_stay_its_own(driver: str, tmp_path: Path) -> None:
    dispatched = """
    const event = new KeyboardEvent("keydown", {key: "ArrowLeft", cancelable: true, ...arguments[0]})
    return document.querySelector("#map").dispatchEvent(event)
    """
    async with shown(driver, tmp_path) as window:
        assert await window.run(dispatched, {}) is False
        for modifier in ("altKey", "ctrlKey", "metaKey"):
            assert await window.run(dispatched, {modifier: True}) is True


async def test_without_motion_nothing_flickers(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path, "--lookups=10000") as window:
        still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
        await window.cdp("Emulation.setEmulatedMedia", features=still)
        await window.run(HELD)
        await window.until("window.held.length >= 3")
        times = await window.run("return window.held")
    assert all(after - before > 1_900 for before, after in pairwise(times))


async def test_with_forced_colours_what_is_pressed_shows(driver: str, tmp_path: Path) -> None:
    widths = "map(each => getComputedStyle(each).borderTopWidth)"
    borders = f"return [...document.querySelectorAll('.choice button')].{widths}"
    async with shown(driver, tmp_path) as window:
        await press(window, "Ring", ".maps")
        await window.cdp("Emulation.setEmulatedMedia", features=[{"name": "forced-colors", "value": "active"}])
        assert await window.run(borders) == ["3px", "1px", "1px"]


async def test_a_list_goes_on_after_a_click(driver: str, tmp_path: Path) -> None:
    async with shown(driver, tmp_path) as window:
        await window.until("document.querySelectorAll('#recent li').length > 0")
        first = "document.querySelector('#recent li:last-child')"
        await window.run(f"const row = {first}.firstChild; row.focus({{focusVisible: false}}); row.click()")
        newest = await window.run("return document.querySelectorAll('#recent li').length")
        await window.until(f"document.querySelectorAll('#recent li').length > {newest}")

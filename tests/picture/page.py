"""The picture of the page in README: a network of real nodes on loopback, a daemon among them, and a browser without a
screen in which somebody looks up `wiki`.

Run it with `python3 dev.py screenshot FILE` (Linux, as root, with chromium and its driver).
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

import dhtd.testing
from tests.e2e.daemons import Network
from tests.http.browsers import Browser, browser, chromedriver

NAME: Final = "wiki"
SERVING: Final = 5  # nodes that serve it
MOMENT: Final = 640  # thousandths of the lookup
LOOK_UP: Final = """
document.querySelector("#wanted").value = arguments[0]
document.querySelector("#start button").click()
"""
SEEK: Final = """
const scrub = document.querySelector("#scrub")
scrub.value = arguments[0]
scrub.dispatchEvent(new Event("input"))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="dhtd-") as scratch,
        chromedriver(Path(scratch)) as (driver, _),
        dhtd.testing.testnet_blocking(options.nodes) as net,
        Network() as network,
    ):
        place = f"{network.subnet}.250:8729"
        [daemon] = network.start(1, f"--http={place}", *(f"--bootstrap={each.endpoint}" for each in net[:4]))
        for member in net[:: max(1, options.nodes // SERVING)][:SERVING]:
            with dhtd.connect_blocking(member.socket) as dht:
                dht.enter(NAME, 8_000 + member.number)
        for name in ("backup", "printer"):
            network.dht(daemon, "enter", name, "8080", "--no-wait")
        [url] = network.dht(daemon, "token", "--url")["urls"]
        picture = trio.run(_taken, driver, Path(scratch), url, options)
    options.file.write_bytes(picture)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dev.py screenshot", description="Take the picture of the page in README.")
    parser.add_argument("file", type=Path, help="the PNG or WebP to write")
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--size", default="1400x900")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--view", choices=("ring", "tree", "both"))
    return parser


async def _taken(driver: str, scratch: Path, url: str, options: argparse.Namespace) -> bytes:
    width, height = map(int, options.size.split("x"))
    async with browser(driver, scratch) as window:
        await window.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = [{"name": "prefers-color-scheme", "value": options.scheme}]
        await window.cdp("Emulation.setEmulatedMedia", features=scheme)
        await window.cdp("Emulation.setScrollbarsHidden", hidden=True)
        await window.go(url)
        await window.until("document.querySelector('.pane').dataset.drawn > 20")
        if options.view:
            await window.run("document.querySelector(`button[data-view=${arguments[0]}]`).click()", options.view)
        for name in ("backup", "printer", NAME):
            await _look_up(window, name)
        await window.run(SEEK, MOMENT)
        await trio.sleep(1)
        kind = "webp" if options.file.suffix == ".webp" else "png"
        shot = await window.cdp("Page.captureScreenshot", format=kind, **({"quality": 92} if kind == "webp" else {}))
        return base64.b64decode(shot["data"])


async def _look_up(window: Browser, name: str) -> None:
    await window.run(LOOK_UP, name)
    await window.until(f"document.querySelector('#player-what').textContent.startsWith('{name},')")
    await window.until("document.querySelector('#play').ariaLabel === 'Play'")


if __name__ == "__main__":
    sys.exit(main())

"""A window of Chromium without a screen, in a namespace with nothing but loopback.

It is driven by chromedriver (W3C WebDriver).
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio

from tests.mainline.island import island

DEADLINE: Final = 120.0  # seconds; only a hang reaches it
KEYS: Final = {"Tab": ("Tab", 9), "Enter": ("Enter", 13), "Escape": ("Escape", 27), "End": ("End", 35)}
OPTIONS: Final = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]


def is_there() -> bool:
    """Whether Chromium and its driver are installed."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


class Browser:
    """One window."""

    def __init__(self, client: httpx.AsyncClient, session: str) -> None:
        self._client = client
        self._session = session

    async def _ask(self, what: str, **body: object) -> Any:
        answer = await self._client.post(f"/session/{self._session}/{what}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    async def go(self, url: str) -> None:
        await self._ask("url", url=url)

    async def run(self, script: str, *arguments: object) -> Any:
        return await self._ask("execute/sync", script=script, args=arguments)

    async def wait_for(self, script: str, *arguments: object) -> Any:
        """Run a script that calls its last argument when it is done."""
        return await self._ask("execute/async", script=script, args=arguments)

    async def cdp(self, command: str, **params: object) -> Any:
        """Ask by the DevTools protocol of Chromium."""
        return await self._ask("goog/cdp/execute", cmd=command, params=params)

    async def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key of the keyboard where the focus is."""
        named = {"key": key, "code": KEYS[key][0], "windowsVirtualKeyCode": KEYS[key][1], "modifiers": 8 * shift}
        await self.cdp("Input.dispatchKeyEvent", type="rawKeyDown", **named)
        if key == "Enter":
            await self.cdp("Input.dispatchKeyEvent", type="char", text="\r", **named)
        await self.cdp("Input.dispatchKeyEvent", type="keyUp", **named)

    async def shot(self) -> bytes:
        """Return a picture of what is shown, as PNG."""
        told = await self.cdp("Page.captureScreenshot", format="png")
        return base64.b64decode(told["data"])

    async def logged(self) -> list[str]:
        """Return what the console has got since the last call: errors and warnings."""
        answer = await self._ask("se/log", type="browser")
        return [each["message"] for each in answer if each["level"] in {"SEVERE", "WARNING"} and _is_of_a_page(each)]

    async def until(self, condition: str) -> Any:
        """Wait until an expression is true in the page, and return it."""
        look = f"const look = () => {{ const is = {condition}; is ? arguments[0](is) : setTimeout(look, 20) }}"
        return await self.wait_for(f"{look}; look()")


@contextmanager
def chromedriver(home: Path) -> Iterator[tuple[str, int]]:
    """Yield the address and the process of a chromedriver on an island, which the caller enters as well.

    Raises `LabError` where that cannot be.
    """
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    command = ["chromedriver", "--port=0"]
    with (
        island(),
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        ports = (re.search(r"started successfully on port (\d+)", line) for line in process.stdout)
        try:
            yield "http://127.0.0.1:" + next(found[1] for found in ports if found is not None), process.pid
        finally:
            process.terminate()


@asynccontextmanager
async def browser(driver: str, directory: Path) -> AsyncIterator[Browser]:
    """Yield a window of a new profile."""
    chrome = {"binary": shutil.which("chromium"), "args": [*OPTIONS, f"--user-data-dir={directory / 'profile'}"]}
    logs = {"goog:loggingPrefs": {"browser": "ALL"}}
    wanted = {"alwaysMatch": {"goog:chromeOptions": chrome, "timeouts": {"script": int(1_000 * DEADLINE)}, **logs}}
    async with httpx.AsyncClient(base_url=driver, trust_env=False, timeout=DEADLINE) as client:
        answer = await client.post("/session", json={"capabilities": wanted})
        assert answer.status_code == 200, answer.text
        session = answer.json()["value"]["sessionId"]
        try:
            yield Browser(client, session)
        finally:
            with trio.CancelScope(shield=True):
                await client.delete(f"/session/{session}")


def _is_of_a_page(entry: dict[str, Any]) -> bool:
    """Whether it is not Chromium's own: its first tab complains about fonts."""
    return not entry["message"].startswith("chrome://")
